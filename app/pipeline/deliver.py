"""The delivery loop: in order, one chunk in flight, staged before it is sent."""

from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import TypeAlias, assert_never

from app.domain.chunk import Chunk, ResumePoint
from app.domain.delivery import ChunkSent, Commit, Fail, FastForward, Message, Pause, Rewind
from app.domain.events import ChunkAcked
from app.domain.ingestion import Ingestion
from app.pipeline.lookahead import Lookahead
from app.pipeline.settle import Rest, Settler, Unavailable
from app.ports import Clock, Detected, EventSink, Lease, Ledger, Reader, Reading, ReadJob, SourceEnd

MessageOf: TypeAlias = Callable[[Ingestion, Chunk], Message]


@dataclass(frozen=True, slots=True)
class Drained:
    """Stopped between two chunks because the service shuts down."""


Delivered: TypeAlias = SourceEnd | Rewind | FastForward | Pause | Fail | Unavailable | Drained
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
        events: EventSink,
        clock: Clock,
        draining: Callable[[], bool],
    ) -> None:
        self._reader = reader
        self._ledger = ledger
        self._settler = settler
        self._message_of = message_of
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
            Lookahead(readings, spare=self._reader.spare) as ahead,
        ):
            return await self._deliver(lease, ingestion, job.resume, ahead, rest)

    async def _deliver(
        self,
        lease: Lease,
        ingestion: Ingestion,
        resume: ResumePoint,
        ahead: Lookahead[Reading],
        rest: Rest,
    ) -> Delivered:
        cut_end = resume.number + len(resume.planned)
        while True:
            with rest.here():
                reading = await ahead.take()
            match reading:
                case Detected(detection=detection):
                    if detection:
                        await self._ledger.detected(lease, detection)
                    continue
                case SourceEnd():
                    return reading
                case Chunk(ref=ref):
                    pass
                case _:
                    assert_never(reading)

            if ref.number >= cut_end:
                # Invariant 2: staged before sent, so after a crash the same number carries
                # the same bytes.
                await self._ledger.stage(lease, ref)
                cut_end = ref.number + 1
            began = self._clock.monotonic()
            message = self._message_of(ingestion, reading)
            # Invariant 4: a slow receiver's bytes are held once, and not beyond their ACK.
            del reading
            verdict, sends = await self._settler.settle(
                lease, message, ChunkSent(ref=ref, cut_end=cut_end), rest=rest
            )
            del message
            if not isinstance(verdict, Commit):
                return verdict
            upcoming = ahead.ready()
            then_stage = None
            if isinstance(upcoming, Chunk) and upcoming.ref.number >= cut_end:
                then_stage = upcoming.ref
                cut_end = upcoming.ref.number + 1
            # Invariant 1: progress moves only here, and only after the ACK.
            await self._ledger.commit(lease, ref, rejected=verdict.rejected, then_stage=then_stage)
            self._events.emit(ChunkAcked(ref, sends, self._clock.monotonic() - began))
            if self._draining():
                return Drained()
