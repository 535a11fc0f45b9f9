"""What a worker may believe of its leases without a look at the database.

A process that stood still (stopped, swapped out, on a machine that was suspended) goes on as if
nothing had happened, while others have taken its ingestions over. A write of it changes nothing,
because its transaction looks at the lease; a message that it sends has no transaction. So before
it sends, it looks at the clock: until the time that it last wrote into ``workers`` is over,
nobody can have taken anything.
"""

from collections.abc import Iterable
from collections.abc import Set as AbstractSet

from app.ports import Lease
from app.stores.rules import stale
from app.stores.sqlite.workers import Uptime


class Tenure:
    """The leases of one worker, in stretches during which none of them can have been lost.

    `is_over` and `begin` belong into a write transaction, in which nobody else can take a lease.
    """

    def __init__(self, uptime: Uptime) -> None:
        self._uptime = uptime
        self._until = 0.0
        self._kept: AbstractSet[tuple[str, int]] = frozenset()
        """Id and epoch of what was claimed in an earlier stretch and kept until this one."""

        self.stretch = 0

    def is_over(self) -> bool:
        """Tell whether others may have taken leases since the last renewal."""
        return self._uptime() >= self._until

    def begin(self, owned: Iterable[tuple[str, int]]) -> None:
        """Start a new stretch with the leases that are still owned, by id and epoch."""
        self._kept = frozenset(owned)
        self.stretch += 1

    def lasts_until(self, uptime: float) -> None:
        """Take note of a renewal that is in the database."""
        self._until = max(self._until, uptime)

    def covers(self, lease: Lease) -> bool:
        """Say what `Ledger.is_sure` promises."""
        if self.is_over():
            return False
        if lease.stretch != self.stretch and (lease.ingestion_id, lease.epoch) not in self._kept:
            raise stale(lease)
        return True
