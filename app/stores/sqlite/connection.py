"""What is to be written is a function, run whole on SQLite's thread; one fsync for all that wait.

aiosqlite owns a thread per connection and hands it single statements: a transaction of
six statements is six hops through the event loop (0.73 ms of processor time here, against
0.24 ms in one), and a cancellation can land between any two of them. Here the whole
work is one function that runs on that thread: it is either done or not done.

An fsync costs more than all statements of a write together, so the writes that are asked
for while one transaction is being committed share the next one (ADR 11). Each is undone
alone when it raises, and nobody is answered before the COMMIT that holds their write.
"""

import asyncio
import sqlite3
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Generic, Self, TypeAlias, TypeVar

import aiosqlite

from app.domain.errors import StoreError, StoreUnavailable

BUSY_TIMEOUT_MS = 5_000
"""How long a write waits for another process's write. A write takes about 1 ms."""

WAL_PAGES_MAX = 1_000
"""Pages (4 KiB) in the write-ahead log after which a commit also checkpoints."""

WAL_BYTES_MAX = 16 * 1024 * 1024
"""What the write-ahead log is cut back to after a checkpoint, should it ever be larger."""

_PRAGMAS = (
    f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}",
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

T = TypeVar("T")
Work: TypeAlias = Callable[[sqlite3.Connection], T]


class _Write(Generic[T]):
    """One caller's work, and what became of it. Shared with SQLite's thread."""

    def __init__(self, work: Work[T]) -> None:
        self._work = work
        self._results: list[T] = []
        self.error: BaseException | None = None
        self.told: asyncio.Future[None] | None = None
        """For a caller who waits for somebody else's hop: done when the outcome is known."""

    def do(self, db: sqlite3.Connection) -> None:
        self._results.append(self._work(db))

    def outcome(self) -> T:
        if self.error is not None:
            raise self.error
        return self._results[0]


class Connection:
    """A SQLite database whose transactions are plain functions, run on its own thread.

    A cancelled caller gets its cancellation at once; its work still happens, or does not,
    as a whole, and before everything that is asked for later.
    """

    def __init__(self, path: Path, connection: aiosqlite.Connection, works: "_Works") -> None:
        self._path = path
        self._connection = connection
        self._works = works
        self._open = True
        self._gathering = threading.Lock()
        self._group: list[_Write[Any]] = []
        """Writes that the next transaction will hold."""

        self._hop_asked = False
        """A hop is under way that has not begun: it will take the group along."""

    @classmethod
    @asynccontextmanager
    async def open(cls, path: Path, *, read_only: bool = False) -> AsyncIterator[Self]:
        """Open, or create, the database at ``path``. Raises `StoreError`."""
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
            await opened.run(lambda db: _prepare(db, read_only=read_only))
            yield opened
        finally:
            opened._open = False
            await connection.close()

    async def run(self, work: Work[T]) -> T:
        """Run ``work`` on the connection's thread; raises `StoreError` for what SQLite raises."""
        self._check_open()
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
        write = _Write(work)
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
        try:
            return write.outcome()
        except (sqlite3.Error, OSError) as error:
            raise translated(error, self._path) from error

    async def read(self, work: Work[T]) -> T:
        """Run ``work`` on one consistent view of the database."""
        return await self.run(lambda db: _view(db, work))

    def _check_open(self) -> None:
        if not self._open:
            raise StoreUnavailable(f"the database {self._path} is closed")

    def _write_group(self, db: sqlite3.Connection) -> None:
        """Write all who wait. Runs on the thread, asked for by the first of them."""
        with self._gathering:
            group, self._group = self._group, []
            self._hop_asked = False  # Whoever comes from now on is in the next group.
        waiting = [write.told for write in group if write.told is not None]
        try:
            _commit_together(db, group)
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
        self.waiting.popleft()(self)


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


def _prepare(db: sqlite3.Connection, *, read_only: bool) -> None:
    db.row_factory = sqlite3.Row
    for pragma in _PRAGMAS:
        db.execute(pragma)
    if read_only:
        db.execute("PRAGMA query_only = ON")


def _commit_together(db: sqlite3.Connection, group: Sequence[_Write[Any]]) -> None:
    """Do a group of writes in one transaction, and note what became of each."""
    try:
        db.execute("BEGIN IMMEDIATE")
        for write in group:
            _do_alone(db, write)
        # Invariant 7: only after this is anyone answered.
        db.execute("COMMIT")
    except BaseException as error:  # noqa: BLE001 - raised again to everyone in the group
        for write in group:
            write.error = error
        _roll_back(db)


def _do_alone(db: sqlite3.Connection, write: _Write[Any]) -> None:
    """Do one write of a group; when it raises, undo it and no other."""
    db.execute("SAVEPOINT one")
    try:
        write.do(db)
    except BaseException as error:
        # A full or broken disk may have ended the whole transaction, and fails everyone in it.
        if isinstance(error, sqlite3.Error) and not isinstance(error, sqlite3.IntegrityError):
            raise
        write.error = error
        db.execute("ROLLBACK TO one")
    db.execute("RELEASE one")


def _view(db: sqlite3.Connection, work: Work[T]) -> T:
    try:
        db.execute("BEGIN")
        result = work(db)
        db.execute("COMMIT")
    except BaseException:
        _roll_back(db)
        raise
    return result


def _roll_back(db: sqlite3.Connection) -> None:
    """End a transaction that failed; a failed write or COMMIT may have ended it already."""
    if db.in_transaction:
        db.execute("ROLLBACK")


def _tell(waiting: Sequence[asyncio.Future[None]]) -> None:
    for told in waiting:
        if not told.done():  # its caller may be cancelled
            told.set_result(None)
