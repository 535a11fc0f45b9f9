"""One run of one ingestion: from where it stands to a state that needs no more work."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import assert_never

from app.domain.budget import ChunkLimits
from app.domain.chunk import ResumePoint
from app.domain.delivery import (
    Commit,
    CompletedSent,
    Fail,
    FastForward,
    Message,
    Pause,
    RetryPolicy,
    Rewind,
)
from app.domain.errors import (
    Failure,
    IngestError,
    ReaderDied,
    StaleLease,
    StoreUnavailable,
)
from app.domain.events import ReaderLost, Rewound, StateChanged, WorkerTrouble
from app.domain.ingestion import LIVE, Ingestion, State
from app.pipeline.deliver import Delivery, Drained, MessageOf, Paused
from app.pipeline.origins import Origins, Turn
from app.pipeline.refusals import DeadLettersOf
from app.pipeline.settle import Rest, Settler, Unavailable
from app.pipeline.slots import Slot
from app.pipeline.waiting import Waiting
from app.ports import (
    Catalog,
    Clock,
    EventSink,
    Lease,
    Ledger,
    Reader,
    ReadJob,
    Receiver,
    SourceEnd,
)

READER_DEATHS_MAX = 2
"""Deaths in a row at one place before an ingestion is QUARANTINED (fault K6)."""

STORE_RETRY_S = 2.0
"""Pause before progress is looked up again after the store failed (faults D1–D3)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Messages:
    """How the contract words what a run has to say, and what an ACK says of records.

    Made of ``app/wire`` by bootstrap.
    """

    chunk: MessageOf
    dead_letters: DeadLettersOf
    completed: Callable[[Ingestion], Message]
    stopped: Callable[[Ingestion], Message]


@dataclass(frozen=True, slots=True, kw_only=True)
class Crew:
    """What every run works with."""

    reader: Reader
    receiver: Receiver
    ledger: Ledger
    catalog: Catalog
    events: EventSink
    clock: Clock
    policy: RetryPolicy
    messages: Messages
    default_limits: ChunkLimits
    origins: Origins = field(default_factory=Origins)
    """One for the process, so that all runs share what they know of a receiver."""


