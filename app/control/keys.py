"""API keys: how one is made, and who is behind one. Only digests are kept (ADR 12)."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from hmac import compare_digest
from secrets import token_urlsafe

from app.domain.access import ANONYMOUS, Caller

KEY_PREFIX = "ackline_"
"""What every key begins with, so that people and scanners know one when they see it."""

KEY_BYTES = 32
"""Randomness in a key. No list holds it and nobody guesses it, so a fast hash hides it."""

_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyEntry:
    """One caller, and the keys that stand for it."""

    caller: Caller
    digests: tuple[str, ...]
    """`digest_of` each key; several while one replaces another."""


class Keyring:
    """Every key that is in force."""

    def __init__(self, entries: Iterable[KeyEntry] = ()) -> None:
        self._known = tuple(
            (digest.encode(), entry.caller) for entry in entries for digest in entry.digests
        )

    @property
    def is_empty(self) -> bool:
        """Without any key, whoever reaches the service may do everything."""
        return not self._known

    def caller(self, key: str | None) -> Caller | None:
        """Return who is behind ``key``; ``None`` for nobody."""
        if self.is_empty:
            return ANONYMOUS
        given = digest_of(key or "").encode()
        found = None
        # Every one is compared, so the time taken does not tell which one it was.
        for digest, caller in self._known:
            if compare_digest(digest, given):
                found = caller
        return found


def new_key() -> str:
    """Make a key. It is shown once, and kept by whoever asks with it."""
    return KEY_PREFIX + token_urlsafe(KEY_BYTES)


def digest_of(key: str) -> str:
    """Return what is kept of a key: 64 lower-case hex digits of its SHA-256."""
    return sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def is_digest(text: str) -> bool:
    """Tell whether a text has the form that `digest_of` returns."""
    return _DIGEST.fullmatch(text) is not None
