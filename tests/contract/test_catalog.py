"""What every catalog promises."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from app.domain.budget import ChunkLimits
from app.domain.canonical import DuplicateKeys, Numbers
from app.domain.errors import (
    Conflict,
    CursorInvalid,
    Failure,
    IdempotencyKeyReused,
    IngestionNotFound,
    OutOfOrder,
    Place,
    StaleLease,
)
from app.domain.identity import IngestionId, file_id_of, ingestion_id_of
from app.domain.ingestion import (
    LIVE,
    DecodeOptions,
    FileType,
    Fingerprint,
    Ingestion,
    State,
    Submission,
)
from app.ports import Lease, SubmitStatus, Submitted
from tests.support.builders import (
    FILE_PATH,
    INGESTION,
    LONG_AGO,
    a_chunk_ref,
    a_fingerprint,
    a_submission,
    an_ingestion,
)
from tests.support.stores import STORES, OpenStore, open_store

AGAIN = Failure(
    code="TRUNCATED",
    message="ends early",
    remedy="Send it again.",
    resumable=True,
    place=Place(byte=7, line=2, record=1, cell="Products!C7"),
)
NEVER = replace(AGAIN, resumable=False, place=None)
RESUMABLE = [(State.FAILED, AGAIN), (State.PAUSED, NEVER), (State.QUARANTINED, NEVER)]


@pytest.fixture(params=STORES)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[OpenStore]:
    async with open_store(request.param, tmp_path) as opened:
        yield opened


async def submit(
    store: OpenStore,
    submission: Submission | None = None,
    *,
    fingerprint: Fingerprint | None = None,
    new_version: bool = False,
    idempotency: tuple[str, str] | None = None,
) -> Submitted:
    return await store.catalog.submit(
        submission or a_submission(),
        fingerprint or a_fingerprint(),
        new_version=new_version,
        idempotency=idempotency,
    )


async def stopped(store: OpenStore, state: State, failure: Failure | None = None) -> Ingestion:
    lease = await store.start()
    if state is State.COMPLETED:
        await store.ledger.source_ended(lease, records_read=0)
    await store.ledger.move(lease, state, failure=failure)
    return await store.catalog.get(lease.ingestion_id)


# ---- submit


async def test_the_first_submission_of_a_file_starts_an_ingestion(store: OpenStore) -> None:
    submission = a_submission(
        limits=ChunkLimits(records=10, memory=1 << 20),
        options=DecodeOptions(
            record_path="a.b",
            delimiter=";",
            quote="",
            encoding="cp1252",
            sheet=0,
            header_row=3,
            numbers=Numbers.STRING,
            duplicate_keys=DuplicateKeys.REFUSE,
        ),
        metadata={"z": "last", "a": "“first” \x00 😀"},
    )

    submitted = await submit(store, submission)

    expected = an_ingestion(submission=submission, state=State.QUEUED)
    assert submitted == Submitted(status=SubmitStatus.STARTED, ingestion=expected)
    kept = await store.catalog.get(expected.id)
    assert kept == expected
    assert list(kept.submission.metadata) == ["z", "a"], "bodies are built in this order"


async def test_ids_follow_the_contract(store: OpenStore) -> None:
    """Contract 1.1 and 1.2."""
    ingestion = (await submit(store)).ingestion

    assert ingestion.file_id == file_id_of(FILE_PATH, "json")
    assert ingestion.id == ingestion_id_of(ingestion.file_id, "resume")


async def test_the_same_path_read_in_another_way_is_another_file(store: OpenStore) -> None:
    one = await submit(store, a_submission(file_type=FileType.CSV))
    other = await submit(store, a_submission(file_type=FileType.TSV))

    assert one.status is other.status is SubmitStatus.STARTED
    assert one.ingestion.file_id != other.ingestion.file_id


@pytest.mark.parametrize("state", sorted(LIVE))
async def test_a_file_that_is_being_ingested_is_left_alone(store: OpenStore, state: State) -> None:
    if state is State.QUEUED:
        before = await store.submit()
    else:
        lease = await store.start()
        await store.ledger.move(lease, state)
        before = await store.catalog.get(INGESTION)
    store.clock.advance(1)

    again = await submit(store, a_submission(callback_url="https://other.example/"))

    assert again == Submitted(status=SubmitStatus.ALREADY_RUNNING, ingestion=before)


async def test_a_file_that_was_ingested_is_not_ingested_again(store: OpenStore) -> None:
    before = await stopped(store, State.COMPLETED)

    again = await submit(store)

    assert again == Submitted(status=SubmitStatus.ALREADY_COMPLETED, ingestion=before)


@pytest.mark.parametrize(("state", "failure"), RESUMABLE)
async def test_a_stopped_ingestion_goes_on_from_its_last_ack(
    store: OpenStore, state: State, failure: Failure
) -> None:
    lease = await store.start()
    await store.ledger.stage(lease, a_chunk_ref())
    await store.ledger.commit(lease, a_chunk_ref())
    await store.ledger.count_reader_death(lease)
    await store.ledger.move(lease, State.WAITING)
    await store.catalog.request_cancel(INGESTION)
    await store.ledger.move(lease, state, failure=failure)
    before = await store.catalog.get(INGESTION)
    assert before.failure == failure
    store.clock.advance(9)

    resumed = await submit(store)

    assert resumed.status is SubmitStatus.RESUMED
    assert resumed.ingestion == await store.catalog.get(INGESTION)
    assert resumed.ingestion == replace(
        before,
        state=State.QUEUED,
        failure=None,
        cancel_requested=False,
        reader_deaths=0,
        waiting_since=None,
        updated_at=LONG_AGO + timedelta(seconds=9),
    )
    [(_, claimed)] = await store.ledger.claim(limit=1)
    assert claimed.progress.next_chunk == 1


async def test_a_resumed_ingestion_may_have_a_new_receiver_but_no_new_metadata(
    store: OpenStore,
) -> None:
    await stopped(store, State.PAUSED)

    await submit(
        store,
        a_submission(
            callback_url="https://new.example/",
            limits=ChunkLimits(records=77, memory=78),
            metadata={"new": "yes"},
        ),
    )

    kept = (await store.catalog.get(INGESTION)).submission
    assert kept.callback_url == "https://new.example/"
    assert kept.limits == ChunkLimits(records=77, memory=78)
    assert kept.metadata == {}, "part of bodies that were sent"


@pytest.mark.parametrize(
    ("fingerprint", "options", "said"),
    [
        (a_fingerprint(size=999), None, "its size was 1000 bytes and is 999"),
        (a_fingerprint(content="x"), None, "its first or last 64 KiB differ"),
        (a_fingerprint(modified_ns=18), None, "its modification time differs"),
        (None, DecodeOptions(sheet=0), "options.sheet was None and is 0"),
        (None, DecodeOptions(delimiter=","), "options.delimiter was None and is ','"),
    ],
)
@pytest.mark.parametrize(("state", "failure"), [*RESUMABLE, (State.COMPLETED, None)])
async def test_a_changed_source_is_refused_with_what_changed(
    store: OpenStore,
    state: State,
    failure: Failure | None,
    fingerprint: Fingerprint | None,
    options: DecodeOptions | None,
    said: str,
) -> None:
    before = await stopped(store, state, failure)

    with pytest.raises(Conflict) as refused:
        await submit(store, a_submission(options=options), fingerprint=fingerprint)

    assert refused.value.code == "SOURCE_CHANGED"
    assert said in refused.value.message
    assert "re_ingestion: true" in refused.value.remedy
    assert await store.catalog.get(INGESTION) == before


@pytest.mark.parametrize(
    ("state", "failure", "code"),
    [
        (State.ABORTED, None, "INGESTION_ABORTED"),
        (State.FAILED, NEVER, "NOT_RESUMABLE"),
    ],
)
async def test_what_will_never_go_on_is_refused(
    store: OpenStore, state: State, failure: Failure | None, code: str
) -> None:
    await stopped(store, state, failure)

    with pytest.raises(Conflict) as refused:
        await submit(store)

    assert refused.value.code == code
    assert "re_ingestion: true" in refused.value.remedy


# ---- versions


@pytest.mark.parametrize("state", [State.COMPLETED, State.ABORTED, State.RUNNING, State.FAILED])
async def test_a_new_version_leaves_the_old_one_as_it_is(store: OpenStore, state: State) -> None:
    """Invariant 10."""
    if state is State.RUNNING:
        await store.start()
        before = await store.catalog.get(INGESTION)
    else:
        before = await stopped(store, state, NEVER)

    newer = await submit(store, fingerprint=a_fingerprint(size=2), new_version=True)

    assert newer.status is SubmitStatus.STARTED
    assert newer.ingestion.file_id == before.file_id
    assert newer.ingestion.id == ingestion_id_of(before.file_id, newer.ingestion.version)
    assert newer.ingestion.id != before.id
    assert await store.catalog.get(INGESTION) == before


async def test_the_first_version_is_named_resume_also_when_a_new_one_was_asked_for(
    store: OpenStore,
) -> None:
    assert (await submit(store, new_version=True)).ingestion.version == "resume"


async def test_the_latest_version_decides(store: OpenStore) -> None:
    await stopped(store, State.ABORTED)
    newer = await submit(store, new_version=True)

    again = await submit(store)

    assert again == Submitted(status=SubmitStatus.ALREADY_RUNNING, ingestion=newer.ingestion)


# ---- the same request again


async def test_fifty_submissions_at_once_make_one_ingestion(store: OpenStore) -> None:
    """P2."""
    submitted = await asyncio.gather(*(submit(store) for _ in range(50)))

    statuses = sorted(one.status for one in submitted)
    assert statuses == [SubmitStatus.ALREADY_RUNNING] * 49 + [SubmitStatus.STARTED]
    assert {one.ingestion.id for one in submitted} == {INGESTION}
    assert len((await store.catalog.page()).ingestions) == 1


async def test_fifty_re_ingestions_with_one_key_make_one_version(store: OpenStore) -> None:
    await submit(store)
    submitted = await asyncio.gather(
        *(submit(store, new_version=True, idempotency=("key", "digest")) for _ in range(50))
    )

    assert {one.status for one in submitted} == {SubmitStatus.STARTED}
    assert len({one.ingestion.id for one in submitted}) == 1
    assert len((await store.catalog.page()).ingestions) == 2


async def test_a_key_answers_as_it_did_first_with_the_ingestion_as_it_is(store: OpenStore) -> None:
    await submit(store, idempotency=("key", "digest"))
    await store.ledger.claim(limit=1)

    again = await submit(store, idempotency=("key", "digest"))

    assert again.status is SubmitStatus.STARTED
    assert again.ingestion.state is State.RUNNING


async def test_a_key_with_another_request_is_refused(store: OpenStore) -> None:
    await submit(store, idempotency=("key", "digest"))

    with pytest.raises(IdempotencyKeyReused) as refused:
        await submit(store, a_submission("/srv/other.json"), idempotency=("key", "other"))

    assert refused.value.code == "IDEMPOTENCY_KEY_REUSED"
    assert len((await store.catalog.page()).ingestions) == 1


async def test_a_refused_submission_uses_no_key_up(store: OpenStore) -> None:
    await stopped(store, State.PAUSED)
    with pytest.raises(Conflict):
        await submit(store, fingerprint=a_fingerprint(size=2), idempotency=("key", "digest"))

    assert (await submit(store, idempotency=("key", "other"))).status is SubmitStatus.RESUMED


async def test_a_key_is_forgotten_after_a_day(store: OpenStore) -> None:
    await submit(store, idempotency=("key", "digest"))
    store.clock.advance(86_400)
    assert (await submit(store, idempotency=("key", "digest"))).status is SubmitStatus.STARTED

    store.clock.advance(1)
    again = await submit(store, idempotency=("key", "other"))

    assert again.status is SubmitStatus.ALREADY_RUNNING


@pytest.mark.parametrize("steps", range(12))
async def test_a_cancelled_submission_happens_as_a_whole_or_not_at_all(
    store: OpenStore, steps: int
) -> None:
    task = asyncio.ensure_future(submit(store, idempotency=("key", "digest")))
    for _ in range(steps):
        await asyncio.sleep(0)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task

    again = await submit(store, idempotency=("key", "digest"))

    assert again.status is SubmitStatus.STARTED
    assert (await store.catalog.page()).ingestions == [again.ingestion]


# ---- look


async def test_an_unknown_ingestion_is_not_found(store: OpenStore) -> None:
    for ask in (store.catalog.get, store.catalog.request_cancel):
        with pytest.raises(IngestionNotFound) as refused:
            await ask(IngestionId("nobody"))
        assert refused.value.code == "INGESTION_NOT_FOUND"


async def test_pages_are_newest_first_and_stay_stable_while_new_ones_come(store: OpenStore) -> None:
    submitted = [await store.submit(a_submission(f"/srv/{n}.json")) for n in range(5)]

    seen: list[Ingestion] = []
    cursor = None
    for _ in range(3):
        page = await store.catalog.page(limit=2, cursor=cursor)
        seen += page.ingestions
        cursor = page.next_cursor
        await store.submit(a_submission(f"/srv/new-{len(seen)}.json"))

    assert seen == submitted[::-1]
    assert cursor is None


async def test_a_page_that_is_just_full_is_the_last_one(store: OpenStore) -> None:
    await store.submit()

    assert (await store.catalog.page(limit=1)).next_cursor is None


async def test_pages_can_be_filtered(store: OpenStore) -> None:
    first = await stopped(store, State.PAUSED)
    second = (await submit(store, new_version=True)).ingestion
    third = await store.submit(a_submission("/srv/other.json"))

    async def found(*states: State, of: Ingestion | None = None) -> list[Ingestion]:
        file_id = of.file_id if of else None
        return list((await store.catalog.page(states=states, file_id=file_id)).ingestions)

    assert await found(State.PAUSED) == [first]
    assert await found(State.QUEUED) == [third, second]
    assert await found(State.QUEUED, State.PAUSED) == [third, second, first]
    assert await found(of=first) == [second, first]
    assert await found(State.QUEUED, of=first) == [second]
    assert await found(State.COMPLETED) == []


@pytest.mark.parametrize("cursor", ["", "x", "é", "MQ==", "LTE!", "MDE", "M" * 99, "IDE", "MV8w"])
async def test_a_cursor_that_was_never_given_is_refused(store: OpenStore, cursor: str) -> None:
    with pytest.raises(CursorInvalid) as refused:
        await store.catalog.page(cursor=cursor)

    assert refused.value.code == "CURSOR_INVALID"


# ---- cancel


async def test_a_worker_is_asked_to_cancel_what_it_works_on(store: OpenStore) -> None:
    lease = await store.start()

    cancelled = await store.catalog.request_cancel(INGESTION)

    assert (cancelled.state, cancelled.cancel_requested) == (State.RUNNING, True)
    assert cancelled == await store.catalog.get(INGESTION)
    assert await store.ledger.cancel_requests() == [INGESTION]
    await store.ledger.move(lease, State.ABORTED)
    assert await store.ledger.cancel_requests() == []


async def test_what_nobody_works_on_is_aborted_at_once(store: OpenStore) -> None:
    await store.submit()

    cancelled = await store.catalog.request_cancel(INGESTION)

    assert cancelled.state is State.ABORTED
    assert cancelled.failure is not None
    assert cancelled.failure.code == "CANCELLED"
    assert cancelled.finished_at == LONG_AGO
    assert cancelled == await store.catalog.get(INGESTION)
    assert await store.ledger.claim(limit=1) == []


async def test_a_released_ingestion_is_aborted_at_once(store: OpenStore) -> None:
    lease = await store.start()
    await store.ledger.release(lease)

    assert (await store.catalog.request_cancel(INGESTION)).state is State.ABORTED

    with pytest.raises(StaleLease):
        await store.ledger.move(lease, State.RUNNING)


@pytest.mark.parametrize(("state", "failure"), RESUMABLE)
async def test_a_stopped_ingestion_is_aborted_at_once(
    store: OpenStore, state: State, failure: Failure
) -> None:
    await stopped(store, state, failure)

    assert (await store.catalog.request_cancel(INGESTION)).state is State.ABORTED


@pytest.mark.parametrize("state", [State.COMPLETED, State.ABORTED])
async def test_what_is_finished_cannot_be_cancelled(store: OpenStore, state: State) -> None:
    """Invariant 10."""
    before = await stopped(store, state)

    with pytest.raises(Conflict) as refused:
        await store.catalog.request_cancel(INGESTION)

    assert refused.value.code == "ALREADY_FINISHED"
    assert await store.catalog.get(INGESTION) == before


async def test_a_wait_for_work_ends_when_a_cancellation_is_asked_for(store: OpenStore) -> None:
    await store.start()
    await store.ledger.wait_for_work(3_600)
    waiting = asyncio.create_task(store.ledger.wait_for_work(3_600))
    await asyncio.sleep(0)

    await store.catalog.request_cancel(INGESTION)

    await asyncio.wait_for(waiting, timeout=10)


async def test_a_store_that_can_be_written_is_ready(store: OpenStore) -> None:
    await store.catalog.ready()


async def test_a_refused_write_leaves_the_store_usable(store: OpenStore) -> None:
    lease = await store.start()
    with pytest.raises(OutOfOrder):
        await store.ledger.move(lease, State.COMPLETED)

    await store.ledger.move(Lease(ingestion_id=INGESTION, epoch=lease.epoch), State.WAITING)
    assert (await store.catalog.get(INGESTION)).state is State.WAITING
