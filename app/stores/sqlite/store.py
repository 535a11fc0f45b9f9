"""Put the parts of the SQLite store together."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from app.domain.errors import StoreError, StoreUnavailable
from app.ports import Clock
from app.stores.changes import Changes
from app.stores.sqlite.catalog import SqliteCatalog
from app.stores.sqlite.connection import Connection
from app.stores.sqlite.ledger import SqliteLedger
from app.stores.sqlite.nearby import QUICK_S
from app.stores.sqlite.schema import migrate
from app.stores.sqlite.workers import Uptime, Worker, uptime

LEASE_S = 15.0
"""How long a worker that stopped dead keeps its ingestions."""


@dataclass(frozen=True, slots=True)
class SqliteStore:
    """Both sides of one open database. One instance is one worker."""

    ledger: SqliteLedger
    catalog: SqliteCatalog

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        path: Path,
        *,
        clock: Clock,
        lease_s: float = LEASE_S,
        uptime: Uptime = uptime,
        quick_s: float = QUICK_S,
    ) -> AsyncIterator["SqliteStore"]:
        """Open, or create, the database at ``path``, and its folder.

        ``quick_s``: see `Connection.open`.
        Closing gives the leases of this worker back; its ingestions stay in their states.

        Raises
        ------
        SchemaTooNew
            The database was written by a newer version of the service.
        StoreError
            It cannot be opened.
        """
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreUnavailable(f"the folder of {path} cannot be made: {error}") from error
        worker = Worker(path.with_name(f"{path.name}.workers"), lease_s=lease_s, uptime=uptime)
        # Two connections, so that a read does not wait for another task's fsync.
        async with Connection.open(path, quick_s=quick_s) as writer:
            await migrate(writer)
            async with Connection.open(path, read_only=True) as reader:
                try:
                    await writer.write(worker.join)
                    changes = Changes()
                    yield cls(
                        SqliteLedger(writer, reader, worker=worker, clock=clock, changes=changes),
                        SqliteCatalog(writer, reader, worker=worker, clock=clock, changes=changes),
                    )
                finally:
                    # On a full disk too: with the lock gone the leases are free anyway.
                    try:
                        with suppress(StoreError):
                            await writer.write(worker.leave)
                    finally:
                        worker.unlock()
