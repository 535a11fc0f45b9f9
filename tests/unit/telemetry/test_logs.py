"""Every log line is one line, printable, and holds nothing that was entrusted to us."""

import io
import json
import logging
import sys
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.errors import Failure, Place
from app.domain.events import (
    AttemptFailed,
    ChunkAcked,
    Event,
    ReaderLost,
    StateChanged,
    WorkerTrouble,
)
from app.domain.ingestion import State
from app.telemetry.logs import VALUE_CHARACTERS_MAX, JsonLines, LogSink, PlainLines, configure
from tests.support.builders import INGESTION, a_chunk_ref

CANARY = "c4n4ry"
FAILURE = Failure(
    code="RECEIVER_ERROR",
    message=f"the receiver answered '{CANARY}'",
    remedy=f"Ask {CANARY}.",
    resumable=True,
    place=Place(byte=7, record=2),
)
NASTY = "a\r\n\x1b[31m\x07\x9b2J\u2028\u202e\ud800\x7fz"


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """Restore what pytest had set up."""
    root = logging.getLogger()
    before = root.handlers[:], root.level
    yield io.StringIO()
    root.handlers[:], level = before
    root.setLevel(level)


@pytest.mark.parametrize("as_json", [True, False])
@pytest.mark.parametrize(
    "event",
    [
        StateChanged(INGESTION, State.FAILED, FAILURE),
        AttemptFailed(INGESTION, 3, 1, FAILURE, 0.5),
        ChunkAcked(a_chunk_ref(), 1, 0.1),
    ],
)
def test_an_event_is_one_line_without_what_it_quotes(
    stream: io.StringIO, event: Event, as_json: bool
) -> None:
    configure("debug", stream=stream, as_json=as_json)
    LogSink().emit(event)
    (line,) = stream.getvalue().splitlines()

    assert type(event).__name__ in line
    assert INGESTION in line
    assert CANARY not in line
    assert "context" not in line
    assert (
        ("RECEIVER_ERROR" in line)
        is ("byte 7, record 2" in line)
        is (type(event) is not ChunkAcked)
    )


@pytest.mark.parametrize("as_json", [True, False])
@pytest.mark.parametrize("event", [WorkerTrouble(NASTY), ReaderLost(INGESTION, NASTY)])
def test_a_control_character_never_reaches_the_terminal(
    stream: io.StringIO, event: Event, as_json: bool
) -> None:
    configure("info", stream=stream, as_json=as_json)
    LogSink().emit(event)
    line = stream.getvalue()

    assert line.endswith("\n")
    assert line[:-1].isprintable()
    if as_json:
        assert json.loads(line)["detail"] == NASTY


@given(text=st.text(st.characters(codec=None)))
def test_no_text_makes_two_lines_or_none(text: str) -> None:
    try:
        raise ValueError(text)
    except ValueError:
        failed = sys.exc_info()
    for formatter in (JsonLines(), PlainLines()):
        for exc_info in (None, failed):
            record = logging.LogRecord("x", 30, "f", 1, "%s", (text,), exc_info)
            assert formatter.format(record).isprintable()


@pytest.mark.parametrize("formatter", [JsonLines(), PlainLines()])
def test_a_long_value_keeps_its_end(formatter: logging.Formatter) -> None:
    text = "start" + "x" * 100_000 + "end"
    record = logging.LogRecord("x", 30, "f", 1, text, None, None)
    line = formatter.format(record)

    assert "xend" in line
    assert "start" not in line
    assert len(line) < VALUE_CHARACTERS_MAX + 200


def test_libraries_are_heard_from_warnings_on_at_every_level(stream: io.StringIO) -> None:
    configure("debug", stream=stream)
    logging.getLogger("aiosqlite").debug("executing INSERT %s", CANARY)
    logging.getLogger("httpx").info("HTTP Request: POST https://r.example/?token=%s", CANARY)
    logging.getLogger("ackline").debug("ours")
    logging.getLogger("asyncio").warning("theirs")

    assert [json.loads(line)["message"] for line in stream.getvalue().splitlines()] == [
        "ours",
        "theirs",
    ]
