"""What travels between the service and its readers."""

import os
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.chunk import Chunk, ChunkRef, Cursor
from app.domain.errors import Failure, Place
from app.domain.identity import Checksum, IngestionId
from app.ports import Detected, SourceEnd
from app.readers.child import write_all
from app.readers.frames import (
    HEADER_BYTES_MAX,
    PREFIX,
    Alive,
    Frame,
    FrameInvalid,
    lengths,
    pack,
    unpack,
)

CHUNK = Chunk(
    ChunkRef(
        ingestion_id=IngestionId("ab" * 32),
        number=3,
        record_start=5,
        record_end=7,
        start=Cursor(offset=10, skip=1, line=2, context="[]"),
        end=Cursor(offset=20),
        position=20,
        checksum=Checksum("cd" * 32),
        chain=Checksum("ef" * 32),
        records_bytes=5,
    ),
    b"[1,2]",
)


@pytest.mark.parametrize(
    "frame",
    [
        Alive(),
        Detected(detection={"delimiter": ";"}),
        SourceEnd(records_read=9),
        Failure(code="MALFORMED", message="ä", place=Place(line=1)),
        CHUNK,
    ],
    ids=lambda frame: type(frame).__name__,
)
def test_a_frame_comes_out_as_it_went_in(frame: Frame) -> None:
    sent = b"".join(pack(frame))
    header, body = lengths(sent[: PREFIX.size], body_bytes_max=5)
    start = PREFIX.size
    assert len(sent) == start + header + body
    assert unpack(sent[start : start + header], sent[start + header :]) == frame


@pytest.mark.parametrize(("header", "body"), [(HEADER_BYTES_MAX + 1, 0), (2, 6), (2, 1 << 63)])
def test_a_frame_above_its_limits_is_none(header: int, body: int) -> None:
    with pytest.raises(FrameInvalid):
        lengths(PREFIX.pack(header, body), body_bytes_max=5)


@given(
    st.binary() | st.sampled_from([b'{"Chunk":{}}', b"[]", b'{"Alive":1,"x":2}', b'{"Place":{}}'])
)
def test_a_header_that_is_none_is_told_from_one_that_is(header: bytes) -> None:
    with pytest.raises(FrameInvalid):
        unpack(header, b"")


@given(st.lists(st.binary(max_size=200_000), max_size=5))
def test_buffers_are_written_whole_however_little_a_pipe_takes(buffers: list[bytes]) -> None:
    source, sink = os.pipe()
    with open(source, "rb") as pipe:  # noqa: PTH123 - a descriptor
        got: list[bytes] = []
        reading = threading.Thread(target=lambda: got.append(pipe.read()))
        reading.start()
        write_all(sink, buffers)
        os.close(sink)
        reading.join()
    assert got == [b"".join(buffers)]
