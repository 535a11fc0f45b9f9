"""What every catalog promises who looks at ingestions and cancels them."""

import asyncio

import pytest

from app.domain.errors import (
    Conflict,
    CursorInvalid,
    Failure,
    IngestionNotFound,
    OutOfOrder,
    StaleLease,
)
from app.domain.identity import IngestionId
from app.domain.ingestion import (
    Ingestion,
    State,
)
from app.ports import Lease
from tests.contract.submissions import RESUMABLE, stopped, submit
from tests.support.builders import (
    INGESTION,
    LONG_AGO,
    a_submission,
)
from tests.support.stores import OpenStore

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
