"""What counts as an answer. Contract 5 and 7."""

from datetime import UTC, datetime
from math import inf

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.delivery import Answer, Rejection
from app.wire.answer import EXCERPT_BYTES, read_answer

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)


def read(body: bytes, status: int = 200, **headers: str) -> Answer:
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return read_answer(status, raw, body, now=NOW)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"OK",
        b"true",
        b"null",
        b"1",
        b"<html>OK</html>",
        b"{}",
        b'{"ack":1}',
        b'{"ack":"true"}',
        b'{"ack":null}',
        b'{"ack":[true]}',
        b'{"ack":{"ack":true}}',
        b'{"ack":false,"ack":true}',
        b'{"ack":true,"x":{"ack":true},"ack":true}',
        b'{"ack":true,"ack":true,"x":%s}' % (b"9" * 5000),
        b'{"ack":true,"x":%s"ack"%s}' % (b"[" * 1_000, b"]" * 1_000),
        b'{"Ack":true}',
        b'{"ACK":TRUE}',
        b'{"ack":True}',
        b'{"data":{"ack":true}}',
        b'[{"ack":true}]',
        b'{"ack":tr',
        b'{"ack":true',
        b'{"ack":true} trailing',
        b'{"ack":true,}',
        b'{"ack":true,"x":NaN}',
        b'{"ack":true,"next_chunk":%s}' % (b"9" * 5000),
        b'{"ack":true,"x":"\xff"}',
        '{"ack":true}'.encode("utf-16"),
        b"[" * 100_000,
        b'{"ack":true,"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"a":' * 100_000,
    ],
    ids=lambda body: str(body[:24]),
)
def test_what_is_not_the_json_boolean_is_not_an_ack(body: bytes) -> None:
    assert read(body).ack is None


def test_true_is_an_ack_and_false_is_not() -> None:
    assert read(b'{"ack":true}') == Answer(status=200, ack=True, excerpt='{"ack":true}')
    assert read(b'{"ack":false}').ack is False
    assert read(b'{"ack":true,"x":{"ack":false},"message":"\\"ack\\" is ack"}').ack is True


def test_a_byte_order_mark_and_white_space_are_ignored() -> None:
    assert read(b'\xef\xbb\xbf {"ack" : true}\r\n').ack is True


def test_the_evidence_of_an_ack_is_read() -> None:
    body = {
        "ack": True,
        "chunk_id": "i:4",
        "chunk_number": 4,
        "checksum": "c" * 64,
        "next_chunk": 5,
        "accepted": 998,
        "rejected": [{"index": 0, "code": "X"}, {"index": 17}],
        "duplicate": True,
        "chain": "d" * 64,
        "limits": {"max_records": 5},
    }
    answer = read(orjson.dumps(body), Date="Sun, 01 Mar 2026 12:00:00 GMT")
    assert (answer.chunk_id, answer.chunk_number, answer.next_chunk) == ("i:4", 4, 5)
    assert (answer.accepted, answer.duplicate) == (998, True)
    assert answer.rejected == (Rejection(index=0, code="X"), Rejection(index=17))
    assert (answer.checksum, answer.chain) == ("c" * 64, "d" * 64)
    assert answer.date == "Sun, 01 Mar 2026 12:00:00 GMT"
    assert answer.malformed == ""


@pytest.mark.parametrize("name", ["expected_chunk", "chunk_number", "next_chunk", "accepted"])
@pytest.mark.parametrize(
    "token",
    ['"1"', "-1", "1.0", "1e0", "true", "[]", "{}", "9" * 30],
    ids=lambda token: token[:10],
)
def test_a_count_that_is_none_makes_the_answer_no_evidence(name: str, token: str) -> None:
    answer = read(f'{{"ack":true,"{name}":{token}}}'.encode())
    assert answer.ack is True
    assert answer.malformed == f"{name} is not a whole number from 0 on"
    assert getattr(answer, name) is None


@pytest.mark.parametrize(
    ("member", "complaint"),
    [
        ('"chunk_id":7', "chunk_id is not a string"),
        ('"checksum":[]', "checksum is not a string"),
        ('"chain":false', "chain is not a string"),
        ('"duplicate":1', "duplicate is not true or false"),
        ('"rejected":3', "rejected is not an array"),
        ('"rejected":{"17":"X"}', "rejected is not an array"),
        ('"rejected":[17]', "rejected does not name each record once by its index"),
        ('"rejected":[{"index":true}]', "rejected does not name each record once by its index"),
        ('"rejected":[{"index":-1}]', "rejected does not name each record once by its index"),
        (
            '"rejected":[{"index":1},{"index":1}]',
            "rejected does not name each record once by its index",
        ),
    ],
)
def test_evidence_of_the_wrong_kind_is_named(member: str, complaint: str) -> None:
    answer = read(b'{"ack":true,%s}' % member.encode())
    assert answer.malformed == complaint


