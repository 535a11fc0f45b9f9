"""Have the next thing ready while this one is dealt with."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Generic, TypeVar

T = TypeVar("T")


class Lookahead(Generic[T]):
    """Ask an async generator for one thing ahead, in the given task group.

    Close it before the generator is closed: a generator that runs cannot be.
    """

    def __init__(self, generator: AsyncGenerator[T, None], tasks: asyncio.TaskGroup) -> None:
        self._generator = generator
        self._tasks = tasks
        self._next = tasks.create_task(self._advance())

    async def take(self) -> T:
        """Return the next thing and ask for the one after it.

        Raises what the generator raised, after everything before it was taken.
        """
        taken = await self._next
        if isinstance(taken, Exception):
            raise taken
        self._next = self._tasks.create_task(self._advance())
        return taken

    def ready(self) -> T | None:
        """Return the thing that `take` would return without waiting, if there is one."""
        if not self._next.done() or self._next.cancelled():
            return None
        upcoming = self._next.result()
        return None if isinstance(upcoming, Exception) else upcoming

    async def close(self) -> None:
        """Stop asking."""
        self._next.cancel()
        await asyncio.wait([self._next])

    async def _advance(self) -> T | Exception:
        try:
            return await anext(self._generator)
        except Exception as error:  # noqa: BLE001 - raised again by `take`, in its turn
            return error
