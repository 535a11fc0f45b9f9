"""Small writes on the event loop, while the disk is quick (ADR 17)."""

import asyncio
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, closing, suppress
from math import inf
from pathlib import Path

import pytest

from app.domain.errors import StoreError, StoreUnavailable
from app.stores.sqlite.connection import Connection
from app.stores.sqlite.nearby import AT_ONCE_MAX, Nearby

ALWAYS, NEVER = inf, -1.0
"""Which COMMIT is quick."""

Write = Callable[[sqlite3.Connection], int]
MAIN = threading.main_thread()


@asynccontextmanager
async def opened(path: Path, *, quick_s: float = ALWAYS) -> AsyncIterator[Connection]:
    async with Connection.open(path, quick_s=quick_s) as connection:
        await connection.run(lambda db: db.execute("PRAGMA journal_mode = WAL"))
        await connection.write(
            lambda db: db.execute("CREATE TABLE t (n INTEGER PRIMARY KEY) STRICT")
        )
        yield connection


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "x.db"


@pytest.fixture
async def connection(path: Path) -> AsyncIterator[Connection]:
    async with opened(path) as one:
        yield one


def insert(number: int) -> Write:
    def work(db: sqlite3.Connection) -> int:
        db.execute("INSERT INTO t VALUES (?)", (number,))
        return number

    return work


def where(_: sqlite3.Connection) -> threading.Thread:
    return threading.current_thread()


def on_disk(path: Path) -> list[int]:
    """Return what a process that starts now would find."""
    with closing(sqlite3.connect(path)) as other:
        return [number for (number,) in other.execute("SELECT n FROM t ORDER BY n")]


async def busy(connection: Connection) -> tuple[asyncio.Task[None], threading.Event]:
    """Keep the thread at work until the event is set."""
    begun, may_end = threading.Event(), threading.Event()

    def work(_: sqlite3.Connection) -> None:
        begun.set()
        assert may_end.wait(timeout=30)

    task = asyncio.create_task(connection.run(work))
    assert await asyncio.to_thread(begun.wait, 30)
    return task, may_end


async def test_it_is_done_on_the_event_loop_and_is_on_disk(
    connection: Connection, path: Path
) -> None:
    assert await connection.write_soon(where) is MAIN
    assert await connection.write_soon(insert(1)) == 1
    assert on_disk(path) == [1]


