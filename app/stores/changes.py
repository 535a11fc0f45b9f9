"""Tell whoever waits for work in this process that there may be some."""

import asyncio
from contextlib import suppress


class Changes:
    """Something may have changed since the last wait. For one waiter."""

    def __init__(self) -> None:
        self._changed = asyncio.Event()

    def notify(self) -> None:
        """End the present wait, or the next one."""
        self._changed.set()

    async def wait(self, timeout_s: float) -> None:
        """Return after `notify`, or after ``timeout_s``."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._changed.wait()
        self._changed.clear()
