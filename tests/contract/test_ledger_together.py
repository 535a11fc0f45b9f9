"""What many ingestions ask of a ledger at the same moment: each gets its own answer."""

import asyncio
from itertools import islice, pairwise

from app.domain.chunk import ChunkRef
from app.domain.errors import OutOfOrder, StaleLease
from app.ports import Lease
from tests.support.builders import a_submission, chunk_refs
from tests.support.stores import OpenStore


async def start(store: OpenStore, count: int) -> list[Lease]:
    for number in range(count):
        await store.submit(a_submission(f"/srv/exports/{number}.json"))
    return [lease for lease, _ in await store.ledger.claim(limit=count)]


def chunks(lease: Lease, count: int) -> list[ChunkRef]:
    return list(islice(chunk_refs(lease.ingestion_id), count))


async def test_commits_of_many_ingestions_at_once_all_count(store: OpenStore) -> None:
    async def deliver(lease: Lease) -> None:
        refs = chunks(lease, 11)
        await store.ledger.stage(lease, refs[0])
        for ref, following in pairwise(refs):
            await store.ledger.commit(lease, ref, then_stage=following)

    leases = await start(store, 20)
    await asyncio.gather(*map(deliver, leases))

    for lease in leases:
        progress = (await store.catalog.get(lease.ingestion_id)).progress
        assert (progress.next_chunk, progress.records_delivered) == (10, 20)
        assert progress.chain == chunks(lease, 10)[-1].chain
        point = await store.ledger.resume_point(lease.ingestion_id)
        assert [planned.number for planned in point.planned] == [10]


async def test_one_that_is_refused_neither_undoes_nor_fails_the_others(store: OpenStore) -> None:
    leases = await start(store, 5)
    for lease in leases:
        await store.ledger.stage(lease, chunks(lease, 1)[0])
    good, stale, out_of_order, half_wrong, last = leases
    older = Lease(ingestion_id=stale.ingestion_id, epoch=stale.epoch - 1)

    outcomes = await asyncio.gather(
        store.ledger.commit(good, *chunks(good, 1)),
        store.ledger.commit(older, *chunks(older, 1)),
        store.ledger.commit(out_of_order, chunks(out_of_order, 2)[1]),
        # The ACK of this one is written before the next chunk turns out not to follow.
        store.ledger.commit(
            half_wrong, *chunks(half_wrong, 1), then_stage=chunks(half_wrong, 3)[2]
        ),
        store.ledger.commit(last, *chunks(last, 1), then_stage=chunks(last, 2)[1]),
        return_exceptions=True,
    )

    assert [type(outcome) for outcome in outcomes] == [
        type(None),
        StaleLease,
        OutOfOrder,
        OutOfOrder,
        type(None),
    ]
    reached = [(await store.catalog.get(lease.ingestion_id)).progress for lease in leases]
    assert [progress.next_chunk for progress in reached] == [1, 0, 0, 0, 1]
    assert [progress.records_delivered for progress in reached] == [2, 0, 0, 0, 2]
