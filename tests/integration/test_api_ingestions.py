"""Looking at ingestions, listing them, cancelling them, and the service's health."""

import re
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from app.domain.errors import DecodeCode, Failure, OutOfOrder, Place, StoreUnavailable
from app.domain.identity import IngestionId
from app.domain.ingestion import State
from app.stores.memory import MemoryStore
from tests.support.api import CALLBACK, Desk, a_desk
from tests.support.clocks import ManualClock


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with a_desk(tmp_path) as made:
        yield made


async def shown(desk: Desk, ingestion_id: IngestionId) -> dict[str, Any]:
    answer = await desk.http.get(f"/api/ingestions/{ingestion_id}")
    assert answer.status_code == 200
    view: dict[str, Any] = answer.json()
    return view


async def test_progress_and_counts_follow_the_acks(desk: Desk) -> None:
    desk.a_file(content="x" * 20)
    ingestion_id = await desk.submitted()
    await desk.acked(await desk.claimed(), records=3, seconds=2.0)
    desk.clock.advance(30.0)

    view = await shown(desk, ingestion_id)

    assert view["counts"] == {
        "read": 3,
        "delivered": 3,
        "filtered": 0,
        "dead_lettered": 0,
        "rejected_by_receiver": 0,
    }
    assert view["progress"] == {
        "position": 5,
        "size": 20,
        "fraction": 0.25,
        "bytes_per_s": 2.5,
        "records_per_s": 1.5,
        "eta_s": 6.0,
        "ack_age_s": 30.0,
    }
    assert (view["state"], view["chunks_acked"], view["records_in_source"]) == ("RUNNING", 1, None)


async def test_what_cannot_be_known_yet_is_null(desk: Desk) -> None:
    view = await shown(desk, await desk.submitted())

    assert view["progress"] == {
        "position": 0,
        "size": 9,
        "fraction": 0.0,
        "bytes_per_s": None,
        "records_per_s": None,
        "eta_s": None,
        "ack_age_s": None,
    }
    assert (view["started_at"], view["error"], view["waiting"]) == (None, None, None)


async def test_a_failure_is_shown_with_its_place_and_remedy(desk: Desk) -> None:
    ingestion_id = await desk.submitted()
    failure = Failure(
        code=DecodeCode.TRUNCATED,
        message="the array is not closed",
        remedy="Repair the file.",
        place=Place(byte=9, line=1, record=1),
    )
    await desk.stopped(await desk.claimed(), State.FAILED, failure)

    view = await shown(desk, ingestion_id)

    assert view["error"] == {
        "code": "TRUNCATED",
        "message": "the array is not closed",
        "remedy": "Repair the file.",
        "resumable": False,
        "place": {"byte": 9, "line": 1, "record": 1, "cell": None},
    }
    assert view["waiting"] is None


async def test_while_waiting_the_reason_is_shown_and_no_error(desk: Desk) -> None:
    ingestion_id = await desk.submitted()
    failure = Failure(code="CONNECTION_FAILED", message="refused", resumable=True)
    await desk.stopped(await desk.claimed(), State.WAITING, failure)

    view = await shown(desk, ingestion_id)

    assert view["error"] is None
    assert view["waiting"]["code"] == "CONNECTION_FAILED"
    assert view["waiting"]["since"] is not None


@pytest.mark.parametrize("unknown", ["0" * 64, "nope", "A" * 64, "0" * 65, "%00", "%F0%9F%98%80"])
async def test_an_unknown_id_is_a_problem(desk: Desk, unknown: str) -> None:
    shown = await desk.http.get(f"/api/ingestions/{unknown}")
    cancelled = await desk.http.post(f"/api/ingestions/{unknown}/cancel")

    for answer in (shown, cancelled):
        assert (answer.status_code, answer.json()["code"]) == (404, "INGESTION_NOT_FOUND")


# ---- the list


async def submit_several(desk: Desk, count: int) -> Sequence[IngestionId]:
    """Newest first."""
    made = []
    for n in range(count):
        desk.clock.advance(1)
        made.append(await desk.submitted(file_path=desk.a_file(f"{n}.json")))
    return made[::-1]


def followed(answer: Any) -> str | None:
    links = {
        rel: target
        for target, rel in re.findall(r'<([^>]*)>; rel="([a-z]+)"', answer.headers["link"])
    }
    assert "first" in links
    assert links.get("next") == answer.json()["next"]
    return links.get("next")


async def test_the_links_lead_through_every_ingestion_once_newest_first(desk: Desk) -> None:
    made = await submit_several(desk, 5)

    seen: list[str] = []
    path: str | None = "/api/ingestions?limit=2"
    while path is not None:
        answer = await desk.http.get(path)
        assert answer.status_code == 200
        seen += [view["ingestion_id"] for view in answer.json()["ingestions"]]
        path = followed(answer)

    assert seen == list(made)


async def test_the_list_can_be_narrowed_to_states(desk: Desk) -> None:
    await submit_several(desk, 2)
    lease = await desk.claimed()
    failure = Failure(code="X", message="")
    await desk.stopped(lease, State.PAUSED, failure)

    paused = await desk.http.get("/api/ingestions?state=PAUSED&state=FAILED")
    queued = await desk.http.get("/api/ingestions?state=QUEUED")

    assert [one["ingestion_id"] for one in paused.json()["ingestions"]] == [lease.ingestion_id]
    assert len(queued.json()["ingestions"]) == 1


