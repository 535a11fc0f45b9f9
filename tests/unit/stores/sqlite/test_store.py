"""Opening, closing and reopening; and what two workers on one file do to each other."""

import asyncio
import sqlite3
from contextlib import AbstractAsyncContextManager, closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import pytest

from app.domain.errors import SchemaTooNew, StaleLease, StoreError, StoreUnavailable
from app.domain.ingestion import State
from app.stores.sqlite import SqliteStore
from app.stores.sqlite.schema import VERSION
from tests.support.builders import (
    INGESTION,
    a_chunk_ref,
    a_fingerprint,
    a_submission,
    chunk_refs,
    dead_letters_of,
)
from tests.support.clocks import ManualClock


@dataclass(slots=True)
class Machine:
    """One machine with one database, whose uptime the test sets."""

    database: Path
    uptime: float = 1_000.0

    def open(self) -> AbstractAsyncContextManager[SqliteStore]:
        return SqliteStore.open(
            self.database, clock=ManualClock(), lease_s=15, uptime=lambda: self.uptime
        )

    def sql(self, statement: str, *cells: object) -> list[tuple[object, ...]]:
        with closing(sqlite3.connect(self.database, isolation_level=None)) as db:
            return db.execute(statement, cells).fetchall()


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path / "deep" / "er" / "progress.db")


async def submit(store: SqliteStore) -> None:
    await store.catalog.submit(a_submission(), a_fingerprint(), new_version=False)


# ---- open, close


async def test_the_database_and_its_folder_are_made(machine: Machine) -> None:
    async with machine.open() as store:
        await store.catalog.ready()

    assert machine.sql("PRAGMA user_version") == [(VERSION,)]
    assert machine.sql("PRAGMA integrity_check") == [("ok",)]


async def test_a_folder_that_cannot_be_made_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(StoreUnavailable):
        async with Machine(tmp_path / "file" / "progress.db").open():
            pass


async def test_a_database_of_a_newer_version_is_refused_and_left_alone(machine: Machine) -> None:
    async with machine.open():
        pass
    machine.sql(f"PRAGMA user_version = {VERSION + 1}")
    before = machine.database.read_bytes()

    with pytest.raises(SchemaTooNew) as refused:
        async with machine.open():
            pass

    assert f"version {VERSION + 1}" in refused.value.message
    assert "newer version of the service" in refused.value.remedy
    assert machine.database.read_bytes() == before


async def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("not a database " * 1_000)

    with pytest.raises(StoreError):
        async with Machine(path).open():
            pass

    assert path.read_text() == "not a database " * 1_000


async def test_everything_is_there_after_reopening(machine: Machine) -> None:
    [zero, one] = islice(chunk_refs(), 2)
    async with machine.open() as store:
        await submit(store)
        [(lease, _)] = await store.ledger.claim(limit=1)
        await store.ledger.detected(lease, {"encoding": "utf-8"})
        await store.ledger.stage(lease, zero)
        dead_letters = dead_letters_of(zero, 1)
        await store.ledger.commit(lease, zero, dead_letters=dead_letters, then_stage=one)
        await store.ledger.move(lease, State.WAITING)
        before = await store.catalog.get(INGESTION)
        point = await store.ledger.resume_point(INGESTION)

    async with machine.open() as store:
        assert await store.catalog.get(INGESTION) == before
        assert (await store.catalog.dead_letters(INGESTION)).dead_letters == dead_letters
        assert await store.ledger.resume_point(INGESTION) == point
        [(again, claimed)] = await store.ledger.claim(limit=1)
        assert (claimed.state, again.epoch) == (State.WAITING, 2)


async def test_closing_leaves_no_worker_behind(machine: Machine) -> None:
    async with machine.open() as store:
        await submit(store)
        await store.ledger.claim(limit=1)

    assert machine.sql("SELECT * FROM workers") == []
    assert machine.sql("SELECT lease_owner FROM ingestions") == [(None,)]
    assert list(machine.database.with_name("progress.db.workers").iterdir()) == []


async def test_closing_after_a_cancelled_write_waits_for_it(machine: Machine) -> None:
    async with machine.open() as store:
        task = asyncio.create_task(submit(store))
        await asyncio.sleep(0)
        task.cancel()

    assert machine.sql("SELECT COUNT(*) FROM ingestions") == [(1,)]
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_the_log_is_written_ahead(machine: Machine) -> None:
    """What a kill amid a commit leaves is put right by whoever opens the database next."""
    async with machine.open():
        assert machine.sql("PRAGMA journal_mode") == [("wal",)]


async def test_ready_writes(machine: Machine) -> None:
    """A disk that takes no more shows only in a write."""
    async with machine.open() as store:
        log = machine.database.with_name("progress.db-wal")
        size = log.stat().st_size
        await store.catalog.ready()
        assert log.stat().st_size > size


# ---- two workers


async def test_only_one_of_two_workers_gets_an_ingestion(machine: Machine) -> None:
    """Invariant 9, P1."""
    async with machine.open() as one, machine.open() as two:
        await submit(one)
        claims = await asyncio.gather(one.ledger.claim(limit=1), two.ledger.claim(limit=1))

        assert sorted(len(claimed) for claimed in claims) == [0, 1]


