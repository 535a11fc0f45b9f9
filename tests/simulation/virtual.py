"""Virtual time, and event loops that a schedule steps one handle at a time.

Every simulated process has a loop of its own. Nothing in it happens by itself: the
schedule picks a loop, runs one of its handles, and may do anything in between. What lies
between two handles is what lies between two awaits, so a process that is never stepped
again was killed there.
"""

import asyncio
import asyncio.events
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context, copy_context
from heapq import heappop, heappush
from itertools import count
from random import Random
from typing import Any, ClassVar, TypeVar

T = TypeVar("T")


class Time:
    """Seconds since the schedule began. Passes only when nobody has anything to do."""

    __slots__ = ("now",)

    def __init__(self) -> None:
        self.now = 0.0


class _Handle(asyncio.Handle):
    """A handle that asks nobody whether to debug: there are hundreds in a schedule."""

    __slots__ = ()

    def __init__(
        self,
        callback: Callable[..., object],
        args: tuple[Any, ...],
        loop: "ProcessLoop",
        context: Context | None,
    ) -> None:
        self._context = copy_context() if context is None else context
        self._loop = loop
        self._callback = callback
        self._args = args
        self._cancelled = False
        self._repr = None
        self._source_traceback = None


class _Timer(_Handle):
    """What `asyncio.TimerHandle` is to its users: something that can be cancelled."""

    __slots__ = ("_when",)

    _when: float

    def when(self) -> float:
        return self._when


class ProcessLoop(asyncio.AbstractEventLoop):
    """The event loop of one simulated process: what asyncio asks of a loop, and no I/O."""

    entered: ClassVar["ProcessLoop | None"] = None

    def __init__(self, time: Time) -> None:
        self._time = time
        self._order = count()
        self.ready: deque[_Handle] = deque()
        self.timers: list[tuple[float, int, _Timer]] = []
        self.tasks: list[asyncio.Task[Any]] = []
        self.troubles: list[str] = []
        """What a real loop would have logged: exceptions that nobody took."""

    # ---- what asyncio calls

    def time(self) -> float:
        return self._time.now

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        handle = _Handle(callback, args, self, context)
        self.ready.append(handle)
        return handle

    def call_later(  # type: ignore[override]
        self,
        delay: float,
        callback: Callable[..., object],
        *args: Any,
        context: Context | None = None,
    ) -> _Timer:
        return self.call_at(self._time.now + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self,
        when: float,
        callback: Callable[..., object],
        *args: Any,
        context: Context | None = None,
    ) -> _Timer:
        timer = _Timer(callback, args, self, context)
        timer._when = when
        if when <= self._time.now:
            self.ready.append(timer)
        else:
            heappush(self.timers, (when, next(self._order), timer))
        return timer

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(  # type: ignore[override]
        self,
        coro: Coroutine[Any, Any, T],
        *,
        name: str | None = None,
        context: Context | None = None,
    ) -> asyncio.Task[T]:
        task = asyncio.Task(coro, loop=self, name=name, context=context)
        self.tasks.append(task)
        return task

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        self.troubles.append(f"{context.get('message')}: {context.get('exception')!r}")

    # ---- what a schedule calls

    def enter(self) -> None:
        """Be the loop that runs: the one that asyncio finds."""
        if ProcessLoop.entered is not self:
            ProcessLoop.entered = self
            asyncio.events._set_running_loop(self)

    @staticmethod
    def leave() -> None:
        """Let no loop run."""
        ProcessLoop.entered = None
        asyncio.events._set_running_loop(None)

    def step(self) -> None:
        """Run the next handle."""
        handle = self.ready.popleft()
        if not handle._cancelled:
            self.enter()
            handle._run()

    def due_at(self) -> float | None:
        """Return when the next timer is due."""
        while self.timers and self.timers[0][2]._cancelled:
            heappop(self.timers)
        return self.timers[0][0] if self.timers else None

    def wake(self) -> None:
        """Make ready what is due."""
        while self.timers and self.timers[0][0] <= self._time.now:
            self.ready.append(heappop(self.timers)[2])

    def unfinished(self) -> list[asyncio.Task[Any]]:
        """Return the tasks that have not ended."""
        return [task for task in self.tasks if not task.done()]

    def discard(self) -> None:
        """Throw everything away, as ``kill -9`` does: nothing gets to tidy up.

        Python runs ``finally`` blocks all the same; by then every port of the process is cut
        off, so that none of it can be seen, and what they await never comes.
        """
        self.enter()
        while tasks := self.unfinished():
            self.tasks = []
            # The newest first: they are what the others wait for.
            for task in reversed(tasks):
                _kill(task)
        self.tasks.clear()
        self.ready.clear()
        self.timers.clear()
        self.leave()


class Killed(BaseException):
    """What a coroutine sees of the end of its process."""


def _kill(task: asyncio.Task[Any]) -> None:
    task._log_destroy_pending = False  # type: ignore[attr-defined]
    coroutine = task.get_coro()
    assert coroutine is not None
    for _ in range(20):
        try:
            coroutine.throw(Killed())
        except BaseException:
            return
        # It awaits again on its way out.
    raise AssertionError(f"{task!r} cannot be killed")


def pick(loops: list[ProcessLoop], time: Time, random: Random) -> ProcessLoop | None:
    """Return a loop with something to do, letting time pass if there is none.

    ``None``: nothing will ever happen again.
    """
    while True:
        busy = [loop for loop in loops if loop.ready]
        if busy:
            return busy[0] if len(busy) == 1 else busy[int(random.random() * len(busy))]
        dues = [due for loop in loops if loop.timers and (due := loop.due_at()) is not None]
        if not dues:
            return None
        time.now = max(time.now, min(dues))
        for loop in loops:
            loop.wake()
