"""How many ingestions are worked on at once, and who is next."""

import asyncio
import heapq
from dataclasses import dataclass, field
from datetime import datetime
from itertools import count


@dataclass(slots=True, order=True)
class _Asked:
    """Someone who waits for a slot."""

    age: datetime
    order: int
    granted: asyncio.Future[None] = field(compare=False)


class Slots:
    """So many at once. Who gave up its place for a while goes before what is new."""

    def __init__(self, number: int) -> None:
        self._free = number
        self._asked: list[_Asked] = []
        self._orders = count()
        self.freed = asyncio.Event()
        """Set when a slot became free that nobody asked for. Whoever waits for it clears it."""

    def reserve(self) -> int:
        """Take all that are free, to claim work for them, and return how many those are."""
        self._grant()
        reserved, self._free = self._free, 0
        return reserved

    def unreserve(self, number: int) -> None:
        """Give back those for which there was no work."""
        self._free += number
        self._grant()

    def release(self) -> None:
        """Give back one that was used."""
        self._free += 1
        self._grant()
        if self._free:
            self.freed.set()

    async def take(self, age: datetime) -> None:
        """Wait for a slot. The lowest ``age`` goes first. Cancelling takes none."""
        loop = asyncio.get_running_loop()
        asked = _Asked(age, next(self._orders), loop.create_future())
        heapq.heappush(self._asked, asked)
        # Not at once: those who are woken together all ask first, and the oldest goes first.
        loop.call_soon(self._grant)
        try:
            await asked.granted
        except asyncio.CancelledError:
            if not asked.granted.cancelled():
                self.release()  # It was granted just then.
            raise

    def _grant(self) -> None:
        while self._free and self._asked:
            asked = heapq.heappop(self._asked)
            if not asked.granted.done():
                asked.granted.set_result(None)
                self._free -= 1


class Slot:
    """The place of one run. It begins with one."""

    def __init__(self, slots: Slots, age: datetime) -> None:
        self._slots = slots
        self._age = age
        self._held = True

    async def take(self) -> None:
        """Wait for a place, if there is none."""
        if not self._held:
            await self._slots.take(self._age)
            self._held = True

    def release(self) -> None:
        """Give the place up, if there is one."""
        if self._held:
            self._held = False
            self._slots.release()
