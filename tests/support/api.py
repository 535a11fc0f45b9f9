"""The API over a store in memory and real files: everything but the wire and the workers."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx

from app.api import application
from app.control.admission import Admission, AdmissionPolicy
from app.control.ingestions import Ingestions
from app.control.keys import Keyring
from app.domain.budget import ChunkLimits
from app.domain.errors import Failure
from app.domain.identity import IngestionId
from app.domain.ingestion import State
from app.ports import Catalog, Lease
from app.receiver.egress import EgressPolicy
from app.sources.local import LocalSources
from app.stores.memory import MemoryStore
from tests.support.builders import a_chunk_ref, dead_letters_of
from tests.support.clocks import ManualClock

CALLBACK = "http://127.0.0.1:9000/ingest"
DEFAULTS = ChunkLimits(records=1000, memory=4 * 1024 * 1024)


async def _no_names(host: str, port: int) -> Sequence[str]:
    raise OSError("no name service in this test")


@dataclass(kw_only=True)
class Desk:
    """A client, and what lies behind the API."""

    http: httpx.AsyncClient
    store: MemoryStore
    clock: ManualClock
    root: Path
    alive: bool = True
    disk_free_bytes: int = 1 << 30

    def a_file(self, name: str = "products.json", content: str = '[{"a":1}]') -> str:
        path = self.root / name
        path.write_text(content)
        return str(path)

    def a_body(self, **members: Any) -> dict[str, Any]:
        file_path = self.root / "products.json"
        if not file_path.exists():
            self.a_file()
        asked = {"file_path": str(file_path), "file_type": "json", "callback_url": CALLBACK}
        return asked | members

    async def submitted(self, **members: Any) -> IngestionId:
        answer = await self.http.post("/api/ingest", json=self.a_body(**members))
        assert answer.status_code == 202, answer.text
        return IngestionId(answer.json()["ingestion_id"])

    async def claimed(self) -> Lease:
        ((lease, _),) = await self.store.claim(limit=1)
        return lease

    async def acked(
        self, lease: Lease, *, records: int = 2, seconds: float = 2.0, refused: int = 0
    ) -> None:
        """Let the first chunk be acknowledged after some seconds, but for some of its records."""
        ref = a_chunk_ref(lease.ingestion_id, records=records)
        ref = replace(ref, position=5)
        await self.store.stage(lease, ref)
        self.clock.advance(seconds)
        await self.store.commit(lease, ref, dead_letters=dead_letters_of(ref, refused))

    async def stopped(self, lease: Lease, state: State, failure: Failure) -> None:
        await self.store.move(lease, state, failure=failure)


@asynccontextmanager
async def a_desk(
    root: Path,
    *,
    catalog: Catalog | None = None,
    keyring: Keyring | None = None,
    policy: AdmissionPolicy | None = None,
) -> AsyncIterator[Desk]:
    """Serve the API over ``root``. ``catalog`` stands in for the store's, where given."""
    clock = ManualClock()
    store = MemoryStore(clock=clock)
    app = application.build(keyring=keyring or Keyring())
    # As over a real connection: an unexpected error is logged there and answered here.
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
        desk = Desk(http=http, store=store, clock=clock, root=root)
        app.state.ingestions = Ingestions(
            catalog=catalog or store.catalog,
            sources=LocalSources([root]),
            callbacks=EgressPolicy(allow=["127.0.0.1"], resolve=_no_names),
            defaults=DEFAULTS,
            clock=clock,
            admission=Admission(
                clock=clock, policy=policy, disk_free_bytes=lambda: desk.disk_free_bytes
            ),
            delivering=lambda: desk.alive,
        )
        yield desk
