"""Time that moves when the test says so."""

import asyncio
from datetime import datetime, timedelta

from tests.support.builders import LONG_AGO


class ManualClock:
    """A ``Clock`` that stands still until it is moved. Sleeping moves it."""

    def __init__(self, start: datetime = LONG_AGO) -> None:
        self._now = start
        self._monotonic = 0.0

    def now(self) -> datetime:
        return self._now

    def monotonic(self) -> float:
        return self._monotonic

    async def sleep(self, seconds: float) -> None:
        self.advance(seconds)
        await asyncio.sleep(0)

    def advance(self, seconds: float) -> None:
        self._now += timedelta(seconds=seconds)
        self._monotonic += seconds


class SteppedClock:
    """A ``Clock`` whose sleepers sleep until the test moves it beyond their time."""

    def __init__(self, start: datetime = LONG_AGO) -> None:
        self._start = start
        self._elapsed = 0.0
        self._sleepers: list[tuple[float, asyncio.Future[None]]] = []

    def now(self) -> datetime:
        return self._start + timedelta(seconds=self._elapsed)

    def monotonic(self) -> float:
        return self._elapsed

    async def sleep(self, seconds: float) -> None:
        until = asyncio.get_running_loop().create_future()
        self._sleepers.append((self._elapsed + seconds, until))
        await until

    async def run(self, seconds: float) -> None:
        """Let time pass, and everyone do what it brings, in order."""
        end = self._elapsed + seconds
        while True:
            await quiet()
            due = sorted(time for time, until in self._sleepers if not until.done())
            self._elapsed = min(end, max(self._elapsed, due[0])) if due else end
            ripe = [until for time, until in self._sleepers if time <= self._elapsed]
            self._sleepers = [pair for pair in self._sleepers if pair[0] > self._elapsed]
            for until in ripe:
                if not until.done():
                    until.set_result(None)
            if not ripe:
                return


async def quiet(turns: int = 200) -> None:
    """Let everyone do what can be done without time passing."""
    for _ in range(turns):
        await asyncio.sleep(0)