async def test_a_worker_that_renews_keeps_its_lease_and_one_that_does_not_loses_it(
    machine: Machine,
) -> None:
    async with machine.open() as one, machine.open() as two:
        await submit(one)
        [(lease, _)] = await one.ledger.claim(limit=1)

        machine.uptime += 14
        await one.ledger.renew()
        machine.uptime += 14
        assert await two.ledger.claim(limit=1) == []

        machine.uptime += 1
        [(newer, _)] = await two.ledger.claim(limit=1)
        assert newer.epoch == lease.epoch + 1
        with pytest.raises(StaleLease):
            await one.ledger.stage(lease, a_chunk_ref())
        await two.ledger.stage(newer, a_chunk_ref())

        await one.ledger.renew()
        await two.ledger.release(newer)
        assert len(await one.ledger.claim(limit=1)) == 1, "it is alive again"


async def test_a_worker_is_sure_of_its_leases_until_the_time_of_its_last_renewal(
    machine: Machine,
) -> None:
    async with machine.open() as one:
        await submit(one)
        [(lease, _)] = await one.ledger.claim(limit=1)
        for _ in range(3):
            await one.ledger.renew()
            assert one.ledger.is_sure(lease)
            machine.uptime += 14.9
            assert one.ledger.is_sure(lease)
            machine.uptime += 0.1
            assert not one.ledger.is_sure(lease)


async def test_a_worker_that_stood_still_is_sure_of_what_it_kept_and_told_what_it_lost(
    machine: Machine,
) -> None:
    """Invariant 9: the other one may also have finished with what it took."""
    paths = [f"/srv/exports/{number}.json" for number in range(4)]
    async with machine.open() as one, machine.open() as two:
        for path in paths[:3]:
            await two.catalog.submit(a_submission(path), a_fingerprint(), new_version=False)
        leases = [lease for lease, _ in await one.ledger.claim(limit=3)]
        await one.ledger.renew()
        machine.uptime += 15
        [(taken, _), (finished, _)] = await two.ledger.claim(limit=2)
        await two.ledger.move(finished, State.FAILED)
        await two.ledger.renew()

        await one.ledger.renew()

        for lost in leases[:2]:
            with pytest.raises(StaleLease):
                one.ledger.is_sure(lost)
        assert one.ledger.is_sure(leases[2])
        assert two.ledger.is_sure(taken)
        await one.catalog.submit(a_submission(paths[3]), a_fingerprint(), new_version=False)
        [(later, _)] = await one.ledger.claim(limit=1)
        assert one.ledger.is_sure(later)


async def test_a_worker_that_stood_still_just_after_a_claim_is_told_that_it_lost_it(
    machine: Machine,
) -> None:
    """A claim prolongs the leases too, but its worker has not heard of it yet."""
    async with machine.open() as one, machine.open() as two:
        await submit(one)
        await one.ledger.renew()
        machine.uptime += 20
        [(lease, _)] = await one.ledger.claim(limit=1)
        assert not one.ledger.is_sure(lease)
        machine.uptime += 20
        assert len(await two.ledger.claim(limit=1)) == 1

        await one.ledger.renew()

        with pytest.raises(StaleLease):
            one.ledger.is_sure(lease)


async def test_a_worker_that_nobody_replaced_goes_on_however_late_it_is(machine: Machine) -> None:
    async with machine.open() as one:
        await submit(one)
        [(lease, _)] = await one.ledger.claim(limit=1)
        machine.uptime += 1_000

        assert await one.ledger.claim(limit=1) == [], "it does not race with itself"
        await one.ledger.stage(lease, a_chunk_ref())


async def test_a_late_worker_whose_ingestion_was_cancelled_writes_nothing(machine: Machine) -> None:
    async with machine.open() as one, machine.open() as two:
        await submit(one)
        [(lease, _)] = await one.ledger.claim(limit=1)
        machine.uptime += 15

        assert (await two.catalog.request_cancel(INGESTION)).state is State.ABORTED

        with pytest.raises(StaleLease):
            await one.ledger.move(lease, State.FAILED)


async def test_leases_of_an_earlier_boot_are_over(machine: Machine) -> None:
    async with machine.open() as one, machine.open() as two:
        await submit(one)
        await one.ledger.claim(limit=1)
        machine.sql("UPDATE workers SET boot_id = 'an earlier one', alive_until = 1e9")

        assert len(await two.ledger.claim(limit=1)) == 1


async def test_a_worker_whose_lock_file_was_deleted_makes_a_new_one(machine: Machine) -> None:
    async with machine.open() as one, machine.open() as two:
        await submit(one)
        for lock in machine.database.with_name("progress.db.workers").iterdir():
            lock.unlink()
        await one.ledger.renew()
        await one.ledger.claim(limit=1)

        assert await two.ledger.claim(limit=1) == []


async def test_workers_that_died_are_swept_up(machine: Machine) -> None:
    async with machine.open():
        pass
    folder = machine.database.with_name("progress.db.workers")
    (folder / "dead").touch()
    machine.sql("INSERT INTO workers VALUES ('dead', 'boot', 1e9), ('gone', 'boot', 1e9)")

    async with machine.open():
        assert len(machine.sql("SELECT * FROM workers")) == 1
        assert not (folder / "dead").exists()


async def test_ten_concurrent_submissions_to_two_workers_make_one_ingestion(
    machine: Machine,
) -> None:
    """P2."""
    async with machine.open() as one, machine.open() as two:
        await asyncio.gather(*(submit(store) for store in (one, two) * 5))

        assert len((await two.catalog.page()).ingestions) == 1
