"""Standard Webhooks 1.0.0, symmetric scheme: who sent this body, and when (contract 3.3).

Source: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

import hmac
from base64 import b64decode, b64encode
from collections.abc import Sequence
from enum import StrEnum
from hashlib import sha256

SECRET_PREFIX = "whsec_"  # noqa: S105 - the prefix of every secret, not one
SECRET_BYTES_MIN = 24
SECRET_BYTES_MAX = 64
"""Between 192 and 512 bits, as the specification asks."""

TOLERANCE_S = 300
"""How far the clocks of both sides may differ. The reference libraries use 5 minutes."""


class SignatureFault(StrEnum):
    """Why a request is not to be trusted. The values are codes of contract 7.2."""

    SIGNATURE_INVALID = "SIGNATURE_INVALID"
    TIMESTAMP_OUT_OF_RANGE = "TIMESTAMP_OUT_OF_RANGE"


def read_secret(text: str) -> bytes:
    """Return the key in ``whsec_<base64>``; the prefix may be missing.

    Raises
    ------
    ValueError
        It is not base64, or not 24 … 64 bytes long. The text is not repeated.
    """
    try:
        key = b64decode(text.strip().removeprefix(SECRET_PREFIX), validate=True)
    except ValueError as error:
        raise ValueError("a secret is 'whsec_' and base64") from error
    if not SECRET_BYTES_MIN <= len(key) <= SECRET_BYTES_MAX:
        raise ValueError(
            f"a secret has {SECRET_BYTES_MIN} to {SECRET_BYTES_MAX} bytes, this one {len(key)}"
        )
    return key


def sign(
    message_id: str, timestamp_s: int, content: Sequence[bytes], secrets: Sequence[bytes]
) -> str:
    """Return ``webhook-signature``: one signature per secret, separated by a space.

    ``content`` is the body in pieces. Several secrets are in force while one is replaced.
    """
    opening = f"{message_id}.{timestamp_s}.".encode()
    return " ".join(f"v1,{_mac(key, opening, *content)}" for key in secrets)


def verify(
    *,
    message_id: str,
    timestamp: str,
    signatures: str,
    body: bytes,
    secrets: Sequence[bytes],
    now_s: float,
    tolerance_s: float = TOLERANCE_S,
) -> SignatureFault | None:
    """Check a request as a receiver does; ``None`` when one of the signatures is right.

    ``timestamp`` and ``signatures`` are the header values, empty when there are none.
    """
    if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= 12):
        return SignatureFault.SIGNATURE_INVALID
    opening = f"{message_id}.{timestamp}.".encode()
    claimed = [
        mac.encode()
        for version, _, mac in (part.partition(",") for part in signatures.split(" "))
        if version == "v1"
    ]
    wanted = [_mac(key, opening, body).encode() for key in secrets]
    # Every pair is compared, so the time taken does not tell which secret is in force.
    matches = [hmac.compare_digest(mine, theirs) for mine in wanted for theirs in claimed]
    if not any(matches):
        return SignatureFault.SIGNATURE_INVALID
    # Only an authentic timestamp is worth a judgement about the clock.
    if abs(now_s - int(timestamp)) > tolerance_s:
        return SignatureFault.TIMESTAMP_OUT_OF_RANGE
    return None


def _mac(key: bytes, opening: bytes, *content: bytes) -> str:
    mac = hmac.new(key, opening, sha256)
    for piece in content:
        mac.update(piece)
    return b64encode(mac.digest()).decode()
