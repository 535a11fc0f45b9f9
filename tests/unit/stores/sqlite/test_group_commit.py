"""Writes that wait at the same time share one transaction, and nothing else (ADR 11)."""

import asyncio
import sqlite3
import tempfile
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.errors import StoreError, StoreUnavailable
from app.stores.sqlite.connection import Connection

Write = Callable[[sqlite3.Connection], int]


@asynccontextmanager
async def opened(path: Path) -> AsyncIterator[Connection]:
    async with Connection.open(path) as connection:
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


def insert(*inserted: int) -> Write:
    def work(db: sqlite3.Connection) -> int:
        db.executemany("INSERT INTO t VALUES (?)", ((number,) for number in inserted))
        return inserted[0]

    return work


def insert_and_fail(number: int) -> Write:
    def work(db: sqlite3.Connection) -> int:
        insert(number)(db)
        raise LookupError(number)

    return work


def on_disk(path: Path) -> list[int]:
    """Return what a process that starts now would find."""
    with closing(sqlite3.connect(path)) as other:
        return [number for (number,) in other.execute("SELECT n FROM t ORDER BY n")]


async def commits(connection: Connection) -> list[str]:
    """Return a list that every COMMIT from now on is written into."""
    seen: list[str] = []

    def see(statement: str) -> None:
        if statement == "COMMIT":
            seen.append(statement)

    await connection.run(lambda db: db.set_trace_callback(see))
    return seen


async def together(
    connection: Connection, *writes: Write, while_waiting: Callable[[], None] = lambda: None
) -> list[int | BaseException]:
    """Ask for writes while the thread is busy, so that they are one group."""
    begun, may_end = threading.Event(), threading.Event()

    def busy(_: sqlite3.Connection) -> None:
        begun.set()
        assert may_end.wait(timeout=30)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(connection.run(busy))
        assert await asyncio.to_thread(begun.wait, 30)
        asked = [asyncio.ensure_future(connection.write(write)) for write in writes]
        await asyncio.sleep(0)
        while_waiting()
        may_end.set()
        return await asyncio.gather(*asked, return_exceptions=True)


async def test_a_write_alone_is_committed_at_once(connection: Connection, path: Path) -> None:
    seen = await commits(connection)

    assert await connection.write(insert(1)) == 1

    assert (len(seen), on_disk(path)) == (1, [1])


async def test_all_who_wait_share_one_commit_and_get_their_own_answer(
    connection: Connection, path: Path
) -> None:
    seen = await commits(connection)

    assert await together(connection, *map(insert, range(100))) == list(range(100))

    assert (len(seen), on_disk(path)) == (1, list(range(100)))


async def test_who_comes_during_a_commit_is_in_the_next_one(connection: Connection) -> None:
    seen = await commits(connection)
    begun, may_end = threading.Event(), threading.Event()

    def slow(db: sqlite3.Connection) -> int:
        begun.set()
        assert may_end.wait(timeout=30)
        return insert(0)(db)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(connection.write(slow))
        assert await asyncio.to_thread(begun.wait, 30)
        late = [tasks.create_task(connection.write(insert(number))) for number in range(1, 10)]
        await asyncio.sleep(0)
        may_end.set()

    assert [task.result() for task in late] == list(range(1, 10))
    assert len(seen) == 2


async def test_an_answered_write_can_be_read_by_another_process_at_once(
    connection: Connection, path: Path
) -> None:
    """Invariant 7: nobody is answered before the COMMIT that holds their write."""

    async def write_and_look(number: int) -> bool:
        await connection.write(insert(number))
        return number in on_disk(path)

    async with asyncio.TaskGroup() as tasks:
        looks = [tasks.create_task(write_and_look(number)) for number in range(50)]

    assert all(look.result() for look in looks)


async def test_nobody_is_answered_while_the_commit_is_under_way(
    connection: Connection, path: Path
) -> None:
    """Invariant 7: not even those whose write is done."""
    begun, gathered, committing, may_end = (threading.Event() for _ in range(4))

    def busy(_: sqlite3.Connection) -> None:
        begun.set()
        assert gathered.wait(timeout=30)

    def hold_up(statement: str) -> None:
        if statement == "COMMIT":
            committing.set()
            assert may_end.wait(timeout=30)

    await connection.run(lambda db: db.set_trace_callback(hold_up))
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(connection.run(busy))
        assert await asyncio.to_thread(begun.wait, 30)
        asked = [tasks.create_task(connection.write(insert(number))) for number in range(3)]
        await asyncio.sleep(0)
        gathered.set()
        assert await asyncio.to_thread(committing.wait, 30)
        for _ in range(10):
            await asyncio.sleep(0)
        answered = [task.done() for task in asked]
        may_end.set()

    assert answered == [False] * 3
    assert on_disk(path) == [0, 1, 2]


async def test_an_error_undoes_its_own_write_and_no_other(
    connection: Connection, path: Path
) -> None:
    await connection.write(insert(7))

    one, refused, two, twice, three = await together(
        connection, insert(1), insert_and_fail(8), insert(2), insert(9, 7), insert(3)
    )

    assert (one, two, three) == (1, 2, 3)
    assert isinstance(refused, LookupError)
    assert isinstance(twice, StoreError)
    assert not isinstance(twice, StoreUnavailable)
    assert on_disk(path) == [1, 2, 3, 7]


