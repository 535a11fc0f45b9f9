"""The API document: complete, valid, and true to what the service answers."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from app.api import application, examples
from app.api.models import IngestBody
from app.api.problems import PROBLEMS, Problem
from app.api.views import Health, IngestAnswer, IngestionList, IngestionView, Ready
from app.control.keys import Keyring
from app.wire.models import AckBody, ChunkBody, CompletedBody, StoppedBody
from tests.support.api import Desk, a_desk

EVENTS = ["ingestion.chunk", "ingestion.completed", "ingestion.failed", "ingestion.aborted"]


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return application.build(keyring=Keyring()).openapi()


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with a_desk(tmp_path) as made:
        yield made


def operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def references(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        if isinstance(part.get("$ref"), str):
            yield part["$ref"]
        for value in part.values():
            yield from references(value)
    elif isinstance(part, list):
        for value in part:
            yield from references(value)


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    known = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    assert set(references(document)) <= known


def test_every_schema_is_used(document: dict[str, Any]) -> None:
    known = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    assert known <= set(references(document))


def test_operation_ids_are_unique(document: dict[str, Any]) -> None:
    ids = [operation["operationId"] for _, operation in operations(document)]
    ids += [hook["post"]["operationId"] for hook in document["webhooks"].values()]
    assert len(ids) == len(set(ids))


def test_every_operation_has_an_example_and_a_summary(document: dict[str, Any]) -> None:
    for name, operation in operations(document):
        assert operation["summary"], name
        good = [code for code in operation["responses"] if code.startswith("2")]
        for code in good:
            content = operation["responses"][code]["content"]["application/json"]
            assert content["examples"], f"{name} {code}"
            assert content["schema"], f"{name} {code}"


def test_every_error_answer_is_a_problem_document(document: dict[str, Any]) -> None:
    for name, operation in operations(document):
        for code, response in operation["responses"].items():
            if code.startswith("2"):
                continue
            assert list(response["content"]) == ["application/problem+json"], f"{name} {code}"
            content = response["content"]["application/problem+json"]
            assert content["schema"] == {"$ref": "#/components/schemas/Problem"}
            for kind, example in content["examples"].items():
                problem = Problem.model_validate(example["value"])
                assert (problem.code, str(problem.status)) == (kind, code)


def test_every_problem_code_is_listed_and_documented_somewhere(document: dict[str, Any]) -> None:
    shown = {
        code
        for _, operation in operations(document)
        for status, response in operation["responses"].items()
        if not status.startswith("2")
        for code in response["content"]["application/problem+json"]["examples"]
    }
    # No operation answers with these two: there is none at the path, or none of this method.
    assert shown == PROBLEMS.keys() - {"NOT_FOUND", "METHOD_NOT_ALLOWED"}
    for code, kind in PROBLEMS.items():
        assert f"| `{code}` | {kind.status} | {kind.title} |" in document["info"]["description"]


@pytest.mark.parametrize(
    ("model", "shown"),
    [
        (IngestBody, examples.REQUESTS),
        (IngestAnswer, examples.ACCEPTED),
        (IngestAnswer, examples.ALREADY_COMPLETED),
        (IngestionView, examples.INGESTIONS),
        (IngestionView, examples.CANCELLED),
        (IngestionList, examples.LISTS),
        (Health, examples.LIVE),
        (Ready, examples.READY),
    ],
)
def test_every_example_is_valid_and_complete(model: type[Any], shown: examples.Examples) -> None:
    for name, example in shown.items():
        value = TypeAdapter(model).validate_python(example["value"])
        if model is not IngestBody:
            assert value.model_dump(mode="json").keys() == example["value"].keys(), name  # type: ignore[union-attr]


@pytest.mark.parametrize("model", [ChunkBody, CompletedBody, StoppedBody, AckBody])
def test_the_events_carry_examples_that_are_valid(
    model: type[Any], document: dict[str, Any]
) -> None:
    shown = document["components"]["schemas"][model.__name__]["examples"]
    assert shown
    for example in shown:
        TypeAdapter(model).validate_python(example, strict=False)


def test_what_is_sent_out_is_declared_as_callbacks_and_as_webhooks(
    document: dict[str, Any],
) -> None:
    ingest = document["paths"]["/api/ingest"]["post"]
    assert list(ingest["callbacks"]) == list(document["webhooks"]) == EVENTS
    for event, body in zip(
        EVENTS, ("ChunkBody", "CompletedBody", "StoppedBody", "StoppedBody"), strict=True
    ):
        (target, callback) = next(iter(ingest["callbacks"][event].items()))
        assert target == "{$request.body#/callback_url}"
        for declared in (callback["post"], document["webhooks"][event]["post"]):
            content = declared["requestBody"]["content"]["application/json"]
            assert content["schema"] == {"$ref": f"#/components/schemas/{body}"}


async def test_the_documented_request_members_are_the_ones_taken(
    document: dict[str, Any], desk: Desk
) -> None:
    schema = document["components"]["schemas"]["IngestBody"]
    assert schema["additionalProperties"] is False
    assert schema["required"] == ["file_path", "file_type", "callback_url"]
    for name in schema["properties"]["file_type"]["enum"]:
        answer = await desk.http.post("/api/ingest", json=desk.a_body(file_type=name))
        assert answer.status_code == 202, name


async def test_an_answer_is_as_its_example_shows(desk: Desk) -> None:
    ingestion_id = await desk.submitted()
    view = (await desk.http.get(f"/api/ingestions/{ingestion_id}")).json()

    example = examples.INGESTIONS["running"]["value"]
    assert isinstance(example, dict)
    assert list(view) == list(example)
    for part in ("counts", "progress", "options", "links"):
        shown = example[part]
        assert isinstance(shown, dict)
        assert list(view[part]) == list(shown)


async def test_the_page_needs_no_other_host(desk: Desk) -> None:
    page = await desk.http.get("/docs")

    assert page.status_code == 200
    assert "https://" not in page.text
    for name in ("swagger-ui-bundle.js", "swagger-ui.css", "favicon-32x32.png"):
        assert f"docs/{name}" in page.text
        asset = await desk.http.get(f"/docs/{name}")
        assert (asset.status_code, len(asset.content) > 0) == (200, True)
    assert (await desk.http.get("/openapi.json")).json()["openapi"].startswith("3.1")
