"""Request headers. Contract 3."""

import hmac
import re
from base64 import b64decode, b64encode
from dataclasses import replace
from hashlib import sha256

from app.wire import chunk_message
from app.wire.headers import OWN_HEADERS, content_digest, request_headers
from app.wire.signature import verify
from tests.support.builders import INGESTION, an_ingestion
from tests.support.chunks import a_chunk

MESSAGE = chunk_message(an_ingestion(), a_chunk(3))
KEY = b"a key of at least 24 bytes"


def test_the_headers_of_a_chunk_are_exactly_these() -> None:
    headers = request_headers(MESSAGE, attempt=2, timestamp_s=1700000000)
    agent = headers.pop("User-Agent")
    assert re.fullmatch(r"ackline/\d+\.\d+\.\d+", agent)
    assert headers == {
        "Content-Type": "application/json",
        "Content-Length": str(len(MESSAGE.body)),
        "Content-Digest": content_digest(MESSAGE.body),
        "Accept": "application/json, application/problem+json",
        "Accept-Encoding": "identity",
        "Idempotency-Key": f'"{INGESTION}:3"',
        "Ingest-Protocol": "1",
        "Ingest-Event": "ingestion.chunk",
        "Ingest-Attempt": "2",
        "webhook-id": f"chk_{INGESTION}_3_0",
        "webhook-timestamp": "1700000000",
    }


def test_the_digest_is_over_the_whole_body() -> None:
    # The example of RFC 9530, appendix A.
    assert content_digest(b'{"hello": "world"}\n') == (
        "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:"
    )
    encoded = content_digest(MESSAGE.body).removeprefix("sha-256=:").removesuffix(":")
    assert b64decode(encoded) == sha256(MESSAGE.body).digest()


def test_a_secret_adds_a_signature_that_verifies() -> None:
    headers = request_headers(MESSAGE, attempt=1, timestamp_s=1700000000, secrets=[KEY])
    assert (
        verify(
            message_id=headers["webhook-id"],
            timestamp=headers["webhook-timestamp"],
            signatures=headers["webhook-signature"],
            body=MESSAGE.body,
            secrets=[KEY],
            now_s=1700000000,
        )
        is None
    )


def test_a_signature_is_over_the_bytes_that_are_sent_whatever_they_mean() -> None:
    """Who decodes a body and encodes it again has signed another one."""
    body = b'{"a": 1.50, "b": 1e400, "c": 123456789012345678901234567890, "b": "\\u00e9"}'
    message = replace(MESSAGE, content=(body[:20], body[20:]))
    headers = request_headers(message, attempt=1, timestamp_s=1700000000, secrets=[KEY])
    signed = f"{MESSAGE.message_id}.1700000000.".encode() + body
    mac = b64encode(hmac.digest(KEY, signed, "sha256")).decode()
    assert headers["webhook-signature"] == f"v1,{mac}"


def test_only_attempt_time_and_signature_differ_between_two_sends() -> None:
    first = request_headers(MESSAGE, attempt=1, timestamp_s=1700000000, secrets=[KEY])
    again = request_headers(MESSAGE, attempt=2, timestamp_s=1700000009, secrets=[KEY])
    assert {name for name in first if first[name] != again[name]} == {
        "Ingest-Attempt",
        "webhook-timestamp",
        "webhook-signature",
    }


def test_configuration_adds_headers_but_never_replaces_ours() -> None:
    headers = request_headers(
        MESSAGE,
        attempt=1,
        timestamp_s=0,
        traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        extra={"Authorization": "Bearer x", "content-LENGTH": "0", "Host": "elsewhere"},
    )
    assert headers["Authorization"] == "Bearer x"
    assert headers["traceparent"].startswith("00-")
    assert not {"content-LENGTH", "Host"} & set(headers)


def test_every_header_we_send_is_one_that_configuration_cannot_set() -> None:
    sent = request_headers(MESSAGE, attempt=1, timestamp_s=0, secrets=[KEY], traceparent="x")
    assert {name.lower() for name in sent} <= OWN_HEADERS
