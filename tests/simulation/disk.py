"""What a process sees of the rows: a disk that takes its time and sometimes fails.

A process never touches the rows by itself. It asks, awaits, and may die before the disk has
done it (then it is lost) or before it hears of it (then it stays). As in the real store, a
transaction that its caller gave up is still done, whole and in its turn, and reads that go
down another connection may overtake writes.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Protocol, TypeAlias, TypeVar

from app.domain.chunk import ChunkRef, ResumePoint
from app.domain.dead_letter import DeadLetter
from app.domain.errors import Failure, StoreUnavailable
from app.domain.identity import Checksum, IngestionId
from app.domain.ingestion import Ingestion, State
from app.ports import Lease
from tests.simulation.rows import Hold
from tests.simulation.virtual import ProcessLoop, Time, at_once

T = TypeVar("T")

IDLE_S = 60.0
"""A look at rows in which nothing can have changed since the last three is put off for so long.
Whoever changes something stirs everybody."""


@dataclass(slots=True)
class Weather:
    """How the disk is: the same for all processes."""

    random: Random
    time: Time
    slow_s: float = 0.0
    """Longest time for a transaction."""

    rate: float = 0.0
    """How many transactions fail, 0 … 1."""

    outages: Sequence[tuple[float, float]] = ()
    """From when to when everything fails, in virtual seconds."""

    failures: int = 0

    def fails(self) -> bool:
        now, failed = self.time.now, False
        for start, end in self.outages:
            failed = failed or start <= now < end
        failed = failed or (self.rate > 0.0 and self.random.random() < self.rate)
        self.failures += failed
        return failed

    def delay_s(self) -> float:
        return self.random.random() ** 6 * self.slow_s if self.slow_s else 0.0


class Watch(Protocol):
    """Who looks over a disk's shoulder."""

    def wrote(self, process: str, write: str, ingestion_id: IngestionId) -> None:
        """Take note of a write that was done."""

    def failed(self, process: str, name: str, error: Exception) -> None:
        """Take note of what was not done."""

    def stir(self) -> None:
        """Have every process look soon."""


Transaction: TypeAlias = Callable[[], Coroutine[Any, Any, T]]
_Asked: TypeAlias = tuple[str, IngestionId | None, Transaction[Any], "asyncio.Future[Any]"]


