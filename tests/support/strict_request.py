"""What a strict receiver finds wrong with one request, looked at alone.

Written from docs/receiver-contract.md, and from nothing else: imports nothing of the product.
Numbers in the texts are clauses of the contract.
"""

import base64
import hashlib
import hmac
import json
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

CHUNK, COMPLETED = "ingestion.chunk", "ingestion.completed"
FAILED, ABORTED = "ingestion.failed", "ingestion.aborted"
SAFE_INTEGER_MAX = 2**53 - 1
SKEW_S_MAX = 300

MEMBERS = {
    CHUNK: "protocol type timestamp ingestion_id file_id chunk_id chunk_number revision "
    "record_offset record_count unsafe_numbers chain metadata checksum",
    COMPLETED: "protocol type timestamp status ingestion_id total_records file_id total_chunks "
    "chain counts",
    FAILED: "protocol type timestamp status ingestion_id error next_chunk records_delivered "
    "file_id chain resumable",
}
MEMBERS[ABORTED] = MEMBERS[FAILED]
COUNTS = "read delivered filtered dead_lettered rejected_by_receiver"
WHOLE_NUMBERS = [
    "chunk_number",
    "revision",
    "record_offset",
    "record_count",
    "unsafe_numbers",
    "total_records",
    "total_chunks",
    "next_chunk",
    "records_delivered",
]

