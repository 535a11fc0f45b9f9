"""What every catalog promises of submissions."""

import asyncio
import contextlib
from dataclasses import replace
from datetime import timedelta

import pytest

from app.domain.budget import ChunkLimits
from app.domain.canonical import DuplicateKeys, Numbers
from app.domain.errors import (
    Conflict,
    Failure,
    IdempotencyKeyReused,
)
from app.domain.identity import file_id_of, ingestion_id_of
from app.domain.ingestion import (
    LIVE,
    DecodeOptions,
    FileType,
    Fingerprint,
    State,
)
from app.ports import SubmitStatus, Submitted
from tests.contract.submissions import NEVER, RESUMABLE, stopped, submit
from tests.support.builders import (
    FILE_PATH,
    INGESTION,
    LONG_AGO,
    a_chunk_ref,
    a_fingerprint,
    a_submission,
    an_ingestion,
)
from tests.support.stores import OpenStore

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
