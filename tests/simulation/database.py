"""A SQLite database that schedules have one after another, empty each time.

To open a connection and to prepare its statements takes as long as a schedule. So connections
are kept: whoever opens the database gets one that another process, long dead, has left.
"""

import os
import shutil
import sqlite3
from collections.abc import Callable
from multiprocessing.util import Finalize
from pathlib import Path
from tempfile import mkdtemp
from typing import TypeAlias, TypeVar, cast

from app.stores.sqlite.connection import Connection
from app.stores.sqlite.schema import migrate
from tests.simulation.virtual import at_once

T = TypeVar("T")

IN_MEMORY = Path("/dev/shm") if os.access("/dev/shm", os.W_OK) else None
"""A file system in memory, where there is one: nobody pulls a plug here."""


class Direct:
    """A `Connection` without its thread: each transaction is done when it is asked for."""

    def __init__(self, path: Path, *, only_reads: bool = False) -> None:
        self.db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self.db.row_factory = sqlite3.Row
        self.db.execute("PRAGMA synchronous = OFF")
        self.db.execute("PRAGMA foreign_keys = ON")
        if only_reads:
            self.db.execute("PRAGMA query_only = ON")

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        return work(self.db)

    async def write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        return self.do(work)

    async def write_soon(self, work: Callable[[sqlite3.Connection], T]) -> T:
        return await self.write(work)

    async def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        return self.do(work, begin="BEGIN")

    def do(self, work: Callable[[sqlite3.Connection], T], begin: str = "BEGIN IMMEDIATE") -> T:
        self.db.execute(begin)
        try:
            result = work(self.db)
        except BaseException:
            self.db.execute("ROLLBACK")
            raise
        self.db.execute("COMMIT")
        return result


Ends: TypeAlias = tuple[Direct, Direct]
"""What a process has: one to write, one to read."""


class Database:
    """One file."""

    def __init__(self) -> None:
        self.folder = Path(mkdtemp(prefix="simulated-", dir=IN_MEMORY))
        self.workers = self.folder / "workers"
        """Where their lock files are."""

        self._unused: list[Ends] = []
        ends = self.connect()
        at_once(migrate(cast("Connection", ends[0])))
        tables = "SELECT name FROM sqlite_schema WHERE type = 'table'"
        self._tables = [row["name"] for row in ends[0].db.execute(tables)]
        self.disconnect(ends)

    def connect(self) -> Ends:
        """Give a process its connections."""
        if self._unused:
            return self._unused.pop()
        path = self.folder / "progress.db"
        return Direct(path), Direct(path, only_reads=True)

    def disconnect(self, ends: Ends) -> None:
        """Take them back. No transaction is open: none takes longer than a step."""
        self._unused.append(ends)

    def empty(self) -> None:
        """Have no rows, and nobody alive."""
        ends = self.connect()
        ends[0].db.execute("PRAGMA foreign_keys = OFF")
        ends[0].do(lambda db: [db.execute(f"DELETE FROM {table}") for table in self._tables])
        ends[0].db.execute("PRAGMA foreign_keys = ON")
        self.disconnect(ends)
        shutil.rmtree(self.workers, ignore_errors=True)

    def remove(self) -> None:
        """Leave nothing behind."""
        for ends in self._unused:
            for end in ends:
                end.db.close()
        shutil.rmtree(self.folder)


_open: dict[int, Database] = {}
"""By process: a connection must not be used after a fork."""


def database() -> Database:
    """Return the database of this process, empty."""
    pid = os.getpid()
    if pid not in _open:
        _open[pid] = Database()
        # Beside atexit: a child of multiprocessing ends without it.
        Finalize(None, remove_database, exitpriority=0)
    _open[pid].empty()
    return _open[pid]


def remove_database() -> None:
    """Have none any more; the next one is made when it is asked for."""
    if (database := _open.pop(os.getpid(), None)) is not None:
        database.remove()