_HEX64 = re.compile("[0-9a-f]{64}")
_TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
_TRACEPARENT = re.compile("00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


def sha256(octets: bytes) -> str:
    return hashlib.sha256(octets).hexdigest()


def chain_start(ingestion_id: str) -> str:
    return sha256(f"cj1-chain\n{ingestion_id}".encode())


def chain_next(before: str, checksum: str) -> str:
    return sha256(f"{before}\n{checksum}".encode())


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """As it came, whole."""

    method: str
    version: str
    fields: Sequence[tuple[str, str]]
    """Names in lower case."""

    body: bytes

    def field(self, name: str) -> str | None:
        """Return the field's value; ``None`` unless it came exactly once."""
        values = [value for one, value in self.fields if one == name]
        return values[0] if len(values) == 1 else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """A request as the contract reads it."""

    kind: str
    members: dict[str, Any]
    """Those before ``records``."""

    records: bytes
    """R of contract 6.1; empty for the other events."""

    webhook_id: str
    attempt: int

    @property
    def ingestion_id(self) -> str:
        return str(self.members["ingestion_id"])

    @property
    def number(self) -> int:
        """The chunk's number; -1 for the other events."""
        return int(self.members["chunk_number"]) if self.kind == CHUNK else -1


class Unreadable(Exception):
    """Not even an event."""


def read(request: Request) -> Event:
    """Read an event; raises `Unreadable`."""
    head, found, rest = request.body.partition(b',"records":')
    try:
        members = json.loads(head + b"}" if found else request.body)
        return Event(
            kind=str(members["type"]),
            members=members,
            records=rest[:-1],
            webhook_id=request.field("webhook-id") or "",
            attempt=int(request.field("ingest-attempt") or 0),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise Unreadable(f"the body is no event: {request.body[:200]!r}") from error


def faults(request: Request, event: Event, secret: str | None) -> Iterator[str]:
    """Name everything that is wrong with a request by itself."""
    yield from _field_faults(request, event)
    yield from _signature_faults(request, secret)
    yield from _member_faults(request, event)
    if event.kind == CHUNK:
        yield from _chunk_faults(request, event)


def _field_faults(request: Request, event: Event) -> Iterator[str]:
    digest = base64.b64encode(hashlib.sha256(request.body).digest()).decode()
    members = event.members
    key = f'"{members["chunk_id"]}"' if event.kind == CHUNK else f'"{event.webhook_id}"'
    expected = {
        "content-type": "application/json",  # 3.1
        "content-length": str(len(request.body)),
        "content-digest": f"sha-256=:{digest}:",  # 3.4
        "ingest-protocol": "1",  # 3.5
        "ingest-event": event.kind,
        "idempotency-key": key,  # 3.7
        "accept": "application/json, application/problem+json",  # 3.9
        "accept-encoding": "identity",
    }
    for name, value in expected.items():
        if request.field(name) != value:
            yield f"3: {name} is {request.field(name)!r} and not {value!r}"
    for name in ("transfer-encoding", "content-encoding", "cookie", "expect"):
        if any(one == name for one, _ in request.fields):
            yield f"3: there is a {name}"
    if (request.method, request.version) != ("POST", "HTTP/1.1"):
        yield f"3: {request.method} {request.version}"
    if event.attempt < 1:
        yield f"3.5: attempt {event.attempt}"
    if not _TRACEPARENT.fullmatch(request.field("traceparent") or ""):
        yield f"3.8: traceparent {request.field('traceparent')!r}"
    identity = members["ingestion_id"]
    pattern = {
        CHUNK: f"chk_{identity}_{members.get('chunk_number')}_{members.get('revision')}",
        COMPLETED: f"evt_{identity}_completed",
        FAILED: f"evt_{identity}_failed_[0-9a-f]{{16}}",
        ABORTED: f"evt_{identity}_aborted_[0-9a-f]{{16}}",
    }[event.kind]
    if not re.fullmatch(pattern, event.webhook_id):
        yield f"3.2: webhook-id {event.webhook_id!r}"


def _signature_faults(request: Request, secret: str | None) -> Iterator[str]:
    stamp = request.field("webhook-timestamp") or ""
    if not stamp.isdigit() or abs(time.time() - int(stamp)) > SKEW_S_MAX:
        yield f"3.3: webhook-timestamp {stamp!r}"
    signatures = request.field("webhook-signature")
    if secret is None:
        if signatures is not None:
            yield "3.3: signed, though no secret is configured"
        return
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = f"{request.field('webhook-id')}.{stamp}.".encode() + request.body
    mine = "v1," + base64.b64encode(hmac.digest(key, signed, "sha256")).decode()
    if mine not in (signatures or "").split(" "):
        yield f"3.3: no signature fits: {signatures!r}"


def _member_faults(request: Request, event: Event) -> Iterator[str]:
    members = event.members
    if list(members) != MEMBERS[event.kind].split():
        yield f"4: the members are {list(members)}"
    head = request.body.partition(b',"records":')[0]
    if head.rstrip(b"}") != canonical(members, sort=False).rstrip(b"}"):
        yield f"4: insignificant white space, or escapes without need: {head[:200]!r}"
    if members["protocol"] != "1" or not _TIMESTAMP.fullmatch(str(members["timestamp"])):
        yield f"4.1: protocol {members['protocol']!r}, timestamp {members['timestamp']!r}"
    for name in ("ingestion_id", "file_id", "chain", "checksum"):
        if name in members and not _HEX64.fullmatch(str(members[name])):
            yield f"1: {name} is {members[name]!r}"
    for name in WHOLE_NUMBERS:
        if name in members and (type(members[name]) is not int or members[name] < 0):
            yield f"4: {name} is {members[name]!r}"
    if "status" in members and event.kind != f"ingestion.{str(members['status']).lower()}":
        yield f"4.4: status {members['status']!r} of {event.kind}"
    if event.kind == COMPLETED:
        counts = members["counts"]
        if list(counts) != COUNTS.split():
            yield f"4.4: the counts are {list(counts)}"
        if counts["read"] != counts["delivered"] + counts["filtered"] + counts["dead_lettered"]:
            yield f"4.4: the counts do not balance: {counts}"
        if members["total_records"] != counts["delivered"]:
            yield f"4.4: total_records {members['total_records']} of {counts}"


def _chunk_faults(request: Request, event: Event) -> Iterator[str]:
    members, records = event.members, event.records
    if members["revision"] != 0:
        yield f"11.3: revision {members['revision']}"
    if members["chunk_id"] != f"{members['ingestion_id']}:{members['chunk_number']}":
        yield f"1.4: chunk_id {members['chunk_id']}"
    if not all(isinstance(value, str) for value in members["metadata"].values()):
        yield f"4.3: metadata {members['metadata']}"
    if not request.body.endswith(b"]}"):
        yield "4.2: records is not the last member"
    if sha256(records) != members["checksum"]:
        yield f"6.1: records hash to {sha256(records)}, the checksum is {members['checksum']}"
    held = json.loads(records)
    if not held or len(held) != members["record_count"]:
        yield f"4.1: {len(held)} records, record_count {members['record_count']}"
    if members["unsafe_numbers"] == 0 and canonical(held, sort=True) != records:
        yield f"6.4: not in canonical form: {records[:200]!r}"


def canonical(value: object, *, sort: bool) -> bytes:
    """Encode as contract 6.2 says, for values that need no care (6.4)."""
    text = json.dumps(value, sort_keys=sort, separators=(",", ":"), ensure_ascii=False)
    return text.encode()