class Disk:
    """A ``Ledger``, and what the pipeline asks of a ``Catalog``, for one process."""

    def __init__(
        self, hold: Hold, *, name: str, loop: ProcessLoop, weather: Weather, watch: Watch
    ) -> None:
        self.hold = hold
        self._name = name
        self._loop = loop
        self._weather = weather
        self._watch = watch
        self._writes: deque[_Asked] = deque()
        self._reads: deque[_Asked] = deque()
        self._changed = False
        self._waiter: asyncio.Future[None] | None = None
        self._idle = 0
        self.cut_off = False
        """The process is dead."""

    async def _ask(
        self,
        name: str,
        transaction: Transaction[T],
        ingestion_id: IngestionId | None = None,
        *,
        reads: bool = False,
    ) -> T:
        done: asyncio.Future[T] = self._loop.create_future()
        queue = self._reads if reads else self._writes
        queue.append((name, ingestion_id, transaction, done))
        self._loop.call_later(self._weather.delay_s(), self._perform, queue)
        return await done

    def _perform(self, queue: deque[_Asked]) -> None:
        """Do the oldest transaction: a later one may be quicker, but never comes first."""
        name, ingestion_id, transaction, done = queue.popleft()
        try:
            if self.cut_off:
                raise StoreUnavailable("the process is dead")
            if self._weather.fails():
                raise StoreUnavailable("the disk is full")
            result = at_once(transaction())
        except Exception as error:
            self._watch.failed(self._name, name, error)
            if not done.done():
                done.set_exception(error)
            return
        if ingestion_id is not None:
            self._watch.wrote(self._name, name, ingestion_id)
        if not done.done():
            done.set_result(result)

    def changed(self) -> None:
        """Something may have changed: end the present wait, or the next one."""
        self._changed = True
        self._idle = 0
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # ---- the ledger

    async def claim(self, *, limit: int) -> Sequence[tuple[Lease, Ingestion]]:
        return await self._ask("claim", lambda: self.hold.ledger.claim(limit=limit))

    async def renew(self) -> None:
        await self._ask("renew", self.hold.ledger.renew)

    def is_sure(self, lease: Lease) -> bool:
        return self.hold.ledger.is_sure(lease)

    async def wait_for_work(self, timeout_s: float) -> None:
        self._idle += 1
        if not self._changed:
            self._waiter = self._loop.create_future()
            timeout_s = timeout_s if self._idle < 4 else IDLE_S
            timer = self._loop.call_later(timeout_s, self._end_wait, self._waiter)
            try:
                await self._waiter
            finally:
                timer.cancel()
        self._changed = False

    def _end_wait(self, waiter: "asyncio.Future[None]") -> None:
        if not waiter.done():
            waiter.set_result(None)

    async def cancel_requests(self) -> Sequence[IngestionId]:
        return await self._ask("cancel_requests", self.hold.ledger.cancel_requests, reads=True)

    async def resume_point(self, ingestion_id: IngestionId) -> ResumePoint:
        return await self._ask("resume_point", lambda: self.hold.ledger.resume_point(ingestion_id))

    async def chain_before(self, ingestion_id: IngestionId, number: int) -> Checksum | None:
        return await self._ask(
            "chain_before", lambda: self.hold.ledger.chain_before(ingestion_id, number)
        )

    async def detected(self, lease: Lease, detection: Mapping[str, str]) -> None:
        await self._write("detected", lease, lambda: self.hold.ledger.detected(lease, detection))

    async def stage(self, lease: Lease, ref: ChunkRef) -> None:
        await self._write("stage", lease, lambda: self.hold.ledger.stage(lease, ref))

    async def commit(
        self,
        lease: Lease,
        ref: ChunkRef,
        *,
        dead_letters: Sequence[DeadLetter] = (),
        then_stage: ChunkRef | None = None,
        pause: Failure | None = None,
    ) -> None:
        await self._write(
            "commit",
            lease,
            lambda: self.hold.ledger.commit(
                lease, ref, dead_letters=dead_letters, then_stage=then_stage, pause=pause
            ),
        )

    async def rewind(self, lease: Lease, *, to: int) -> None:
        await self._write("rewind", lease, lambda: self.hold.ledger.rewind(lease, to=to))

    async def fast_forward(self, lease: Lease, *, to: int) -> None:
        await self._write(
            "fast_forward", lease, lambda: self.hold.ledger.fast_forward(lease, to=to)
        )

    async def source_ended(self, lease: Lease, *, records_read: int) -> None:
        await self._write(
            "source_ended",
            lease,
            lambda: self.hold.ledger.source_ended(lease, records_read=records_read),
        )

    async def move(self, lease: Lease, state: State, *, failure: Failure | None = None) -> None:
        await self._write(
            f"move to {state}",
            lease,
            lambda: self.hold.ledger.move(lease, state, failure=failure),
            stirs=True,
        )

    async def count_reader_death(self, lease: Lease) -> int:
        return await self._write(
            "count_reader_death", lease, lambda: self.hold.ledger.count_reader_death(lease)
        )

    async def release(self, lease: Lease) -> None:
        await self._write("release", lease, lambda: self.hold.ledger.release(lease), stirs=True)

    async def _write(
        self,
        name: str,
        lease: Lease,
        write: Transaction[T],
        *,
        stirs: bool = False,
    ) -> T:
        try:
            return await self._ask(name, write, lease.ingestion_id)
        finally:
            if stirs and not self.cut_off:
                self._watch.stir()

    # ---- what the pipeline asks of the catalog

    async def get(self, ingestion_id: IngestionId) -> Ingestion:
        return await self._ask("get", lambda: self.hold.catalog.get(ingestion_id), reads=True)
