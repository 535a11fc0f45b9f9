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
from app.stores.sqlite.transactions import T, Work, Write, commit_together, view

BUSY_TIMEOUT_MS = 5_000
"""How long a write waits for another process's write. A write takes about 1 ms."""

QUICK_S = 0.0005
"""While a COMMIT takes longer, writes are for the thread."""

STALL_S = 0.01
"""A COMMIT that takes longer is not remembered longer either."""

FORGET = 0.9
"""What is left of the time of a slow COMMIT with each one after it."""

HERE_MAX = 8
"""More writes at once than this are for the thread: the event loop has others to serve."""

WAL_PAGES_MAX = 1_000
"""Pages (4 KiB) in the write-ahead log after which a commit also checkpoints."""

WAL_BYTES_MAX = 16 * 1024 * 1024
"""What the write-ahead log is cut back to after a checkpoint, should it ever be larger."""

_PRAGMAS = (
    "PRAGMA foreign_keys = ON",
    # FULL, not NORMAL: after a power loss NORMAL can forget a stage that had returned.
    # Source: https://www.sqlite.org/pragma.html#pragma_synchronous
    "PRAGMA synchronous = FULL",
    f"PRAGMA wal_autocheckpoint = {WAL_PAGES_MAX}",
    f"PRAGMA journal_size_limit = {WAL_BYTES_MAX}",
)

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
        self, path: Path, connection: aiosqlite.Connection, works: "_Works", *, quick_s: float
    ) -> None:
        self._path = path
        self._connection = connection
        self._works = works
        self._quick_s = quick_s
        self._open = True
        self._gathering = threading.Lock()
        self._group: list[Write[Any]] = []
        """Writes that the next transaction will hold."""

        self._hop_asked = False
        """A hop is under way that has not begun: it will take the group along."""

        self._here: list[Write[Any]] = []
        """Writes that the event loop does at the end of this round."""

        self._here_db: sqlite3.Connection | None = None
        """The event loop's own connection, once it has written."""

        self._commit_s = STALL_S
        """How long a COMMIT takes: what the slow ones lately took counts for a while."""

    @classmethod
    @asynccontextmanager
    async def open(
        cls, path: Path, *, read_only: bool = False, quick_s: float = QUICK_S
    ) -> AsyncIterator[Self]:
        """Open, or create, the database at ``path``. Raises `StoreError`.

        ``quick_s``: up to which duration of a COMMIT the event loop does those of `write_soon`.
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
        opened = cls(path, connection, works[0], quick_s=quick_s)
        try:
            await opened.run(lambda db: _prepare(db, read_only=read_only))
            yield opened
        finally:
            opened._open = False
            opened._write_here()
            if opened._here_db is not None:
                opened._here_db.close()
            await connection.close()

    async def run(self, work: Work[T]) -> T:
        """Run ``work`` on the connection's thread; raises `StoreError` for what SQLite raises."""
        self._check_open()
        self._write_here()  # It was asked for before.
        results: list[T] = []
        # No await in between: works and hops stay paired.
        self._works.waiting.append(lambda db: results.append(work(db)))
        try:
            await self._connection.commit()
        except (sqlite3.Error, OSError) as error:
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
        if self._commit_s > self._quick_s or self._works.waiting or len(self._here) >= HERE_MAX:
            return await self.write(work)
        write = Write(work)
        loop = asyncio.get_running_loop()
        write.told = loop.create_future()
        if not self._here:
            loop.call_soon(self._write_here)
        self._here.append(write)
        await write.told
        if _is_busy(write.error):
            return await self.write(work)
        return self._outcome(write)

    async def read(self, work: Work[T]) -> T:
        """Run ``work`` on one consistent view of the database."""
        return await self.run(lambda db: view(db, work))

    def _outcome(self, write: Write[T]) -> T:
        try:
            return write.outcome()
        except (sqlite3.Error, OSError) as error:
            raise translated(error, self._path) from error

    def _check_open(self) -> None:
        if not self._open:
            raise StoreUnavailable(f"the database {self._path} is closed")

    def _write_here(self) -> None:
        """Write all who wait for the event loop, if any. Runs on it, while the thread is idle."""
        if not self._here:
            return
        group, self._here = self._here, []
        try:
            if self._here_db is None:
                self._here_db = sqlite3.connect(self._path, isolation_level=None)
                _prepare(self._here_db, busy_timeout_ms=0)
            self._note(commit_together(self._here_db, group))
        except sqlite3.Error as error:
            self._note(inf)
            for write in group:
                write.error = error
        _tell([write.told for write in group if write.told is not None])

    def _note(self, commit_s: float) -> None:
        self._commit_s = max(min(commit_s, STALL_S), self._commit_s * FORGET)

    def _write_group(self, db: sqlite3.Connection) -> None:
        """Write all who wait. Runs on the thread, asked for by the first of them."""
        with self._gathering:
            group, self._group = self._group, []
            self._hop_asked = False  # Whoever comes from now on is in the next group.
        waiting = [write.told for write in group if write.told is not None]
        try:
            self._note(commit_together(db, group))
        finally:
            if waiting:
                waiting[0].get_loop().call_soon_threadsafe(_tell, waiting)


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


def translated(error: sqlite3.Error | OSError, path: Path) -> StoreError:
    """Return our error for a foreign one."""
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


def _prepare(
    db: sqlite3.Connection, *, read_only: bool = False, busy_timeout_ms: int = BUSY_TIMEOUT_MS
) -> None:
    db.row_factory = sqlite3.Row
    db.execute(f"PRAGMA busy_timeout = {busy_timeout_ms}")
    for pragma in _PRAGMAS:
        db.execute(pragma)
    if read_only:
        db.execute("PRAGMA query_only = ON")


def _is_busy(error: BaseException | None) -> bool:
    """Tell whether a transaction did not even begin, because another process is writing."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_OK)
    return isinstance(error, sqlite3.Error) and code & 0xFF == sqlite3.SQLITE_BUSY


def _tell(waiting: Sequence[asyncio.Future[None]]) -> None:
    for told in waiting:
        if not told.done():  # its caller may be cancelled
            told.set_result(None)
