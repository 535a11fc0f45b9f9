"""``POST /api/ingest``: what is taken, and what is refused at once."""

import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from app.domain.errors import Failure
from app.domain.identity import ingestion_id_of
from app.domain.ingestion import State
from tests.support.api import Desk, a_desk


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with a_desk(tmp_path) as made:
        yield made


async def test_a_submitted_file_can_be_looked_up_where_location_says(desk: Desk) -> None:
    answer = await desk.http.post("/api/ingest", json=desk.a_body())

    assert answer.status_code == 202
    submitted = answer.json()
    location = f"/api/ingestions/{submitted['ingestion_id']}"
    assert submitted == {
        "status": "STARTED",
        "ingestion_id": submitted["ingestion_id"],
        "links": {
            "self": location,
            "dead_letters": f"{location}/dead-letters",
            "cancel": f"{location}/cancel",
        },
    }
    assert answer.headers["location"] == location
    shown = (await desk.http.get(location)).json()
    assert (shown["state"], shown["file_type"]) == ("QUEUED", "json")


async def test_the_id_is_the_one_the_contract_promises(desk: Desk) -> None:
    answer = await desk.http.post("/api/ingest", json=desk.a_body(file_type="jsonl"))

    shown = (await desk.http.get(answer.headers["location"])).json()
    assert shown["file_type"] == "ndjson"
    assert shown["ingestion_id"] == ingestion_id_of(shown["file_id"], "resume")


async def test_a_request_without_sizes_gets_the_services_own(desk: Desk) -> None:
    ingestion_id = await desk.submitted(chunk_size_by_records=0, chunk_size_by_memory=0)

    shown = (await desk.http.get(f"/api/ingestions/{ingestion_id}")).json()
    assert (shown["chunk_size_by_records"], shown["chunk_size_by_memory"]) == (1000, 4194304)


async def test_a_limit_by_records_alone_still_bounds_the_bytes(desk: Desk) -> None:
    """Invariant 4: a chunk is held in memory."""
    ingestion_id = await desk.submitted(chunk_size_by_records=5)

    shown = (await desk.http.get(f"/api/ingestions/{ingestion_id}")).json()
    assert (shown["chunk_size_by_records"], shown["chunk_size_by_memory"]) == (5, 64 << 20)


async def test_options_and_metadata_come_back_as_they_were_given(desk: Desk) -> None:
    options = {"delimiter": ";", "quote": "", "encoding": "windows-1252"}
    body = desk.a_body(file_type="csv", options=options, metadata={"class": "Größe"})
    answer = await desk.http.post("/api/ingest", json=body)

    shown = (await desk.http.get(answer.headers["location"])).json()
    assert {k: v for k, v in shown["options"].items() if v is not None} == options | {
        "canonical": True,
        "numbers": "exact",
        "duplicate_keys": "last",
    }
    assert shown["metadata"] == {"class": "Größe"}


async def test_submitting_what_runs_already_starts_nothing(desk: Desk) -> None:
    first = await desk.http.post("/api/ingest", json=desk.a_body())
    again = await desk.http.post("/api/ingest", json=desk.a_body())

    assert (again.status_code, again.json()["status"]) == (202, "ALREADY_RUNNING")
    assert again.json()["ingestion_id"] == first.json()["ingestion_id"]


async def test_submitting_what_stopped_resumes_it(desk: Desk) -> None:
    ingestion_id = await desk.submitted()
    failure = Failure(code="WAIT_EXPIRED", message="", resumable=True)
    await desk.stopped(await desk.claimed(), State.FAILED, failure)

    again = await desk.http.post("/api/ingest", json=desk.a_body())

    assert (again.status_code, again.json()["status"]) == (202, "RESUMED")
    assert again.json()["ingestion_id"] == ingestion_id


async def test_a_completed_file_is_not_delivered_twice_unless_asked(desk: Desk) -> None:
    first = await desk.submitted()
    lease = await desk.claimed()
    await desk.store.source_ended(lease, records_read=0)
    await desk.store.move(lease, State.COMPLETED)

    again = await desk.http.post("/api/ingest", json=desk.a_body())
    anew = await desk.http.post("/api/ingest", json=desk.a_body(re_ingestion=True))

    assert (again.status_code, again.json()["status"]) == (200, "ALREADY_COMPLETED")
    assert again.json()["ingestion_id"] == first
    assert (anew.status_code, anew.json()["status"]) == (202, "STARTED")
    assert anew.json()["ingestion_id"] != first


