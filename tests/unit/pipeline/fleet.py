"""A supervisor over many files, and receivers that share an origin, in stepped time."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from pathlib import Path

from app.domain.delivery import Message, NoAnswer, Reply, RetryPolicy, Silence
from app.domain.identity import IngestionId
from app.domain.ingestion import Ingestion, State
from app.pipeline.supervisor import Supervisor, SupervisorPolicy
from app.ports import Reader, Reading, ReadJob
from app.stores.memory import MemoryStore
from tests.support.builders import a_submission
from tests.support.clocks import SteppedClock, quiet
from tests.support.receivers import StrictReceiver
from tests.unit.pipeline.bench import Bench

REFUSED = NoAnswer(Silence.CONNECTION_FAILED, "nobody listens")


class CountingReader:
    """A ``Reader`` that knows which of its readings are open."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self.open: list[str] = []
        self.opened: list[str] = []
        self.most = 0

    async def read(self, job: ReadJob, /) -> AsyncGenerator[Reading, None]:
        name = Path(job.file_path).name
        self.open.append(name)
        self.opened.append(name)
        self.most = max(self.most, len(self.open))
        try:
            async with aclosing(self._reader.read(job)) as readings:
                async for reading in readings:
                    yield reading
        finally:
            self.open.remove(name)

    def spare(self) -> bool:
        return self._reader.spare()


class Hosts:
    """A strict receiver for each file, below ``http://<host>/<file>``."""

    def __init__(self, clock: SteppedClock) -> None:
        self._clock = clock
        self.of: dict[str, StrictReceiver] = {}
        self.down: set[str] = set()
        self.replies: dict[str, Reply] = {}
        """What a file gets instead of its receiver's answer."""

        self.hangs: set[str] = set()
        """Hosts that never answer."""

        self.sent: list[tuple[float, str, str]] = []
        """When, host, file: of every chunk and completion."""

        self.told: list[str] = []
        self.farewells_hang = False
        self._farewell = asyncio.Event()
        self.in_flight: dict[str, int] = {}
        self.most_in_flight = 0

    async def post(self, message: Message, *, attempt: int) -> Reply:
        _, _, host, name = message.url.split("/")
        if message.event in ("ingestion.failed", "ingestion.aborted"):
            self.told.append(f"{name} {message.event}")
        else:
            self.sent.append((self._clock.monotonic(), host, name))
        self.in_flight[host] = self.in_flight.get(host, 0) + 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight[host])
        try:
            await asyncio.sleep(0)
            if self.farewells_hang and message.event == "ingestion.failed":
                await self._farewell.wait()
            if host in self.hangs:
                await asyncio.Event().wait()
            if host in self.down:
                return REFUSED
            if reply := self.replies.get(name):
                return reply
            return await self.of.setdefault(name, StrictReceiver()).post(message, attempt=attempt)
        finally:
            self.in_flight[host] -= 1

    def release_farewells(self) -> None:
        self._farewell.set()

    def sent_to(self, host: str) -> list[str]:
        return [name for _, to, name in self.sent if to == host]


class Fleet:
    def __init__(self, folder: Path, *, running_max: int = 2) -> None:
        self.bench = Bench(folder)
        self.clock = SteppedClock()
        self.store = MemoryStore(clock=self.clock)
        self.hosts = Hosts(self.clock)
        self.reader = CountingReader(self.bench.reader)
        self.policy = RetryPolicy(attempts_max=3, wait_s_max=7200.0)
        self._running_max = running_max
        self.supervisor = self._supervisor()

    def _supervisor(self) -> Supervisor:
        crew = replace(
            self.bench.crew,
            reader=self.reader,
            receiver=self.hosts,
            clock=self.clock,
            ledger=self.store.ledger,
            catalog=self.store.catalog,
            policy=self.policy,
        )
        return Supervisor(
            crew, SupervisorPolicy(running_max=self._running_max, renew_s=600.0, drain_s=5.0)
        )

    async def submit(self, host: str, name: str, *, records: int = 5) -> IngestionId:
        path = self.bench.folder / name
        path.write_text("".join(f"{n}\n" for n in range(records)))
        self.bench.path = path
        submitted = await self.store.catalog.submit(
            a_submission(str(path), callback_url=f"http://{host}/{name}"),
            self.bench.fingerprint(),
            new_version=False,
        )
        await self.clock.run(0.001)  # no two are equally old
        return submitted.ingestion.id

    async def get(self, ingestion_id: IngestionId) -> Ingestion:
        return await self.store.catalog.get(ingestion_id)

    async def states(self, *ids: IngestionId) -> list[State]:
        return [(await self.get(one)).state for one in ids]

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Supervise; drain at the end. Afterwards it can be opened again, as after a restart."""
        supervising = asyncio.create_task(self.supervisor.supervise())
        await quiet()
        try:
            yield
        finally:
            self.supervisor.drain()
            await asyncio.wait_for(supervising, 30)
            self.supervisor = self._supervisor()

    def assert_arrived(self, *names: str) -> None:
        for name in names:
            receiver = self.hosts.of[name]
            assert receiver.anomalies == []
            assert receiver.completed == 1
            sent = [
                record for n in receiver.seen for record in json.loads(receiver.seen[n])["records"]
            ]
            assert receiver.records == sent
