"""Send one message until it is settled: the code that waits and resends."""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeAlias, assert_never

from app.domain.delivery import (
    Attempts,
    ChunkSent,
    Commit,
    Fail,
    FastForward,
    HoldBack,
    Message,
    Pause,
    Reply,
    Resend,
    RetryPolicy,
    Rewind,
    Sent,
    Wait,
)
from app.domain.errors import Failure
from app.domain.events import AttemptFailed, StateChanged
from app.domain.ingestion import Ingestion, State
from app.domain.judgement import chain_needed, judge
from app.ports import Clock, EventSink, Lease, Ledger, Receiver

Settled: TypeAlias = Commit | Rewind | FastForward | Pause | Fail
"""What `Settler.settle` ends with."""


@dataclass(slots=True)
class Rest:
    """Tells whether a run only waits, so that a shutdown may stop it at once."""

    resting: bool = False

    @contextmanager
    def here(self) -> Iterator[None]:
        """Mark the time inside as waiting."""
        self.resting = True
        try:
            yield
        finally:
            self.resting = False


@dataclass(slots=True)
class _Course:
    """How the sending of one message has gone so far."""

    sends: int = 0
    """Attempts of any kind, as the receiver sees them."""

    counted: int = 0
    held: int = 0
    damaged: int = 0
    probes: int = 0
    waited_since: float | None = None
    """Monotonic; set while the ingestion is WAITING."""


class Settler:
    """Sends the same bytes, one request at a time, until the receiver settles them."""

    def __init__(
        self,
        *,
        receiver: Receiver,
        ledger: Ledger,
        events: EventSink,
        policy: RetryPolicy,
        clock: Clock,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._receiver = receiver
        self._ledger = ledger
        self._events = events
        self._policy = policy
        self._clock = clock
        self._jitter = jitter

    async def settle(
        self, lease: Lease, ingestion: Ingestion, message: Message, sent: Sent, *, rest: Rest
    ) -> tuple[Settled, int]:
        """Return what the receiver decided, and how many sends that took.

        While attempts have run out the ingestion is WAITING, and the same message is the
        probe. Cancelling at any await loses nothing.
        """
        course = _Course()
        before = ingestion.state
        if before is State.WAITING:
            before = State.COMPLETING if not isinstance(sent, ChunkSent) else State.RUNNING
            course.counted = self._policy.attempts_max - 1
            course.waited_since = self._clock.monotonic() - self._waited_s(ingestion)
        while True:
            course.sends += 1
            course.counted += 1
            reply = await self._receiver.post(message, attempt=course.sends)
            verdict = judge(
                reply,
                sent=await self._with_chain(lease, sent, reply),
                attempts=Attempts(
                    counted=course.counted, held=course.held + 1, damaged=course.damaged
                ),
                policy=self._policy,
                jitter=self._jitter(),
            )
            match verdict:
                case Commit() | Rewind() | FastForward() | Pause() | Fail():
                    if course.waited_since is not None and not isinstance(verdict, Pause | Fail):
                        await self._ledger.move(lease, before)
                        self._events.emit(StateChanged(lease.ingestion_id, before))
                    return verdict, course.sends
                case Resend(after_s, failure):
                    course.held = 0
                    course.damaged += failure.code == "CHECKSUM_MISMATCH"
                case HoldBack(after_s, failure):
                    course.counted -= 1
                    course.held += 1
                    if course.held >= self._policy.attempts_max:
                        await self._enter_waiting(lease, course, failure)
                case Wait(failure):
                    course.probes += 1
                    course.counted = self._policy.attempts_max - 1
                    after_s = self._policy.probe_s(course.probes, jitter=self._jitter())
                    await self._enter_waiting(lease, course, failure)
                case _:
                    assert_never(verdict)
            if expired := self._expired(course, failure):
                return Fail(expired), course.sends
            number = sent.ref.number if isinstance(sent, ChunkSent) else -1
            self._events.emit(
                AttemptFailed(lease.ingestion_id, number, course.sends, failure, after_s)
            )
            with rest.here():
                await self._clock.sleep(after_s)

    async def _enter_waiting(self, lease: Lease, course: _Course, failure: Failure) -> None:
        if course.waited_since is None:
            course.waited_since = self._clock.monotonic()
            await self._ledger.move(lease, State.WAITING, failure=failure)
            self._events.emit(StateChanged(lease.ingestion_id, State.WAITING, failure))

    def _expired(self, course: _Course, failure: Failure) -> Failure | None:
        if course.waited_since is None:
            return None
        waited_s = self._clock.monotonic() - course.waited_since
        if waited_s < self._policy.wait_s_max:
            return None
        return Failure(
            code="WAIT_EXPIRED",
            message=f"the receiver was unavailable for {waited_s:.0f} s: {failure.message}",
            remedy="Bring the receiver back, then submit the file again.",
            resumable=True,
        )

    def _waited_s(self, ingestion: Ingestion) -> float:
        """Seconds spent WAITING before this process: by wall clock, the only one that lasts."""
        since = ingestion.waiting_since or self._clock.now()
        return max(0.0, (self._clock.now() - since).total_seconds())

    async def _with_chain(self, lease: Lease, sent: Sent, reply: Reply) -> Sent:
        """Look up the chain that would prove a receiver that is ahead of us."""
        if not isinstance(sent, ChunkSent):
            return sent
        ahead = chain_needed(reply, sent.ref.number)
        if ahead is None:
            return sent
        known = await self._ledger.chain_before(lease.ingestion_id, ahead)
        return ChunkSent(ref=sent.ref, cut_end=sent.cut_end, chain_before_expected=known)
