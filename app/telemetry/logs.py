"""One log line for each event. No record, secret or query string ever gets here."""

import json
import logging
import sys
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from typing import TextIO, TypeAlias, assert_never

from app.domain.chunk import ChunkRef
from app.domain.errors import Failure
from app.domain.events import (
    AttemptFailed,
    ChunkAcked,
    Event,
    ReaderLost,
    RecordsRefused,
    Rewound,
    StateChanged,
    WorkerTrouble,
)

logger = logging.getLogger("ackline")

VALUE_CHARACTERS_MAX = 2000
"""Of longer values the end is kept, where a traceback says what was wrong."""


class LogSink:
    """An ``EventSink``."""

    def emit(self, event: Event) -> None:
        """Write the event as one line."""
        level = _level(event)
        if logger.isEnabledFor(level):
            logger.log(level, type(event).__name__, extra={"event": event})


def _level(event: Event) -> int:
    match event:
        case ChunkAcked():
            return logging.DEBUG
        case StateChanged(failure=failure):
            return logging.INFO if failure is None else logging.WARNING
        case AttemptFailed() | RecordsRefused() | Rewound() | ReaderLost():
            return logging.WARNING
        case WorkerTrouble():
            return logging.ERROR
        case _:
            assert_never(event)


class JsonLines(logging.Formatter):
    """Format any log record as one JSON object, all in printable ASCII."""

    def format(self, record: logging.LogRecord) -> str:
        """Return one line without its end."""
        time = datetime.fromtimestamp(record.created, UTC)
        line = {
            "time": time.isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _cut(record.getMessage()),
            **_members(record),
        }
        if record.exc_info:
            line["exception"] = _cut(self.formatException(record.exc_info))
        # Not orjson: it refuses half characters, and lets terminals' 8-bit controls through.
        return json.dumps(line, separators=(",", ":"))


class PlainLines(logging.Formatter):
    """Format any log record for a person at a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        """Return one line; what cannot be printed comes out escaped."""
        parts = [
            f"{datetime.fromtimestamp(record.created):%H:%M:%S} {record.levelname:<7}",  # noqa: DTZ006 - a person's own time
            _cut(record.getMessage()),
            *(f"{name}={value}" for name, value in _members(record).items()),
        ]
        if record.exc_info:
            parts.append(_cut(self.formatException(record.exc_info)))
        return "".join(map(_printable, " ".join(parts)))


_Plain: TypeAlias = str | int | float | None
"""What a member of a line is made of."""


def _members(record: logging.LogRecord) -> dict[str, "_Plain | dict[str, _Plain]"]:
    """Return the members of the event that a log record is about, if it is about one."""
    event = getattr(record, "event", None)
    if event is None or not is_dataclass(event):
        return {}
    return {field.name: _member(getattr(event, field.name)) for field in fields(event)}


def _member(value: object) -> "_Plain | dict[str, _Plain]":
    match value:
        case None | bool() | int() | float():
            return value
        case Failure(code=code, place=place, resumable=resumable):
            # Message and remedy stay out: they may quote the source, a URL, or what a
            # receiver answered. The API shows them to whoever has a key.
            return {"code": code, "place": str(place or ""), "resumable": resumable}
        case ChunkRef():
            # Cursors stay out: their context is a piece of the source.
            return {name: getattr(value, name) for name in _CHUNK_MEMBERS}
        case _:
            return _cut(str(value))


_CHUNK_MEMBERS = ("ingestion_id", "number", "revision", "record_start", "record_end", "checksum")


def _cut(text: str) -> str:
    return text[-VALUE_CHARACTERS_MAX:]


def _printable(char: str) -> str:
    # Also false for what turns the direction of writing, and for half characters.
    return char if char.isprintable() else char.encode("unicode_escape").decode()


def configure(level: str, *, stream: TextIO = sys.stderr, as_json: bool = True) -> None:
    """Send every log line of the process to ``stream``."""
    sink = logging.StreamHandler(stream)
    sink.setFormatter(JsonLines() if as_json else PlainLines())
    # Libraries say what they were given as soon as they are asked for more than warnings:
    # aiosqlite whole statements with their values, httpx URLs with their query strings.
    asked = logging.getLevelNamesMapping()[level.upper()]
    logging.basicConfig(level=max(asked, logging.WARNING), handlers=[sink], force=True)
    for name in (logger.name, "uvicorn"):
        logging.getLogger(name).setLevel(asked)
