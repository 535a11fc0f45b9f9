"""Transactions as functions: whole, in order, and with errors of our own."""

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest

from app.domain.errors import StoreError, StoreUnavailable
from app.stores.sqlite.connection import Connection


@pytest.fixture
async def connection(tmp_path: Path) -> AsyncIterator[Connection]:
    async with Connection.open(tmp_path / "x.db") as opened:
        await opened.run(lambda db: db.execute("PRAGMA journal_mode = WAL"))
        await opened.write(lambda db: db.execute("CREATE TABLE t (n INTEGER PRIMARY KEY) STRICT"))
        yield opened


def insert(db: sqlite3.Connection, number: int) -> int:
    db.execute("INSERT INTO t VALUES (?)", (number,))
    return number


async def numbers(connection: Connection) -> list[int]:
    rows = await connection.read(lambda db: db.execute("SELECT n FROM t ORDER BY n").fetchall())
    return [row["n"] for row in rows]


@pytest.mark.parametrize(
    ("pragma", "value"),
    [("synchronous", 2), ("foreign_keys", 1), ("busy_timeout", 5000), ("journal_mode", "wal")],
)
async def test_what_makes_a_commit_last_is_switched_on(
    connection: Connection, pragma: str, value: object
) -> None:
    """Invariant 7: 2 is FULL, an fsync for every commit."""
    [(found,)] = await connection.run(lambda db: db.execute(f"PRAGMA {pragma}").fetchall())

    assert found == value


async def test_a_transaction_that_raises_leaves_nothing(connection: Connection) -> None:
    def work(db: sqlite3.Connection) -> None:
        insert(db, 1)
        raise LookupError

    with pytest.raises(LookupError):
        await connection.write(work)

    assert await connection.write(lambda db: insert(db, 2)) == 2
    assert await numbers(connection) == [2]


async def test_transactions_do_not_mix_and_keep_their_order(connection: Connection) -> None:
    done: list[int] = []

    def work(number: int, db: sqlite3.Connection) -> None:
        insert(db, number)
        done.append(number)

    await asyncio.gather(*(connection.write(partial(work, number)) for number in range(50)))

    assert done == await numbers(connection) == list(range(50))


async def test_what_a_cancelled_caller_asked_for_ends_before_what_comes_later(
    connection: Connection,
) -> None:
    begun, may_end = threading.Event(), threading.Event()

    def slow(db: sqlite3.Connection) -> None:
        begun.set()
        assert may_end.wait(timeout=30)
        insert(db, 1)

    task = asyncio.create_task(connection.write(slow))
    assert await asyncio.to_thread(begun.wait, 30)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    later = asyncio.create_task(numbers(connection))
    await asyncio.sleep(0)
    may_end.set()

    assert await later == [1]


async def test_errors_of_sqlite_do_not_escape(connection: Connection) -> None:
    await connection.write(lambda db: insert(db, 1))

    with pytest.raises(StoreError) as refused:
        await connection.write(lambda db: insert(db, 1))

    assert not refused.value.retryable
    assert isinstance(refused.value.__cause__, sqlite3.IntegrityError)


async def test_a_database_that_another_one_writes_is_unavailable_and_then_is_not(
    connection: Connection, tmp_path: Path
) -> None:
    """D3."""
    await connection.run(lambda db: db.execute("PRAGMA busy_timeout = 1"))
    other = sqlite3.connect(tmp_path / "x.db", isolation_level=None)
    try:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailable) as refused:
            await connection.write(lambda db: insert(db, 1))
        assert refused.value.retryable
        assert await numbers(connection) == [], "reads go on"
        other.execute("ROLLBACK")
    finally:
        other.close()

    await connection.write(lambda db: insert(db, 1))
    assert await numbers(connection) == [1]


async def test_a_read_only_connection_cannot_write(connection: Connection, tmp_path: Path) -> None:
    async with Connection.open(tmp_path / "x.db", read_only=True) as reader:
        with pytest.raises(StoreUnavailable):
            await reader.write(lambda db: insert(db, 1))
        await connection.write(lambda db: insert(db, 1))
        assert await numbers(reader) == [1], "it sees what was written before it asked"


async def test_a_closed_connection_says_so(tmp_path: Path) -> None:
    async with Connection.open(tmp_path / "x.db") as connection:
        pass

    with pytest.raises(StoreUnavailable, match="closed"):
        await numbers(connection)


async def test_a_path_that_cannot_be_opened_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable):
        async with Connection.open(tmp_path):
            pass
