"""Where the rows are: the real stores, opened by one simulated process after another.

In memory a lease is kept here, because `MemoryStore` has one worker and needs none. The SQLite
store is the real one down to its SQL and its lock files; only its thread is left out, so that
each transaction happens when the schedule says. Dying inside a transaction is for real
processes to do (`tests/chaos`).
"""

import fcntl
import os
from collections.abc import Sequence
from typing import Any, Protocol, cast

from app.domain.identity import IngestionId
from app.domain.ingestion import Ingestion
from app.ports import Catalog, Clock, Lease, Ledger
from app.stores.changes import Changes
from app.stores.memory import MemoryStore
from app.stores.sqlite.catalog import SqliteCatalog
from app.stores.sqlite.connection import Connection
from app.stores.sqlite.ledger import SqliteLedger
from app.stores.sqlite.workers import Worker
from tests.simulation.database import Database, database
from tests.simulation.virtual import Time, at_once

LEASE_S = 30.0


class Hold(Protocol):
    """The grip of one process on the rows."""

    ledger: Ledger
    catalog: Catalog

    def standing(self, ingestion_id: IngestionId) -> tuple[str, int, int]:
        """Return state, next chunk and records delivered as they are on disk."""

    def dead_letters(self, ingestion_id: IngestionId) -> tuple[int, list[tuple[int, bytes]]]:
        """Return how many records count as refused, and which are kept, with their places."""

    def staged(self, ingestion_id: IngestionId) -> bool:
        """Tell whether a chunk was cut and is not acknowledged."""

    def die(self) -> None:
        """Let go as a killed process does."""

    def leave(self) -> None:
        """Let go as a process does that ends."""


class Rows(Protocol):
    """One store, for all processes."""

    def hold(self, name: str, clock: Clock) -> Hold:
        """Open it for a process."""

    def close(self) -> None:
        """Forget everything."""


# ---- in memory


class MemoryRows:
    """One `MemoryStore`, and the leases on its rows."""

    def __init__(self, time: Time, clock: Clock) -> None:
        self.time = time
        self.store = MemoryStore(clock=clock)
        self.alive_until: dict[str, float] = {}
        self.owners: dict[IngestionId, str] = {}

    def hold(self, name: str, clock: Clock) -> "MemoryHold":
        self.alive_until[name] = self.time.now + LEASE_S
        return MemoryHold(self, name)

    def close(self) -> None:
        """Leave it to the garbage collector."""

    def free(self, asking: str) -> None:
        """Free what belongs to processes that are dead, or silent for too long."""
        for ingestion_id, owner in self.owners.items():
            if owner != asking and self.alive_until[owner] < self.time.now:
                self.store._rows[ingestion_id].held = False


class MemoryHold:
    """A ``Hold``."""

    def __init__(self, rows: MemoryRows, name: str) -> None:
        self._rows = rows
        self._name = name
        self.ledger: Ledger = cast("Ledger", _Leased(rows, name))
        self.catalog: Catalog = cast("Catalog", self.ledger)

    def standing(self, ingestion_id: IngestionId) -> tuple[str, int, int]:
        ingestion = self._rows.store._rows[ingestion_id].ingestion
        progress = ingestion.progress
        return ingestion.state, progress.next_chunk, progress.records_delivered

    def dead_letters(self, ingestion_id: IngestionId) -> tuple[int, list[tuple[int, bytes]]]:
        store = self._rows.store
        page = at_once(store.dead_letters(ingestion_id, limit=1_000))
        counted = store._rows[ingestion_id].ingestion.progress.records_rejected
        return counted, [(one.record, one.content) for one in page.dead_letters]

    def staged(self, ingestion_id: IngestionId) -> bool:
        row = self._rows.store._rows[ingestion_id]
        return len(row.chunks) > row.ingestion.progress.next_chunk

    def die(self) -> None:
        self._rows.alive_until[self._name] = -1.0

    def leave(self) -> None:
        self.die()


