"""One POST in, one answer out: verify, store, and misbehave where a plan says so."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import assert_never

import orjson

from app.wire.protocol import PROTOCOL
from app.wire.receiving import (
    BodyInvalid,
    ChunkEnvelope,
    CompletedEnvelope,
    Envelope,
    SignatureFault,
    StoppedEnvelope,
    checksum_of,
    chunk_id_of,
    content_digest,
    open_envelope,
    same,
    slice_records,
    verify,
)
from mock_receiver.faults import GARBAGE, STORES_NOTHING, Fault, Plan
from mock_receiver.ledger import Accepted, Ledger, Outcome, Refused

_JSON = {"content-type": "application/json"}
_HTML = {"content-type": "text/html; charset=utf-8"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Reaction:
    """What goes back to the sender, and how."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=lambda: _JSON)
    delay_s: float = 0.0
    drop: bool = False
    """Close the connection instead of answering."""


class Reception:
    """Deals with one request at a time. Blocking: hashing and storing take milliseconds."""

    def __init__(self, ledger: Ledger, *, secrets: Sequence[bytes]) -> None:
        self._ledger = ledger
        self._secrets = secrets

    def receive(
        self, body: bytes, headers: Mapping[str, str], plan: Plan, *, now_s: float
    ) -> Reaction:
        """Take one request. ``headers`` are looked up in lower case; ``now_s`` is Unix time."""
        # Contract 8.4: damage is told apart from deceit first, and nothing is read before both.
        digest = content_digest(body)
        if not same(digest, headers.get("content-digest", digest)):
            return refusal(422, "CHECKSUM_MISMATCH", f"the body's digest is {digest}")
        if fault := self._distrust(body, headers, now_s):
            return refusal(401, fault, "the signature or timestamp is not right")
        try:
            envelope = open_envelope(body)
        except BodyInvalid as error:
            return refusal(400, "BODY_INVALID", str(error))
        if not plan.faults:
            return _answer(envelope, self._store(envelope, body))
        return self._misbehave(envelope, body, plan, _attempt(headers))

    def _distrust(
        self, body: bytes, headers: Mapping[str, str], now_s: float
    ) -> SignatureFault | None:
        """Return why the request is not to be trusted. Contract 8.4, second line."""
        if not self._secrets:
            return None
        return verify(
            message_id=headers.get("webhook-id", ""),
            timestamp=headers.get("webhook-timestamp", ""),
            signatures=headers.get("webhook-signature", ""),
            body=body,
            secrets=self._secrets,
            now_s=now_s,
        )

    def _store(self, envelope: Envelope, body: bytes) -> Outcome:
        match envelope:
            case ChunkEnvelope():
                records = slice_records(body)
                checksum = checksum_of(records)
                if not same(checksum, envelope.checksum):
                    return Refused(
                        code="CHECKSUM_MISMATCH", message=f"the records hash to {checksum}"
                    )
                return self._ledger.accept(envelope, records)
            case CompletedEnvelope():
                return self._ledger.complete(envelope)
            case StoppedEnvelope():
                return self._ledger.stop(envelope)
            case _:
                assert_never(envelope)

    def _misbehave(self, envelope: Envelope, body: bytes, plan: Plan, attempt: int) -> Reaction:
        ingestion_id, place = envelope.ingestion_id, _place(envelope)
        faults = plan.at(ingestion_id, place, attempt)
        if faults & STORES_NOTHING:
            reaction = _unstored(faults, plan)
        else:
            outcome = self._store(envelope, body)
            reaction = _answer(envelope, outcome, _rejected(envelope, plan))
            if Fault.FORGET in faults and isinstance(outcome, Accepted):
                self._ledger.forget_once(ingestion_id, place)
            if Fault.GARBAGE in faults:
                draw = plan.draw("which garbage", ingestion_id, place, attempt)
                garbage = GARBAGE[int(draw * len(GARBAGE))]
                reaction = Reaction(status=200, body=garbage, headers=_HTML)
        return replace(
            reaction,
            delay_s=plan.delay_ms / 1000 if Fault.DELAY in faults else 0.0,
            drop=bool(faults & {Fault.DROP_BEFORE, Fault.DROP_AFTER}),
        )


def refusal(status: int, code: str, message: str, *, retry_after_s: int | None = None) -> Reaction:
    """Return an answer with ``ack: false``."""
    headers = _JSON if retry_after_s is None else {**_JSON, "retry-after": str(retry_after_s)}
    body = orjson.dumps({"ack": False, "error": code, "message": message})
    return Reaction(status=status, body=body, headers=headers)


def _rejected(envelope: Envelope, plan: Plan) -> Sequence[int]:
    """Return the index of the record that is named as refused, if one is. Contract 5.3."""
    if not isinstance(envelope, ChunkEnvelope):
        return ()
    where = envelope.ingestion_id, _place(envelope), 1
    if Fault.REJECT not in plan.at(*where):
        return ()
    return (int(plan.draw("which record", *where) * envelope.record_count),)


def _answer(envelope: Envelope, outcome: Outcome, rejected: Sequence[int] = ()) -> Reaction:
    """Return the honest answer. Contract 5 and 7.2: a refusal is 200 with its code."""
    match outcome:
        case Accepted(next_chunk=next_chunk, duplicate=duplicate, chain=chain):
            members: dict[str, object] = {"ack": True}
            if isinstance(envelope, ChunkEnvelope):
                members["chunk_id"] = chunk_id_of(envelope.ingestion_id, envelope.chunk_number)
            members |= {"next_chunk": next_chunk, "duplicate": duplicate}
            if isinstance(envelope, ChunkEnvelope):
                members["accepted"] = envelope.record_count - len(rejected)
                members |= _refusals(rejected)
            members |= {"chain": chain, "protocol": PROTOCOL}
        case Refused(code=code, message=message, expected_chunk=expected, chain=chain_here):
            members = {"ack": False, "error": code, "message": message}
            if expected is not None:
                members["expected_chunk"] = expected
            if chain_here is not None:
                members["chain"] = chain_here
        case _:
            assert_never(outcome)
    return Reaction(status=200, body=orjson.dumps(members))


def _refusals(rejected: Sequence[int]) -> dict[str, object]:
    if not rejected:
        return {}
    reason = {"code": "FAULT_INJECTED", "message": "fault: reject"}
    return {"rejected": [{"index": index, **reason} for index in rejected]}


def _unstored(faults: frozenset[Fault], plan: Plan) -> Reaction:
    if Fault.STATUS_429 in faults:
        return refusal(429, "BUSY", "fault: status_429", retry_after_s=plan.retry_after)
    if Fault.STATUS_500 in faults:
        return Reaction(status=500, body=b"<h1>Internal Server Error</h1>", headers=_HTML)
    return refusal(200, "FAULT_INJECTED", "fault: ack_false")


def _place(envelope: Envelope) -> str:
    match envelope:
        case ChunkEnvelope(chunk_number=number):
            return str(number)
        case CompletedEnvelope():
            return "completed"
        case StoppedEnvelope(event=event):
            return event.rpartition(".")[2]
        case _:
            assert_never(envelope)


def _attempt(headers: Mapping[str, str]) -> int:
    text = headers.get("ingest-attempt", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 9 else 1
