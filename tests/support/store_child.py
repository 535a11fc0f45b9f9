"""A process of its own that uses a store, told by its standard input, telling by its output.

``python -m tests.support.store_child DATABASE LEASE_S``, then one command a line:

    start       submit a file and claim it        → started <epoch>
    claim       claim whatever is free            → claimed <count>
    ack         commit the next chunk             → acked <number>
    ack-on      … and the ones after, for ever    → acked <number>, acked <number> …
    limit N     let no file grow beyond N bytes   → limited (0: let them grow again)

A command that is refused tells the code of the error instead.
"""

import asyncio
import resource
import sys
from itertools import islice
from pathlib import Path

from app.domain.chunk import ChunkRef
from app.domain.errors import IngestError
from app.ports import Lease
from app.stores.sqlite import SqliteStore
from tests.support.builders import INGESTION, a_fingerprint, a_submission, chunk_refs
from tests.support.clocks import ManualClock


class Child:
    """What the commands do."""

    def __init__(self, store: SqliteStore) -> None:
        self._store = store
        self._lease = Lease(ingestion_id=INGESTION, epoch=0)

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

    async def limit(self, size: int) -> str:
        soft = size or resource.RLIM_INFINITY
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, resource.RLIM_INFINITY))
        return "limited"

    async def _next(self) -> ChunkRef:
        number = (await self._store.ledger.resume_point(INGESTION)).number
        return next(islice(chunk_refs(), number, None))

    async def do(self, line: str) -> str:
        name, *arguments = line.split()
        try:
            if name == "limit":
                return await self.limit(int(arguments[0]))
            commands = {
                "start": self.start,
                "claim": self.claim,
                "ack": self.ack,
                "ack-on": self.ack_on,
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
