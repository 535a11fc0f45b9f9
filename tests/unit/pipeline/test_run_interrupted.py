"""What one run does when its lease, its store or its process goes away under it."""

import asyncio

import pytest

from app.domain.delivery import Answer
from app.domain.errors import Failure, ReaderDied, ReadFailed, StoreUnavailable
from app.domain.events import StateChanged, WorkerTrouble
from app.domain.identity import IngestionId
from app.domain.ingestion import Ingestion, State
from tests.support.receivers import LOST, Before, Crash, Do
from tests.unit.pipeline.bench import Bench, DyingReader, failing

BAD = Failure(code="BAD", message="the bytes are at fault")
AWAY = Failure(code="CONNECTION_FAILED", message="nobody listens", resumable=True)


async def test_who_lost_its_lease_stops_without_a_word(bench: Bench) -> None:
    async def steal() -> None:
        lease = await bench.lease()
        await bench.store.ledger.release(lease)
        await bench.claim()

    stolen: list[asyncio.Task[None]] = []
    bench.receiver.script = [Do(lambda: stolen.append(asyncio.ensure_future(steal())))]
    post = bench.receiver.post

    async def post_then_wait(*args: object, **kwargs: object) -> object:
        reply = await post(*args, **kwargs)  # type: ignore[arg-type]
        await asyncio.gather(*stolen)
        return reply

    bench.receiver.post = post_then_wait  # type: ignore[method-assign,assignment]

    ingestion = await bench.run()

    assert (ingestion.state, ingestion.progress.next_chunk) == (State.RUNNING, 0)
    assert len(bench.receiver.posts) == 1


@pytest.mark.parametrize("message", range(5))
async def test_who_lost_its_lease_during_a_pause_does_not_repeat_its_message(
    bench: Bench, message: int
) -> None:
    """Invariant 9. A completion that came late would close a receiver that was rewound."""
    bench.receiver.script = [*[Do(lambda: None)] * message, Before(LOST)]
    sleep = bench.clock.sleep

    async def sleep_too_long(seconds: float) -> None:
        await bench.store.ledger.release(await bench.lease())
        await bench.claim()
        await sleep(seconds)

    bench.clock.sleep = sleep_too_long  # type: ignore[method-assign]

    ingestion = await bench.run()

    assert ingestion.state in (State.RUNNING, State.COMPLETING)
    assert ingestion.progress.next_chunk == message
    assert len(bench.receiver.posts) == message + 1


async def test_a_store_that_fails_is_tried_again_and_nothing_is_lost(bench: Bench) -> None:
    bench.store.ledger.commit = failing(bench.store.ledger.commit, times=3)  # type: ignore[method-assign]

    assert (await bench.run()).state is State.COMPLETED
    bench.assert_all_arrived_once()
    assert any(isinstance(event, WorkerTrouble) for event in bench.heard.events)


@pytest.mark.parametrize("error", [ReaderDied("signal 11"), ReadFailed(BAD)])
async def test_a_store_that_fails_at_the_end_of_a_run_is_tried_again_with_the_same_end(
    bench: Bench, error: Exception
) -> None:
    bench.store.ledger.move = failing(bench.store.ledger.move, times=3)  # type: ignore[method-assign]
    bench.reader = DyingReader(bench.reader, deaths=99, error=error)

    ingestion = await bench.run()

    assert ingestion.failure is not None
    assert (ingestion.state, ingestion.failure.code) in (
        (State.QUARANTINED, "READER_DIED"),
        (State.FAILED, "BAD"),
    )


async def test_a_store_that_fails_after_the_end_was_written_sends_nothing_more(
    bench: Bench,
) -> None:
    get, failures = bench.store.catalog.get, 1

    async def failing_then(ingestion_id: IngestionId) -> Ingestion:
        nonlocal failures
        ingestion = await get(ingestion_id)
        if failures and ingestion.state is State.FAILED:
            failures -= 1
            raise StoreUnavailable("disk full")
        return ingestion

    bench.store.catalog.get = failing_then  # type: ignore[method-assign]
    bench.receiver.script = [Before(Answer(status=400))]

    assert (await bench.run()).state is State.FAILED
    assert failures == 0
    assert bench.receiver.posts == [("ingestion.chunk", 1)]


async def test_an_abort_tells_the_receiver(bench: Bench) -> None:
    ingestion_id = await bench.submit()
    lease, ingestion = await bench.claim()

    await bench.run_of(lease, ingestion).abort()

    assert (await bench.store.catalog.get(ingestion_id)).state is State.ABORTED
    assert bench.receiver.stopped == ["ingestion.aborted"]


async def test_a_drained_run_gives_its_lease_back_after_the_chunk_in_flight(bench: Bench) -> None:
    await bench.submit()
    lease, ingestion = await bench.claim()

    await bench.run_of(lease, ingestion, draining=lambda: True).advance()
    assert bench.receiver.next_chunk == 1

    lease, claimed = await bench.claim()
    assert (claimed.state, claimed.progress.next_chunk) == (State.RUNNING, 1)
    await bench.run_of(lease, ingestion).advance()
    bench.assert_all_arrived_once()


@pytest.mark.parametrize("fatal", range(6))
async def test_a_crash_after_any_message_resumes_with_the_same_bytes(
    bench: Bench, fatal: int
) -> None:
    bench.receiver.script = [*[Do(lambda: None)] * fatal, Crash]
    if fatal < 5:
        with pytest.raises(Crash):
            await bench.run()
        await bench.store.ledger.release(await bench.lease())
        lease, ingestion = await bench.claim()
        await bench.run_of(lease, ingestion).advance()
    else:
        await bench.run()

    bench.assert_all_arrived_once()


@pytest.mark.parametrize("turns", range(0, 120, 3))
async def test_a_run_cancelled_anywhere_loses_nothing(bench: Bench, turns: int) -> None:
    await bench.submit()
    lease, ingestion = await bench.claim()
    task = asyncio.create_task(bench.run_of(lease, ingestion).advance())
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    if not task.cancelled():
        bench.assert_all_arrived_once()
        return
    await bench.store.ledger.release(lease)

    lease, ingestion = await bench.claim()
    await bench.run_of(lease, ingestion).advance()

    bench.assert_all_arrived_once()


async def test_the_history_tells_every_state(bench: Bench) -> None:
    await bench.run()

    states = [event.state for event in bench.heard.events if isinstance(event, StateChanged)]
    assert states == [State.COMPLETING, State.COMPLETED]
