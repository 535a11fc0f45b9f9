"""Read in a child process of its own.

A hostile file may crash or bloat a native parser, and decoding must neither stall the
event loop nor share its GIL. The child gives a chunk over its pipe for each credit, and seals
one more while it waits.

There are fewer places for children than there may be ingestions: a child whose chunk is
delivered slowly is ended when another read needs its place, and one behind the last chunk that
it sent is made when the next is asked for. So that this is seldom, it leaves some chunks in
stock while others wait for its place (ADR 15). Nobody can tell by the chunks.
"""

import asyncio
import os
from collections.abc import AsyncGenerator
from dataclasses import replace
from types import TracebackType
from typing import Self

from app.domain.chunk import Chunk, ChunkRef, ResumePoint
from app.domain.errors import Failure, ReaderDied, ReadFailed
from app.ports import Detected, Reading, ReadJob, SourceEnd
from app.readers.forked import PIPE_BYTES, Forked, ForkServer
from app.readers.frames import (
    BODY_BYTES_MAX,
    CREDIT,
    CREDIT_ALONE,
    Alive,
    ReaderSetup,
    Start,
    pack_start,
)
from app.readers.places import Place, Places
from app.readers.stock import Shelf, Stock, Stocked

IDLE_S = 0.1
"""A child that waited so long for its receiver may lose its place. A receiver that answers
sooner is quick: the next chunk is needed before another child could have made one."""

SMALL_BYTES_MAX = PIPE_BYTES // 2
"""A chunk up to this size is asked for one earlier, and lies in the pipe meanwhile: it may be
delivered sooner than its reader is woken and answers (ADR 6)."""

GATHER_S = 0.1
"""How long a chunk may be kept back at the most for those behind it, which go into stock."""

AHEAD_BYTES_MAX = 64 << 20
"""Bytes of the chunks being delivered up to which a second chunk is held for each of them."""


class ProcessReader:
    """A ``Reader`` whose death harms nobody else. An async context manager, or close it."""

    def __init__(
        self, *, module: str, setup: ReaderSetup, stall_s: float, processes_max: int = 0
    ) -> None:
        """Fork readers from ``python -m module``.

        ``stall_s`` without a sign of life counts as death. At most ``processes_max`` readers
        are alive; 0 is for four per CPU, and sixteen at least.
        """
        self._setup = setup
        self._stall_s = stall_s
        self._server = ForkServer(module)
        self._places = Places(processes_max or max(16, 4 * (os.cpu_count() or 1)))
        self._stock = Stock()
        self._given_bytes: dict[_Read, int] = {}

    async def __aenter__(self) -> Self:
        """Nothing runs before the first read."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End every process."""
        self.close()

    async def read(self, job: ReadJob, /) -> AsyncGenerator[Reading, None]:
        """Yield what the children send."""
        read = _Read(
            job,
            setup=self._setup,
            server=self._server,
            places=self._places,
            shelf=self._stock.shelf(),
            stall_s=self._stall_s,
        )
        try:
            while not read.ended:
                # No name for it: the chunk is the receiver's from here on.
                yield await self._next(read)
        finally:
            read.end()
            self._given_bytes.pop(read, None)

    def spare(self) -> bool:
        return sum(self._given_bytes.values()) <= AHEAD_BYTES_MAX

    def close(self) -> None:
        """End every process."""
        self._server.close()

    async def _next(self, read: "_Read") -> Reading:
        reading = await read.next()
        if isinstance(reading, Chunk):
            self._given_bytes[read] = len(reading.records)
        return reading


