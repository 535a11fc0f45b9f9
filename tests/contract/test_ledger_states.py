"""What every ledger promises of rewinds, of the end of a source, and of states."""

from dataclasses import replace
from itertools import pairwise

import pytest

from app.domain.errors import Failure, OutOfOrder, StaleLease
from app.domain.ingestion import LIVE, MOVES, State
from app.ports import Lease
from tests.contract.steps import DOWN, ack, first
from tests.support.builders import INGESTION, LONG_AGO, a_chunk_ref, dead_letters_of
from tests.support.stores import OpenStore

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
    assert point.planned == tuple(ref.boundary() for ref in refs[1:])


async def test_chunks_are_acked_again_after_a_rewind(store: OpenStore, lease: Lease) -> None:
    refs = first(4)
    await ack(store.ledger, lease, *refs[:3], rejected=1)
    before = (await store.catalog.get(INGESTION)).progress

    await store.ledger.rewind(lease, to=0)
    await store.ledger.stage(lease, refs[0])
    for ref, following in pairwise(refs):
        dead_letters = dead_letters_of(ref, 1)
        await store.ledger.commit(lease, ref, dead_letters=dead_letters, then_stage=following)

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