class Run:
    """Advance one claimed ingestion. Made anew for each claim.

    It holds ``slot`` while it works, and gives it up while its receiver is unavailable.
    """

    def __init__(
        self,
        crew: Crew,
        lease: Lease,
        ingestion: Ingestion,
        *,
        slot: Slot,
        draining: Callable[[], bool] = lambda: False,
    ) -> None:
        self._crew = crew
        self._lease = lease
        self._slot = slot
        self.rest = Rest()
        self._origin = crew.origins.of(ingestion.submission.callback_url)
        self._waiting = Waiting(
            lease=lease,
            ledger=crew.ledger,
            events=crew.events,
            clock=crew.clock,
            policy=crew.policy,
        )
        self._unavailable: Unavailable | None = None
        """Why it does not work now, if so. All that is kept of what it did."""

        self._settler = Settler(
            receiver=crew.receiver,
            origin=self._origin,
            waiting=self._waiting,
            ledger=crew.ledger,
            events=crew.events,
            policy=crew.policy,
            clock=crew.clock,
        )
        self._delivery = Delivery(
            reader=crew.reader,
            ledger=crew.ledger,
            settler=self._settler,
            message_of=crew.messages.chunk,
            dead_letters_of=crew.messages.dead_letters,
            policy=crew.policy,
            events=crew.events,
            clock=crew.clock,
            draining=draining,
        )

    async def advance(self) -> None:
        """Return when the ingestion has left the live states, or the service drains.

        Cancelling at any await loses nothing; whoever cancels gives the lease back.
        """
        try:
            await self._rounds()
        finally:
            # However it ends: another run may probe the receiver that this one watched.
            self._origin.leave(self._settler)

    async def _rounds(self) -> None:
        while True:
            try:
                if await self._attempt():
                    return
            except StaleLease:
                return  # Invariant 9: another worker has it; this one is out.
            except StoreUnavailable as error:
                self._crew.events.emit(WorkerTrouble(f"{error.code}: {error.message}"))
                with self.rest.here():
                    await self._crew.clock.sleep(STORE_RETRY_S)

    async def _attempt(self) -> bool:
        """Do a round, and what its errors lead to. Returns whether the run is over."""
        try:
            return await self._round()
        except (StaleLease, StoreUnavailable):
            raise
        except ReaderDied as error:
            return await self._reader_died(error)
        except IngestError as error:
            await self._stop(State.FAILED, error.failure())
            return True

    async def abort(self) -> None:
        """Make the ingestion ABORTED and tell the receiver. After `advance` was cancelled."""
        failure = Failure(code="CANCELLED", message="a person cancelled this ingestion")
        await self._stop(State.ABORTED, failure)

    async def _round(self) -> bool:
        """Deliver until something must be decided. Returns whether the run is over."""
        crew, lease = self._crew, self._lease
        if self._unavailable is not None:
            if expired := await self._wait(self._unavailable):
                await self._stop(State.FAILED, expired)
                return True
            self._unavailable = None
        ingestion = await crew.catalog.get(lease.ingestion_id)
        if ingestion.state not in LIVE:
            return True  # Its end was written, and what came after met a failing store.
        if self._waiting.recall(ingestion) and ingestion.failure is not None:
            self._origin.suspect(ingestion.failure, now=crew.clock.monotonic())
        if barred := self._origin.bars(self._settler):
            self._unavailable = Unavailable(barred)
            return False
        point = await crew.ledger.resume_point(lease.ingestion_id)
        accounted = ingestion.progress.records_accounted
        if ingestion.records_read == accounted and not point.planned:
            return await self._complete(ingestion)
        job = self._job(ingestion, point)
        outcome = await self._delivery.run(lease, ingestion, job, rest=self.rest)
        match outcome:
            case SourceEnd(records_read=records_read):
                # Invariant 5: refused by the ledger unless the counts balance.
                await crew.ledger.source_ended(lease, records_read=records_read)
                crew.events.emit(StateChanged(lease.ingestion_id, State.COMPLETING))
                return False
            case Rewind(to):
                return await self._rewind(ingestion, to)
            case FastForward(to):
                await crew.ledger.fast_forward(lease, to=to)
                return False
            case Unavailable():
                self._unavailable = outcome
                return False
            case Drained():
                await crew.ledger.release(lease)
                return True
            case Paused(failure):
                crew.events.emit(StateChanged(lease.ingestion_id, State.PAUSED, failure))
                return True
            case Pause(failure):
                await self._stop(State.PAUSED, failure)
                return True
            case Fail(failure):
                await self._stop(State.FAILED, failure)
                return True
            case _:
                assert_never(outcome)

    async def _wait(self, why: Unavailable) -> Failure | None:
        """Be WAITING, without a reader and a slot, until a message may be sent.

        Returns a failure instead when the ingestion has waited long enough. ADR 9.
        """
        clock = self._crew.clock
        self._slot.release()
        await self._waiting.begin(why.failure)
        with self.rest.here():
            if why.after_s:
                await clock.sleep(why.after_s)
            while (turn := await self._origin.turn(self._settler, clock)) is Turn.LOOK:
                if expired := self._waiting.expired(why.failure):
                    return expired
            await self._slot.take()
        if turn is Turn.FREE and not why.after_s:
            self._settler.start_over()
        return None

    async def _complete(self, ingestion: Ingestion) -> bool:
        crew, lease = self._crew, self._lease
        if ingestion.state is State.RUNNING:
            await crew.ledger.source_ended(lease, records_read=ingestion.records_read or 0)
            ingestion = await crew.catalog.get(lease.ingestion_id)
        verdict, _ = await self._settler.settle(
            lease,
            crew.messages.completed(ingestion),
            CompletedSent(total_chunks=ingestion.progress.next_chunk),
            rest=self.rest,
        )
        match verdict:
            case Commit():
                # Invariant 6: only after the receiver acknowledged the completion.
                await crew.ledger.move(lease, State.COMPLETED)
                crew.events.emit(StateChanged(lease.ingestion_id, State.COMPLETED))
                return True
            case Rewind(to):
                await crew.ledger.move(lease, State.RUNNING)
                return await self._rewind(ingestion, to)
            case Pause(failure):
                await self._stop(State.PAUSED, failure)
                return True
            case Fail(failure):
                await self._stop(State.FAILED, failure)
                return True
            case Unavailable():
                self._unavailable = verdict
                return False
            case FastForward():
                raise AssertionError("a completion is never ahead of itself")
            case _:
                assert_never(verdict)

    async def _rewind(self, ingestion: Ingestion, to: int) -> bool:
        crew, lease = self._crew, self._lease
        latest = (await crew.catalog.get(lease.ingestion_id)).progress
        if latest.rewinds >= crew.policy.rewinds_max:
            failure = Failure(
                code="REWIND_LOOP",
                message=f"the receiver asked for chunk {to} again after {latest.rewinds} "
                "rewinds that brought no progress",
                remedy="Look why the receiver loses its state, then submit the file again.",
                resumable=True,
            )
            await self._stop(State.PAUSED, failure)
            return True
        await crew.ledger.rewind(lease, to=to)
        crew.events.emit(Rewound(ingestion.id, from_chunk=latest.next_chunk, to_chunk=to))
        return False

    async def _reader_died(self, error: ReaderDied) -> bool:
        crew, lease = self._crew, self._lease
        crew.events.emit(ReaderLost(lease.ingestion_id, error.message))
        deaths = await crew.ledger.count_reader_death(lease)
        if deaths < READER_DEATHS_MAX:
            return False
        failure = Failure(
            code=error.code,
            message=f"the reader died {deaths} times at the same place: {error.message}",
            remedy="Look at the file, or raise INGEST_READER_MEMORY_MAX_BYTES; submit again.",
            resumable=True,
        )
        await self._stop(State.QUARANTINED, failure)
        return True

    async def _stop(self, state: State, failure: Failure) -> None:
        """Leave the live states; tell the receiver once of an end. Contract 2: basic."""
        crew, lease = self._crew, self._lease
        await crew.ledger.move(lease, state, failure=failure)
        crew.events.emit(StateChanged(lease.ingestion_id, state, failure))
        # Only a farewell is left, and it may take long: hold nothing that others wait for.
        self._slot.release()
        self._origin.leave(self._settler)
        if state is State.PAUSED:
            return
        message = crew.messages.stopped(await crew.catalog.get(lease.ingestion_id))
        with self.rest.here():
            await self._origin.notices.acquire()
        try:
            await crew.receiver.post(message, attempt=1)
        finally:
            self._origin.notices.release()

    def _job(self, ingestion: Ingestion, point: ResumePoint) -> ReadJob:
        submission = ingestion.submission
        return ReadJob(
            ingestion_id=ingestion.id,
            file_path=submission.file_path,
            file_type=submission.file_type,
            options=submission.options.with_detected(ingestion.detection),
            fingerprint=ingestion.fingerprint,
            limits=submission.limits.or_default(self._crew.default_limits),
            resume=point,
        )
