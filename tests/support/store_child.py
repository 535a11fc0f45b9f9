"""A process of its own that uses a store, told by its standard input, telling by its output.

``python -m tests.support.store_child DATABASE LEASE_S``, then one command a line:

    start          submit a file and claim it            → started <epoch>
    claim          claim whatever is free                → claimed <count>
    ack            commit the next chunk                 → acked <number>
    ack-on         … and the ones after, for ever        → acked <number>, acked <number> …
    start-many N   submit N files and claim them         → started <count>
    ack-all        commit the next chunk of each at once → acked <count of those that could>
    ack-all-on     … and the ones after, side by side    → acked <which> <number>, …
    limit N        let no file grow beyond N bytes       → limited (0: let them grow again)

A command that is refused tells the code of the error instead.
"""

import asyncio
import resource
import sys
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from app.domain.chunk import ChunkRef
from app.domain.errors import IngestError
from app.domain.identity import IngestionId
from app.ports import Lease
from app.stores.sqlite import SqliteStore
from tests.support.builders import INGESTION, a_fingerprint, a_submission, chunk_refs
from tests.support.clocks import ManualClock


class Child:
    """What the commands do."""

    def __init__(self, store: SqliteStore) -> None:
        self._store = store
        self._lease = Lease(ingestion_id=INGESTION, epoch=0)
        self._leases: Sequence[Lease] = ()

    async def start(self) -> str:
        await self._store.catalog.submit(a_submission(), a_fingerprint(), new_version=False)
        await self.claim()
        return f"started {self._lease.epoch}"

    async def claim(self) -> str:
        claimed = await self._store.ledger.claim(limit=10)
        if claimed:
            self._lease = claimed[0][0]
        return f"claimed {len(claimed)}"

    async def ack(self) -> str:
        ref = await self._next()
        await self._store.ledger.stage(self._lease, ref)
        await self._store.ledger.commit(self._lease, ref)
        return f"acked {ref.number}"

    async def ack_on(self) -> str:
        refs = chunk_refs()
        ref = await self._next()
        while next(refs) != ref:
            pass
        await self._store.ledger.stage(self._lease, ref)
        for following in refs:
            await self._store.ledger.commit(self._lease, ref, then_stage=following)
            print(f"acked {ref.number}", flush=True)
            ref = following
        return "unreachable"

    async def start_many(self, count: int) -> str:
        for which in range(count):
            submission = a_submission(f"/srv/exports/{which}.json")
            await self._store.catalog.submit(submission, a_fingerprint(), new_version=False)
        self._leases = [lease for lease, _ in await self._store.ledger.claim(limit=count)]
        return f"started {len(self._leases)}"

    async def ack_all(self) -> str:
        async def ack(lease: Lease) -> None:
            ref = await self._next(lease.ingestion_id)
            await self._store.ledger.stage(lease, ref)
            await self._store.ledger.commit(lease, ref)

        outcomes = await asyncio.gather(*map(ack, self._leases), return_exceptions=True)
        return f"acked {outcomes.count(None)}"

    async def ack_all_on(self) -> str:
        async def ack_on(which: int, lease: Lease) -> None:
            ref = await self._next(lease.ingestion_id)
            await self._store.ledger.stage(lease, ref)
            for following in islice(chunk_refs(lease.ingestion_id), ref.number + 1, None):
                await self._store.ledger.commit(lease, ref, then_stage=following)
                print(f"acked {which} {ref.number}", flush=True)
                ref = following

        await asyncio.gather(*(ack_on(which, lease) for which, lease in enumerate(self._leases)))
        return "unreachable"

    async def limit(self, size: int) -> str:
        soft = size or resource.RLIM_INFINITY
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, resource.RLIM_INFINITY))
        return "limited"

    async def _next(self, ingestion_id: IngestionId = INGESTION) -> ChunkRef:
        number = (await self._store.ledger.resume_point(ingestion_id)).number
        return next(islice(chunk_refs(ingestion_id), number, None))

    async def do(self, line: str) -> str:
        name, *arguments = line.split()
        try:
            if name == "limit":
                return await self.limit(int(arguments[0]))
            if name == "start-many":
                return await self.start_many(int(arguments[0]))
            commands = {
                "start": self.start,
                "claim": self.claim,
                "ack": self.ack,
                "ack-on": self.ack_on,
                "ack-all": self.ack_all,
                "ack-all-on": self.ack_all_on,
            }
            return await commands[name]()
        except IngestError as error:
            return error.code


async def main(database: Path, lease_s: float) -> None:
    async with SqliteStore.open(database, clock=ManualClock(), lease_s=lease_s) as store:
        print("ready", flush=True)
        child = Child(store)
        while line := await asyncio.to_thread(sys.stdin.readline):
            print(await child.do(line), flush=True)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), float(sys.argv[2])))
