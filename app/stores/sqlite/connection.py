"""What is to be written is a function, run whole on SQLite's thread; one fsync for all that wait.

aiosqlite owns a thread per connection and hands it single statements: a transaction of
six statements is six hops through the event loop (0.73 ms of processor time here, against
0.24 ms in one), and a cancellation can land between any two of them. Here the whole
work is one function that runs on that thread: it is either done or not done.

An fsync costs more than all statements of a write together, so the writes that are asked
for while one transaction is being committed share the next one (ADR 11). Each is undone
alone when it raises, and nobody is answered before the COMMIT that holds their write.

Where the disk is quick, the way to the thread and back costs more than the COMMIT. The writes of
deliveries are done on the event loop then, over a second connection that never waits (ADR 17).
"""

import asyncio
import sqlite3
import threading
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from math import inf
from pathlib import Path
from typing import Any, Self

import aiosqlite

from app.domain.errors import StoreError, StoreUnavailable
from app.stores.sqlite.nearby import QUICK_S, Nearby
from app.stores.sqlite.pragmas import prepare
from app.stores.sqlite.transactions import T, Work, Write, commit_together, tell, view

_UNAVAILABLE = {
    sqlite3.SQLITE_BUSY: "another process is writing to it",
    sqlite3.SQLITE_LOCKED: "another process has locked it",
    sqlite3.SQLITE_PROTOCOL: "another process has locked it",
    sqlite3.SQLITE_FULL: "the disk is full",
    sqlite3.SQLITE_IOERR: "the disk failed or is full",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened",
    sqlite3.SQLITE_READONLY: "it cannot be written",
    sqlite3.SQLITE_PERM: "it cannot be written",
    sqlite3.SQLITE_NOMEM: "memory ran out",
}
"""SQLite's primary result codes that another try may cure, in words."""