def test_what_is_said_of_a_refused_record_is_read_as_far_as_it_is_text() -> None:
    """Contract 5.3: only the index is evidence, the rest is for a person."""
    rejected = [
        {"index": 5, "code": 7, "message": None, "path": ["ean"], "retryable": "yes"},
        {"index": 2, "code": "C" * 200, "message": "m" * 3000, "path": "/ean", "retryable": True},
    ]
    answer = read(orjson.dumps({"ack": True, "rejected": rejected}))
    assert answer.malformed == ""
    assert answer.rejected == (
        Rejection(index=2, code="C" * 100, message="m" * 2000, path="/ean", retryable=True),
        Rejection(index=5),
    )


def test_null_is_as_good_as_absent() -> None:
    names = ("error", "chunk_id", "next_chunk", "accepted", "rejected", "duplicate", "chain")
    answer = read(orjson.dumps({"ack": True, **dict.fromkeys(names)}))
    assert (answer.malformed, answer.error, answer.rejected) == ("", None, ())


@pytest.mark.parametrize(
    ("status", "body", "code", "message"),
    [
        (200, {"ack": False, "error": "BUSY"}, "BUSY", ""),
        (200, {"ack": False, "error": " BUSY ", "message": "later"}, "BUSY", "later"),
        (200, {"ack": False, "error": {"code": "BUSY", "message": "later"}}, "BUSY", "later"),
        (409, {"type": "x", "code": "LOCKED", "detail": "no", "title": "t"}, "LOCKED", "no"),
        (422, {"title": "Unprocessable", "status": 422}, None, "Unprocessable"),
        (200, {"ack": False, "error": ""}, None, ""),
        (200, {"ack": False, "error": 17}, None, ""),
        (200, {"ack": False, "error": {"code": 17}}, None, ""),
        (200, {"ack": True, "code": "OK"}, None, ""),
        (400, {"error": "E" * 1000, "message": "m" * 9000}, "E" * 100, "m" * 2000),
    ],
)  # fmt: skip
def test_a_refusal_is_read_in_each_of_its_forms(
    status: int, body: object, code: str | None, message: str
) -> None:
    answer = read(orjson.dumps(body), status)
    assert (answer.error, answer.message) == (code, message)


def test_a_problem_document_is_one_whatever_its_status() -> None:
    body = b'{"code":"INCOMPLETE","expected_chunk":3}'
    answer = read(body, 200, content_type="application/problem+json; charset=utf-8")
    assert (answer.error, answer.expected_chunk) == ("INCOMPLETE", 3)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        ("120", 120.0),
        (" 7 ", 7.0),
        ("999999999", 999999999.0),
        ("Sun, 01 Mar 2026 12:00:30 GMT", 30.0),
        ("Sunday, 01-Mar-26 12:00:30 GMT", 30.0),
        ("Sun Mar  1 12:00:30 2026", 30.0),
        ("Sun, 01 Mar 2026 11:59:59 GMT", None),
        ("", None),
        ("-1", None),
        ("1.5", None),
        ("1e3", None),
        ("٣", None),
        ("soon", None),
        ("9" * 10, 9999999999.0),
        ("9" * 30, 1e30),
        ("9" * 5000, inf),
        ("Sun, 99 Foo 2026 99:99:99 GMT", None),
        ("Sun, 01 Mar 99999999999 12:00:00 GMT", None),
    ],
)
def test_retry_after_is_read_when_it_makes_sense(text: str, seconds: float | None) -> None:
    assert read(b"", 429, retry_after=text).retry_after_s == seconds


def test_a_date_to_retry_after_is_measured_by_the_receivers_own_clock() -> None:
    answer = read(
        b"",
        503,
        retry_after="Mon, 02 Mar 2026 12:00:20 GMT",
        date="Mon, 02 Mar 2026 12:00:00 GMT",  # a day ahead of us
    )
    assert answer.retry_after_s == 20.0


def test_the_excerpt_is_short_and_readable_whatever_came() -> None:
    assert read(b"\xff" + b"x" * 9000).excerpt == "\ufffd" + "x" * (EXCERPT_BYTES - 1)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)
MEMBERS = st.dictionaries(
    st.sampled_from([name for name in Answer.__dataclass_fields__ if name != "status"]), JSON
)


@given(st.integers(100, 599), MEMBERS | st.binary(max_size=50), st.text(max_size=30))
def test_no_answer_raises(status: int, body: bytes | dict[str, object], header: str) -> None:
    try:
        content = body if isinstance(body, bytes) else orjson.dumps(body)
    except TypeError:  # an integer beyond 64 bits
        content = str(body).encode()
    answer = read(content, status, retry_after=header, date=header, content_type=header)
    assert answer.ack in {True, False, None}
    assert (answer.ack is True) <= (b"true" in content)
