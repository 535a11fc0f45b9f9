"""Requests made from the API document, valid and almost valid: every answer is documented.

``ACKLINE_API_CASES`` sets how many; CI runs the default, a release run 20,000.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack
from typing import Any, TypeAlias

import httpx
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.checks import load_all_checks, not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi import checks

from app.api import application
from app.api.limits import BODY_BYTES_MAX
from app.control.keys import KeyEntry, Keyring, digest_of, new_key
from app.domain.access import Caller, Scope
from tests.support.api import CALLBACK, Desk, a_desk

CASES = int(os.environ.get("ACKLINE_API_CASES", "2500"))
KEY = new_key()
RING = Keyring([KeyEntry(caller=Caller(name="a", scope=Scope.ADMIN), digests=(digest_of(KEY),))])
CHECKS = [
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
    checks.negative_data_rejection,
]
WITHOUT_PARAMETERS = ("/healthz", "/readyz")

Case: TypeAlias = schemathesis.Case[Any]
Send: TypeAlias = Callable[[Case, bool], httpx.Response]


@pytest.fixture(scope="module")
def send(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Send]:
    """Return what sends a case to a service with one key, with the key or without."""
    with ExitStack() as stack:
        runner = stack.enter_context(asyncio.Runner())
        serving = a_desk(tmp_path_factory.mktemp("root"), keyring=RING)
        desk: Desk = runner.run(_coroutine(serving.__aenter__()))
        stack.callback(lambda: runner.run(_coroutine(serving.__aexit__(None, None, None))))
        desk.a_file()
        bearer = {"Authorization": f"Bearer {KEY}"}
        started = runner.run(desk.http.post("/api/ingest", json=desk.a_body(), headers=bearer))

        def send_case(case: Case, with_key: bool) -> httpx.Response:
            _make_real(case, desk, started.json()["ingestion_id"])
            request = _prepared(case)
            assert request.body is None or isinstance(request.body, str | bytes)
            headers = [
                (name, value)
                for name, value in request.headers.items()
                if name.lower() not in {"authorization", "content-length"}
            ]
            return runner.run(
                desk.http.request(
                    str(request.method),
                    str(request.url),
                    headers=[*headers, *(bearer.items() if with_key else ())],
                    content=request.body,
                )
            )

        yield send_case


async def _coroutine(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


def _prepared(case: Case) -> requests.PreparedRequest:
    return requests.Request(**case.as_transport_kwargs(base_url="http://localhost")).prepare()


def _make_real(case: Case, desk: Desk, ingestion_id: str) -> None:
    """Put names that exist in the place of some made-up ones, or nothing is ever found."""
    if isinstance(case.body, dict) and case.body.get("file_path") == "REAL":
        case.body |= {"file_path": str(desk.root / "products.json"), "callback_url": CALLBACK}
    if case.path_parameters.get("ingestion_id") == "REAL":
        case.path_parameters["ingestion_id"] = ingestion_id


def _with_real(case: Case) -> Case:
    if isinstance(case.body, dict) and isinstance(case.body.get("file_path"), str):
        case.body["file_path"] = "REAL"
    if "ingestion_id" in case.path_parameters:
        case.path_parameters["ingestion_id"] = "REAL"
    return case


def _cases() -> st.SearchStrategy[Case]:
    """Return cases of every operation, some of them aimed at what exists."""
    load_all_checks()
    document = application.build(keyring=RING).openapi()
    for methods in document["paths"].values():
        for operation in methods.values():
            # Whether a key comes is up to the test, not to the case.
            operation.pop("security", None)
    schema = schemathesis.openapi.from_dict(document)
    strategies = []
    for found in schema.get_all_operations():
        assert isinstance(found, Ok)
        operation = found.ok()
        valid = operation.as_strategy(GenerationMode.POSITIVE)
        strategies += [valid, valid.map(_with_real)]
        if operation.path not in WITHOUT_PARAMETERS:
            strategies.append(operation.as_strategy(GenerationMode.NEGATIVE))
    return st.one_of(strategies)


def is_too_large(answer: httpx.Response) -> bool:
    return len(answer.request.content) > BODY_BYTES_MAX


def checks_of(answer: httpx.Response) -> list[Any]:
    """Return what must hold; of a body that is too large nobody asks what is wrong in it."""
    if not is_too_large(answer):
        return CHECKS
    assert answer.status_code == 413
    return [check for check in CHECKS if check is not checks.negative_data_rejection]


bounded = settings(
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
    max_examples=CASES,
)


@pytest.mark.timeout(300 + CASES / 2)
@settings(bounded, max_examples=CASES * 4 // 5)
@given(case=st.deferred(_cases))
def test_with_a_key_every_answer_is_as_documented(send: Send, case: Case) -> None:
    answer = send(case, True)
    case.validate_response(answer, checks=checks_of(answer))


@settings(bounded, max_examples=CASES - CASES * 4 // 5)
@given(case=st.deferred(_cases))
def test_without_a_key_nothing_is_told(send: Send, case: Case) -> None:
    answer = send(case, False)
    case.validate_response(answer, checks=checks_of(answer))
    if is_too_large(answer):
        assert (answer.status_code, answer.json()["code"]) == (413, "BODY_TOO_LARGE")
    elif case.operation.path.startswith("/api/"):
        assert (answer.status_code, answer.json()["code"]) == (401, "UNAUTHENTICATED")
