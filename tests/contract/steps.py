"""What the tests of ledgers do again and again."""

from itertools import islice

from app.domain.chunk import ChunkRef
from app.domain.errors import Failure
from app.ports import Lease, Ledger
from tests.support.builders import chunk_refs, dead_letters_of

DOWN = Failure(code="CONNECTION_FAILED", message="nobody listens", resumable=True)


async def ack(ledger: Ledger, lease: Lease, *refs: ChunkRef, rejected: int = 0) -> None:
    for ref in refs:
        await ledger.stage(lease, ref)
        await ledger.commit(lease, ref, dead_letters=dead_letters_of(ref, rejected))


def first(count: int) -> list[ChunkRef]:
    return list(islice(chunk_refs(), count))
