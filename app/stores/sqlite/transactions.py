"""Writes in transactions, several in one (ADR 11). Functions over a connection; no threads here."""

import sqlite3
import time
from asyncio import Future
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from math import inf
from typing import Any, Generic, TypeAlias, TypeVar

T = TypeVar("T")
Work: TypeAlias = Callable[[sqlite3.Connection], T]

_LOCKED = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL})


class Write(Generic[T]):
    """One caller's work, and what became of it."""

    def __init__(self, work: Work[T]) -> None:
        self._work = work
        self._results: list[T] = []
        self.error: BaseException | None = None
        self.told: Future[None] | None = None
        """For a caller who waits for what somebody else runs: done when the outcome is known."""

    def do(self, db: sqlite3.Connection) -> None:
        """Do the work."""
        self._results.append(self._work(db))

    def start_over(self) -> None:
        """Forget what became of it: it was undone, and is to be done again."""
        self._results.clear()
        self.error = None

    def outcome(self) -> T:
        """Return what the work returned, or raise what became of it."""
        if self.error is not None:
            raise self.error
        return self._results[0]


def commit_together(db: sqlite3.Connection, group: Sequence[Write[Any]]) -> float:
    """Do a group of writes in one transaction, and note what became of each. Raises nothing.

    Returns the seconds that it took; infinity when the database failed.
    """
    began = time.perf_counter()
    try:
        _roll_back(db)  # what an earlier one may have left
        db.execute("BEGIN IMMEDIATE")
        if len(group) == 1:
            _do_only(db, group[0])
        else:
            for write in group:
                _do_alone(db, write)
        # Invariant 7: only after this is anyone answered.
        db.execute("COMMIT")
        return time.perf_counter() - began
    except BaseException as error:  # noqa: BLE001 - raised again to everyone in the group
        for write in group:
            write.error = error
        with suppress(sqlite3.Error, MemoryError):
            _roll_back(db)
        return inf


def _do_only(db: sqlite3.Connection, write: Write[Any]) -> None:
    """Do the one write of a transaction; when it raises, all is undone, and nothing committed."""
    try:
        write.do(db)
    except BaseException as error:
        if _is_of_database(error):
            raise
        write.error = error
        db.execute("ROLLBACK")
        db.execute("BEGIN")  # for the COMMIT that ends every transaction


def _do_alone(db: sqlite3.Connection, write: Write[Any]) -> None:
    """Do one write of a group; when it raises, undo it and no other."""
    db.execute("SAVEPOINT one")
    try:
        write.do(db)
    except BaseException as error:
        if _is_of_database(error):
            raise
        write.error = error
        db.execute("ROLLBACK TO one")
    db.execute("RELEASE one")


def _is_of_database(error: BaseException) -> bool:
    """Tell whether a transaction may have ended with this error, which then fails all in it.

    As by a full or broken disk, or no memory; an error of the work itself does not.
    """
    failed = isinstance(error, sqlite3.Error | MemoryError)
    return failed and not isinstance(error, sqlite3.IntegrityError)


def view(db: sqlite3.Connection, work: Work[T]) -> T:
    """Do ``work`` on one consistent view of the database."""
    try:
        _roll_back(db)
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


def is_locked(error: BaseException | None) -> bool:
    """Tell whether a transaction was undone only because another process is writing."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_OK)
    return isinstance(error, sqlite3.Error) and code & 0xFF in _LOCKED


def tell(group: Iterable[Write[Any]]) -> None:
    """Tell those who wait that the outcome is known. On the event loop."""
    for write in group:
        if write.told is not None and not write.told.done():  # its caller may be cancelled
            write.told.set_result(None)
