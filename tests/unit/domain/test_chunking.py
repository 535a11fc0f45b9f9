"""Properties every cut must have, whatever the records, the batches and the crash."""

from collections.abc import Iterator
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.budget import ChunkLimits
from app.domain.chunk import Batch, Boundary, Chunk, Cursor, ResumePoint
from app.domain.chunking import Chunker
from app.domain.errors import DecodeCode, RecordError, SourceCode, SourceError
from app.domain.identity import IngestionId, chain_next, chain_start

INGESTION = IngestionId("8d0f3c6a" * 8)
RECORDS = st.lists(st.binary(min_size=1, max_size=40))
LIMITS = st.builds(
    ChunkLimits,
    records=st.integers(0, 7),
    memory=st.integers(42, 200),
)


def batches(records: list[bytes], size: int) -> Iterator[Batch]:
    for start in range(0, len(records), size):
        part = records[start : start + size]
        unsafe = {i: 1 for i in range(len(part)) if (start + i) % 3 == 0}
        yield Batch(part, Cursor(offset=start, skip=0), position=start + len(part), unsafe=unsafe)


def cut(
    records: list[bytes],
    *,
    limits: ChunkLimits,
    resume: ResumePoint | None = None,
    size: int = 3,
) -> list[Chunk]:
    point = resume or ResumePoint(chain=chain_start(INGESTION))
    chunker = Chunker(INGESTION, resume=point, limits=limits)
    chunks = [
        chunk
        for batch in batches(records[point.record_start :], size)
        for chunk in chunker.feed(batch)
    ]
    return chunks + list(chunker.flush())


@given(records=RECORDS, limits=LIMITS, size=st.integers(1, 9))
def test_chunks_hold_every_record_once_in_order_within_the_limits(
    records: list[bytes], limits: ChunkLimits, size: int
) -> None:
    chunks = cut(records, limits=limits, size=size)

    assert [c.ref.number for c in chunks] == list(range(len(chunks)))
    assert [c.ref.record_start for c in chunks[1:]] == [c.ref.record_end for c in chunks[:-1]]
    for chunk in chunks:
        part = records[chunk.ref.record_start : chunk.ref.record_end]
        assert chunk.records == b"[" + b",".join(part) + b"]"
        assert chunk.ref.checksum == sha256(chunk.records).hexdigest()
        assert chunk.ref.records_bytes == len(chunk.records) <= limits.memory
        assert not limits.records or chunk.ref.record_count <= limits.records
    assert sum(c.ref.record_count for c in chunks) == len(records)


@given(records=RECORDS, limits=LIMITS, size=st.integers(1, 9))
def test_no_chunk_is_smaller_than_it_had_to_be(
    records: list[bytes], limits: ChunkLimits, size: int
) -> None:
    chunks = cut(records, limits=limits, size=size)

    for chunk in chunks[:-1]:
        grown = chunk.ref.records_bytes + 1 + len(records[chunk.ref.record_end])
        full = limits.records == chunk.ref.record_count
        assert full or grown > limits.memory


@given(records=RECORDS, limits=LIMITS)
def test_the_chain_links_every_chunk_to_the_one_before(
    records: list[bytes], limits: ChunkLimits
) -> None:
    chain = chain_start(INGESTION)
    for chunk in cut(records, limits=limits):
        chain = chain_next(chain, chunk.ref.checksum)
        assert chunk.ref.chain == chain


@given(records=RECORDS, limits=LIMITS, size=st.integers(1, 9))
def test_unsafe_numbers_are_counted_in_the_chunk_that_holds_them(
    records: list[bytes], limits: ChunkLimits, size: int
) -> None:
    for chunk in cut(records, limits=limits, size=size):
        held = range(chunk.ref.record_start, chunk.ref.record_end)
        assert chunk.ref.unsafe_numbers == sum(i % 3 == 0 for i in held)


