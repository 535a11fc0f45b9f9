"""Several processes on one database, and what becomes of it when one is killed."""

import asyncio
import random
import signal
import sqlite3
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import islice
from pathlib import Path

import pytest

from app.domain.identity import chain_start
from app.stores.sqlite import SqliteStore
from tests.support.builders import INGESTION, a_chunk_ref, chunk_refs
from tests.support.clocks import ManualClock


class Child:
    """A process with the store open; see ``tests/support/store_child.py``."""

    def __init__(self, process: Process) -> None:
        self._process = process

    async def tell(self, command: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{command}\n".encode())
        await self._process.stdin.drain()

    async def heard(self) -> str:
        assert self._process.stdout is not None
        return (await self._process.stdout.readline()).decode().strip()

    async def ask(self, command: str) -> str:
        await self.tell(command)
        return await self.heard()

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    async def kill(self) -> None:
        self._process.kill()
        await self._process.wait()

    async def rest(self) -> list[str]:
        """Return the whole lines that were said before it was killed."""
        assert self._process.stdout is not None
        said = (await self._process.stdout.read()).decode()
        return said[: said.rfind("\n") + 1].splitlines()

    async def close(self) -> int:
        assert self._process.stdin is not None
        self._process.stdin.close()
        return await self._process.wait()


@asynccontextmanager
async def a_child(database: Path, *, lease_s: float = 3_600) -> AsyncIterator[Child]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.support.store_child", str(database), str(lease_s)),
        stdin=PIPE,
        stdout=PIPE,
    )
    try:
        child = Child(process)
        assert await child.heard() == "ready"
        yield child
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "progress.db"


async def test_an_ingestion_of_a_living_process_is_not_claimed(database: Path) -> None:
    async with SqliteStore.open(database, clock=ManualClock()) as here, a_child(database) as child:
        await child.ask("start")

        assert await here.ledger.claim(limit=1) == []
        cancelled = await here.catalog.request_cancel(INGESTION)
        assert cancelled.cancel_requested, "its own worker acts on it"


async def test_an_ingestion_is_free_at_once_when_its_process_is_killed(database: Path) -> None:
    """Invariant 7."""
    async with SqliteStore.open(database, clock=ManualClock()) as here, a_child(database) as child:
        assert await child.ask("start") == "started 1"
        assert await child.ask("ack") == "acked 0"
        await child.kill()

        [(lease, claimed)] = await here.ledger.claim(limit=1)

        assert (lease.epoch, claimed.progress.next_chunk) == (2, 1)
        assert len(list(database.with_name("progress.db.workers").iterdir())) == 1


async def test_a_cancellation_needs_no_worker_when_its_process_was_killed(database: Path) -> None:
    async with SqliteStore.open(database, clock=ManualClock()) as here, a_child(database) as child:
        await child.ask("start")
        await child.kill()

        assert (await here.catalog.request_cancel(INGESTION)).state == "ABORTED"


async def test_a_process_that_was_stopped_too_long_writes_nothing_more(database: Path) -> None:
    """Invariant 9, P1."""
    async with (
        SqliteStore.open(database, clock=ManualClock(), lease_s=3_600) as here,
        a_child(database, lease_s=0.3) as child,
    ):
        assert await child.ask("start") == "started 1"
        child.signal(signal.SIGSTOP)
        while not (claimed := await here.ledger.claim(limit=1)):
            await asyncio.sleep(0.01)
        [(lease, _)] = claimed
        child.signal(signal.SIGCONT)

        assert await child.ask("ack") == "STALE_LEASE"
        assert await child.ask("claim") == "claimed 0"
        ref = a_chunk_ref()
        await here.ledger.stage(lease, ref)
        await here.ledger.commit(lease, ref)
        assert await child.ask("ack") == "STALE_LEASE"


async def test_a_process_that_ends_gives_its_ingestions_back(database: Path) -> None:
    async with SqliteStore.open(database, clock=ManualClock()) as here, a_child(database) as child:
        await child.ask("start")
        assert await child.close() == 0

        assert len(await here.ledger.claim(limit=1)) == 1


async def test_many_processes_can_open_a_new_database_at_once(database: Path) -> None:
    async def open_one() -> str:
        async with a_child(database) as child:
            return await child.ask("start")

    said = await asyncio.gather(*(open_one() for _ in range(4)))

    assert any(answer.startswith("started ") for answer in said)


