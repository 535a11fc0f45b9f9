"""Send one message until it is settled, or its receiver is found unavailable."""

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
from app.domain.events import AttemptFailed
from app.domain.ingestion import State
from app.domain.judgement import chain_needed, judge, shows_life
from app.pipeline.origins import Origin
from app.pipeline.waiting import Waiting
from app.ports import Clock, EventSink, Lease, Ledger, Receiver


@dataclass(frozen=True, slots=True)
class Unavailable:
    """Leave, be WAITING, and come again with the same bytes."""

    failure: Failure

    after_s: float = 0.0
    """Pause of this ingestion alone: its receiver asked for it, or answers others."""


Settled: TypeAlias = Commit | Rewind | FastForward | Pause | Fail
Outcome: TypeAlias = Settled | Unavailable
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

    message_id: str
    sends: int = 0
    """Attempts of any kind, as the receiver sees them."""

    counted: int = 0
    held: int = 0
    damaged: int = 0
    probes: int = 0
    """Times that attempts ran out."""

    failing_since: float | None = None
    """Monotonic; when the first send began since which nobody answered this message."""


class Settler:
    """Sends the same bytes, one request at a time, until the receiver settles them.

    One for each run. It remembers the message that it could not settle.
    """

    def __init__(
        self,
        *,
        receiver: Receiver,
        origin: Origin,
        waiting: Waiting,
        ledger: Ledger,
        events: EventSink,
        policy: RetryPolicy,
        clock: Clock,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._receiver = receiver
        self._origin = origin
        self._waiting = waiting
        self._ledger = ledger
        self._events = events
        self._policy = policy
        self._clock = clock
        self._jitter = jitter
        self._unsettled: _Course | None = None

    async def settle(
        self, lease: Lease, message: Message, sent: Sent, *, rest: Rest
    ) -> tuple[Outcome, int]:
        """Return what the receiver decided, and how many sends that took.

        Cancelling at any await loses nothing.
        """
        course = self._take_up(message)
        while True:
            while not self._ledger.is_sure(lease):
                await self._ledger.renew()
            # Invariant 9: no await from here to the sending, so a late worker sends nothing.
            if barred := self._origin.bars(self):
                return self._leave(course, Unavailable(barred))
            if self._origin.is_probed_by(self):
                course.counted = self._policy.attempts_max - 1
            course.sends += 1
            course.counted += 1
            began = self._clock.monotonic()
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
            alive = shows_life(reply, verdict)
            if alive:
                self._origin.answered(now=self._clock.monotonic())
                course.failing_since = None
            elif course.failing_since is None:
                course.failing_since = began
            unavailable: Unavailable | None = None
            match verdict:
                case Commit() | Rewind() | FastForward():
                    is_chunk = isinstance(sent, ChunkSent)
                    await self._waiting.end(State.RUNNING if is_chunk else State.COMPLETING)
                    return verdict, course.sends
                case Pause() | Fail():
                    return verdict, course.sends
                case Resend(after_s, failure):
                    course.held = 0
                    course.damaged += failure.code == "CHECKSUM_MISMATCH"
                case HoldBack(after_s, failure):
                    unavailable = self._held_back(course, verdict, alive=alive)
                case Wait(failure):
                    after_s, unavailable = self._ran_out(course, failure, alive=alive)
                case _:
                    assert_never(verdict)
            number = sent.ref.number if isinstance(sent, ChunkSent) else -1
            self._events.emit(
                AttemptFailed(lease.ingestion_id, number, course.sends, failure, after_s)
            )
            if expired := self._waiting.expired(failure):
                return Fail(expired), course.sends
            if unavailable is not None:
                return self._leave(course, unavailable)
            with rest.here():
                await self._clock.sleep(after_s)

    def start_over(self) -> None:
        """Give the unsettled message all its attempts again: its receiver answers."""
        if self._unsettled is not None:
            self._unsettled.counted = self._unsettled.held = 0

    def _take_up(self, message: Message) -> _Course:
        course, self._unsettled = self._unsettled, None
        if course is None or course.message_id != message.message_id:
            return _Course(message.message_id)
        return course

    def _leave(self, course: _Course, unavailable: Unavailable) -> tuple[Unavailable, int]:
        self._unsettled = course
        return unavailable, course.sends

    def _held_back(self, course: _Course, asked: HoldBack, *, alive: bool) -> Unavailable | None:
        """Decide whether a pause that was asked for is worth a reader's and a slot's time."""
        course.counted -= 1
        course.held += 1
        probed = self._origin.is_probed_by(self)
        if probed or course.held >= self._policy.attempts_max:
            if not alive:
                self._lost(course, asked.failure, asked.after_s)
        elif asked.after_s <= self._policy.backoff_s_max:
            return None
        return Unavailable(asked.failure, asked.after_s)

    def _ran_out(
        self, course: _Course, failure: Failure, *, alive: bool
    ) -> tuple[float, Unavailable]:
        """Return the pause before the next probe, and whose it is."""
        course.probes += 1
        course.counted = self._policy.attempts_max - 1
        jitter = self._jitter()
        after_s = self._policy.probe_s(self._origin.pauses + 1, jitter=jitter)
        if not alive and self._lost(course, failure, after_s):
            return after_s, Unavailable(failure)
        after_s = self._policy.probe_s(course.probes, jitter=jitter)
        return after_s, Unavailable(failure, after_s)

    def _lost(self, course: _Course, failure: Failure, pause_s: float) -> bool:
        now = self._clock.monotonic()
        since = now if course.failing_since is None else course.failing_since
        return self._origin.lost(self, failure, since=since, now=now, pause_s=pause_s)

    async def _with_chain(self, lease: Lease, sent: Sent, reply: Reply) -> Sent:
        """Look up the chain that would prove a receiver that is ahead of us."""
        if not isinstance(sent, ChunkSent):
            return sent
        ahead = chain_needed(reply, sent.ref.number)
        if ahead is None:
            return sent
        known = await self._ledger.chain_before(lease.ingestion_id, ahead)
        return ChunkSent(ref=sent.ref, cut_end=sent.cut_end, chain_before_expected=known)
