"""Who is there: a breaker for each callback origin, shared by all runs of the process.

Closed, every run sends as it likes. A run whose attempts ran out opens it; then runs rest in
a line, and the first one watches: when the time has come it probes with its own message, the
only request that goes to this origin. A probe that fails sends its run to the end of the
line; an answer lets everyone go on at once. Contract 7.4, ADR 9.
"""

import asyncio
from collections import deque
from enum import Enum, auto
from urllib.parse import urlsplit
from weakref import WeakValueDictionary

from app.domain.errors import Failure
from app.ports import Clock

EARLY_S = 0.001
"""A sleep may end so much too early, by the grain of clocks and floats."""

_PORTS = {"http": 80, "https": 443}


class Turn(Enum):
    """What `Origin.turn` returns."""

    FREE = auto()
    """The breaker is closed: send."""

    PROBE = auto()
    """It is open, and this run is the one that may send."""

    LOOK = auto()
    """A probe failed or was given up: see whether your own time is over, then come again."""


class Origin:
    """One receiver, as far as the runs of this process know it. No method but `turn` awaits.

    ``who`` is a run, known by its identity; times are monotonic seconds.
    """

    def __init__(self) -> None:
        self.pauses = 0
        """Pauses between probes so far, the present one included; 0 when closed."""

        self.notices = asyncio.Lock()
        """Held while a failed or aborted ingestion tells the receiver, one at a time: many may
        end together because nobody answers."""

        self._failure: Failure | None = None
        self._answered_at: float | None = None
        self._probe_at = 0.0
        self._watch: object | None = None
        self._line: deque[asyncio.Future[None]] = deque()

    def _is_open(self) -> bool:
        return self._failure is not None

    def bars(self, who: object) -> Failure | None:
        """Return why ``who`` may not send now, if so."""
        return None if self._watch is who else self._failure

    def is_probed_by(self, who: object) -> bool:
        """Tell whether what ``who`` sends now is the probe."""
        return self._failure is not None and self._watch is who

    def answered(self, *, now: float) -> None:
        """Take note of a sign of life: everyone who rests goes on."""
        self._answered_at = now
        if self._failure is not None:
            self._failure, self._watch, self.pauses = None, None, 0
            self._wake()

    def lost(
        self, who: object, failure: Failure, *, since: float, now: float, pause_s: float
    ) -> bool:
        """Take note that nobody answered ``who``; return whether the breaker is open now.

        It is not when others got an answer after ``since``, when the message that ``who``
        sends failed first: then its trouble is its own. ``pause_s`` goes before the next
        probe, if this was one or opens the breaker.
        """
        if self._failure is None:
            if self._answered_at is not None and self._answered_at > since:
                return False
        elif self._watch is not who:
            return True
        self._failure, self._watch = failure, None
        self._probe_at = now + pause_s
        self.pauses += 1
        self._wake()
        return True

    def suspect(self, failure: Failure, *, now: float) -> None:
        """Open the breaker for a probe at once, unless an answer came already.

        For a run that finds itself WAITING: what its process of before knew is lost.
        """
        if self._failure is None and self._answered_at is None:
            self._failure, self._probe_at = failure, now

    async def turn(self, who: object, clock: Clock) -> Turn:
        """Rest until there is something to do. Cancelling is safe, with `leave` after it."""
        while self._is_open():
            if self._watch is None:
                self._watch = who
            if self._watch is not who:
                place = asyncio.get_running_loop().create_future()
                self._line.append(place)
                await place
                return Turn.LOOK if self._is_open() else Turn.FREE
            left_s = self._probe_at - clock.monotonic()
            if left_s < EARLY_S:
                return Turn.PROBE
            await clock.sleep(left_s)
        return Turn.FREE

    def leave(self, who: object) -> None:
        """Give up the watch, if ``who`` has it: another one takes it."""
        if self._watch is who:
            self._watch = None
            self._wake()

    def _wake(self) -> None:
        """Wake all in their order: the first one to come again has the watch."""
        while self._line:
            place = self._line.popleft()
            if not place.done():
                place.set_result(None)


class Origins:
    """The origins that runs of this process deliver to; forgotten with their last run."""

    def __init__(self) -> None:
        self._origins: WeakValueDictionary[tuple[str, str | None, int | None], Origin]
        self._origins = WeakValueDictionary()

    def of(self, callback_url: str) -> Origin:
        """Return the origin of a URL that was checked when it was submitted. RFC 6454."""
        url = urlsplit(callback_url)
        key = (url.scheme, url.hostname, url.port or _PORTS.get(url.scheme))
        return self._origins.setdefault(key, Origin())
