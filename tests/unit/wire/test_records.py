"""Records come out of R as they went in, and those that an ACK refused become dead letters."""

import json
from dataclasses import replace

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.dead_letter import DeadLetter
from app.domain.delivery import Message, Rejection
from app.wire.records import dead_letters, split_records
from tests.support.builders import a_chunk_ref

TEXT = st.text(st.sampled_from('ab"\\,[]{}:\n\u2028é😀'), max_size=8)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=8,
)


@given(st.lists(JSON, max_size=6), st.sampled_from([None, 1]))
def test_records_come_out_byte_for_byte(values: list[object], indent: int | None) -> None:
    """Also those of verbatim mode, which hold the white space of their source."""
    records = [json_text(value, indent) for value in values]
    assert list(split_records(b"[" + b",".join(records) + b"]")) == records


def json_text(value: object, indent: int | None) -> bytes:
    return json.dumps(value, ensure_ascii=False, indent=indent).encode()


@pytest.mark.parametrize(
    "record",
    [
        b'{"big":123456789012345678901234567890,"e":1.10e+007,"z":-0.0,"o":1E400}',
        b"9" * 5000,
        rb'"\u2028 \" ],[ \\"',
        rb'{"\\":"\\\"","]":"}"}',
        b"[" * 200 + b"]" * 200,
        b'{"a" : [ ] }',
        b"{}",
        b"null",
        b"[" + b"[]," * 100_000 + b"{}]",
        b'"' + rb"\"\\" * 2_000 + b'"',
        b"[" + b'"",' * 2_000 + b"[]]",
        b'{"":' + b'["\\n",{}],"":' * 2_000 + b"0}",
    ],
    ids=lambda record: str(record[:20]),
)
def test_no_digit_and_no_escape_is_touched(record: bytes) -> None:
    assert list(split_records(b"[%b,%b,%b]" % (record, record, record))) == [record] * 3


def test_a_record_that_is_not_found_is_not_passed_over() -> None:
    content = (b'{"records":', b"[0]", b"}")
    message = Message(url="", event="", message_id="", idempotency_key="", content=content)
    with pytest.raises(AssertionError, match="2 refused, 1 found"):
        dead_letters(message, a_chunk_ref(), [Rejection(index=0), Rejection(index=1)])


def test_the_records_that_an_ack_names_become_dead_letters() -> None:
    content = (b'{"records":', orjson.dumps([{"n": 0}, {"n": 1}, {"n": 2}]), b"}")
    message = Message(url="", event="", message_id="", idempotency_key="", content=content)
    ref = replace(a_chunk_ref(), number=7, record_start=40, record_end=43)
    rejected = [
        Rejection(index=0),
        Rejection(index=2, code="BAD", message="why", path="/n", retryable=True),
    ]
    assert dead_letters(message, ref, rejected) == [
        DeadLetter(record=40, chunk_number=7, content=b'{"n":0}'),
        DeadLetter(
            record=42,
            chunk_number=7,
            content=b'{"n":2}',
            code="BAD",
            message="why",
            path="/n",
            retryable=True,
        ),
    ]
