"""The service under simulation: the one place where the real engine is put together.

The counterpart of `app/bootstrap.py`. What is real: reader, decoders, chunker, delivery,
settler, run, supervisor, the HTTP receiver above its transport, the reading of answers, the
wording of messages, and the rules of the store. What is not: sockets, disks, clocks.
"""

import asyncio
import os
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from random import Random
from types import SimpleNamespace
from typing import cast
from uuid import UUID, uuid4

from app import wire
from app.domain.budget import ChunkLimits
from app.domain.delivery import Message, Reply, RetryPolicy
from app.domain.events import Event, WorkerTrouble
from app.pipeline.run import Crew, Messages
from app.pipeline.supervisor import Supervisor, SupervisorPolicy
from app.ports import Catalog, Clock, Reader
from app.readers.inprocess import InProcessReader
from app.receiver import http
from app.receiver.egress import EgressPolicy
from app.receiver.http import HttpReceiver
from app.stores import memory
from app.stores.sqlite import catalog
from tests.simulation.book import Book
from tests.simulation.disk import Disk
from tests.simulation.files import Files
from tests.simulation.network import DEADLINE_S, Network
from tests.simulation.rows import LEASE_S
from tests.simulation.virtual import Time

EGRESS = EgressPolicy(allow=("receiver.example", "polite.example"))

POLICY = RetryPolicy(
    attempts_max=3,
    backoff_s_initial=1.0,
    backoff_s_max=8.0,
    probe_s_initial=5.0,
    probe_s_max=20.0,
    wait_s_max=100.0,
)
"""As in production, with a day of patience made short."""

DRAIN_S = 10.0
START = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Take away what chance the service has of its own: its jitter, and the ids it makes up."""
    ids, traces = Random(seed), Random(seed)
    random.seed(seed)
    modules = (memory, catalog)
    try:
        for module in modules:
            vars(module)["uuid4"] = lambda: UUID(int=ids.getrandbits(128))
        vars(http)["os"] = SimpleNamespace(urandom=traces.randbytes)
        yield
    finally:
        for module in modules:
            vars(module)["uuid4"] = uuid4
        vars(http)["os"] = os


class VirtualClock:
    """A ``Clock``. Every process has its own monotonic zero; the wall clock, which may be set,
    is the same for all."""

    def __init__(self, time: Time) -> None:
        self._time = time
        self.wrong_s = 0.0
        self._read = (0.0, START)

    def with_zero(self, zero: float) -> Clock:
        """Return the same clock, as another process reads it."""
        return _Shifted(self, zero)

    def now(self) -> datetime:
        seconds = self._time.now + self.wrong_s
        if seconds != self._read[0]:
            self._read = (seconds, START + timedelta(seconds=seconds))
        return self._read[1]

    def monotonic(self) -> float:
        return self._time.now

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class _Shifted:
    def __init__(self, clock: VirtualClock, zero: float) -> None:
        self._clock = clock
        self._zero = zero

    def now(self) -> datetime:
        return self._clock.now()

    def monotonic(self) -> float:
        return self._clock.monotonic() + self._zero

    async def sleep(self, seconds: float) -> None:
        await self._clock.sleep(seconds)


class Posting:
    """A ``Receiver`` that writes in the book what the engine does with it."""

    def __init__(self, http: HttpReceiver, *, name: str, book: Book, time: Time) -> None:
        self._http = http
        self._name = name
        self._book = book
        self._time = time

    async def post(self, message: Message, *, attempt: int) -> Reply:
        letter = self._book.sent(self._name, message.body, self._time.now)
        began = self._time.now
        try:
            return await self._http.post(message, attempt=attempt)
        finally:
            self._book.back(self._name, letter, waited_s=self._time.now - began)


class Ear:
    """An ``EventSink`` for what must not be missed."""

    def __init__(self, note: Callable[[str], None]) -> None:
        self._note = note

    def emit(self, event: Event) -> None:
        if isinstance(event, WorkerTrouble):
            self._note(event.detail)


def service(
    *,
    name: str,
    reader: Reader,
    network: Network,
    disk: Disk,
    clock: Clock,
    book: Book,
    time: Time,
    note: Callable[[str], None],
) -> Supervisor:
    """Put one service process together."""
    posting = HttpReceiver(egress=EGRESS, clock=clock, deadline_s=DEADLINE_S, transport=network)
    crew = Crew(
        reader=reader,
        receiver=Posting(posting, name=name, book=book, time=time),
        ledger=disk,
        catalog=cast("Catalog", disk),
        events=Ear(note),
        clock=clock,
        policy=POLICY,
        messages=Messages(
            chunk=wire.chunk_message,
            dead_letters=wire.dead_letters,
            completed=wire.completed_message,
            stopped=wire.stopped_message,
        ),
        default_limits=ChunkLimits(records=2),
    )
    policy = SupervisorPolicy(running_max=2, renew_s=LEASE_S / 3, drain_s=DRAIN_S)
    return Supervisor(crew, policy)


def in_process(files: Files) -> Reader:
    """Return the real reader over these files."""
    return InProcessReader(files.formats())