async def test_a_completed_file_that_changed_since_is_a_conflict(desk: Desk) -> None:
    await desk.submitted()
    lease = await desk.claimed()
    await desk.store.source_ended(lease, records_read=0)
    await desk.store.move(lease, State.COMPLETED)
    body = desk.a_body()
    desk.a_file(content='[{"a":2},{"a":3}]')

    answer = await desk.http.post("/api/ingest", json=body)

    assert (answer.status_code, answer.json()["code"]) == (409, "SOURCE_CHANGED")
    assert "re_ingestion" in answer.json()["remedy"]


# ---- Idempotency-Key


@pytest.mark.parametrize("second", ['"k-1"', "k-1"])
async def test_a_repeated_key_makes_one_version_only(desk: Desk, second: str) -> None:
    body = desk.a_body(re_ingestion=True)
    first = await desk.http.post("/api/ingest", json=body, headers={"Idempotency-Key": '"k-1"'})
    again = await desk.http.post("/api/ingest", json=body, headers={"Idempotency-Key": second})

    assert again.json() == first.json()
    assert len((await desk.http.get("/api/ingestions")).json()["ingestions"]) == 1


async def test_the_order_and_the_defaults_of_members_do_not_make_another_request(
    desk: Desk,
) -> None:
    body = desk.a_body(re_ingestion=True)
    spelled_out = dict(reversed([*body.items(), ("chunk_size_by_records", 0), ("options", {})]))
    headers = {"Idempotency-Key": "k"}
    first = await desk.http.post("/api/ingest", json=body, headers=headers)
    again = await desk.http.post("/api/ingest", json=spelled_out, headers=headers)

    assert again.json() == first.json()


async def test_a_key_with_another_request_is_refused(desk: Desk) -> None:
    headers = {"Idempotency-Key": "k"}
    await desk.http.post("/api/ingest", json=desk.a_body(), headers=headers)
    other = desk.a_body(chunk_size_by_records=7)
    answer = await desk.http.post("/api/ingest", json=other, headers=headers)

    assert (answer.status_code, answer.json()["code"]) == (422, "IDEMPOTENCY_KEY_REUSED")


@pytest.mark.parametrize("key", ["", '""', "k" * 256, '"open', 'a"b', '"a"b"', r'"a\b"', "ключ"])
async def test_a_key_that_cannot_be_read_is_refused(desk: Desk, key: str) -> None:
    headers = {b"Idempotency-Key": key.encode()}
    answer = await desk.http.post("/api/ingest", json=desk.a_body(), headers=headers)

    assert (answer.status_code, answer.json()["code"]) == (400, "IDEMPOTENCY_KEY_INVALID")


async def test_two_keys_at_once_are_refused(desk: Desk) -> None:
    headers = [("Idempotency-Key", "a"), ("Idempotency-Key", "b")]
    answer = await desk.http.post("/api/ingest", json=desk.a_body(), headers=headers)

    assert answer.json()["code"] == "IDEMPOTENCY_KEY_INVALID"


# ---- refused at once


async def refused(desk: Desk, body: Any) -> tuple[int, str, list[tuple[str, str]]]:
    answer = await desk.http.post(
        "/api/ingest", content=json.dumps(body), headers={"content-type": "application/json"}
    )
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == answer.status_code
    assert problem["type"].endswith(problem["code"])
    faults = [(one["path"], one["code"]) for one in problem.get("errors", [])]
    assert (await desk.store.page()).ingestions == []
    return answer.status_code, problem["code"], faults


