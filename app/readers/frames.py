"""What travels between the service and its reader process.

Down goes one order, then one byte of credit for each chunk that may come. Up come frames:
``<header length: u32 LE> <body length: u64 LE> <header: JSON> <body>``. The header has one
member, named after what it is; only a chunk has a body, its records.
"""

import os
import pickle
import struct
from dataclasses import dataclass
from typing import Any, TypeAlias

import orjson

from app.domain.chunk import Chunk, ChunkRef, Cursor
from app.domain.errors import Failure, Place
from app.ports import Detected, ReadJob, SourceEnd

PREFIX = struct.Struct("<IQ")

LENGTH = struct.Struct("<Q")

CREDIT = b"+"
"""For a chunk; the one after it may be cut, but not sent."""

CREDIT_ALONE = b"."
"""For a chunk; nothing is to be done for the one after it, which may never be asked for."""

HEADER_BYTES_MAX = 64 * 1024
"""A header is below 2 KiB; a failure may quote a long path."""

BODY_BYTES_MAX = 1 << 30
"""No chunk is larger, whatever the limits were when it was cut first. It is also the highest
value of the setting ``chunk_memory_max``."""


class FrameInvalid(ValueError):
    """What came up is no frame: the reader cannot be believed any more."""


@dataclass(frozen=True, slots=True)
class Alive:
    """Nothing to show yet, but the reader is at work."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReaderSetup:
    """What the service's settings say about a reader process."""

    source_roots: tuple[str, ...]
    memory_bytes_max: int
    """Address space of the process; 0 for no limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """The one thing that the service sends, before any credit."""

    setup: ReaderSetup
    job: ReadJob


Frame: TypeAlias = Detected | Chunk | SourceEnd | Failure | Alive
"""What the reader sends."""


def pack(frame: Frame) -> list[bytes]:
    """Return a frame as buffers to be written one after the other."""
    body = b""
    if isinstance(frame, Chunk):
        body = frame.records
        header = orjson.dumps({"Chunk": frame.ref})
    else:
        header = orjson.dumps({type(frame).__name__: frame})
    return [PREFIX.pack(len(header), len(body)) + header, body]


def lengths(prefix: bytes | bytearray, *, body_bytes_max: int) -> tuple[int, int]:
    """Return how long the header and the body behind this prefix are.

    Raises `FrameInvalid` when one is longer than it may be: nothing is allocated for it.
    """
    header_bytes, body_bytes = PREFIX.unpack(prefix)
    if header_bytes > HEADER_BYTES_MAX or body_bytes > body_bytes_max:
        raise FrameInvalid(
            f"a header of {header_bytes} bytes (at most {HEADER_BYTES_MAX}) "
            f"and a body of {body_bytes} (at most {body_bytes_max})"
        )
    return header_bytes, body_bytes


def unpack(header: bytes | bytearray, body: bytes) -> Frame:
    """Return the frame with this header and body; the inverse of `pack`.

    Raises `FrameInvalid`.
    """
    try:
        [(kind, fields)] = orjson.loads(header).items()
        return _frame(kind, fields, body)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise FrameInvalid(f"a header that is none: {error}") from error


def _frame(kind: str, fields: dict[str, Any], body: bytes) -> Frame:
    match kind:
        case "Chunk":
            start, end = Cursor(**fields.pop("start")), Cursor(**fields.pop("end"))
            return Chunk(ChunkRef(**fields, start=start, end=end), body)
        case "Detected":
            return Detected(**fields)
        case "SourceEnd":
            return SourceEnd(**fields)
        case "Alive":
            return Alive()
        case "Failure":
            place = fields.pop("place")
            return Failure(**fields, place=Place(**place) if place else None)
        case _:
            raise ValueError(f"unknown frame {kind}")


def pack_start(start: Start) -> bytes:
    """Return the order to a reader."""
    order = pickle.dumps(start)
    return LENGTH.pack(len(order)) + order


def read_start(fd: int) -> Start:
    """Read what `pack_start` wrote; raises ``EOFError`` when the service died before."""
    (length,) = LENGTH.unpack(_read_exactly(fd, LENGTH.size))
    # The service is trusted, its reader is not: pickle goes down only, never up.
    start = pickle.loads(_read_exactly(fd, length))  # noqa: S301
    if not isinstance(start, Start):
        raise TypeError(f"expected an order, got {type(start).__name__}")
    return start


def _read_exactly(fd: int, size: int) -> bytes:
    """Read so much and no more: what comes after it are credits."""
    parts = []
    while size:
        part = os.read(fd, size)
        if not part:
            raise EOFError
        parts.append(part)
        size -= len(part)
    return b"".join(parts)
