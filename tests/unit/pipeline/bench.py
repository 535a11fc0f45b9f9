"""The real pipeline with everything around it in memory, where a test can look at it."""

from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from app import wire
from app.domain.budget import ChunkLimits
from app.domain.chunk import Chunk
from app.domain.delivery import RetryPolicy
from app.domain.errors import StoreUnavailable
from app.domain.events import Event
from app.domain.identity import IngestionId
from app.domain.ingestion import Fingerprint, Ingestion
from app.pipeline.run import Crew, Messages, Run
from app.pipeline.slots import Slot, Slots
from app.ports import Lease, Reader, Reading, ReadJob
from app.readers.inprocess import InProcessReader
from app.sources.local import LocalSources
from app.stores.memory import MemoryStore
from tests.support.builders import a_submission
from tests.support.clocks import ManualClock
from tests.support.receivers import StrictReceiver
from tests.support.toy_reader_process import formats

Given = ParamSpec("Given")
T = TypeVar("T")


class Heard:
    """An ``EventSink`` that remembers."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def emit(self, event: Event) -> None:
        self.events.append(event)


class DyingReader:
    """A ``Reader`` that dies the first few times it is asked."""

    def __init__(self, reader: Reader, *, deaths: int, error: Exception) -> None:
        self._reader = reader
        self._deaths = deaths
        self._error = error

    async def read(self, job: ReadJob, /) -> AsyncGenerator[Reading, None]:
        async with aclosing(self._reader.read(job)) as readings:
            async for reading in readings:
                yield reading
                if self._deaths:
                    self._deaths -= 1
                    raise self._error

    def spare(self) -> bool:
        return self._reader.spare()


def failing(
    call: Callable[Given, Coroutine[Any, Any, T]], *, times: int
) -> Callable[Given, Coroutine[Any, Any, T]]:
    """Return a call of the store that fails at first."""
    failures = times

    async def failing_at_first(*args: Given.args, **kwargs: Given.kwargs) -> T:
        nonlocal failures
        if failures:
            failures -= 1
            raise StoreUnavailable("disk full")
        return await call(*args, **kwargs)

    return failing_at_first


class CountingReader:
    """A ``Reader`` that says how many chunks it has given."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self.chunks = 0

    async def read(self, job: ReadJob, /) -> AsyncGenerator[Reading, None]:
        async with aclosing(self._reader.read(job)) as readings:
            async for reading in readings:
                self.chunks += isinstance(reading, Chunk)
                yield reading

    def spare(self) -> bool:
        return self._reader.spare()


class Bench:
    """One file of numbers, one ingestion over it, one strict receiver."""

    def __init__(self, folder: Path, *, lines: int = 7, policy: RetryPolicy | None = None) -> None:
        self.folder = folder
        self.path = folder / "numbers"
        self.path.write_text("".join(f"{n}\n" for n in range(lines)))
        self.expected = list(range(lines))
        self.receiver = StrictReceiver()
        self.clock = ManualClock()
        self.store = MemoryStore(clock=self.clock)
        self.heard = Heard()
        self.reader: Reader = InProcessReader(formats((str(folder),)))
        self.policy = policy or RetryPolicy(attempts_max=3)

    @property
    def crew(self) -> Crew:
        return Crew(
            reader=self.reader,
            receiver=self.receiver,
            ledger=self.store.ledger,
            catalog=self.store.catalog,
            events=self.heard,
            clock=self.clock,
            policy=self.policy,
            messages=Messages(
                chunk=wire.chunk_message,
                dead_letters=wire.dead_letters,
                completed=wire.completed_message,
                stopped=wire.stopped_message,
            ),
            default_limits=ChunkLimits(records=2),
        )

    def fingerprint(self) -> Fingerprint:
        return LocalSources([self.folder]).locate(str(self.path)).fingerprint()

    async def submit(self) -> IngestionId:
        submitted = await self.store.catalog.submit(
            a_submission(str(self.path)), self.fingerprint(), new_version=False
        )
        return submitted.ingestion.id

    async def claim(self) -> tuple[Lease, Ingestion]:
        [claimed] = await self.store.ledger.claim(limit=1)
        return claimed

    async def lease(self) -> Lease:
        """Return the first lease of the one ingestion."""
        [ingestion] = (await self.store.catalog.page()).ingestions
        return Lease(ingestion_id=ingestion.id, epoch=1)

    async def run(self) -> Ingestion:
        """Submit, claim, and advance until the run is over."""
        ingestion_id = await self.submit()
        await self.run_of(*await self.claim()).advance()
        return await self.store.catalog.get(ingestion_id)

    def run_of(
        self,
        lease: Lease,
        ingestion: Ingestion,
        *,
        draining: Callable[[], bool] = lambda: False,
    ) -> Run:
        slot = Slot(Slots(0), ingestion.created_at)
        return Run(self.crew, lease, ingestion, slot=slot, draining=draining)

    def assert_all_arrived_once(self) -> None:
        assert self.receiver.anomalies == []
        assert self.receiver.records == self.expected
        assert self.receiver.completed == 1
