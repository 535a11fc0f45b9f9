"""What every ledger promises of claims and leases. A store that passes can replace any other."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from inspect import iscoroutinefunction

import pytest

from app.domain.errors import StaleLease
from app.domain.identity import IngestionId
from app.domain.ingestion import LIVE, State
from app.ports import Lease, Ledger
from tests.contract.steps import DOWN, ack, first
from tests.support.builders import INGESTION, LONG_AGO, a_submission, dead_letters_of
from tests.support.stores import OpenStore

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
        lease, _NEXT[1], dead_letters=dead_letters_of(_NEXT[1], 1), then_stage=_NEXT[2]
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