class Connection:
    """A SQLite database whose transactions are plain functions, run on its own thread.

    A cancelled caller gets its cancellation at once; its work still happens, or does not,
    as a whole, and before everything that is asked for later.
    """

    def __init__(
        self,
        path: Path,
        connection: aiosqlite.Connection,
        works: "_Works",
    ) -> None:
        self._path = path
        self._connection = connection
        self._works = works
        self._nearby: Nearby | None = None
        self._open = True
        self._gathering = threading.Lock()
        self._group: list[Write[Any]] = []
        """Writes that the next transaction will hold."""

        self._hop_asked = False
        """A hop is under way that has not begun: it will take the group along."""

        self._left: Sequence[Write[Any]] = ()
        """Writes that met another process's lock: the thread does them before anything else."""

        self._leaving: set[asyncio.Task[None]] = set()
        """Hops for them, where nobody else asked for one."""

    @classmethod
    @asynccontextmanager
    async def open(
        cls, path: Path, *, read_only: bool = False, quick_s: float = QUICK_S
    ) -> AsyncIterator[Self]:
        """Open, or create, the database at ``path``. Raises `StoreError`.

        ``quick_s``: up to which duration of a transaction the event loop does `write_soon`.
        """
        works: list[_Works] = []
        threads: list[threading.Thread] = []

        def factory(*args: Any, **kwargs: Any) -> _Works:
            threads.append(threading.current_thread())
            works.append(_Works(*args, **kwargs))
            return works[0]

        # No isolation level: sqlite3 shall begin no transaction by itself.
        connecting = aiosqlite.connect(path, isolation_level=None, factory=factory)
        try:
            connection = await connecting
        except sqlite3.Error as error:
            # aiosqlite ends its thread without waiting for it, perhaps after our event loop.
            await asyncio.to_thread(threads[0].join)
            raise translated(error, path) from error
        opened = cls(path, connection, works[0])
        try:
            await opened.run(lambda db: prepare(db, read_only=read_only))
            if not read_only:
                # On the thread: another process's lock is waited for.
                opened._nearby = await opened.run(lambda _: Nearby(path, quick_s=quick_s))
            yield opened
        finally:
            opened._open = False
            await opened._close()

    async def run(self, work: Work[T]) -> T:
        """Run ``work`` on the connection's thread; raises `StoreError` for what SQLite raises."""
        self._check_open()
        self._write_nearby()  # It was asked for before.
        return await self._hop(work)

    async def _hop(self, work: Work[T]) -> T:
        results: list[T] = []

        def whole(db: sqlite3.Connection) -> None:
            self._write_left(db)
            results.append(work(db))

        # No await in between: works and hops stay paired.
        self._works.waiting.append(whole)
        try:
            await self._connection.commit()
        except (sqlite3.Error, OSError, MemoryError) as error:
            raise translated(error, self._path) from error
        return results[0]

    async def write(self, work: Work[T]) -> T:
        """Run ``work`` in a transaction that is on disk when this returns.

        At once when the thread is free, otherwise together with all who wait, in the order
        they asked. Raises what ``work`` raises, after undoing what it did and only that; a
        failure of the database itself undoes the whole group, and everyone in it is told.
        """
        self._check_open()
        write = Write(work)
        with self._gathering:
            self._group.append(write)
            leads = not self._hop_asked
            self._hop_asked = True
            if not leads:
                write.told = asyncio.get_running_loop().create_future()
        if write.told is None:
            await self.run(self._write_group)
        else:
            await write.told
        return self._outcome(write)

    async def write_soon(self, work: Work[T]) -> T:
        """Do a small write like `write`, but on the event loop while the disk is quick (ADR 17).

        With those that others ask for in the same round of the event loop. Never while the
        thread is at work, and never waits for another process: those go the way of `write`.
        """
        self._check_open()
        nearby = self._nearby
        if nearby is None or self._works.waiting or self._left or not nearby.takes_one():
            return await self.write(work)
        write = Write(work)
        loop = asyncio.get_running_loop()
        write.told = loop.create_future()
        if not nearby:
            loop.call_soon(self._write_nearby_alone)
        nearby.add(write)
        await write.told
        return self._outcome(write)

    async def read(self, work: Work[T]) -> T:
        """Run ``work`` on one consistent view of the database."""
        return await self.run(lambda db: view(db, work))

    def _outcome(self, write: Write[T]) -> T:
        try:
            return write.outcome()
        except (sqlite3.Error, OSError, MemoryError) as error:
            raise translated(error, self._path) from error

    def _check_open(self) -> None:
        if not self._open:
            raise StoreUnavailable(f"the database {self._path} is closed")

    def _write_nearby(self) -> None:
        """Do what waits for the event loop, if anything does."""
        if self._nearby:
            self._left = self._nearby.commit()

    def _write_nearby_alone(self) -> None:
        self._write_nearby()
        if self._left:
            hop = asyncio.get_running_loop().create_task(self._hop(_nothing))
            self._leaving.add(hop)
            hop.add_done_callback(self._leaving.discard)

    def _write_left(self, db: sqlite3.Connection) -> None:
        """Write what the event loop could not. Runs on the thread."""
        group, self._left = self._left, ()
        if group:
            self._commit(db, group)

    async def _close(self) -> None:
        """Do all that was asked for, and let go of the file."""
        try:
            self._write_nearby()
            if self._leaving:
                await asyncio.wait(self._leaving)
            if self._left:
                await self._hop(_nothing)
        finally:
            if self._nearby is not None:
                self._nearby.close()
            await self._connection.close()

    def _write_group(self, db: sqlite3.Connection) -> None:
        """Write all who wait. Runs on the thread, asked for by the first of them."""
        with self._gathering:
            group, self._group = self._group, []
            self._hop_asked = False  # Whoever comes from now on is in the next group.
        self._commit(db, group)

    def _commit(self, db: sqlite3.Connection, group: Sequence[Write[Any]]) -> None:
        changes = db.total_changes
        took_s = commit_together(db, group)
        if self._nearby is not None:
            changed = took_s < inf and db.total_changes > changes
            self._nearby.note_on_thread(took_s, changed=changed)
        waiting = [write.told for write in group if write.told is not None]
        if waiting:
            waiting[0].get_loop().call_soon_threadsafe(tell, group)


class _Works(sqlite3.Connection):
    """A connection that, where aiosqlite commits, does the next piece of work.

    aiosqlite has no public way to run a function on its thread, but it calls ``commit``
    there, and ``sqlite3.connect(factory=…)`` lets us say what that means.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.waiting: deque[Work[None]] = deque()

    def commit(self) -> None:
        try:
            self.waiting[0](self)
        finally:
            self.waiting.popleft()  # Only now, so that who sees none knows the thread is idle.


def translated(error: sqlite3.Error | OSError | MemoryError, path: Path) -> StoreError:
    """Return our error for a foreign one."""
    if isinstance(error, MemoryError):
        return StoreUnavailable(f"the database {path} is unavailable: memory ran out")
    if isinstance(error, OSError):
        return StoreUnavailable(f"the database {path} is unavailable: {error}")
    code = getattr(error, "sqlite_errorcode", None)
    reason = _UNAVAILABLE.get(code & 0xFF) if code is not None else None
    if reason is None:
        return StoreError(f"the database {path} failed: {error}")
    return StoreUnavailable(
        f"the database {path} is unavailable: {reason} ({error})",
        remedy="Look at the free space and the health of its disk.",
    )


def _nothing(_: sqlite3.Connection) -> None: ...
