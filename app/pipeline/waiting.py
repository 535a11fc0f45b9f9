"""WAITING: what one run knows of how long its receiver has been away."""

from app.domain.delivery import RetryPolicy
from app.domain.errors import Failure
from app.domain.events import StateChanged
from app.domain.ingestion import Ingestion, State
from app.ports import Clock, EventSink, Lease, Ledger


class Waiting:
    """Moves one ingestion into WAITING and out of it, durably, and measures its patience."""

    def __init__(
        self,
        *,
        lease: Lease,
        ledger: Ledger,
        events: EventSink,
        clock: Clock,
        policy: RetryPolicy,
    ) -> None:
        self._lease = lease
        self._ledger = ledger
        self._events = events
        self._clock = clock
        self._policy = policy
        self._since: float | None = None
        """Monotonic; set while the ingestion is WAITING."""

    def recall(self, ingestion: Ingestion) -> bool:
        """Take over what is stored. Returns whether it was WAITING before this run."""
        if ingestion.state is not State.WAITING:
            self._since = None
            return False
        if self._since is not None:
            return False
        # By wall clock, the only one that outlasts a process.
        since = ingestion.waiting_since or self._clock.now()
        waited_s = (self._clock.now() - since).total_seconds()
        self._since = self._clock.monotonic() - max(0.0, waited_s)
        return True

    async def begin(self, failure: Failure) -> None:
        """Move to WAITING, if it is not there."""
        if self._since is None:
            await self._ledger.move(self._lease, State.WAITING, failure=failure)
            self._since = self._clock.monotonic()
            self._events.emit(StateChanged(self._lease.ingestion_id, State.WAITING, failure))

    async def end(self, state: State) -> None:
        """Move from WAITING to ``state``, if it is there: the receiver settled a message."""
        if self._since is not None:
            await self._ledger.move(self._lease, state)
            self._since = None
            self._events.emit(StateChanged(self._lease.ingestion_id, state))

    def expired(self, failure: Failure) -> Failure | None:
        """Return why the ingestion waits no longer, once its time is over."""
        if self._since is None:
            return None
        waited_s = self._clock.monotonic() - self._since
        if waited_s < self._policy.wait_s_max:
            return None
        return Failure(
            code="WAIT_EXPIRED",
            message=f"the receiver was unavailable for {waited_s:.0f} s: {failure.message}",
            remedy="Bring the receiver back, then submit the file again.",
            resumable=True,
        )
