"""The delivery loop: in order, one chunk in flight, staged before it is sent."""

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias, assert_never

from app.domain.chunk import Chunk, ChunkRef, ResumePoint
from app.domain.delivery import (
    ChunkSent,
    Commit,
    Fail,
    FastForward,
    Message,
    Pause,
    RetryPolicy,
    Rewind,
)
from app.domain.errors import Failure
from app.domain.events import ChunkAcked, RecordsRefused
from app.domain.ingestion import Ingestion
from app.pipeline.lookahead import Lookahead
from app.pipeline.refusals import DeadLettersOf, Refusals
from app.pipeline.settle import Rest, Settler, Unavailable
from app.ports import Clock, Detected, EventSink, Lease, Ledger, Reader, Reading, ReadJob, SourceEnd

HASHED_INLINE_BYTES_MAX = 1024 * 1024
"""A message with more records is made in a thread, which costs 0.1 ms: a MiB takes about 0.7 ms
to hash, and everybody else waits meanwhile."""

QUICK_S = 0.005
"""A receiver that takes longer leaves time, while it works, to make the message after the next;
made during the commit, that would hold up the next request. A quick one leaves none."""

SENT_S = 0.002
"""To a slow one, a request goes out alone for so long: what is read and made meanwhile would take
the processor from it. Half a megabyte is on its way in half a millisecond."""

MessageOf: TypeAlias = Callable[[Ingestion, Chunk], Message]


@dataclass(frozen=True, slots=True)
class Drained:
    """Stopped between two chunks because the service shuts down."""


@dataclass(frozen=True, slots=True)
class Paused:
    """PAUSED, with the ACK of the last chunk."""

    failure: Failure


@dataclass(frozen=True, slots=True)
class _ToSend:
    """A chunk as it is sent. Its records are in the message alone."""

    ref: ChunkRef
    message: Message


_Prepared: TypeAlias = Detected | _ToSend | SourceEnd

Delivered: TypeAlias = (
    SourceEnd | Rewind | FastForward | Pause | Fail | Unavailable | Drained | Paused
)
"""What `Delivery.run` ends with."""


class Delivery:
    """Move chunks from a reader to a receiver, and progress into the ledger."""

    def __init__(
        self,
        *,
        reader: Reader,
        ledger: Ledger,
        settler: Settler,
        message_of: MessageOf,
        dead_letters_of: DeadLettersOf,
        policy: RetryPolicy,
        events: EventSink,
        clock: Clock,
        draining: Callable[[], bool],
    ) -> None:
        self._reader = reader
        self._ledger = ledger
        self._settler = settler
        self._message_of = message_of
        self._dead_letters_of = dead_letters_of
        self._policy = policy
        self._events = events
        self._clock = clock
        self._draining = draining

    async def run(
        self, lease: Lease, ingestion: Ingestion, job: ReadJob, *, rest: Rest
    ) -> Delivered:
        """Deliver every chunk from the job's resume point on.

        Raises what the reader and the ledger raise. Cancelling at any await loses nothing.
        """
        async with (
            aclosing(self._reader.read(job)) as readings,
            Lookahead(
                readings,
                # While the chunk before is under way: hashing takes longer than to commit.
                prepare=partial(self._prepare, ingestion),
                sleep=self._clock.sleep,
                spare=self._reader.spare,
            ) as ahead,
        ):
            return await self._deliver(lease, ingestion, job.resume, ahead, rest)

    async def _prepare(self, ingestion: Ingestion, reading: Reading) -> _Prepared:
        if not isinstance(reading, Chunk):
            return reading
        if reading.ref.records_bytes > HASHED_INLINE_BYTES_MAX:
            message = await asyncio.to_thread(self._message_of, ingestion, reading)
        else:
            message = self._message_of(ingestion, reading)
        return _ToSend(reading.ref, message)

    def _refusals(self, ingestion: Ingestion, resume: ResumePoint) -> Refusals:
        return Refusals(
            records=ingestion.progress.records_rejected,
            size=resume.refused_bytes,
            policy=self._policy,
            dead_letters_of=self._dead_letters_of,
        )

    async def _deliver(
        self,
        lease: Lease,
        ingestion: Ingestion,
        resume: ResumePoint,
        ahead: Lookahead[Reading, _Prepared],
        rest: Rest,
    ) -> Delivered:
        cut_end = resume.number + len(resume.planned)
        refusals = self._refusals(ingestion, resume)
        upcoming: _Prepared | None = None
        is_quick = True
        while True:
            if upcoming is None:
                with rest.here():
                    upcoming = await ahead.take(rest_s=0.0 if is_quick else SENT_S)
            reading, upcoming = upcoming, None
            match reading:
                case Detected(detection=detection):
                    if detection:
                        await self._ledger.detected(lease, detection)
                    continue
                case SourceEnd():
                    return reading
                case _ToSend(ref=ref, message=message):
                    pass
                case _:
                    assert_never(reading)

            if ref.number >= cut_end:
                # Invariant 2: staged before sent, so after a crash the same number carries
                # the same bytes.
                await self._ledger.stage(lease, ref)
                cut_end = ref.number + 1
            began = self._clock.monotonic()
            # Invariant 4: a slow receiver's bytes are held once, and not beyond their ACK.
            del reading
            verdict, sends = await self._settler.settle(
                lease, message, ChunkSent(ref=ref, cut_end=cut_end), rest=rest
            )
            if not isinstance(verdict, Commit):
                return verdict
            is_quick = self._clock.monotonic() - began < QUICK_S
            dead_letters = await refusals.of(message, ref, verdict.rejected)
            pause = refusals.too_many() if dead_letters else None
            del message
            following = ahead.ready()
            if following and is_quick:
                # Now, so that the one after it is read and made during the commit.
                upcoming = await ahead.take()
            then_stage = None
            if isinstance(following, _ToSend) and following.ref.number >= cut_end:
                then_stage = following.ref
                cut_end = following.ref.number + 1
            del following
            # Invariant 1: progress moves only here, and only after the ACK.
            await self._ledger.commit(
                lease, ref, dead_letters=dead_letters, then_stage=then_stage, pause=pause
            )
            self._events.emit(ChunkAcked(ref, sends, self._clock.monotonic() - began))
            if dead_letters:
                self._events.emit(RecordsRefused(ref, len(dead_letters)))
            if pause is not None:
                return Paused(pause)
            if self._draining():
                return Drained()