async def test_a_commit_that_was_reported_survives_a_kill_and_none_is_half_done(
    database: Path,
) -> None:
    """Invariant 7, K4: killed at random moments, on the child's own progress."""
    chance = random.Random(7)
    refs = chunk_refs()
    known = [next(refs)]
    acked = -1
    for _ in range(8):
        async with a_child(database) as child:
            await child.ask("start")
            await child.tell("ack-on")
            for _ in range(chance.randrange(1, 40)):
                acked = int((await child.heard()).removeprefix("acked "))
            await asyncio.sleep(chance.random() / 500)
            await child.kill()
            for line in await child.rest():
                acked = int(line.removeprefix("acked "))

        with sqlite3.connect(database) as check:
            assert check.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        check.close()
        async with SqliteStore.open(database, clock=ManualClock()) as here:
            progress = (await here.catalog.get(INGESTION)).progress
            point = await here.ledger.resume_point(INGESTION)
        # What was said is done; at most one more is done that could not be said.
        assert progress.next_chunk in (acked + 1, acked + 2)
        assert progress.records_delivered == 2 * progress.next_chunk
        while len(known) <= progress.next_chunk:
            known.append(next(refs))
        assert progress.chain == known[progress.next_chunk - 1].chain
        assert [boundary.checksum for boundary in point.planned] == [
            known[progress.next_chunk].checksum
        ]
        acked = progress.next_chunk - 1


async def test_commits_of_many_that_were_reported_survive_a_kill(database: Path) -> None:
    """Invariant 7, K4, ADR 11: many ingestions share each commit, and each is whole."""
    many, chance = 12, random.Random(11)
    acked = [-1] * many
    for _ in range(6):
        async with a_child(database) as child:
            assert await child.ask(f"start-many {many}") == f"started {many}"
            await child.tell("ack-all-on")
            said = [await child.heard() for _ in range(chance.randrange(1, 200))]
            await asyncio.sleep(chance.random() / 500)
            await child.kill()
            for line in said + await child.rest():
                which, number = map(int, line.removeprefix("acked ").split())
                assert number == acked[which] + 1
                acked[which] = number

        with sqlite3.connect(database) as check:
            assert check.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        check.close()
        async with SqliteStore.open(database, clock=ManualClock()) as here:
            ingestions = list(reversed((await here.catalog.page()).ingestions))
            assert len(ingestions) == many
            for which, ingestion in enumerate(ingestions):
                progress = ingestion.progress
                # What was said is done; at most one more is done that could not be said.
                assert progress.next_chunk in (acked[which] + 1, acked[which] + 2)
                assert progress.records_delivered == 2 * progress.next_chunk
                refs = list(islice(chunk_refs(ingestion.id), progress.next_chunk + 1))
                assert progress.chain == ([chain_start(ingestion.id)] + [r.chain for r in refs])[-2]
                point = await here.ledger.resume_point(ingestion.id)
                assert [one.checksum for one in point.planned] in ([refs[-1].checksum], [])
                acked[which] = progress.next_chunk - 1


async def test_a_full_disk_fails_all_who_share_a_commit_and_none_of_them_moves(
    database: Path,
) -> None:
    """D1: told to each, and each goes on when there is room again."""
    async with a_child(database) as child:
        await child.ask("start-many 10")
        assert await child.ask("ack-all") == "acked 10"
        await child.ask(f"limit {4096 * 3}")
        assert await child.ask("ack-all") == "acked 0"
        await child.ask("limit 0")
        assert await child.ask("ack-all") == "acked 10"
        assert await child.close() == 0

    async with SqliteStore.open(database, clock=ManualClock()) as here:
        found = (await here.catalog.page()).ingestions
        assert [one.progress.next_chunk for one in found] == [2] * 10


async def test_a_full_disk_is_told_and_survived(database: Path) -> None:
    """D1: no ack is lost, and the store goes on when there is room again."""
    async with a_child(database) as child:
        await child.ask("start")
        assert await child.ask("ack") == "acked 0"
        assert await child.ask(f"limit {4096 * 3}") == "limited"
        assert await child.ask("ack") == "STORE_UNAVAILABLE"
        assert await child.ask("ack") == "STORE_UNAVAILABLE"
        assert await child.ask("limit 0") == "limited"
        assert await child.ask("ack") == "acked 1"
        assert await child.close() == 0

    with sqlite3.connect(database) as check:
        assert check.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    check.close()
