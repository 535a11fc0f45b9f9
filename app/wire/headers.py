"""The headers of a request to a receiver (contract 3)."""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from hashlib import sha256

from app import __version__
from app.domain.delivery import Message
from app.wire.protocol import PROTOCOL
from app.wire.signature import sign

USER_AGENT = f"ackline/{__version__}"

_ALWAYS = {
    "Content-Type": "application/json",
    "Accept": "application/json, application/problem+json",
    # A compressed answer would have to be decompressed before it can be limited.
    "Accept-Encoding": "identity",
    "User-Agent": USER_AGENT,
    "Ingest-Protocol": PROTOCOL,
}

OWN_HEADERS = frozenset(
    {name.lower() for name in _ALWAYS}
    | {"content-length", "content-digest", "content-encoding", "transfer-encoding", "host"}
    | {"webhook-id", "webhook-timestamp", "webhook-signature", "idempotency-key"}
    | {"ingest-event", "ingest-attempt", "traceparent", "connection"}
)
"""Names, in lower case, that configuration cannot set. Contract 3.6."""


def request_headers(
    message: Message,
    *,
    attempt: int,
    timestamp_s: int,
    secrets: Sequence[bytes] = (),
    traceparent: str | None = None,
    extra: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Return the headers of one send.

    Parameters
    ----------
    message
        What is sent; its body is the content as sent, so without content coding.
    attempt
        Which send of these bytes this is, counted from 1.
    timestamp_s
        Unix seconds of this attempt.
    secrets
        Keys to sign with, none for no signature. See `app.wire.signature.read_secret`.
    traceparent
        W3C Trace Context.
    extra
        Authorization and the like, from configuration. Names in `OWN_HEADERS` are left out.
    """
    headers = {
        name: value for name, value in (extra or {}).items() if name.lower() not in OWN_HEADERS
    }
    headers |= _ALWAYS
    headers |= {
        "Content-Length": str(sum(map(len, message.content))),
        "Content-Digest": digest_field(message.digest),
        "Idempotency-Key": f'"{message.idempotency_key}"',
        "Ingest-Event": str(message.event),
        "Ingest-Attempt": str(attempt),
        "webhook-id": message.message_id,
        "webhook-timestamp": str(timestamp_s),
    }
    if secrets:
        headers["webhook-signature"] = sign(
            message.message_id, timestamp_s, message.content, secrets
        )
    if traceparent is not None:
        headers["traceparent"] = traceparent
    return headers


def digest_field(digest: bytes) -> str:
    """Return the value of ``Content-Digest`` for a SHA-256. Source: RFC 9530 §2; contract 3.4."""
    return f"sha-256=:{b64encode(digest).decode()}:"


def content_digest(body: bytes) -> str:
    """Return the value of ``Content-Digest`` for a body."""
    return digest_field(sha256(body).digest())
