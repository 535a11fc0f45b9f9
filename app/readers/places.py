"""Who may have a process: a bounded number of places, given out in the order of asking.

A place whose process only waits, because its receiver is slow, is taken back when somebody
else needs it. One whose process is at work is left alone for a turn; only then, and only when
somebody waits, does it go to the end of the queue.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

TURN_S = 10.0
"""How long a process that is always at work keeps its place while others wait for one. To give
it up costs some 15 ms, so that all make progress for a thousandth or two of the speed."""


@dataclass(slots=True, eq=False)
class Place:
    """What one read holds, or waits for."""

    vacate: Callable[[], None]
    """Called when the place is taken back: end the process, at once."""

    taken_at: float = 0.0
    """Time of the event loop."""

    idle_until: float | None = None
    """From when on it may be taken back, in time of the event loop; ``None`` while at work."""


class Places:
    """Places for at most so many processes. To be used on one event loop."""

    def __init__(self, places_max: int) -> None:
        self._places_max = places_max
        self._held: set[Place] = set()
        self._waiting: deque[tuple[Place, asyncio.Future[None]]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    async def take(self, place: Place) -> None:
        """Wait for a place, first come, first served."""
        asked = asyncio.get_running_loop().create_future()
        self._waiting.append((place, asked))
        self._assign()
        try:
            await asked
        except asyncio.CancelledError:
            asked.cancel()
            self.leave(place)  # it may have been given at the same moment
            raise

    def leave(self, place: Place) -> None:
        """Give a place back. One that is not held changes nothing."""
        self._held.discard(place)
        self._assign()

    def rest(self, place: Place, patience_s: float) -> None:
        """Say that the process waits, and for how long it is worth keeping at the least."""
        place.idle_until = asyncio.get_running_loop().time() + patience_s
        self._assign()

    def work(self, place: Place) -> None:
        """Say that the process is at work."""
        place.idle_until = None

    def turn_is_over(self, place: Place) -> bool:
        """Tell whether a process at work should let somebody else have its place."""
        now = asyncio.get_running_loop().time()
        return self.wanted() and now - place.taken_at >= TURN_S

    def wanted(self) -> bool:
        """Tell whether somebody waits for a place."""
        return any(not asked.done() for _, asked in self._waiting)

    def _assign(self) -> None:
        """Give those who wait what is free, or what is idle for long enough."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._waiting:
            return
        loop = asyncio.get_running_loop()
        while self._waiting:
            place, asked = self._waiting[0]
            if not asked.done():  # else it was cancelled
                if len(self._held) >= self._places_max and not self._take_back(loop):
                    return
                place.taken_at, place.idle_until = loop.time(), None
                self._held.add(place)
                asked.set_result(None)
            self._waiting.popleft()

    def _take_back(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Free the place that was idle the longest; come again when none is yet for long enough."""
        idle = [(p.idle_until, p) for p in self._held if p.idle_until is not None]
        if not idle:
            return False  # whoever rests or leaves next assigns it
        until, place = min(idle, key=lambda pair: pair[0])
        if until > loop.time():
            self._timer = loop.call_at(until, self._assign)
            return False
        self._held.discard(place)
        place.vacate()
        return True
