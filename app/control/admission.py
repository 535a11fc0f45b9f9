"""Whether one more submission is taken at all, before anything about it is looked at."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from math import ceil

from app.domain.access import Caller, LiveLimits
from app.domain.errors import DiskLow, LimitReached
from app.ports import Clock

MINUTE_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class AdmissionPolicy:
    """How much is taken. What is left out is not limited."""

    live: LiveLimits = field(default_factory=LiveLimits)
    """Counted in the store, where the submission is written."""

    per_minute: int | None = None
    """Submissions of one caller, refused ones included; that many may come at once."""

    disk_free_bytes_min: int = 0
    """With less free space where progress is kept, nothing new is begun."""


@dataclass(slots=True)
class _Allowance:
    """What a caller may still submit at a moment. It grows again with time."""

    left: float
    at_s: float


class Admission:
    """Counts in memory what need not survive a restart, and looks at the disk.

    Parameters
    ----------
    disk_free_bytes
        Free space where progress is kept. Blocking; raises ``OSError``.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        policy: AdmissionPolicy | None = None,
        disk_free_bytes: Callable[[], int] = lambda: 2**63,
    ) -> None:
        self._clock = clock
        self._policy = policy or AdmissionPolicy()
        self._disk_free_bytes = disk_free_bytes
        # Names of API keys only, so there are as many as an operator has configured.
        self._allowances: dict[str, _Allowance] = {}

    @property
    def live(self) -> LiveLimits:
        """What the store has to hold a submission to."""
        return self._policy.live

    async def admit(self, caller: Caller) -> None:
        """Take one submission of ``caller``.

        Raises
        ------
        LimitReached
            ``RATE_LIMIT``: it has sent too many in the last minute.
        DiskLow
            There is too little space to keep its progress.
        """
        self._spend(caller)
        await self.check_disk()

    async def check_disk(self) -> None:
        """Raise `DiskLow` below the low-water mark."""
        at_least = self._policy.disk_free_bytes_min
        try:
            free = await asyncio.to_thread(self._disk_free_bytes)
        except OSError as error:
            raise DiskLow(
                f"the free space where progress is kept cannot be told: {error.strerror}"
            ) from error
        if free < at_least:
            raise DiskLow(
                f"{free} bytes are free where progress is kept, at least {at_least} should be",
                remedy="Make room. What runs already goes on as long as it can.",
            )

    def _spend(self, caller: Caller) -> None:
        per_minute = self._policy.per_minute
        if per_minute is None or not caller.name:
            return
        now_s = self._clock.monotonic()
        allowance = self._allowances.setdefault(caller.name, _Allowance(per_minute, now_s))
        per_s = per_minute / MINUTE_S
        allowance.left = min(per_minute, allowance.left + (now_s - allowance.at_s) * per_s)
        allowance.at_s = now_s
        if allowance.left < 1:
            raise LimitReached(
                "RATE_LIMIT",
                f"{caller.name} may submit {per_minute} files a minute",
                retry_after_s=max(1, ceil((1 - allowance.left) / per_s)),
            )
        allowance.left -= 1
