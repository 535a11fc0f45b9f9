"""Virtual time, and event loops that a schedule steps one handle at a time.

Every simulated process has a loop of its own. Nothing in it happens by itself: the
schedule picks a loop, runs one of its handles, and may do anything in between. What lies
between two handles is what lies between two awaits, so a process that is never stepped
again was killed there.
"""

import asyncio
import asyncio.events
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from contextvars import Context
from heapq import heappop, heappush
from itertools import count
from math import inf
from random import Random
from typing import Any, ClassVar, TypeVar, cast

T = TypeVar("T")


class Time:
    """Seconds since the schedule began. Passes only when nobody has anything to do."""

    __slots__ = ("now",)

    def __init__(self) -> None:
        self.now = 0.0


class _Handle(list[Any]):
    """What is to be called: callback, arguments, context. A list is made in C, and there are
    hundreds of them in a schedule."""

    __slots__ = ()

    def cancel(self) -> None:
        """Be passed over in one's turn."""
        self[0] = None


class ProcessLoop(asyncio.AbstractEventLoop):
    """The event loop of one simulated process: what asyncio asks of a loop, and no I/O."""

    entered: ClassVar["ProcessLoop | None"] = None

    def __init__(self, time: Time) -> None:
        self._time = time
        self._order = count()
        self.ready: deque[_Handle] = deque()
        self.timers: list[tuple[float, int, _Handle]] = []
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

    # Nobody here has context variables: only tasks bring a context, their own.

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> _Handle:
        handle = _Handle((callback, args, context))
        self.ready.append(handle)
        return handle

    def call_later(  # type: ignore[override]
        self,
        delay: float,
        callback: Callable[..., object],
        *args: Any,
        context: Context | None = None,
    ) -> _Handle:
        return self.call_at(self._time.now + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self,
        when: float,
        callback: Callable[..., object],
        *args: Any,
        context: Context | None = None,
    ) -> _Handle:
        handle = _Handle((callback, args, context))
        if when <= self._time.now:
            self.ready.append(handle)
        else:
            heappush(self.timers, (when, next(self._order), handle))
        return handle

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(  # type: ignore[override]
        self,
        coro: Coroutine[Any, Any, T],
        *,
        name: str | None = None,
        context: Context | None = None,
    ) -> asyncio.Task[T]:
        task = asyncio.Task(coro, loop=self, name=name or "task", context=context)
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
    @contextmanager
    def found_quickly() -> Iterator[None]:
        """Have asyncio ask here which loop runs: each time it asks the system for the process.

        And have it keep no list of all tasks: each loop here has its own.
        """
        names = ("get_running_loop", "_get_running_loop")
        own = {name: vars(asyncio.events)[name] for name in names}
        every_task = vars(asyncio.tasks)["_all_tasks"]
        try:
            vars(asyncio.events).update(dict.fromkeys(names, lambda: ProcessLoop.entered))
            every_task.add = lambda task: None
            yield
        finally:
            del every_task.add
            vars(asyncio.events).update(own)
            ProcessLoop.leave()

    @staticmethod
    def leave() -> None:
        """Let no loop run."""
        ProcessLoop.entered = None
        asyncio.events._set_running_loop(None)

    def run(self, most: int) -> int:
        """Run the next handles, so many at most; return how many there were."""
        self.enter()
        ready = self.ready
        for done in range(most):
            if not ready:
                return done
            callback, args, context = ready.popleft()
            try:
                if callback is None:
                    continue
                if context is None:
                    callback(*args)
                else:
                    context.run(callback, *args)
            except (SystemExit, KeyboardInterrupt):
                raise
            except BaseException as error:
                self.troubles.append(f"Exception in {callback!r}: {error!r}")
        return most

    def due_at(self) -> float:
        """Return when the next timer is due; infinity: never."""
        timers = self.timers
        while timers and timers[0][2][0] is None:
            heappop(timers)
        return timers[0][0] if timers else inf

    def wake(self) -> None:
        """Make ready what is due."""
        timers, now = self.timers, self._time.now
        while timers and timers[0][0] <= now:
            self.ready.append(heappop(timers)[2])

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


class OutsideLoop(ProcessLoop):
    """The loop of what is no process: timers and callbacks, no coroutines.

    Nobody in it asks asyncio which loop runs, so it is never said: each time costs two system
    calls, and every second handle is one of these.
    """

    def enter(self) -> None:
        """Leave the running loop as it is."""


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
        due = min([loop.due_at() for loop in loops])
        if due == inf:
            return None
        time.now = max(time.now, due)
        for loop in loops:
            loop.wake()


def at_once(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that never waits."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return cast("T", stop.value)
    coroutine.close()
    raise AssertionError("a store waited in the middle of a transaction")
