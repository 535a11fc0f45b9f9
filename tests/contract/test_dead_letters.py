"""Records that a receiver refused: kept with their bytes, as one with the ACK (invariant 5)."""

import asyncio
from dataclasses import replace

import pytest

from app.domain.errors import CursorInvalid, Failure, IngestionNotFound, StaleLease
from app.domain.identity import IngestionId
from app.domain.ingestion import State
from app.ports import Lease
from app.stores.rules import DEAD_LETTERS_BYTES_MAX
from tests.contract.steps import ack, first
from tests.support.builders import INGESTION, a_chunk_ref, dead_letters_of
from tests.support.stores import OpenStore


async def kept(store: OpenStore) -> list[int]:
    """Return which records are dead letters; the count must say as many."""
    page = await store.catalog.dead_letters(INGESTION, limit=1_000)
    progress = (await store.catalog.get(INGESTION)).progress
    assert progress.records_rejected == len(page.dead_letters)
    return [one.record for one in page.dead_letters]


async def test_they_are_kept_to_the_last_byte(store: OpenStore, lease: Lease) -> None:
    zero, one = first(2)
    await ack(store.ledger, lease, zero, one, rejected=1)

    page = await store.catalog.dead_letters(INGESTION)

    assert page.dead_letters == [*dead_letters_of(zero, 1), *dead_letters_of(one, 1)]
    assert page.next_cursor is None
    assert await kept(store) == [0, 2]


async def test_they_are_there_as_soon_as_progress_is(store: OpenStore, lease: Lease) -> None:
    """Defect 22: whoever is killed, or gives up, right behind the ACK has both or neither."""
    for ref in first(20):
        await store.ledger.stage(lease, ref)
        dead_letters = dead_letters_of(ref, 1)
        commit = asyncio.create_task(store.ledger.commit(lease, ref, dead_letters=dead_letters))
        await asyncio.sleep(0)
        commit.cancel()
        await asyncio.wait([commit])

        acked = (await store.ledger.resume_point(INGESTION)).number  # read after every write
        assert len(await kept(store)) == acked
        if acked == ref.number:
            await store.ledger.commit(lease, ref, dead_letters=dead_letters)


async def test_those_of_chunks_that_are_taken_back_do_not_count(
    store: OpenStore, lease: Lease
) -> None:
    await ack(store.ledger, lease, *first(3), rejected=1)
    await store.ledger.rewind(lease, to=1)
    assert await kept(store) == [0]

    await store.ledger.fast_forward(lease, to=3)
    assert await kept(store) == [0, 2, 4]


async def test_the_later_ack_of_a_chunk_replaces_them(store: OpenStore, lease: Lease) -> None:
    refs = first(3)
    await ack(store.ledger, lease, *refs, rejected=2)
    await store.ledger.rewind(lease, to=0)

    await store.ledger.commit(lease, refs[0])
    await store.ledger.commit(lease, refs[1], dead_letters=dead_letters_of(refs[1], 1))
    assert await kept(store) == [2]

    await store.ledger.commit(lease, refs[2], dead_letters=dead_letters_of(refs[2], 2))
    assert await kept(store) == [2, 4, 5]


async def test_the_next_chunks_are_left_alone(store: OpenStore, lease: Lease) -> None:
    refs = first(3)
    await ack(store.ledger, lease, *refs, rejected=1)
    await store.ledger.rewind(lease, to=0)

    await store.ledger.commit(lease, refs[0], dead_letters=dead_letters_of(refs[0], 2))
    await store.ledger.fast_forward(lease, to=3)
    assert await kept(store) == [0, 1, 2, 4]


async def test_where_delivery_goes_on_their_bytes_are_known(store: OpenStore, lease: Lease) -> None:
    refs = first(3)
    await ack(store.ledger, lease, *refs, rejected=1)
    await store.ledger.rewind(lease, to=2)

    kept_bytes = sum(len(one.content) for ref in refs[:2] for one in dead_letters_of(ref, 1))
    assert (await store.ledger.resume_point(INGESTION)).refused_bytes == kept_bytes > 0


async def test_too_many_pause_the_ingestion_in_the_same_step(
    store: OpenStore, lease: Lease
) -> None:
    """Whoever is killed right behind it cannot go on as if nothing had been."""
    one, two = first(2)
    await store.ledger.stage(lease, one)
    why = Failure(code="TOO_MANY_REJECTED", message="2 of 1", resumable=True)

    await store.ledger.commit(
        lease, one, dead_letters=dead_letters_of(one, 2), then_stage=two, pause=why
    )

    ingestion = await store.catalog.get(INGESTION)
    assert (ingestion.state, ingestion.failure) == (State.PAUSED, why)
    assert ingestion.progress.next_chunk == 1
    assert (await store.ledger.resume_point(INGESTION)).planned == (two.boundary(),)
    with pytest.raises(StaleLease):
        await store.ledger.commit(lease, two)
    assert await store.ledger.claim(limit=1) == []


async def test_they_come_in_pages(store: OpenStore, lease: Lease) -> None:
    ref = a_chunk_ref(records=5)
    await ack(store.ledger, lease, ref, rejected=5)

    found, cursor = [], None
    for _ in range(3):
        page = await store.catalog.dead_letters(INGESTION, limit=2, cursor=cursor)
        found.append([one.record for one in page.dead_letters])
        cursor = page.next_cursor

    assert found == [[0, 1], [2, 3], [4]]
    assert cursor is None


async def test_a_page_of_large_records_is_short(store: OpenStore, lease: Lease) -> None:
    ref = a_chunk_ref(records=3)
    large = b'"' + b"x" * (DEAD_LETTERS_BYTES_MAX // 2) + b'"'
    dead_letters = [replace(one, content=large) for one in dead_letters_of(ref, 3)]
    await store.ledger.stage(lease, ref)
    await store.ledger.commit(lease, ref, dead_letters=dead_letters)

    page = await store.catalog.dead_letters(INGESTION)
    assert page.dead_letters == dead_letters[:1]
    page = await store.catalog.dead_letters(INGESTION, cursor=page.next_cursor)
    assert page.dead_letters == dead_letters[1:2]


async def test_what_does_not_exist_has_none(store: OpenStore, lease: Lease) -> None:
    with pytest.raises(IngestionNotFound):
        await store.catalog.dead_letters(IngestionId("0" * 64))
    with pytest.raises(CursorInvalid):
        await store.catalog.dead_letters(INGESTION, cursor="?")