@given(records=RECORDS, before=LIMITS, after=LIMITS, data=st.data(), size=st.integers(1, 9))
def test_what_was_cut_before_is_cut_there_again_whatever_the_limits_now_say(
    records: list[bytes], before: ChunkLimits, after: ChunkLimits, data: st.DataObject, size: int
) -> None:
    first = cut(records, limits=before)
    if not first:
        return
    start = data.draw(st.integers(0, len(first) - 1))
    end = data.draw(st.integers(start + 1, len(first)))
    planned = tuple(
        Boundary(number=c.ref.number, record_end=c.ref.record_end, checksum=c.ref.checksum)
        for c in first[start:end]
    )
    point = ResumePoint(
        number=start,
        record_start=first[start].ref.record_start,
        cursor=first[start].ref.start,
        chain=first[start - 1].ref.chain if start else chain_start(INGESTION),
        planned=planned,
    )

    again = cut(records, limits=after, resume=point, size=size)

    assert [c.records for c in again[: end - start]] == [c.records for c in first[start:end]]
    assert [c.ref.chain for c in again[: end - start]] == [c.ref.chain for c in first[start:end]]


@given(records=RECORDS, limits=LIMITS, size=st.integers(1, 40), data=st.data())
def test_the_position_grows_with_the_records_also_within_a_batch(
    records: list[bytes], limits: ChunkLimits, size: int, data: st.DataObject
) -> None:
    """A record is a byte of the source here, so the position is known exactly."""
    chunks = cut(records, limits=limits, size=size)
    assert [c.ref.position for c in chunks] == [c.ref.record_end for c in chunks]
    if not chunks:
        return

    before = data.draw(st.sampled_from(chunks)).ref
    batch = Batch(records[before.record_end :], before.end, position=len(records))
    chunker = Chunker(
        INGESTION,
        resume=ResumePoint(
            number=before.number + 1,
            record_start=before.record_end,
            cursor=before.end,
            chain=before.chain,
        ),
        limits=limits,
    )
    rest = [*chunker.feed(batch), *chunker.flush()]
    assert [c.ref.position for c in rest] == [c.ref.record_end for c in rest]


@pytest.mark.parametrize("now", [[b"1", b"3"], [b"1"], []], ids=["edited", "shorter", "emptied"])
def test_a_source_that_changed_is_noticed_before_the_chunk_leaves(now: list[bytes]) -> None:
    [staged] = cut([b"1", b"2"], limits=ChunkLimits(records=5))
    boundary = Boundary(number=0, record_end=2, checksum=staged.ref.checksum)
    point = ResumePoint(chain=chain_start(INGESTION), planned=(boundary,))

    with pytest.raises(SourceError) as caught:
        cut(now, limits=ChunkLimits(records=5), resume=point)

    assert caught.value.code is SourceCode.SOURCE_CHANGED


def test_a_record_that_fits_no_chunk_is_refused_with_its_index() -> None:
    chunker = Chunker(
        INGESTION,
        resume=ResumePoint(chain=chain_start(INGESTION)),
        limits=ChunkLimits(memory=6),
    )
    [batch] = batches([b"1234", b"12345"], 2)

    feeding = chunker.feed(batch)
    first = next(feeding)
    with pytest.raises(RecordError) as caught:
        next(feeding)

    assert first.records == b"[1234]"
    assert caught.value.code is DecodeCode.RECORD_TOO_LARGE
    assert caught.value.place is not None
    assert caught.value.place.record == 1


def test_a_chunk_knows_where_the_source_is_opened_for_it_and_for_the_next() -> None:
    chunks = cut([b"1", b"2", b"3", b"4", b"5"], limits=ChunkLimits(records=2), size=3)

    assert [(c.ref.end.offset, c.ref.end.skip) for c in chunks] == [(0, 2), (3, 1), (3, 2)]
    assert [c.ref.start for c in chunks[1:]] == [c.ref.end for c in chunks[:-1]]
