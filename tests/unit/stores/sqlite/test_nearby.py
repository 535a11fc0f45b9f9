"""What the event loop's own connection leaves to the thread, and when (ADR 17)."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from app.stores.sqlite.connection import Connection
from app.stores.sqlite.nearby import AT_ONCE_MAX, WRITES_MAX
from tests.unit.stores.sqlite.test_write_soon import MAIN, Write, insert, on_disk, opened, where


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "x.db"


@pytest.fixture
async def connection(path: Path) -> AsyncIterator[Connection]:
    async with opened(path) as one:
        yield one


@pytest.mark.parametrize("at_once", [1, AT_ONCE_MAX])
async def test_the_log_does_not_grow_without_end(
    connection: Connection, path: Path, at_once: int
) -> None:
    """The event loop does not checkpoint: that is for the thread, now and then.

    And there only a transaction that changes something does; many change nothing.
    """
    log = path.with_name(f"{path.name}-wal")
    await connection.run(lambda db: db.execute("CREATE TABLE pages (n INTEGER, filler TEXT)"))

    def fill(db: sqlite3.Connection) -> None:
        db.execute("INSERT INTO pages VALUES (1, ?)", ("x" * 8_000,))

    for number in range(10 * WRITES_MAX // at_once):
        await asyncio.gather(*(connection.write_soon(fill) for _ in range(at_once)))
        if number % 10 == 0:
            await connection.write(lambda _: None)

    assert log.stat().st_size < 2_500 * 4_120


async def test_what_comes_right_behind_a_write_that_was_kept_out_waits_for_it(
    connection: Connection, path: Path
) -> None:
    """In the round of the event loop in which the lock was met, before the thread is asked."""
    done: list[int] = []
    behind = asyncio.get_running_loop().create_future()

    def note(number: int) -> Write:
        def work(db: sqlite3.Connection) -> int:
            done.append(number)
            return insert(number)(db)

        return work

    async def second() -> int:
        await behind
        return await connection.write_soon(note(2))

    await connection.write_soon(insert(0))
    later = asyncio.create_task(second())
    await asyncio.sleep(0)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        first = asyncio.create_task(connection.write_soon(note(1)))
        await asyncio.sleep(0)
        behind.set_result(None)  # wakes it right behind the attempt that is about to fail
        await asyncio.sleep(0.05)
        other.execute("ROLLBACK")

    assert (await first, await later) == (1, 2)
    assert (done, on_disk(path)) == ([1, 2], [0, 1, 2])


async def test_a_write_that_fails_by_itself_says_nothing_of_the_disk(path: Path) -> None:
    def refuse(_: sqlite3.Connection) -> int:
        raise LookupError

    async with opened(path, quick_s=1.0) as quick:
        while await quick.write_soon(where) is not MAIN:
            pass
        with pytest.raises(LookupError):
            await quick.write_soon(refuse)
        assert await quick.write_soon(where) is MAIN
