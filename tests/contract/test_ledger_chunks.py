"""What every ledger promises of chunks: where to go on, stage, commit, rewind."""

import asyncio
import contextlib
from collections.abc import Awaitable
from dataclasses import replace
from datetime import timedelta

import pytest

from app.domain.chunk import ChunkRef, Cursor, ResumePoint
from app.domain.errors import IngestionNotFound, OutOfOrder
from app.domain.identity import Checksum, IngestionId, chain_next, chain_start
from app.ports import Lease
from tests.contract.steps import ack, first
from tests.support.builders import INGESTION, LONG_AGO, a_chunk_ref
from tests.support.stores import OpenStore

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
        chain=chain_start(INGESTION), planned=(ref.boundary(),)
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
        planned=(one.boundary(),),
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

    assert (await store.ledger.resume_point(INGESTION)).planned in ((), (a_chunk_ref().boundary(),))
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
    assert (await store.ledger.resume_point(INGESTION)).planned == (one.boundary(),)
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
