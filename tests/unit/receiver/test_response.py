"""The answer parser, fed in every way."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.receiver.exchange import AnswerTooLarge, NotHttp
from app.receiver.response import ANSWER_BYTES_MAX, HEAD_BYTES_MAX, ResponseParser

_ANSWERS = {
    "length": b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nX: y\r\n\r\nbody",
    "chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX: y\r\n\r\n"
    b"1\r\nb\r\n3;ext\r\nody\r\n0\r\nTrailer: t\r\n\r\n",
    "informational first": b"HTTP/1.1 100 Continue\r\nA: b\r\n\r\nHTTP/1.1 103 Hints\r\n\r\n"
    b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nX: y\r\n\r\nbody",
}


@pytest.mark.parametrize("form", _ANSWERS)
@given(cuts=st.lists(st.integers(0, 200), max_size=6))
def test_where_the_network_cuts_changes_nothing(form: str, cuts: list[int]) -> None:
    octets = _ANSWERS[form]
    parser = ResponseParser()
    places = [0, *sorted(cut for cut in cuts if cut < len(octets)), len(octets)]
    for start, end in itertools.pairwise(places):
        assert not parser.complete
        parser.feed(octets[start:end])
    assert parser.complete
    assert parser.keep_alive
    assert (parser.status, bytes(parser.body)) == (200, b"body")
    assert (b"X", b"y") in parser.headers
    assert not {b"A", b"Trailer"} & {name for name, _ in parser.headers}


@given(st.binary(max_size=300), st.binary(max_size=300))
def test_whatever_arrives_is_an_answer_or_a_protocol_error(first: bytes, second: bytes) -> None:
    for start in (
        b"",
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    ):
        parser = ResponseParser()
        try:
            parser.feed(start + first)
            parser.feed(second)
            parser.eof()
        except NotHttp:
            continue
        assert len(parser.body) <= len(first) + len(second)


@pytest.mark.parametrize(
    ("octets", "keeps"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", True),
        (b"HTTP/1.1 204 No Content\r\n\r\n", True),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\nConnection: keep-alive\r\n\r\n", True),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK", False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n" * 2, False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\ngarbage", False),
    ],
)
def test_a_connection_is_kept_only_after_a_clean_end(octets: bytes, keeps: bool) -> None:
    parser = ResponseParser()
    parser.feed(octets)
    assert parser.complete
    assert parser.keep_alive is keeps


def test_a_second_answer_changes_nothing_in_the_first() -> None:
    parser = ResponseParser()
    parser.feed(_ANSWERS["length"] + b"HTTP/1.1 500 No\r\nContent-Length: 3\r\nZ: z\r\n\r\nbad")
    assert (parser.status, bytes(parser.body)) == (200, b"body")
    assert (b"Z", b"z") not in parser.headers


def test_an_answer_without_a_length_ends_with_the_stream() -> None:
    parser = ResponseParser()
    parser.feed(b"HTTP/1.1 200 OK\r\n\r\nbo")
    parser.feed(b"dy")
    before = parser.complete
    parser.eof()
    assert (before, parser.complete, parser.keep_alive) == (False, True, False)
    assert parser.body == b"body"


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbod",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nbody",
        b"HTTP/1.1 100 Continue\r\n\r\n",
    ],
)
def test_a_truncated_answer_is_never_complete(octets: bytes) -> None:
    parser = ResponseParser()
    parser.feed(octets)
    parser.eof()
    assert not parser.complete


def test_the_limits_are_exact() -> None:
    parser = ResponseParser()
    parser.feed(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % ANSWER_BYTES_MAX)
    parser.feed(bytes(ANSWER_BYTES_MAX))
    assert parser.complete
    parser = ResponseParser()
    parser.feed(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (ANSWER_BYTES_MAX + 1))
    with pytest.raises(AnswerTooLarge):
        parser.feed(bytes(ANSWER_BYTES_MAX + 1))
    parser = ResponseParser()
    parser.feed(b"HTTP/1.1 200 OK\r\nX: ")
    parser.feed(bytes(HEAD_BYTES_MAX - 20).replace(b"\0", b"x"))
    with pytest.raises(AnswerTooLarge):
        parser.feed(b"x")
