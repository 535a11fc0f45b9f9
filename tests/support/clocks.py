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
