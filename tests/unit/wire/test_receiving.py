"""What a receiver does with a body. Contract 6, 8 and 9."""

from dataclasses import replace

import orjson
import pytest

from app.domain.ingestion import State
from app.wire import chunk_message, completed_message, stopped_message
from app.wire.receiving import (
    BodyInvalid,
    ChunkEnvelope,
    CompletedEnvelope,
    StoppedEnvelope,
    chain_next,
    chain_start,
    checksum_of,
    open_envelope,
    slice_records,
)
from tests.support.builders import INGESTION, an_ingestion
from tests.support.chunks import a_chunk, all_delivered, chunks

# Contract 9. U+2028 is written as itself.
VECTOR = (
    '[{"attrs":{},"big":123456789012345678901234567890,"ean":4006381333931,"n":null,'
    '"name":"Café ☕ a/b \u2028 😀","ok":true,"price":19.99,"qty":1,"sku":"00042","tags":[]}]'
).encode()
VECTOR_CHECKSUM = "eedc56f61e41be9f29dfefb81117311f10d4a1d2b7e3fa7b78b8049d723c45b9"
VECTOR_ID = "8d0f3c6a5b1e4d7f9a2c" * 3 + "abcd"


def test_the_vector_of_the_contract_is_met() -> None:
    assert len(VECTOR) == 168
    assert checksum_of(VECTOR) == VECTOR_CHECKSUM
    empty = checksum_of(b"[]")
    assert empty == "4f53cda18c2baa0c0354bb5f9a3ecbe5ed12ab4d8e11ba873c2f11161202b945"
    first = chain_next(chain_start(VECTOR_ID), VECTOR_CHECKSUM)
    assert first == "6ce62ffffa9624c24f53a2e05a68a1df8a1e98eed1b18ac51b008103168e3a6f"
    second = chain_next(first, empty)
    assert second == "8af4a3cfb938cca6c134ac81d1226aa005dc0f5fb9fff564523a04f8af5d2d03"


def test_the_records_of_a_chunk_come_back_byte_for_byte() -> None:
    body = chunk_message(an_ingestion(), a_chunk(records=VECTOR)).body
    assert slice_records(body) == VECTOR


def test_records_that_hold_the_marker_themselves_are_sliced_at_the_first() -> None:
    records = b'[{"a":1,"records":[{"b":2,"records":[]}]}]'
    body = chunk_message(an_ingestion(), a_chunk(records=records)).body
    assert slice_records(body) == records


def test_a_chunk_envelope_tells_all_but_the_records() -> None:
    chunk = a_chunk(5, VECTOR, revision=1, unsafe_numbers=1)
    assert open_envelope(chunk_message(an_ingestion(), chunk).body) == ChunkEnvelope(
        ingestion_id=INGESTION,
        chunk_id=f"{INGESTION}:5",
        chunk_number=5,
        revision=1,
        record_offset=5,
        record_count=1,
        unsafe_numbers=1,
        chain=chunk.ref.chain,
        checksum=VECTOR_CHECKSUM,
    )


def test_an_envelope_is_opened_without_looking_at_the_records() -> None:
    body = chunk_message(an_ingestion(), a_chunk(records=b"[not json, 1e99999]")).body
    assert isinstance(open_envelope(body), ChunkEnvelope)


def test_the_other_events_are_read_too() -> None:
    ingestion = all_delivered(an_ingestion(), chunks(b"[1]", b"[2]"))
    assert open_envelope(completed_message(ingestion).body) == CompletedEnvelope(
        ingestion_id=INGESTION,
        total_records=2,
        total_chunks=2,
        chain=ingestion.progress.chain,
    )
    stopped = open_envelope(stopped_message(replace(ingestion, state=State.ABORTED)).body)
    assert isinstance(stopped, StoppedEnvelope)
    assert (stopped.event, stopped.code, stopped.next_chunk) == ("ingestion.aborted", "ABORTED", 2)


CHUNK = orjson.loads(chunk_message(an_ingestion(), a_chunk()).body)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[]",
        b"\xff",
        b"not json",
        b'{"type":"ingestion.chunk"}',
        b'{"type":"ingestion.started"}',
        b'{"type":["ingestion.chunk"]}',
        b'{"type":"ingestion.chunk","records":[]}',
        b',"records":[]}',
        b'{"type":"ingestion.failed","ingestion_id":"x","next_chunk":0,"resumable":true}',
        orjson.dumps({**CHUNK, "chunk_number": -1}),
        orjson.dumps({**CHUNK, "chunk_number": True}),
        orjson.dumps({**CHUNK, "chunk_number": "0"}),
        orjson.dumps({**CHUNK, "chain": None}),
        orjson.dumps({**CHUNK, "records": {}}),
        orjson.dumps({**CHUNK, "after": 1}),
        orjson.dumps(CHUNK) + b"\n",
        orjson.dumps(CHUNK)[:-1],
    ],
    ids=lambda body: str(body[-40:]),
)
def test_a_body_that_is_none_of_the_contracts_is_refused(body: bytes) -> None:
    with pytest.raises(BodyInvalid):
        open_envelope(body)


def test_slicing_a_body_without_records_is_refused() -> None:
    with pytest.raises(BodyInvalid, match="last member"):
        slice_records(completed_message(all_delivered(an_ingestion(), [])).body)