@pytest.mark.parametrize(
    ("members", "path", "code"),
    [
        ({"chunk_size": 5}, "chunk_size", "UNKNOWN_MEMBER"),
        ({"options": {"sep": ";"}}, "options.sep", "UNKNOWN_MEMBER"),
        ({"file_path": None}, "file_path", "WRONG_TYPE"),
        ({"file_path": ""}, "file_path", "TOO_SHORT"),
        ({"file_path": "/a\0b"}, "file_path", "INVALID"),
        ({"file_path": "/\ud800"}, "file_path", "INVALID"),
        ({"file_path": "/" + "a" * 4096}, "file_path", "TOO_LONG"),
        ({"chunk_size_by_records": -1}, "chunk_size_by_records", "OUT_OF_RANGE"),
        ({"chunk_size_by_records": "1"}, "chunk_size_by_records", "WRONG_TYPE"),
        ({"chunk_size_by_records": True}, "chunk_size_by_records", "WRONG_TYPE"),
        ({"chunk_size_by_records": 1.0}, "chunk_size_by_records", "WRONG_TYPE"),
        ({"chunk_size_by_records": 10**400}, "chunk_size_by_records", "OUT_OF_RANGE"),
        ({"chunk_size_by_memory": -1}, "chunk_size_by_memory", "OUT_OF_RANGE"),
        ({"re_ingestion": 1}, "re_ingestion", "WRONG_TYPE"),
        ({"re_ingestion": "true"}, "re_ingestion", "WRONG_TYPE"),
        ({"options": {"delimiter": ";;"}}, "options.delimiter", "TOO_LONG"),
        ({"options": {"numbers": "round"}}, "options.numbers", "NOT_ALLOWED"),
        ({"options": {"header_row": 0}}, "options.header_row", "OUT_OF_RANGE"),
        ({"metadata": {"a": 1}}, "metadata.a", "WRONG_TYPE"),
        ({"metadata": {str(n): "" for n in range(33)}}, "metadata", "TOO_LONG"),
        ({"metadata": {"a": "b" * 1025}}, "metadata.a", "TOO_LONG"),
    ],
)
async def test_a_bad_member_is_named(
    desk: Desk, members: dict[str, Any], path: str, code: str
) -> None:
    assert await refused(desk, desk.a_body(**members)) == (422, "REQUEST_INVALID", [(path, code)])


async def test_a_missing_member_is_named(desk: Desk) -> None:
    body = desk.a_body()
    del body["callback_url"]
    assert await refused(desk, body) == (422, "REQUEST_INVALID", [("callback_url", "MISSING")])


async def test_metadata_may_not_hide_the_records(desk: Desk) -> None:
    """Contract 4.2: receivers find the records by the member's name."""
    status, code, faults = await refused(desk, desk.a_body(metadata={"records": "x"}))
    assert (status, code) == (422, "REQUEST_INVALID")
    assert [path for path, _ in faults] == ["metadata.records.[key]"]


@pytest.mark.parametrize(
    "members", [{"\ud800": 1}, {"metadata": {"\ud800": "x"}}, {"options": {"\ud800": 1}}]
)
async def test_a_member_named_by_half_a_character_can_still_be_reported(
    desk: Desk, members: dict[str, Any]
) -> None:
    status, code, faults = await refused(desk, desk.a_body(**members))
    assert (status, code) == (422, "REQUEST_INVALID")
    assert len(faults) == 1


@pytest.mark.parametrize(
    ("members", "path"),
    [
        ({"chunk_size_by_memory": 2}, "chunk_size_by_memory"),
        ({"chunk_size_by_memory": (64 << 20) + 1}, "chunk_size_by_memory"),
        ({"options": {"sheet": "Products"}}, "options.sheet"),
        ({"options": {"delimiter": ","}}, "options.delimiter"),
        ({"options": {"record_path": "data..products"}}, "options.record_path"),
        ({"file_type": "csv", "options": {"delimiter": "\n"}}, "options.delimiter"),
        ({"file_type": "csv", "options": {"delimiter": '"', "quote": '"'}}, "options.quote"),
        ({"file_type": "csv", "options": {"encoding": "klingon"}}, "options.encoding"),
        ({"file_type": "csv", "options": {"encoding": "hex"}}, "options.encoding"),
        ({"file_type": "csv", "options": {"numbers": "string"}}, "options.numbers"),
        ({"file_type": "ndjson", "options": {"record_path": "a"}}, "options.record_path"),
    ],
)
async def test_an_option_that_cannot_work_is_refused_not_ignored(
    desk: Desk, members: dict[str, Any], path: str
) -> None:
    found = await refused(desk, desk.a_body(**members))
    assert found == (422, "OPTION_INVALID", [(path, "NOT_ALLOWED")])


async def test_an_unknown_file_type_is_refused_with_the_known_ones(desk: Desk) -> None:
    answer = await desk.http.post("/api/ingest", json=desk.a_body(file_type="xml"))

    assert (answer.status_code, answer.json()["code"]) == (422, "FILE_TYPE_UNKNOWN")
    assert "ndjson" in answer.json()["remedy"]


async def test_a_missing_file_is_refused(desk: Desk) -> None:
    found = await refused(desk, desk.a_body(file_path=str(desk.root / "nothing.json")))
    assert found == (422, "SOURCE_NOT_FOUND", [])


async def test_a_folder_is_refused(desk: Desk) -> None:
    (desk.root / "folder").mkdir()
    found = await refused(desk, desk.a_body(file_path=str(desk.root / "folder")))
    assert found == (422, "SOURCE_NOT_A_FILE", [])