class _Read:
    """One read, with or without a child of its own at the moment."""

    def __init__(
        self,
        job: ReadJob,
        *,
        setup: ReaderSetup,
        server: ForkServer,
        places: Places,
        shelf: Shelf,
        stall_s: float,
    ) -> None:
        self._job = job
        self._setup = setup
        self._server = server
        self._places = places
        self._shelf = shelf
        self._stall_s = stall_s
        self._place = Place(vacate=self._vacate)
        self._child: Forked | None = None
        self._credits = 0
        """Chunks that the child may still send."""
        self._chunk_bytes = 0
        """Size of the last chunk that came."""
        self._detected = False
        self._last: ChunkRef | None = None
        """The last chunk that came."""
        self._loop = asyncio.get_running_loop()
        self._started_at: float | None = None
        """Until the child has given its first chunk. Time of the event loop."""
        self._patience_s = IDLE_S
        self._given_at: float | None = None
        """When the last chunk was given out. Time of the event loop."""
        self._interval_s: float | None = None
        """How long it took until the one after it was asked for."""
        self.ended = False

    async def next(self) -> Reading:
        """Return the next thing, whichever child it comes from."""
        if self._given_at is not None:
            self._interval_s = self._loop.time() - self._given_at
        reading = self._shelf.take() if self._shelf else await self._read()
        match reading:
            case Chunk():
                self._given_at = self._loop.time()
            case SourceEnd():
                self.ended = True
            case ReadFailed() | ReaderDied():
                raise reading
            case Detected():
                pass
        return reading

    async def _read(self) -> Reading:
        """Have the child send one thing, and what shall be in stock behind it."""
        self._places.work(self._place)
        if self._child and self._places.turn_is_over(self._place):
            self._let_go()
        child = self._child or await self._start()
        await child.tell(self._credit(self._ahead()))
        while (reading := await self._come(child)) is None:
            pass
        if isinstance(reading, Chunk) and self._gathers():
            await self._gather(child)
        self._places.rest(self._place, self._worth_keeping_s())
        return reading

    async def _gather(self, child: Forked) -> None:
        """Put into stock what comes soon, as long as there is room for it."""
        until = self._loop.time() + GATHER_S
        while room := self._shelf.room(self._chunk_bytes):
            await child.tell(self._credit(room))
            if not await child.has_more(until - self._loop.time()):
                return
            reading: Stocked | None
            try:
                reading = await self._come(child)
            except (ReadFailed, ReaderDied) as error:
                reading = error  # to be raised in its turn: the chunks before it are good
            if reading is None:
                continue
            self._shelf.put(reading)
            if not isinstance(reading, Chunk):
                self._let_go()
                return

    async def _come(self, child: Forked) -> Reading | None:
        """Return what the child sends next; ``None`` when that is nothing to be given out."""
        frame = await child.next_frame(stall_s=self._stall_s, body_bytes_max=self._body_bytes_max())
        match frame:
            case Alive():
                return None
            case Failure():
                raise ReadFailed(frame)
            case Detected():
                if self._detected:
                    return None
                self._detected = True
                options = self._job.options.with_detected(frame.detection)
                self._job = replace(self._job, options=options)
            case Chunk():
                if self._started_at is not None:
                    # A child that took long to get here, as in a big workbook, is kept
                    # as long: to start again costs no more than keeping it did.
                    self._patience_s = max(IDLE_S, self._loop.time() - self._started_at)
                    self._started_at = None
                self._credits -= 1
                self._chunk_bytes = len(frame.records)
                self._last = frame.ref
            case SourceEnd():
                pass
        return frame

    def end(self) -> None:
        """Let go of everything."""
        self._let_go()
        self._shelf.close()

    async def _start(self) -> Forked:
        await self._places.take(self._place)
        self._child = child = self._server.fork()
        self._credits = 0
        self._started_at = self._loop.time()
        order = Start(setup=self._setup, job=self._rest_of_job())
        await child.tell(pack_start(order))
        return child

    def _ahead(self) -> int:
        """Return how many chunks the child is to send before it is told again."""
        if self._last is None:
            return 1  # nobody knows how big it will be
        if self._gathers():
            return 1 + self._shelf.room(self._chunk_bytes)
        return 2 if self._chunk_bytes <= SMALL_BYTES_MAX and not self._slow else 1

    def _credit(self, chunks: int) -> bytes:
        """Return what makes it so many that the child may still send."""
        missing = max(0, chunks - self._credits)
        self._credits += missing
        if missing and self._gathers():
            # Why cut ahead what another child will have to cut again?
            return CREDIT * (missing - 1) + CREDIT_ALONE
        return CREDIT * missing

    @property
    def _slow(self) -> bool:
        """Whether the receiver took its time for the last chunk."""
        return self._interval_s is not None and self._interval_s > IDLE_S

    def _gathers(self) -> bool:
        """Tell whether others wait for the place, and the receiver is known to be slow.

        Not before it is: the first chunk of everybody comes before the stock of anybody.
        """
        return self._slow and self._places.wanted()

    def _worth_keeping_s(self) -> float:
        """Return how long the child is to be kept though others wait for its place."""
        idle_s = (self._interval_s or 0.0) * (len(self._shelf) + 1)
        return self._patience_s if idle_s <= self._patience_s else 0.0

    def _let_go(self) -> None:
        self._vacate()
        self._places.leave(self._place)

    def _vacate(self) -> None:
        if self._child:
            self._child.end()
            self._child = None

    def _rest_of_job(self) -> ReadJob:
        if self._last is None:
            return self._job
        return replace(self._job, resume=behind(self._job.resume, self._last))

    def _body_bytes_max(self) -> int:
        number = self._last.number + 1 if self._last else self._job.resume.number
        resume = self._job.resume
        if number < resume.number + len(resume.planned):
            return BODY_BYTES_MAX  # invariant 2: cut as it was, whatever the limits now say
        return self._job.limits.memory or BODY_BYTES_MAX


def behind(resume: ResumePoint, last: ChunkRef) -> ResumePoint:
    """Return where to go on behind the last chunk of a read that began at ``resume``."""
    return ResumePoint(
        number=last.number + 1,
        record_start=last.record_end,
        cursor=last.end,
        chain=last.chain,
        planned=tuple(cut for cut in resume.planned if cut.number > last.number),
    )
