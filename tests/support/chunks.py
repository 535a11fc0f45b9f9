"""Chunks with their bytes, linked by their chain."""

from dataclasses import replace
from hashlib import sha256

from app.domain.chunk import Chunk, ChunkRef, Cursor
from app.domain.identity import Checksum, chain_next, chain_start
from app.domain.ingestion import Ingestion, State
from tests.support.builders import INGESTION


def a_chunk(
    number: int = 0,
    records: bytes = b'[{"sku":"00042"}]',
    *,
    count: int = 1,
    after: str | None = None,
    revision: int = 0,
    unsafe_numbers: int = 0,
) -> Chunk:
    """Return a chunk of ``count`` records; ``after`` is the chain before it."""
    checksum = Checksum(sha256(records).hexdigest())
    ref = ChunkRef(
        ingestion_id=INGESTION,
        number=number,
        record_start=number * count,
        record_end=(number + 1) * count,
        start=Cursor(),
        end=Cursor(),
        position=0,
        checksum=checksum,
        chain=chain_next(chain_start(INGESTION) if after is None else after, checksum),
        records_bytes=len(records),
        unsafe_numbers=unsafe_numbers,
        revision=revision,
    )
    return Chunk(ref, records)


def chunks(*arrays: bytes) -> list[Chunk]:
    """Return chunks 0, 1, 2 … of one record each."""
    made: list[Chunk] = []
    for number, records in enumerate(arrays):
        made.append(a_chunk(number, records, after=made[-1].ref.chain if made else None))
    return made


def all_delivered(ingestion: Ingestion, delivered: list[Chunk]) -> Ingestion:
    """Return the ingestion after these chunks were acknowledged and its source ended."""
    progress = replace(
        ingestion.progress,
        next_chunk=len(delivered),
        records_delivered=sum(chunk.ref.record_count for chunk in delivered),
        chain=delivered[-1].ref.chain if delivered else ingestion.progress.chain,
    )
    return replace(
        ingestion,
        state=State.COMPLETING,
        progress=progress,
        records_read=progress.records_accounted,
    )