class _Leased:
    """A `MemoryStore` whose leases end; whatever it does not say itself the store says."""

    def __init__(self, rows: MemoryRows, name: str) -> None:
        self._rows = rows
        self._name = name

    def __getattr__(self, method: str) -> Any:
        found = getattr(self._rows.store, method)
        vars(self)[method] = found
        return found

    async def claim(self, *, limit: int) -> Sequence[tuple[Lease, Ingestion]]:
        rows = self._rows
        rows.free(self._name)
        claimed = await rows.store.claim(limit=limit)
        for lease, _ in claimed:
            rows.owners[lease.ingestion_id] = self._name
        if claimed:
            await self.renew()
        return claimed

    async def renew(self) -> None:
        self._rows.alive_until[self._name] = self._rows.time.now + LEASE_S

    async def request_cancel(self, ingestion_id: IngestionId) -> Ingestion:
        self._rows.free(self._name)
        return await self._rows.store.request_cancel(ingestion_id)


# ---- SQLite


class SqliteRows:
    """The rows of a database that other schedules had before."""

    def __init__(self, time: Time, clock: Clock) -> None:
        self._time = time
        self._database = database()
        self._holds: list[SqliteHold] = []

    def hold(self, name: str, clock: Clock) -> "SqliteHold":
        hold = SqliteHold(self._database, clock=clock, time=self._time)
        self._holds.append(hold)
        return hold

    def close(self) -> None:
        for hold in self._holds:
            hold.die()


class SqliteHold:
    """A ``Hold``."""

    def __init__(self, database: Database, *, clock: Clock, time: Time) -> None:
        self._database = database
        self._ends = database.connect()
        self._gone = False
        self._writer, self._reader = self._ends
        self._worker = Worker(database.workers, lease_s=LEASE_S, uptime=lambda: time.now)
        self._writer.do(self._worker.join)
        ends = cast("Connection", self._writer), cast("Connection", self._reader)
        changes = Changes()
        self.ledger: Ledger = SqliteLedger(*ends, worker=self._worker, clock=clock, changes=changes)
        self.catalog: Catalog = SqliteCatalog(
            *ends, worker=self._worker, clock=clock, changes=changes
        )

    def standing(self, ingestion_id: IngestionId) -> tuple[str, int, int]:
        row = self._reader.db.execute(
            "SELECT state, next_chunk, records_delivered FROM ingestions WHERE id = ?",
            (ingestion_id,),
        ).fetchone()
        return row["state"], row["next_chunk"], row["records_delivered"]

    def dead_letters(self, ingestion_id: IngestionId) -> tuple[int, list[tuple[int, bytes]]]:
        rows = self._reader.db.execute(
            """
            SELECT record, content, records_rejected
              FROM ingestions LEFT JOIN dead_letters
                ON ingestion_id = id AND chunk_number < next_chunk
             WHERE id = ? ORDER BY record
            """,
            (ingestion_id,),
        ).fetchall()
        found = [(row["record"], row["content"]) for row in rows if row["record"] is not None]
        return rows[0]["records_rejected"], found

    def staged(self, ingestion_id: IngestionId) -> bool:
        row = self._reader.db.execute(
            """
            SELECT 1 FROM ingestions JOIN chunks ON ingestion_id = id AND number >= next_chunk
             WHERE id = ?
            """,
            (ingestion_id,),
        ).fetchone()
        return row is not None

    def die(self) -> None:
        # The file of the lock stays; the lock itself goes with the process.
        if (file := self._worker._file) is not None:
            fcntl.flock(file, fcntl.LOCK_UN)
            os.close(file)
            self._worker._file = None
        self._close()

    def leave(self) -> None:
        self._writer.do(self._worker.leave)
        self._worker.unlock()
        self._close()

    def _close(self) -> None:
        if not self._gone:
            self._gone = True
            self._database.disconnect(self._ends)
