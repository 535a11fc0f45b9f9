"""What travels between the service and its reader process.

Down goes one order, then one byte of credit for each chunk that may come. Up come frames:
``<header length: u32 LE> <body length: u64 LE> <header: JSON> <body>``. The header has one
member, named after what it is; only a chunk has a body, its records.
"""

import pickle
import struct
from dataclasses import dataclass
from typing import BinaryIO, TypeAlias

import orjson

from app.domain.chunk import Chunk, ChunkRef, Cursor
from app.domain.errors import Failure, Place
from app.ports import Detected, ReadJob, SourceEnd

PREFIX = struct.Struct("<IQ")

LENGTH = struct.Struct("<Q")


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


def unpack(header: bytes, body: bytes) -> Frame:
    """Return the frame with this header and body; the inverse of `pack`."""
    [(kind, fields)] = orjson.loads(header).items()
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


def read_start(stream: BinaryIO) -> Start:
    """Read what `pack_start` wrote; raises ``EOFError`` when the service died before."""
    length = stream.read(LENGTH.size)
    if len(length) < LENGTH.size:
        raise EOFError
    # The service is trusted, its reader is not: pickle goes down only, never up.
    start = pickle.loads(stream.read(*LENGTH.unpack(length)))  # noqa: S301
    if not isinstance(start, Start):
        raise TypeError(f"expected an order, got {type(start).__name__}")
    return start
