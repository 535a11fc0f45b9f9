"""How much goes into one chunk, and how much one record may be."""

from dataclasses import dataclass

RECORD_BYTES_MAX = 16 * 1024 * 1024
"""One record, as source text and in canonical form. Above it a receiver's JSON parser
is the next thing to break; a product record is 500 bytes."""

DEPTH_MAX = 200
"""Nested arrays and objects in one record. The encoder's own limit is 254."""

DIGITS_MAX = 4_000
"""Digits in one number. Python and many parsers refuse integers above 4,300."""

BLOCK_BYTES = 64 * 1024
"""Source bytes decoded at a time. 64 KiB blocks decode 2.5 times as fast as 1–4 MiB
ones, because the decoded objects stay in the processor's cache."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkLimits:
    """When a chunk is full: whichever limit is reached first. 0 means no such limit."""

    records: int = 0
    """Most records in a chunk."""

    memory: int = 0
    """Most bytes of the ``records`` array, ``[`` to ``]``. Never exceeded: a single record
    above it is ``RECORD_TOO_LARGE``."""

    def __post_init__(self) -> None:
        if self.records < 0 or self.memory < 0:
            raise ValueError("a chunk limit is 0 (none) or positive")

    def or_default(self, default: "ChunkLimits") -> "ChunkLimits":
        """Return these limits, or the service's own where none was asked for."""
        return self if self.records or self.memory else default