async def test_opening_waits_for_another_process_that_sets_up_the_database(path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        opening = asyncio.create_task(asyncio.to_thread(Nearby, path, quick_s=ALWAYS))
        await asyncio.wait([opening], timeout=0.2)
        assert not opening.done()
        other.execute("COMMIT")
        (await opening).close()


async def test_the_event_loop_goes_on_while_it_is_opened(path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        async with AsyncExitStack() as stack:
            opening = asyncio.create_task(stack.enter_async_context(Connection.open(path)))
            await asyncio.wait([opening], timeout=0.2)
            other.execute("COMMIT")  # It would not come to this before the busy timeout.
            connection = await opening
            assert await connection.run(where) is not MAIN


async def test_with_a_slow_disk_it_is_done_on_the_thread(path: Path) -> None:
    async with opened(path, quick_s=NEVER) as connection:
        assert await connection.write_soon(where) is not MAIN
        assert await connection.write_soon(insert(1)) == 1
    assert on_disk(path) == [1]


@pytest.mark.parametrize(("pragma", "value"), [("synchronous", 2), ("foreign_keys", 1)])
async def test_what_makes_a_commit_last_is_switched_on_here_too(
    connection: Connection, pragma: str, value: object
) -> None:
    """Invariant 7: 2 is FULL, an fsync for every commit."""
    [(found,)] = await connection.write_soon(lambda db: db.execute(f"PRAGMA {pragma}").fetchall())

    assert found == value


async def test_a_slow_commit_sends_those_after_it_to_the_thread_until_some_were_quick(
    path: Path,
) -> None:
    quick_s, stall_s = 0.005, 0.02

    def stalls(db: sqlite3.Connection) -> None:
        def at(statement: str) -> None:
            if statement == "COMMIT":
                time.sleep(stall_s)

        db.set_trace_callback(at)

    async def quick_again(connection: Connection) -> int:
        for count in range(1_000):
            if await connection.write_soon(where) is MAIN:
                return count
        raise AssertionError("never on the event loop again")

    async with opened(path, quick_s=quick_s) as connection:
        await quick_again(connection)
        await connection.write_soon(stalls)
        assert await connection.write_soon(where) is not MAIN
        assert await quick_again(connection) > 1, "one quick COMMIT proves little"


async def test_those_of_one_round_share_one_commit_and_get_their_own_answer(
    connection: Connection, path: Path
) -> None:
    seen: list[str] = []
    await connection.write_soon(lambda db: db.set_trace_callback(seen.append))
    seen.clear()

    writes = (connection.write_soon(insert(number)) for number in range(AT_ONCE_MAX))
    answers = await asyncio.gather(*writes)

    assert answers == on_disk(path) == list(range(AT_ONCE_MAX))
    assert seen.count("COMMIT") == 1


async def test_more_at_once_than_the_event_loop_can_spare_time_for_are_for_the_thread(
    connection: Connection,
) -> None:
    async def who(number: int) -> threading.Thread:
        return await connection.write_soon(lambda db: (insert(number)(db), where(db))[1])

    threads = await asyncio.gather(*map(who, range(AT_ONCE_MAX + 2)))

    assert [thread is MAIN for thread in threads] == [True] * AT_ONCE_MAX + [False] * 2


async def test_an_error_undoes_its_own_write_and_no_other(
    connection: Connection, path: Path
) -> None:
    def fails(db: sqlite3.Connection) -> int:
        insert(8)(db)
        raise LookupError

    one, refused, twice, two = await asyncio.gather(
        *map(connection.write_soon, (insert(1), fails, insert(1), insert(2))),
        return_exceptions=True,
    )

    assert (one, two, on_disk(path)) == (1, 2, [1, 2])
    assert isinstance(refused, LookupError)
    assert isinstance(twice, StoreError)


async def test_while_the_thread_is_at_work_it_waits_for_it(
    connection: Connection, path: Path
) -> None:
    """One connection of two would only find the other one's lock."""
    working, may_end = await busy(connection)
    asked = asyncio.create_task(connection.write_soon(where))
    await asyncio.sleep(0.05)
    assert not asked.done()

    may_end.set()

    assert await asked is not MAIN
    await working
    assert await connection.write_soon(where) is MAIN


async def test_the_event_loop_never_waits_for_another_process(
    connection: Connection, path: Path
) -> None:
    """D3: it takes the way through the thread, which may wait."""
    await connection.write_soon(insert(1))
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        began = time.monotonic()
        asked = asyncio.create_task(connection.write_soon(insert(2)))
        for _ in range(20):
            await asyncio.sleep(0)
        assert time.monotonic() - began < 1, "it went on; the thread waits up to 5 s"
        assert not asked.done()
        other.execute("ROLLBACK")

    assert await asked == 2
    assert on_disk(path) == [1, 2]


async def test_what_is_asked_for_later_comes_later(connection: Connection) -> None:
    def numbers(db: sqlite3.Connection) -> list[int]:
        return [row["n"] for row in db.execute("SELECT n FROM t ORDER BY n")]

    soon = asyncio.create_task(connection.write_soon(insert(1)))
    read = asyncio.create_task(connection.read(numbers))
    write = asyncio.create_task(connection.write(numbers))

    assert (await read, await write, await soon) == ([1], [1], 1)


async def test_a_cancelled_caller_is_told_at_once_and_takes_nobody_along(
    connection: Connection, path: Path
) -> None:
    asked = [asyncio.create_task(connection.write_soon(insert(number))) for number in range(3)]
    await asyncio.sleep(0)
    asked[1].cancel()

    outcomes = await asyncio.gather(*asked, return_exceptions=True)

    assert (outcomes[0], outcomes[2]) == (0, 2)
    assert isinstance(outcomes[1], asyncio.CancelledError)
    assert on_disk(path) == [0, 1, 2], "what was asked for happens all the same"


async def test_closing_does_first_what_was_asked_for(path: Path) -> None:
    async with asyncio.TaskGroup() as tasks, opened(path) as connection:
        asked = [tasks.create_task(connection.write_soon(insert(number))) for number in range(3)]
        await asyncio.sleep(0)

    assert [task.result() for task in asked] == on_disk(path) == [0, 1, 2]
    with pytest.raises(StoreUnavailable, match="closed"):
        await connection.write_soon(insert(4))


async def test_a_disk_that_is_full_fails_everyone_in_the_group(
    connection: Connection, path: Path
) -> None:
    """D1."""
    [(pages,)] = await connection.run(lambda db: db.execute("PRAGMA page_count").fetchall())
    await connection.write_soon(lambda db: db.execute(f"PRAGMA max_page_count = {pages}"))

    def many(db: sqlite3.Connection) -> int:
        db.executemany("INSERT INTO t VALUES (?)", ((number,) for number in range(100, 5_000)))
        return 100

    refused = await asyncio.gather(
        *map(connection.write_soon, (insert(1), many, insert(2))), return_exceptions=True
    )

    assert [type(error) for error in refused] == [StoreUnavailable] * 3
    assert on_disk(path) == []
    assert await connection.write_soon(insert(3)) == 3


async def test_what_no_memory_is_left_for_fails_everyone_in_the_group_and_no_one_later(
    connection: Connection, path: Path
) -> None:
    """SQLite has undone the whole transaction then; Python calls it a MemoryError."""

    def no_memory(db: sqlite3.Connection) -> int:
        insert(2)(db)
        raise MemoryError

    refused = await asyncio.gather(
        *map(connection.write_soon, (insert(1), no_memory, insert(3))), return_exceptions=True
    )

    assert [type(error) for error in refused] == [StoreUnavailable] * 3
    assert on_disk(path) == []
    assert await connection.write_soon(insert(4)) == 4
    assert on_disk(path) == [4]


async def test_a_transaction_that_cannot_even_be_undone_locks_nobody_out(
    connection: Connection, path: Path
) -> None:
    def no_way_out(db: sqlite3.Connection) -> int:
        def refuse(action: int, what: str | None, *_: str | None) -> int:
            ends = action == sqlite3.SQLITE_TRANSACTION and what in ("COMMIT", "ROLLBACK")
            return sqlite3.SQLITE_DENY if ends else sqlite3.SQLITE_OK

        db.set_authorizer(refuse)
        return insert(1)(db)

    with pytest.raises(StoreError):
        await connection.write_soon(no_way_out)

    assert await connection.write(insert(2)) == 2
    assert await connection.write_soon(insert(3)) == 3
    assert on_disk(path) == [2, 3]


async def test_a_lock_of_another_process_changes_no_order_and_loses_no_write(
    connection: Connection, path: Path
) -> None:
    def numbers(db: sqlite3.Connection) -> list[int]:
        return [row["n"] for row in db.execute("SELECT n FROM t ORDER BY n")]

    await connection.write_soon(insert(0))
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        soon = [asyncio.create_task(connection.write_soon(insert(number))) for number in (1, 2)]
        write = asyncio.create_task(connection.write(numbers))
        read = asyncio.create_task(connection.read(numbers))
        await asyncio.sleep(0.05)
        soon[1].cancel()
        await asyncio.sleep(0.05)
        other.execute("ROLLBACK")

    assert (await soon[0], await write, await read) == (1, [0, 1, 2], [0, 1, 2])
    assert soon[1].cancelled()


async def test_closing_waits_for_another_process_with_what_was_asked_for(path: Path) -> None:
    async with asyncio.TaskGroup() as tasks:
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            async with opened(path) as connection:
                await connection.write_soon(insert(0))
                other.execute("BEGIN IMMEDIATE")
                soon = tasks.create_task(connection.write_soon(insert(1)))
                await asyncio.sleep(0)
                asyncio.get_running_loop().call_later(0.1, other.execute, "ROLLBACK")

    assert soon.result() == 1
    assert on_disk(path) == [0, 1]


async def test_a_database_that_is_removed_is_not_made_anew(
    connection: Connection, path: Path
) -> None:
    await connection.write_soon(insert(1))
    path.unlink()

    with suppress(StoreUnavailable):
        await connection.write_soon(insert(2))

    assert not path.exists()


async def test_a_read_only_connection_cannot_write_soon_either(
    connection: Connection, path: Path
) -> None:
    async with Connection.open(path, read_only=True, quick_s=ALWAYS) as reader:
        with pytest.raises(StoreUnavailable):
            await reader.write_soon(insert(1))

    assert on_disk(path) == []