async def test_a_write_alone_that_fails_halfway_leaves_nothing(
    connection: Connection, path: Path
) -> None:
    with pytest.raises(LookupError):
        await connection.write(insert_and_fail(8))

    assert on_disk(path) == []
    assert await connection.write(insert(1)) == 1
    assert on_disk(path) == [1]


async def test_a_commit_that_fails_fails_everyone_in_it_and_changes_nothing(
    connection: Connection, path: Path
) -> None:
    """D1: the error comes at COMMIT, when every write is done already."""

    def refuse_commit(action: int, what: str | None, *_: str | None) -> int:
        is_commit = action == sqlite3.SQLITE_TRANSACTION and what == "COMMIT"
        return sqlite3.SQLITE_DENY if is_commit else sqlite3.SQLITE_OK

    await connection.run(lambda db: db.set_authorizer(refuse_commit))
    refused = await together(connection, insert(1), insert_and_fail(2), insert(3))
    await connection.run(lambda db: db.set_authorizer(None))

    assert [type(error) for error in refused] == [StoreError] * 3
    assert on_disk(path) == []
    assert await together(connection, insert(4), insert(5)) == [4, 5]
    assert on_disk(path) == [4, 5]


async def test_a_disk_that_is_full_amid_a_group_fails_everyone_in_it(
    connection: Connection, path: Path
) -> None:
    """D1: SQLite may have ended the whole transaction; nothing may be written outside of one."""
    [(pages,)] = await connection.run(lambda db: db.execute("PRAGMA page_count").fetchall())
    await connection.run(lambda db: db.execute(f"PRAGMA max_page_count = {pages}"))
    many = insert(*range(100, 5_000))
    refused = await together(connection, insert(1), many, insert(2))
    await connection.run(lambda db: db.execute("PRAGMA max_page_count = 1000"))

    assert [type(error) for error in refused] == [StoreUnavailable] * 3
    assert on_disk(path) == []
    assert await together(connection, insert(1), many, insert(2)) == [1, 100, 2]


async def test_a_transaction_that_cannot_begin_fails_everyone_in_the_group(
    connection: Connection, path: Path
) -> None:
    """D3."""
    await connection.run(lambda db: db.execute("PRAGMA busy_timeout = 1"))
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        refused = await together(connection, insert(1), insert(2))
        other.execute("ROLLBACK")

    assert [type(error) for error in refused] == [StoreUnavailable] * 2
    assert await together(connection, insert(1), insert(2)) == [1, 2]


@pytest.mark.parametrize("cancelled", [0, 1, 2], ids=["the first", "one between", "the last"])
async def test_a_cancelled_caller_takes_nobody_along(
    connection: Connection, path: Path, cancelled: int
) -> None:
    asked: list[asyncio.Task[int]] = []
    begun, may_end = threading.Event(), threading.Event()

    def busy(_: sqlite3.Connection) -> None:
        begun.set()
        assert may_end.wait(timeout=30)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(connection.run(busy))
        assert await asyncio.to_thread(begun.wait, 30)
        asked += [tasks.create_task(connection.write(insert(number))) for number in range(3)]
        await asyncio.sleep(0)
        asked[cancelled].cancel()
        await asyncio.sleep(0)
        assert asked[cancelled].cancelled(), "it is told at once"
        may_end.set()

    others = [task.result() for task in asked if not task.cancelled()]
    assert others == [number for number in range(3) if number != cancelled]
    assert on_disk(path) == [0, 1, 2], "what was asked for happens all the same"


async def test_closing_waits_for_those_who_wait(path: Path) -> None:
    async with asyncio.TaskGroup() as tasks, opened(path) as connection:
        asked = [tasks.create_task(connection.write(insert(number))) for number in range(20)]
        await asyncio.sleep(0)

    assert [task.result() for task in asked] == on_disk(path) == list(range(20))


@given(
    groups=st.lists(
        st.lists(st.tuples(st.integers(0, 9), st.booleans()), min_size=1, max_size=8), max_size=5
    )
)
@settings(max_examples=25, deadline=None)
def test_exactly_what_was_answered_without_an_error_is_there(
    groups: list[list[tuple[int, bool]]],
) -> None:
    async def scenario(folder: Path) -> None:
        answered: set[int] = set()
        async with opened(folder / "x.db") as connection:
            for group in groups:
                writes: list[Awaitable[int]] = [
                    connection.write(insert_and_fail(number) if fails else insert(number))
                    for number, fails in group
                ]
                outcomes = await asyncio.gather(*writes, return_exceptions=True)
                for (number, fails), outcome in zip(group, outcomes, strict=True):
                    if not fails and number not in answered:
                        assert outcome == number
                        answered.add(number)
                    else:
                        assert isinstance(outcome, LookupError | StoreError)
                assert on_disk(folder / "x.db") == sorted(answered)

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(scenario(Path(folder)))
