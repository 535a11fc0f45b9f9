"""Records come out as they went in."""

import json

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mock_receiver.splitting import ndjson, split_records

TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=8,
)


@given(st.lists(JSON.map(orjson.dumps), max_size=6))
def test_records_come_out_byte_for_byte(records: list[bytes]) -> None:
    assert list(split_records(b"[" + b",".join(records) + b"]")) == records


@pytest.mark.parametrize(
    "record",
    [
        b'{"big":123456789012345678901234567890,"e":1.10e+007,"z":-0.0,"o":1E400}',
        b"9" * 5000,
        rb'"\u2028 \" ],[ \\"',
        b"[" * 200 + b"]" * 200,
        b"{}",
        b"null",
    ],
    ids=lambda record: str(record[:20]),
)
def test_no_digit_and_no_escape_is_touched(record: bytes) -> None:
    assert ndjson(b"[%b,%b]" % (record, record)) == record + b"\n" + record + b"\n"


@pytest.mark.parametrize(
    "records",
    [
        b"",
        b"[",
        b"{}",
        b"[1",
        b"[1,]",
        b"[1 ,2]",
        b"[1, 2]",
        b"[{\n}]",
        b"[,]",
        b"[1]]",
        b"[1][2]",
        b"[\xff]",
    ],
)
def test_what_is_no_canonical_array_is_refused(records: bytes) -> None:
    with pytest.raises(ValueError):
        ndjson(records)


@pytest.mark.parametrize("text", ["[NaN]", "[Infinity]"])
def test_tokens_that_are_no_json_are_refused_too(text: str) -> None:
    assert json.loads(text)  # the decoder in use would let them pass
    with pytest.raises(ValueError, match="not a JSON number"):
        ndjson(text.encode())