async def test_a_pipe_is_refused_without_waiting_for_its_writer(desk: Desk) -> None:
    os.mkfifo(desk.root / "pipe")
    found = await refused(desk, desk.a_body(file_path=str(desk.root / "pipe")))
    assert found == (422, "SOURCE_NOT_A_FILE", [])


@pytest.mark.parametrize("outside", ["/etc/passwd", "/etc/there-is-none", "products.json"])
async def test_outside_the_roots_every_answer_is_the_same(desk: Desk, outside: str) -> None:
    assert await refused(desk, desk.a_body(file_path=outside)) == (403, "SOURCE_FORBIDDEN", [])


@pytest.mark.parametrize(
    "url",
    ["http://10.0.0.1/", "ftp://127.0.0.1/", "http://u:p@127.0.0.1/", "nonsense", "http://a.test/"],
)
async def test_a_forbidden_callback_is_refused(desk: Desk, url: str) -> None:
    assert await refused(desk, desk.a_body(callback_url=url)) == (422, "URL_BLOCKED", [])


# ---- the request as such


async def test_a_body_that_is_not_json_is_refused_with_its_place(desk: Desk) -> None:
    answer = await desk.http.post(
        "/api/ingest", content=b'{"file_path": ', headers={"content-type": "application/json"}
    )

    assert (answer.status_code, answer.json()["code"]) == (400, "REQUEST_MALFORMED")
    assert "character 14" in answer.json()["detail"]


@pytest.mark.parametrize("content", [b"\xff\xfe\xfa", b"[" * 60_000, b'{"a":' + b"1" * 5000 + b"}"])
async def test_a_hostile_body_is_refused_like_any_other(desk: Desk, content: bytes) -> None:
    answer = await desk.http.post(
        "/api/ingest", content=content, headers={"content-type": "application/json"}
    )

    assert (answer.status_code, answer.json()["code"]) == (400, "REQUEST_MALFORMED")


@pytest.mark.parametrize("content", [b"", b"null", b"[]", b'"text"'])
async def test_a_body_that_is_no_object_is_refused(desk: Desk, content: bytes) -> None:
    answer = await desk.http.post(
        "/api/ingest", content=content, headers={"content-type": "application/json"}
    )

    assert (answer.status_code, answer.json()["code"]) == (422, "REQUEST_INVALID")


@pytest.mark.parametrize(
    "headers",
    [
        {"content-type": "text/plain"},
        {"content-type": "application/x-www-form-urlencoded"},
        {},
        {"content-type": "application/json", "content-encoding": "gzip"},
    ],
)
async def test_another_content_type_is_refused(desk: Desk, headers: dict[str, str]) -> None:
    body = json.dumps(desk.a_body()).encode()
    answer = await desk.http.post("/api/ingest", content=body, headers=headers)

    assert (answer.status_code, answer.json()["code"]) == (415, "MEDIA_TYPE_UNSUPPORTED")


async def test_a_charset_is_no_other_content_type(desk: Desk) -> None:
    answer = await desk.http.post(
        "/api/ingest",
        content=json.dumps(desk.a_body()),
        headers={"content-type": "Application/JSON; charset=utf-8"},
    )

    assert answer.status_code == 202


async def test_a_body_above_the_limit_is_refused_by_its_length(desk: Desk) -> None:
    body = json.dumps(desk.a_body(padding="x" * 65536)).encode()
    answer = await desk.http.post(
        "/api/ingest", content=body, headers={"content-type": "application/json"}
    )

    assert (answer.status_code, answer.json()["code"]) == (413, "BODY_TOO_LARGE")


async def test_a_body_without_length_and_end_is_not_read_for_ever(desk: Desk) -> None:
    read = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal read
        while True:
            read += 8192
            yield b" " * 8192

    answer = await desk.http.post(
        "/api/ingest", content=endless(), headers={"content-type": "application/json"}
    )

    assert (answer.status_code, answer.json()["code"]) == (413, "BODY_TOO_LARGE")
    assert read <= (1 << 20) + 8192


async def test_fifty_submissions_at_once_make_one_ingestion(desk: Desk) -> None:
    """P2."""
    import asyncio

    body = desk.a_body()
    answers = await asyncio.gather(*(desk.http.post("/api/ingest", json=body) for _ in range(50)))

    assert len({answer.json()["ingestion_id"] for answer in answers}) == 1
    assert sorted(answer.json()["status"] for answer in answers).count("STARTED") == 1
