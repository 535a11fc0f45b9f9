"""What a receiver needs: find the records, check them, follow the chain (contract 6 and 8).

A receiver never parses and re-encodes records to check them. It hashes bytes.
"""

import hmac
from dataclasses import dataclass
from hashlib import sha256
from typing import TypeAlias

import orjson

from app.domain.identity import Checksum, chain_next, chain_start, chunk_id_of
from app.wire.headers import content_digest
from app.wire.protocol import RECORDS_MEMBER, EventType
from app.wire.signature import SignatureFault, read_secret, verify

__all__ = [
    "BodyInvalid",
    "ChunkEnvelope",
    "CompletedEnvelope",
    "Envelope",
    "SignatureFault",
    "StoppedEnvelope",
    "chain_next",
    "chain_start",
    "checksum_of",
    "chunk_id_of",
    "content_digest",
    "open_envelope",
    "read_secret",
    "same",
    "slice_records",
    "verify",
]


class BodyInvalid(ValueError):
    """The body is not one of the contract's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkEnvelope:
    """A chunk body without its records. Contract 4.1."""

    ingestion_id: str
    chunk_id: str
    chunk_number: int
    revision: int
    record_offset: int
    record_count: int
    unsafe_numbers: int
    chain: str
    checksum: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletedEnvelope:
    """Everything was sent. Contract 4.4."""

    ingestion_id: str
    total_records: int
    total_chunks: int
    chain: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StoppedEnvelope:
    """The ingestion failed or was cancelled. Contract 4.5."""

    ingestion_id: str
    event: EventType
    code: str
    next_chunk: int
    resumable: bool


Envelope: TypeAlias = ChunkEnvelope | CompletedEnvelope | StoppedEnvelope


def slice_records(body: bytes) -> bytes:
    """Return R, the exact bytes of ``records``. Contract 6.1.

    Raises
    ------
    BodyInvalid
        There are none, or they are not the last member.
    """
    return body[_records_start(body) : -1]


def checksum_of(records: bytes) -> Checksum:
    """Return 64 lower-case hex digits over R. Contract 6.1."""
    return Checksum(sha256(records).hexdigest())


def same(ours: str, theirs: str) -> bool:
    """Compare two digests in constant time."""
    return hmac.compare_digest(ours.encode(), theirs.encode())


def open_envelope(body: bytes) -> Envelope:
    """Read all of a body but the records, which are not even looked at.

    Raises
    ------
    BodyInvalid
        It is not JSON, or a member is missing or of the wrong kind.
    """
    has_records = RECORDS_MEMBER in body
    try:
        head = orjson.loads(body[: body.find(RECORDS_MEMBER)] + b"}" if has_records else body)
    except ValueError as error:
        raise BodyInvalid(f"the body is not JSON: {error}") from error
    if not isinstance(head, dict):
        raise BodyInvalid("the body is not a JSON object")
    members = _Members(head)
    match head.get("type"):
        case EventType.CHUNK:
            _records_start(body)
            return _chunk(members)
        case EventType.COMPLETED:
            return _completed(members)
        case EventType.FAILED | EventType.ABORTED as event:
            return _stopped(members, EventType(event))
        case other:
            raise BodyInvalid(f"no event of this contract has the type {other!r}")


def _records_start(body: bytes) -> int:
    found = body.find(RECORDS_MEMBER)
    start = found + len(RECORDS_MEMBER)
    if found < 0 or body[start : start + 1] != b"[" or body[-2:] != b"]}":
        raise BodyInvalid("the body has no array 'records' as its last member")
    return start


def _chunk(members: "_Members") -> ChunkEnvelope:
    return ChunkEnvelope(
        ingestion_id=members.text("ingestion_id"),
        chunk_id=members.text("chunk_id"),
        chunk_number=members.count("chunk_number"),
        revision=members.count("revision"),
        record_offset=members.count("record_offset"),
        record_count=members.count("record_count"),
        unsafe_numbers=members.count("unsafe_numbers"),
        chain=members.text("chain"),
        checksum=members.text("checksum"),
    )


def _completed(members: "_Members") -> CompletedEnvelope:
    return CompletedEnvelope(
        ingestion_id=members.text("ingestion_id"),
        total_records=members.count("total_records"),
        total_chunks=members.count("total_chunks"),
        chain=members.text("chain"),
    )


def _stopped(members: "_Members", event: EventType) -> StoppedEnvelope:
    return StoppedEnvelope(
        ingestion_id=members.text("ingestion_id"),
        event=event,
        code=_Members(members.nested("error")).text("code"),
        next_chunk=members.count("next_chunk"),
        resumable=members.flag("resumable"),
    )


class _Members:
    """Members of a JSON object, each of the kind it must have."""

    def __init__(self, members: dict[str, object]) -> None:
        self._members = members

    def text(self, name: str) -> str:
        value = self._members.get(name)
        if not isinstance(value, str):
            raise BodyInvalid(f"{name} is not a string")
        return value

    def count(self, name: str) -> int:
        value = self._members.get(name)
        if type(value) is not int or value < 0:
            raise BodyInvalid(f"{name} is not a whole number from 0 on")
        return value

    def flag(self, name: str) -> bool:
        value = self._members.get(name)
        if not isinstance(value, bool):
            raise BodyInvalid(f"{name} is not true or false")
        return value

    def nested(self, name: str) -> dict[str, object]:
        value = self._members.get(name)
        if not isinstance(value, dict):
            raise BodyInvalid(f"{name} is not an object")
        return value
