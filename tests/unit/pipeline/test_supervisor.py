"""Many ingestions side by side, and a clean end."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from app.domain.delivery import Answer, Message, Reply
from app.domain.events import WorkerTrouble
from app.domain.identity import IngestionId
from app.domain.ingestion import LIVE, Ingestion, State
from app.pipeline.supervisor import Supervisor, SupervisorPolicy
from tests.support.builders import a_submission
from tests.support.receivers import LOST, Before, StrictReceiver
from tests.unit.pipeline.bench import Bench, failing


class RealSleep:
    """A clock that sleeps for real, but never long."""

    def __init__(self, bench: Bench) -> None:
        self.now = bench.clock.now
        self.monotonic = bench.clock.monotonic

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class ManyReceivers:
    """A strict receiver for each ingestion; the gate, while closed, holds every chunk."""

    def __init__(self) -> None:
        self.of: dict[str, StrictReceiver] = {}
        self.gate = asyncio.Event()
        self.gate.set()
        self.waiting: set[str] = set()

    async def post(self, message: Message, *, attempt: int) -> Reply:
        name = message.url.rpartition("/")[2]
        self.waiting.add(name)
        await self.gate.wait()
        self.waiting.discard(name)
        return await self.of.setdefault(name, StrictReceiver()).post(message, attempt=attempt)


class Shop:
    """A supervisor over several files."""

    def __init__(self, bench: Bench, *, running_max: int = 8, drain_s: float = 5.0) -> None:
        self.bench = bench
        self.receivers = ManyReceivers()
        crew = replace(bench.crew, receiver=self.receivers, clock=RealSleep(bench))
        policy = SupervisorPolicy(running_max=running_max, renew_s=0.01, drain_s=drain_s)
        self.supervisor = Supervisor(crew, policy)

    async def submit(self, name: str, text: str = "1\n2\n3\n4\n5\n") -> IngestionId:
        path = self.bench.folder / name
        if not path.exists():
            path.write_text(text)
        self.bench.path = path
        submission = a_submission(str(path), callback_url=f"http://receiver.example/{name}")
        submitted = await self.bench.store.catalog.submit(
            submission, self.bench.fingerprint(), new_version=False
        )
        return submitted.ingestion.id

    async def until(self, ingestion_id: IngestionId, *states: State) -> Ingestion:
        while True:
            ingestion = await self.bench.store.catalog.get(ingestion_id)
            if ingestion.state in states:
                return ingestion
            await asyncio.sleep(0.005)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.supervisor.supervise())
            yield
            self.supervisor.drain()


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


async def test_what_is_submitted_while_it_runs_is_found(bench: Bench) -> None:
    shop = Shop(bench)
    async with shop.open():
        ids = [await shop.submit(f"f{n}") for n in range(5)]
        for ingestion_id in ids:
            await shop.until(ingestion_id, State.COMPLETED)

    assert [r.records for r in shop.receivers.of.values()] == [[1, 2, 3, 4, 5]] * 5
    assert [r.anomalies for r in shop.receivers.of.values()] == [[]] * 5


async def test_no_more_run_at_once_than_allowed_and_all_get_their_turn(bench: Bench) -> None:
    shop = Shop(bench, running_max=2)
    shop.receivers.gate.clear()
    ids = [await shop.submit(f"f{n}") for n in range(5)]
    async with shop.open():
        while len(shop.receivers.waiting) < 2:
            await asyncio.sleep(0.005)
        states = [(await bench.store.catalog.get(i)).state for i in ids]
        assert sorted(states) == sorted([State.RUNNING] * 2 + [State.QUEUED] * 3)
        shop.receivers.gate.set()
        for ingestion_id in ids:
            await shop.until(ingestion_id, State.COMPLETED)


async def test_a_slow_receiver_does_not_hold_up_another(bench: Bench) -> None:
    shop = Shop(bench)
    shop.receivers.of["slow"] = StrictReceiver(script=[Before(LOST)] * 100)
    async with shop.open():
        slow = await shop.submit("slow")
        quick = await shop.submit("quick")
        await shop.until(quick, State.COMPLETED)
        assert (await bench.store.catalog.get(slow)).state in LIVE


async def test_a_cancelled_ingestion_is_aborted_and_the_receiver_told(bench: Bench) -> None:
    shop = Shop(bench)
    shop.receivers.of["f"] = receiver = StrictReceiver(script=[Before(LOST)] * 100)
    async with shop.open():
        ingestion_id = await shop.submit("f")
        while not receiver.posts:
            await asyncio.sleep(0.005)
        await bench.store.catalog.request_cancel(ingestion_id)
        aborted = await shop.until(ingestion_id, State.ABORTED)

    assert receiver.posts[-1] == ("ingestion.aborted", 1)
    assert aborted.failure is not None
    assert aborted.failure.code == "CANCELLED"


async def test_a_drain_settles_the_chunk_in_flight_and_stops_those_that_wait(bench: Bench) -> None:
    shop = Shop(bench)
    shop.receivers.of["waits"] = StrictReceiver(script=[Before(LOST)] * 100)
    async with shop.open():
        waits = await shop.submit("waits")
        while "waits" not in shop.receivers.of or not shop.receivers.of["waits"].posts:
            await asyncio.sleep(0.005)
        shop.receivers.gate.clear()
        flies = await shop.submit("flies")
        while "flies" not in shop.receivers.waiting:
            await asyncio.sleep(0.005)
        shop.supervisor.drain()
        while shop.supervisor.alive:  # then those that wait are being stopped
            await asyncio.sleep(0.005)
        shop.receivers.gate.set()

    assert (await bench.store.catalog.get(flies)).progress.next_chunk == 1
    assert {(await bench.store.catalog.get(i)).state for i in (waits, flies)} <= LIVE
    claimed = await bench.store.ledger.claim(limit=9)
    assert {ingestion.id for _, ingestion in claimed} == {waits, flies}


async def test_a_drain_does_not_wait_longer_than_its_grace_time(bench: Bench) -> None:
    shop = Shop(bench, drain_s=0.05)
    shop.receivers.gate.clear()
    async with shop.open():
        ingestion_id = await shop.submit("f")
        while not shop.receivers.waiting:
            await asyncio.sleep(0.005)

    assert (await bench.store.catalog.get(ingestion_id)).progress.next_chunk == 0
    assert [i.id for _, i in await bench.store.ledger.claim(limit=9)] == [ingestion_id]


async def test_a_drain_does_not_wait_for_a_receiver_that_hangs_at_an_abort(bench: Bench) -> None:
    shop = Shop(bench, drain_s=0.05)
    shop.receivers.gate.clear()
    async with asyncio.timeout(10), shop.open():
        ingestion_id = await shop.submit("f")
        while not shop.receivers.waiting:
            await asyncio.sleep(0.005)
        await bench.store.catalog.request_cancel(ingestion_id)
        await shop.until(ingestion_id, State.ABORTED)


async def test_what_is_submitted_again_during_its_farewell_waits_until_that_was_said(
    bench: Bench,
) -> None:
    """Invariant 3: one message of an ingestion at a time."""
    shop = Shop(bench)
    sent: list[str] = []
    farewell, said = asyncio.Event(), asyncio.Event()

    class Polite(StrictReceiver):
        async def post(self, message: Message, *, attempt: int) -> Reply:
            sent.append(f"{message.event} begins")
            if message.event == "ingestion.failed":
                farewell.set()
                await said.wait()
            reply = await super().post(message, attempt=attempt)
            sent.append(f"{message.event} ends")
            return reply

    shop.receivers.of["f"] = Polite(script=[Before(Answer(status=404))])
    async with asyncio.timeout(30), shop.open():
        ingestion_id = await shop.submit("f")
        await farewell.wait()
        await shop.submit("f")
        await shop.until(ingestion_id, State.RUNNING)
        await asyncio.sleep(0.1)
        said.set()
        await shop.until(ingestion_id, State.COMPLETED)

    first, *others = sent[2:]
    assert (first, others[0]) == ("ingestion.failed begins", "ingestion.failed ends")
    assert shop.receivers.of["f"].records == [1, 2, 3, 4, 5]


async def test_a_bug_in_one_run_is_borne_by_that_one(bench: Bench) -> None:
    shop = Shop(bench)

    class Broken(StrictReceiver):
        async def post(self, message: Message, *, attempt: int) -> Reply:
            raise ZeroDivisionError

    shop.receivers.of["broken"] = Broken()
    async with shop.open():
        broken = await shop.submit("broken")
        sound = await shop.submit("sound")
        failed = await shop.until(broken, State.FAILED)
        await shop.until(sound, State.COMPLETED)

    assert failed.failure is not None
    assert (failed.failure.code, failed.failure.resumable) == ("INTERNAL", True)


async def test_a_store_that_fails_for_a_while_does_not_end_the_supervision(bench: Bench) -> None:
    claim = failing(bench.store.ledger.claim, times=2)
    bench.store.ledger.claim = claim  # type: ignore[method-assign]
    shop = Shop(bench)
    async with shop.open():
        await shop.until(await shop.submit("f"), State.COMPLETED)

    assert any(isinstance(event, WorkerTrouble) for event in bench.heard.events)


async def test_the_end_of_a_broken_run_is_written_once_the_store_is_back(bench: Bench) -> None:
    class Broken(StrictReceiver):
        async def post(self, message: Message, *, attempt: int) -> Reply:
            raise ZeroDivisionError

    bench.store.ledger.move = failing(bench.store.ledger.move, times=2)  # type: ignore[method-assign]
    shop = Shop(bench)
    shop.receivers.of["broken"] = Broken()
    async with shop.open():
        await shop.until(await shop.submit("broken"), State.FAILED)
