"""Open a store of either kind, with a clock that the test moves."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from math import inf
from pathlib import Path

from app.domain.ingestion import Ingestion, Submission
from app.ports import Catalog, Lease, Ledger
from app.stores.memory import MemoryStore
from app.stores.sqlite import SqliteStore
from tests.support.builders import a_fingerprint, a_submission
from tests.support.clocks import ManualClock

STORES = ("memory", "sqlite", "sqlite on the event loop")
"""The last one never leaves a delivery's writes to the thread, however slow the disk is."""


@dataclass(frozen=True, slots=True)
class OpenStore:
    """Both sides of a store, and its clock."""

    ledger: Ledger
    catalog: Catalog
    clock: ManualClock

    async def submit(self, submission: Submission | None = None) -> Ingestion:
        """Submit a file."""
        submitted = await self.catalog.submit(
            submission or a_submission(), a_fingerprint(), new_version=False
        )
        return submitted.ingestion

    async def start(self) -> Lease:
        """Submit a file and claim it."""
        ingestion = await self.submit()
        claimed = await self.ledger.claim(limit=100)
        (lease,) = [lease for lease, taken in claimed if taken.id == ingestion.id]
        return lease


@asynccontextmanager
async def open_store(kind: str, folder: Path) -> AsyncIterator[OpenStore]:
    """Open an empty store, or reopen the SQLite one in ``folder``."""
    clock = ManualClock()
    if kind == "memory":
        memory = MemoryStore(clock=clock)
        yield OpenStore(memory.ledger, memory.catalog, clock)
    else:
        quick_s = inf if kind == "sqlite on the event loop" else 0.0
        opening = SqliteStore.open(folder / "progress.db", clock=clock, quick_s=quick_s)
        async with opening as sqlite:
            yield OpenStore(sqlite.ledger, sqlite.catalog, clock)
