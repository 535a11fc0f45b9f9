"""What every ledger promises. A store that passes can replace any other."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from inspect import iscoroutinefunction
from itertools import islice, pairwise
from pathlib import Path

import pytest

from app.domain.chunk import Boundary, ChunkRef, Cursor, ResumePoint
from app.domain.errors import Failure, IngestionNotFound, OutOfOrder, StaleLease
from app.domain.identity import Checksum, IngestionId, chain_next, chain_start
from app.domain.ingestion import LIVE, MOVES, State
from app.ports import Lease, Ledger
from tests.support.builders import INGESTION, LONG_AGO, a_chunk_ref, a_submission, chunk_refs
from tests.support.stores import STORES, OpenStore, open_store

DOWN = Failure(code="CONNECTION_FAILED", message="nobody listens", resumable=True)


@pytest.fixture(params=STORES)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[OpenStore]:
    async with open_store(request.param, tmp_path) as opened:
        yield opened


@pytest.fixture
async def lease(store: OpenStore) -> Lease:
    return await store.start()


async def ack(ledger: Ledger, lease: Lease, *refs: ChunkRef, rejected: int = 0) -> None:
    for ref in refs:
        await ledger.stage(lease, ref)
        await ledger.commit(lease, ref, rejected=rejected)


def first(count: int) -> list[ChunkRef]:
    return list(islice(chunk_refs(), count))


def boundary(ref: ChunkRef) -> Boundary:
    return Boundary(number=ref.number, record_end=ref.record_end, checksum=ref.checksum)


# ---- claim, release


async def test_a_queued_ingestion_runs_once_it_is_claimed(store: OpenStore) -> None:
    submitted = await store.submit()
    store.clock.advance(5)

    [(lease, claimed)] = await store.ledger.claim(limit=10)

    assert lease.ingestion_id == submitted.id
    assert claimed.state is State.RUNNING
    assert claimed.started_at == LONG_AGO + timedelta(seconds=5)
    assert await store.catalog.get(submitted.id) == claimed


async def test_what_a_living_worker_holds_is_not_claimed_again(store: OpenStore) -> None:
    await store.start()

    assert await store.ledger.claim(limit=10) == []


async def test_a_claim_takes_the_oldest_and_no_more_than_it_was_asked_to(store: OpenStore) -> None:
    submitted = [await store.submit(a_submission(f"/srv/{n}.json")) for n in range(5)]

    taken = [*await store.ledger.claim(limit=2), *await store.ledger.claim(limit=2)]

    assert [claimed.id for _, claimed in taken] == [ingestion.id for ingestion in submitted[:4]]
    assert await store.ledger.claim(limit=0) == []


@pytest.mark.parametrize("state", [State.WAITING, State.COMPLETING])
async def test_a_released_ingestion_keeps_its_live_state_for_the_next_claim(
    store: OpenStore, lease: Lease, state: State
) -> None:
    await store.ledger.move(lease, state, failure=DOWN)
    await store.ledger.release(lease)

    [(again, claimed)] = await store.ledger.claim(limit=1)

    assert claimed.state is state
    assert claimed.failure == DOWN
    assert again.epoch > lease.epoch


@pytest.mark.parametrize("state", [s for s in State if s not in LIVE])
async def test_a_stopped_ingestion_is_not_claimed(
    store: OpenStore, lease: Lease, state: State
) -> None:
    if state is State.COMPLETED:
        await store.ledger.source_ended(lease, records_read=0)
    await store.ledger.move(lease, state)

    assert await store.ledger.claim(limit=1) == []


async def test_an_ingestion_given_back_to_the_queue_is_free(store: OpenStore, lease: Lease) -> None:
    await store.ledger.move(lease, State.QUEUED)

    [(_, claimed)] = await store.ledger.claim(limit=1)

    assert claimed.state is State.RUNNING


# ---- invariant 9

Write = Callable[[Ledger, Lease], Awaitable[object]]
_NEXT = first(3)
WRITES: dict[str, Write] = {
    "detected": lambda ledger, lease: ledger.detected(lease, {"delimiter": ";"}),
    "stage": lambda ledger, lease: ledger.stage(lease, _NEXT[1]),
    "commit": lambda ledger, lease: ledger.commit(lease, _NEXT[1]),
    "commit and stage": lambda ledger, lease: ledger.commit(
        lease, _NEXT[1], rejected=1, then_stage=_NEXT[2]
    ),
    "rewind": lambda ledger, lease: ledger.rewind(lease, to=0),
    "fast_forward": lambda ledger, lease: ledger.fast_forward(lease, to=2),
    "source_ended": lambda ledger, lease: ledger.source_ended(lease, records_read=2),
    "move": lambda ledger, lease: ledger.move(lease, State.FAILED, failure=DOWN),
    "count_reader_death": lambda ledger, lease: ledger.count_reader_death(lease),
    "release": lambda ledger, lease: ledger.release(lease),
}


def test_every_write_that_takes_a_lease_is_attacked() -> None:
    takes_a_lease = {
        name
        for name, method in vars(Ledger).items()
        if iscoroutinefunction(method) and "lease" in getattr(method, "__annotations__", {})
    }

    assert takes_a_lease == {name.split(" ", maxsplit=1)[0] for name in WRITES}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
async def test_a_stale_epoch_changes_nothing(store: OpenStore, lease: Lease, write: Write) -> None:
    """Invariant 9."""
    await ack(store.ledger, lease, _NEXT[0])
    await store.ledger.stage(lease, _NEXT[1])
    await store.ledger.release(lease)
    [(newer, _)] = await store.ledger.claim(limit=1)
    before = await store.catalog.get(INGESTION), await store.ledger.resume_point(INGESTION)
    store.clock.advance(1)

    with pytest.raises(StaleLease) as refused:
        await write(store.ledger, lease)

    assert refused.value.code == "STALE_LEASE"
    assert before == (
        await store.catalog.get(INGESTION),
        await store.ledger.resume_point(INGESTION),
    )
    await store.ledger.commit(newer, _NEXT[1], then_stage=_NEXT[2])


async def test_who_renewed_is_sure_of_its_lease_and_an_older_one_is_stale(
    store: OpenStore, lease: Lease
) -> None:
    await store.ledger.release(lease)
    [(newer, _)] = await store.ledger.claim(limit=1)
    await store.ledger.renew()

    assert store.ledger.is_sure(newer)
    with pytest.raises(StaleLease):
        store.ledger.is_sure(lease)


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
async def test_a_lease_that_was_given_back_is_stale(
    store: OpenStore, lease: Lease, write: Write
) -> None:
    await store.ledger.release(lease)

    with pytest.raises(StaleLease):
        await write(store.ledger, lease)


async def test_a_lease_of_an_unknown_ingestion_is_stale(store: OpenStore) -> None:
    with pytest.raises(StaleLease):
        await store.ledger.move(Lease(ingestion_id=IngestionId("x"), epoch=1), State.FAILED)


# ---- where to go on


async def test_a_new_ingestion_starts_at_the_beginning(store: OpenStore, lease: Lease) -> None:
    assert await store.ledger.resume_point(INGESTION) == ResumePoint(chain=chain_start(INGESTION))


async def test_a_staged_chunk_is_remembered_but_is_no_progress(
    store: OpenStore, lease: Lease
) -> None:
    """Invariant 2."""
    [ref] = first(1)
    await store.ledger.stage(lease, ref)

    assert await store.ledger.resume_point(INGESTION) == ResumePoint(
        chain=chain_start(INGESTION), planned=(boundary(ref),)
    )
    progress = (await store.catalog.get(INGESTION)).progress
    assert (progress.next_chunk, progress.records_delivered) == (0, 0)


async def test_an_acked_chunk_moves_the_resume_point_to_its_end(
    store: OpenStore, lease: Lease
) -> None:
    [zero, one] = first(2)
    await store.ledger.stage(lease, zero)
    await store.ledger.commit(lease, zero, then_stage=one)

    assert await store.ledger.resume_point(INGESTION) == ResumePoint(
        number=1,
        record_start=2,
        cursor=Cursor(offset=100, skip=0, line=2, context="c0"),
        chain=zero.chain,
        planned=(boundary(one),),
    )


async def test_the_chain_is_known_before_every_chunk_that_was_cut_and_the_next(
    store: OpenStore, lease: Lease
) -> None:
    refs = first(3)
    await ack(store.ledger, lease, *refs[:2])
    await store.ledger.stage(lease, refs[2])

    chains = [await store.ledger.chain_before(INGESTION, number) for number in range(-1, 5)]

    assert chains == [None, chain_start(INGESTION), *(ref.chain for ref in refs), None]


async def test_an_unknown_ingestion_has_no_resume_point(store: OpenStore) -> None:
    for number in (0, 3):
        with pytest.raises(IngestionNotFound):
            await store.ledger.chain_before(IngestionId("x"), number)
    with pytest.raises(IngestionNotFound):
        await store.ledger.resume_point(IngestionId("x"))


async def test_what_the_decoder_found_out_is_kept(store: OpenStore, lease: Lease) -> None:
    found = {"delimiter": ";", "encoding": "cp1252", "naïve": "“x”"}
    await store.ledger.detected(lease, found)

    assert (await store.catalog.get(INGESTION)).detection == found


# ---- stage


async def test_staging_the_same_chunk_again_changes_nothing(store: OpenStore, lease: Lease) -> None:
    [ref] = first(1)
    await store.ledger.stage(lease, ref)
    point = await store.ledger.resume_point(INGESTION)

    # Cut again by a decoder whose blocks ended elsewhere: the same records all the same.
    await store.ledger.stage(lease, replace(ref, position=1, end=Cursor(offset=9)))

    assert await store.ledger.resume_point(INGESTION) == point
    await store.ledger.commit(lease, ref)


@pytest.mark.parametrize(
    "other",
    [
        a_chunk_ref(content="other"),
        a_chunk_ref(records=3),
        a_chunk_ref(unsafe_numbers=1),
        replace(a_chunk_ref(), revision=1),
        replace(a_chunk_ref(), records_bytes=99),
    ],
    ids=["checksum", "records", "unsafe numbers", "revision", "bytes"],
)
async def test_a_chunk_that_contradicts_what_was_staged_is_refused(
    store: OpenStore, lease: Lease, other: ChunkRef
) -> None:
    """Invariant 2."""
    await store.ledger.stage(lease, a_chunk_ref())

    with pytest.raises(OutOfOrder):
        await store.ledger.stage(lease, other)
    with pytest.raises(OutOfOrder):
        await store.ledger.commit(lease, other)


ONE = first(2)[1]


@pytest.mark.parametrize(
    "wrong",
    [
        a_chunk_ref(),
        first(3)[2],
        replace(ONE, record_start=1),
        replace(ONE, record_start=3),
        replace(ONE, record_end=ONE.record_start),
        replace(ONE, chain=chain_next(chain_start(INGESTION), ONE.checksum)),
        replace(ONE, checksum=Checksum("f" * 64)),
        replace(ONE, ingestion_id=IngestionId("another")),
    ],
    ids=["acked", "gap", "overlap", "hole", "empty", "chain", "checksum", "ingestion"],
)
async def test_a_chunk_that_does_not_follow_the_last_one_is_refused(
    store: OpenStore, lease: Lease, wrong: ChunkRef
) -> None:
    await ack(store.ledger, lease, a_chunk_ref())

    with pytest.raises(OutOfOrder):
        await store.ledger.stage(lease, wrong)

    assert (await store.ledger.resume_point(INGESTION)).planned == ()


async def test_a_second_chunk_is_not_staged_before_the_first_is_settled(
    store: OpenStore, lease: Lease
) -> None:
    """Invariant 3."""
    [zero, one] = first(2)
    await store.ledger.stage(lease, zero)

    with pytest.raises(OutOfOrder):
        await store.ledger.stage(lease, one)


# ---- commit


async def test_a_commit_counts_what_was_acked(store: OpenStore, lease: Lease) -> None:
    zero = a_chunk_ref(records=3, unsafe_numbers=2)
    one = a_chunk_ref(after=zero, records=4, unsafe_numbers=1)
    await ack(store.ledger, lease, zero, rejected=1)
    store.clock.advance(60)
    await ack(store.ledger, lease, one, rejected=2)

    ingestion = await store.catalog.get(INGESTION)

    progress = ingestion.progress
    assert (progress.next_chunk, progress.records_delivered) == (2, 7)
    assert (progress.records_rejected, progress.unsafe_numbers) == (3, 3)
    assert (progress.position, progress.chain) == (one.position, one.chain)
    assert ingestion.acked_at == ingestion.updated_at == LONG_AGO + timedelta(seconds=60)


async def test_a_chunk_that_was_never_staged_cannot_be_committed(
    store: OpenStore, lease: Lease
) -> None:
    """Invariant 2."""
    with pytest.raises(OutOfOrder):
        await store.ledger.commit(lease, a_chunk_ref())


async def test_a_commit_cannot_be_repeated(store: OpenStore, lease: Lease) -> None:
    await ack(store.ledger, lease, a_chunk_ref())

    with pytest.raises(OutOfOrder):
        await store.ledger.commit(lease, a_chunk_ref())


async def test_a_commit_whose_next_chunk_does_not_follow_commits_nothing(
    store: OpenStore, lease: Lease
) -> None:
    [zero, _, two] = first(3)
    await store.ledger.stage(lease, zero)
    point = await store.ledger.resume_point(INGESTION)

    with pytest.raises(OutOfOrder):
        await store.ledger.commit(lease, zero, then_stage=two)

    assert await store.ledger.resume_point(INGESTION) == point


async def test_reader_deaths_are_counted_in_a_row_until_the_next_ack(
    store: OpenStore, lease: Lease
) -> None:
    assert await store.ledger.count_reader_death(lease) == 1
    assert await store.ledger.count_reader_death(lease) == 2
    await ack(store.ledger, lease, a_chunk_ref())
    assert await store.ledger.count_reader_death(lease) == 1


# ---- rewind, fast forward


async def test_a_rewind_takes_acks_back_and_keeps_what_was_cut(
    store: OpenStore, lease: Lease
) -> None:
    refs = first(4)
    await ack(store.ledger, lease, *refs[:3], rejected=1)
    await store.ledger.stage(lease, refs[3])

    await store.ledger.rewind(lease, to=1)

    progress = (await store.catalog.get(INGESTION)).progress
    assert (progress.next_chunk, progress.records_delivered, progress.records_rejected) == (1, 2, 1)
    assert (progress.position, progress.chain) == (refs[0].position, refs[0].chain)
    point = await store.ledger.resume_point(INGESTION)
    assert (point.number, point.record_start, point.cursor) == (1, 2, refs[0].end)
    assert point.planned == tuple(boundary(ref) for ref in refs[1:])


async def test_chunks_are_acked_again_after_a_rewind(store: OpenStore, lease: Lease) -> None:
    refs = first(4)
    await ack(store.ledger, lease, *refs[:3], rejected=1)
    before = (await store.catalog.get(INGESTION)).progress

    await store.ledger.rewind(lease, to=0)
    await store.ledger.stage(lease, refs[0])
    for ref, following in pairwise(refs):
        await store.ledger.commit(lease, ref, rejected=1, then_stage=following)

    assert (await store.catalog.get(INGESTION)).progress == replace(before, rewinds=1)


async def test_rewinds_are_counted_until_there_is_progress(store: OpenStore, lease: Lease) -> None:
    refs = first(3)
    await ack(store.ledger, lease, *refs[:2])

    async def rewinds() -> int:
        return (await store.catalog.get(INGESTION)).progress.rewinds

    await store.ledger.rewind(lease, to=0)
    await store.ledger.rewind(lease, to=0)
    assert await rewinds() == 2
    await ack(store.ledger, lease, refs[0])
    assert await rewinds() == 2, "this far it had been before"
    await store.ledger.rewind(lease, to=1)
    await ack(store.ledger, lease, refs[1])
    assert await rewinds() == 3
    await ack(store.ledger, lease, refs[2])
    assert await rewinds() == 0


async def test_what_is_submitted_again_has_all_its_rewinds_again(
    store: OpenStore, lease: Lease
) -> None:
    await ack(store.ledger, lease, *first(2))
    await store.ledger.rewind(lease, to=0)
    loop = Failure(code="REWIND_LOOP", message="", resumable=True)
    await store.ledger.move(lease, State.PAUSED, failure=loop)

    await store.submit()

    progress = (await store.catalog.get(INGESTION)).progress
    assert (progress.rewinds, progress.next_chunk) == (0, 0)


@pytest.mark.parametrize("number", [-1, 3])
async def test_a_rewind_to_a_chunk_that_was_not_acked_is_refused(
    store: OpenStore, lease: Lease, number: int
) -> None:
    await ack(store.ledger, lease, *first(2))

    with pytest.raises(OutOfOrder):
        await store.ledger.rewind(lease, to=number)


async def test_a_fast_forward_counts_chunks_that_were_cut(store: OpenStore, lease: Lease) -> None:
    refs = first(4)
    await ack(store.ledger, lease, *refs[:3], rejected=1)
    before = (await store.catalog.get(INGESTION)).progress
    await store.ledger.rewind(lease, to=0)

    await store.ledger.fast_forward(lease, to=3)

    assert (await store.catalog.get(INGESTION)).progress == replace(before, rewinds=1)
    await ack(store.ledger, lease, refs[3])
    assert (await store.catalog.get(INGESTION)).progress.rewinds == 0


@pytest.mark.parametrize("number", [0, 3])
async def test_a_fast_forward_beyond_what_was_cut_or_backwards_is_refused(
    store: OpenStore, lease: Lease, number: int
) -> None:
    refs = first(2)
    await ack(store.ledger, lease, refs[0])
    await store.ledger.stage(lease, refs[1])

    with pytest.raises(OutOfOrder):
        await store.ledger.fast_forward(lease, to=number)

    await store.ledger.fast_forward(lease, to=2)
    assert (await store.catalog.get(INGESTION)).progress.records_delivered == 4


# ---- the end of the source


async def test_a_source_that_balances_is_completing(store: OpenStore, lease: Lease) -> None:
    await ack(store.ledger, lease, *first(2))

    await store.ledger.source_ended(lease, records_read=4)

    ingestion = await store.catalog.get(INGESTION)
    assert (ingestion.state, ingestion.records_read) == (State.COMPLETING, 4)


@pytest.mark.parametrize("records_read", [3, 5])
async def test_a_source_that_does_not_balance_is_refused(
    store: OpenStore, lease: Lease, records_read: int
) -> None:
    """Invariant 5."""
    await ack(store.ledger, lease, *first(2))
    before = await store.catalog.get(INGESTION)

    with pytest.raises(OutOfOrder):
        await store.ledger.source_ended(lease, records_read=records_read)

    assert await store.catalog.get(INGESTION) == before


async def test_a_source_cannot_end_before_a_chunk_that_was_cut(
    store: OpenStore, lease: Lease
) -> None:
    await store.ledger.stage(lease, a_chunk_ref())

    with pytest.raises(OutOfOrder):
        await store.ledger.source_ended(lease, records_read=0)


# ---- states


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("origin", sorted(LIVE - {State.QUEUED}))
async def test_only_the_moves_of_the_domain_are_made(
    store: OpenStore, lease: Lease, origin: State, state: State
) -> None:
    await store.ledger.move(lease, origin, failure=DOWN)
    before = await store.catalog.get(INGESTION)

    if state in MOVES[origin] or state is origin:
        await store.ledger.move(lease, state)
        assert (await store.catalog.get(INGESTION)).state is state
    else:
        with pytest.raises(OutOfOrder):
            await store.ledger.move(lease, state)
        assert await store.catalog.get(INGESTION) == before


async def test_waiting_is_timed_from_when_it_began(store: OpenStore, lease: Lease) -> None:
    await store.ledger.move(lease, State.WAITING, failure=DOWN)
    store.clock.advance(60)
    await store.ledger.move(lease, State.WAITING, failure=replace(DOWN, code="TIMEOUT"))

    waiting = await store.catalog.get(INGESTION)
    assert waiting.waiting_since == LONG_AGO
    assert waiting.failure is not None
    assert waiting.failure.code == "TIMEOUT"

    await store.ledger.move(lease, State.RUNNING)
    running = await store.catalog.get(INGESTION)
    assert (running.waiting_since, running.failure) == (None, None)


async def test_leaving_the_live_states_gives_the_lease_back(store: OpenStore, lease: Lease) -> None:
    await store.ledger.move(lease, State.PAUSED, failure=DOWN)

    with pytest.raises(StaleLease):
        await store.ledger.move(lease, State.RUNNING)


@pytest.mark.parametrize(
    ("state", "finished"),
    [(State.ABORTED, True), (State.FAILED, False), (State.PAUSED, False)],
)
async def test_only_what_is_never_left_is_finished(
    store: OpenStore, lease: Lease, state: State, finished: bool
) -> None:
    store.clock.advance(9)
    await store.ledger.move(lease, state)

    ingestion = await store.catalog.get(INGESTION)
    assert ingestion.finished_at == (ingestion.updated_at if finished else None)


# ---- waiting


@pytest.mark.parametrize("before_the_wait", [True, False])
async def test_a_wait_for_work_ends_when_there_is_some(
    store: OpenStore, before_the_wait: bool
) -> None:
    if before_the_wait:
        await store.submit()
        await asyncio.wait_for(store.ledger.wait_for_work(3_600), timeout=10)
    else:
        waiting = asyncio.create_task(store.ledger.wait_for_work(3_600))
        await asyncio.sleep(0)
        await store.submit()
        await asyncio.wait_for(waiting, timeout=10)


async def test_a_wait_for_work_ends_by_itself(store: OpenStore) -> None:
    await asyncio.wait_for(store.ledger.wait_for_work(0.01), timeout=10)


# ---- cancellation


async def cancelled_after(steps: int, work: Awaitable[object]) -> None:
    """Cancel after some turns of the loop, wherever that lands."""
    task = asyncio.ensure_future(work)
    for _ in range(steps):
        await asyncio.sleep(0)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("steps", range(12))
async def test_a_cancelled_stage_leaves_the_store_usable(
    store: OpenStore, lease: Lease, steps: int
) -> None:
    await cancelled_after(steps, store.ledger.stage(lease, a_chunk_ref()))

    assert (await store.ledger.resume_point(INGESTION)).planned in ((), (boundary(a_chunk_ref()),))
    await ack(store.ledger, lease, a_chunk_ref())


@pytest.mark.parametrize("steps", range(12))
async def test_a_cancelled_commit_happens_as_a_whole_or_not_at_all(
    store: OpenStore, lease: Lease, steps: int
) -> None:
    [zero, one] = first(2)
    await store.ledger.stage(lease, zero)
    old = await store.ledger.resume_point(INGESTION)

    await cancelled_after(steps, store.ledger.commit(lease, zero, then_stage=one))

    point = await store.ledger.resume_point(INGESTION)
    if point == old:
        await store.ledger.commit(lease, zero, then_stage=one)
    assert (await store.ledger.resume_point(INGESTION)).planned == (boundary(one),)
    progress = (await store.catalog.get(INGESTION)).progress
    assert (progress.next_chunk, progress.records_delivered) == (1, 2)


@pytest.mark.parametrize("steps", range(12))
async def test_a_cancelled_claim_loses_no_ingestion(store: OpenStore, steps: int) -> None:
    await store.submit()

    task = asyncio.ensure_future(store.ledger.claim(limit=1))
    for _ in range(steps):
        await asyncio.sleep(0)
    task.cancel()
    claimed = (await asyncio.gather(task, return_exceptions=True))[0]
    if isinstance(claimed, asyncio.CancelledError):
        claimed = await store.ledger.claim(limit=1)

    assert not isinstance(claimed, BaseException)
    [(lease, _)] = claimed
    await ack(store.ledger, lease, a_chunk_ref())