async def test_the_next_link_keeps_the_filters(desk: Desk) -> None:
    path = desk.a_file("a&b=c.json")
    for _ in range(3):
        await desk.submitted(file_path=path, re_ingestion=True)
        await desk.submitted(re_ingestion=True)

    query: dict[str, str | int] = {
        "file_path": path,
        "file_type": "json",
        "state": "QUEUED",
        "limit": 2,
    }
    first = await desk.http.get("/api/ingestions", params=query)
    following = followed(first)
    assert following is not None
    second = await desk.http.get(following)

    paths = [one["file_path"] for answer in (first, second) for one in answer.json()["ingestions"]]
    assert paths == [path] * 3
    assert followed(second) is None


async def test_a_file_is_found_under_the_other_names_of_its_type(desk: Desk) -> None:
    path = desk.a_file("a.ndjson")
    await desk.submitted(file_path=path, file_type="ndjson")

    answer = await desk.http.get(
        "/api/ingestions", params={"file_path": path, "file_type": "jsonl"}
    )

    assert len(answer.json()["ingestions"]) == 1


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=201", "limit=x", "state=GONE", "stat=QUEUED", "file_path=/a"],
)
async def test_a_bad_query_is_refused(desk: Desk, query: str) -> None:
    answer = await desk.http.get(f"/api/ingestions?{query}")

    assert (answer.status_code, answer.json()["code"]) == (422, "REQUEST_INVALID")


@pytest.mark.parametrize("cursor", ["%00", "x", "%F0%9F%98%80", "MQ==", "-1"])
async def test_a_cursor_that_no_page_gave_is_refused(desk: Desk, cursor: str) -> None:
    answer = await desk.http.get(f"/api/ingestions?cursor={cursor}")

    assert (answer.status_code, answer.json()["code"]) == (422, "CURSOR_INVALID")


# ---- cancel


async def test_a_queued_ingestion_is_aborted_at_once(desk: Desk) -> None:
    ingestion_id = await desk.submitted()
    answer = await desk.http.post(f"/api/ingestions/{ingestion_id}/cancel")

    assert (answer.status_code, answer.json()["state"]) == (202, "ABORTED")


async def test_a_running_ingestion_is_asked_to_stop(desk: Desk) -> None:
    ingestion_id = await desk.submitted()
    await desk.claimed()
    answer = await desk.http.post(f"/api/ingestions/{ingestion_id}/cancel")

    assert (answer.status_code, answer.json()["cancel_requested"]) == (202, True)
    assert await desk.store.cancel_requests() == [ingestion_id]


async def test_what_has_ended_cannot_be_cancelled(desk: Desk) -> None:
    ingestion_id = await desk.submitted()
    lease = await desk.claimed()
    await desk.store.source_ended(lease, records_read=0)
    await desk.store.move(lease, State.COMPLETED)

    answer = await desk.http.post(f"/api/ingestions/{ingestion_id}/cancel")

    assert (answer.status_code, answer.json()["code"]) == (409, "ALREADY_FINISHED")


# ---- health, and everything else


async def test_it_lives_and_takes_work(desk: Desk) -> None:
    assert (await desk.http.get("/healthz")).json() == {"status": "ok"}
    assert (await desk.http.get("/readyz")).json() == {"status": "ready"}


async def test_without_the_delivery_side_it_lives_and_takes_no_work(desk: Desk) -> None:
    desk.alive = False
    answer = await desk.http.get("/readyz")

    assert (answer.status_code, answer.json()["code"]) == (503, "NOT_READY")
    assert answer.headers["retry-after"] == "5"
    assert (await desk.http.get("/healthz")).status_code == 200


class BrokenStore(MemoryStore):
    def __init__(self, error: Exception) -> None:
        super().__init__(clock=ManualClock())
        self._error = error

    async def ready(self) -> None:
        raise self._error

    async def submit(self, *args: Any, **more: Any) -> Any:
        raise self._error


async def test_a_full_disk_is_answered_with_503_and_when_to_come_back(tmp_path: Path) -> None:
    """D1: the API stays live."""
    broken = BrokenStore(StoreUnavailable("the disk is full", remedy="Make room."))
    async with a_desk(tmp_path, catalog=broken) as desk:
        ready = await desk.http.get("/readyz")
        submitted = await desk.http.post("/api/ingest", json=desk.a_body())

    for answer in (ready, submitted):
        assert (answer.status_code, answer.json()["code"]) == (503, "STORE_UNAVAILABLE")
        assert answer.json()["remedy"] == "Make room."
        assert "retry-after" in answer.headers


@pytest.mark.parametrize("error", [RuntimeError("SELECT secret"), OutOfOrder("SELECT secret")])
async def test_an_error_of_our_own_says_nothing_about_our_insides(
    tmp_path: Path, error: Exception
) -> None:
    async with a_desk(tmp_path, catalog=BrokenStore(error)) as desk:
        answer = await desk.http.post("/api/ingest", json=desk.a_body())

    assert (answer.status_code, answer.json()["code"]) == (500, "INTERNAL")
    assert answer.headers["content-type"] == "application/problem+json"
    assert "SELECT" not in answer.text


@pytest.mark.parametrize("path", ["/", "/api", "/api/ingest/", "/api/ingestions/", "/docs/x"])
async def test_an_unknown_path_is_a_problem(desk: Desk, path: str) -> None:
    answer = await desk.http.get(path)

    assert (answer.status_code, answer.json()["code"]) in [
        (404, "NOT_FOUND"),
        (404, "INGESTION_NOT_FOUND"),
    ]
    assert answer.headers["content-type"] == "application/problem+json"


async def test_another_method_is_a_problem_that_names_the_right_one(desk: Desk) -> None:
    answer = await desk.http.delete("/api/ingest")

    assert (answer.status_code, answer.json()["code"]) == (405, "METHOD_NOT_ALLOWED")
    assert answer.headers["allow"] == "POST"


async def test_the_callback_url_is_shown_as_given(desk: Desk) -> None:
    assert (await shown(desk, await desk.submitted()))["callback_url"] == CALLBACK
