"""Have the next thing ready while this one is dealt with."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from types import TracebackType
from typing import Generic, Self, TypeVar

T = TypeVar("T")
R = TypeVar("R")


class Lookahead(Generic[T, R]):
    """Ask an async generator for one thing ahead, and make it ready. An async context manager.

    Leave it before the generator is closed: a generator that runs cannot be.
    """

    def __init__(
        self,
        generator: AsyncGenerator[T, None],
        *,
        prepare: Callable[[T], Awaitable[R]],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        spare: Callable[[], bool] = lambda: True,
    ) -> None:
        """Ask only while there is memory to ``spare``; otherwise when the thing is taken."""
        self._generator = generator
        self._prepare = prepare
        self._sleep = sleep
        self._spare = spare
        # Not in a TaskGroup: one would wrap every error of its body in an ExceptionGroup.
        # This class owns its one task instead, and never leaves it behind.
        self._next: asyncio.Task[R | Exception] | None = asyncio.create_task(self._advance())

    async def __aenter__(self) -> Self:
        """Be asked; the first thing is already under way."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop asking."""
        if self._next:
            self._next.cancel()
            await asyncio.wait([self._next])

    async def take(self, *, rest_s: float = 0.0) -> R:
        """Return the next thing and ask for the one after it, when ``rest_s`` seconds are over.

        Raises what the generator raised, after everything before it was taken.
        """
        if not self._next:
            self._next = asyncio.create_task(self._advance())
        taken = await self._next
        if isinstance(taken, Exception):
            raise taken
        self._next = asyncio.create_task(self._advance(rest_s)) if self._spare() else None
        return taken

    def ready(self) -> R | None:
        """Return the thing that `take` would return without waiting, if there is one."""
        if not self._next or not self._next.done() or self._next.cancelled():
            return None
        upcoming = self._next.result()
        return None if isinstance(upcoming, Exception) else upcoming

    async def _advance(self, rest_s: float = 0.0) -> R | Exception:
        try:
            if rest_s:
                await self._sleep(rest_s)
            return await self._prepare(await anext(self._generator))
        except Exception as error:  # noqa: BLE001 - raised again by `take`, in its turn
            return error
