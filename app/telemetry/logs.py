"""One JSON log line for each event. No record, secret or query string ever gets here."""

import logging
import sys
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from typing import TextIO, assert_never

import orjson

from app.domain.events import (
    AttemptFailed,
    ChunkAcked,
    Event,
    ReaderLost,
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
        case AttemptFailed() | Rewound() | ReaderLost():
            return logging.WARNING
        case WorkerTrouble():
            return logging.ERROR
        case _:
            assert_never(event)


class JsonLines(logging.Formatter):
    """Format any log record as one JSON object; control characters come out escaped."""

    def format(self, record: logging.LogRecord) -> str:
        """Return one line without its end."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _cut(record.getMessage()),
        }
        line |= _members(record)
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)[-VALUE_CHARACTERS_MAX:]
        return orjson.dumps(line, default=str).decode()


class PlainLines(logging.Formatter):
    """Format any log record for a person at a terminal."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(message)s", datefmt="%H:%M:%S")

    def format(self, record: logging.LogRecord) -> str:
        """Return one line; control characters come out escaped."""
        members = " ".join(f"{name}={value}" for name, value in _members(record).items())
        return f"{super().format(record)} {members}".rstrip().replace("\n", "\\n")


def _members(record: logging.LogRecord) -> dict[str, object]:
    """Return the members of the event that a log record is about, if it is about one."""
    event = getattr(record, "event", None)
    if event is None or not is_dataclass(event):
        return {}
    return {field.name: _cut(getattr(event, field.name)) for field in fields(event)}


def _cut(value: object) -> object:
    return value[-VALUE_CHARACTERS_MAX:] if isinstance(value, str) else value


def configure(level: str, *, stream: TextIO = sys.stderr, json: bool = True) -> None:
    """Send every log line of the process to ``stream``."""
    sink = logging.StreamHandler(stream)
    sink.setFormatter(JsonLines() if json else PlainLines())
    logging.basicConfig(level=level.upper(), handlers=[sink], force=True)
