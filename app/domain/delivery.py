"""What to do with a receiver's reply. Pure, so every rule is one row in a test.

Source of every rule: contract chapters 5, 7 and 8.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import sha256
from typing import TypeAlias

from app.domain.chunk import ChunkRef
from app.domain.errors import Failure
from app.domain.identity import Checksum

RETRY_AFTER_S_MAX = 3600.0
"""No receiver can make us sleep longer than an hour at a time. Contract 7."""

CHECKSUM_RESENDS_MAX = 3
"""Resends of a chunk the receiver says is damaged, before a person is asked."""


# ---- what came back


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejection:
    """A record that the receiver acknowledged but refused, and why. Contract 5.3."""

    index: int
    """0-based in the chunk."""

    code: str = ""
    message: str = ""
    path: str = ""
    """What in the record is wrong, in the receiver's own notation."""

    retryable: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An HTTP response, read as far as the contract gives it a meaning."""

    status: int

    ack: bool | None = None
    """The JSON boolean ``ack``; ``None`` when there is none, whatever else is there."""

    error: str | None = None
    """Upper-case code of a refusal."""

    message: str = ""
    expected_chunk: int | None = None
    chunk_id: str | None = None
    chunk_number: int | None = None
    checksum: str | None = None
    next_chunk: int | None = None
    accepted: int | None = None
    rejected: tuple[Rejection, ...] = ()
    """In the order of their index; no two have the same."""

    duplicate: bool = False
    chain: str | None = None
    retry_after_s: float | None = None
    date: str | None = None
    """The ``Date`` header, to show a clock skew."""

    excerpt: str = ""
    """First 2 KiB of the body, for a person."""

    malformed: str = ""
    """A known member that has the wrong type or range: the answer is no evidence."""


class Silence(StrEnum):
    """Why there is no answer."""

    TIMEOUT = "TIMEOUT"
    CONNECTION_FAILED = "CONNECTION_FAILED"
    CONNECTION_LOST = "CONNECTION_LOST"
    ANSWER_TOO_LARGE = "ANSWER_TOO_LARGE"
    PROTOCOL_ERROR = "PROTOCOL_ERROR"
    URL_BLOCKED = "URL_BLOCKED"


@dataclass(frozen=True, slots=True)
class NoAnswer:
    """Nobody knows if it arrived."""

    reason: Silence
    detail: str = ""


Reply: TypeAlias = Answer | NoAnswer


# ---- what was sent


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One POST, complete: the same bytes on every attempt."""

    url: str
    event: str
    """``ingestion.chunk``, ``ingestion.completed`` …"""

    message_id: str
    """``webhook-id``: the same on every retry. Contract 3."""

    idempotency_key: str
    """A courtesy; nothing depends on it."""

    content: tuple[bytes, ...]
    """The body, in pieces: a chunk's records are sent from where they are, never copied."""

    digest: bytes = field(init=False)
    """SHA-256 of the body, 32 bytes. Made with the message, so once for all its attempts."""

    def __post_init__(self) -> None:
        whole = sha256()
        for piece in self.content:
            whole.update(piece)
        object.__setattr__(self, "digest", whole.digest())

    @property
    def body(self) -> bytes:
        """The body in one piece; a copy."""
        return b"".join(self.content)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkSent:
    """A chunk, and what we know of those after it."""

    ref: ChunkRef

    cut_end: int
    """One past the highest chunk number that was ever cut."""

    chain_before_expected: Checksum | None = None
    """Our chain before the chunk that the receiver says it expects, where we know it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletedSent:
    """The completion."""

    total_chunks: int


Sent: TypeAlias = ChunkSent | CompletedSent


# ---- what to do next


@dataclass(frozen=True, slots=True)
class Commit:
    """Record the ack and move on."""

    rejected: tuple[Rejection, ...] = ()


@dataclass(frozen=True, slots=True)
class Resend:
    """Send the same bytes again after a pause; it counts as an attempt."""

    after_s: float
    failure: Failure


@dataclass(frozen=True, slots=True)
class HoldBack:
    """The receiver asks for time: send the same bytes again; it is no attempt."""

    after_s: float
    failure: Failure


@dataclass(frozen=True, slots=True)
class Wait:
    """Attempts ran out: WAITING, and probe with the same bytes."""

    failure: Failure


@dataclass(frozen=True, slots=True)
class Rewind:
    """The receiver lost its state: go back to this chunk number."""

    to: int


@dataclass(frozen=True, slots=True)
class FastForward:
    """The receiver proved that it has everything before this chunk number."""

    to: int


@dataclass(frozen=True, slots=True)
class Pause:
    """Stop until a person acts."""

    failure: Failure


@dataclass(frozen=True, slots=True)
class Fail:
    """Stop for good, or until it is submitted again."""

    failure: Failure


Verdict: TypeAlias = Commit | Resend | HoldBack | Wait | Rewind | FastForward | Pause | Fail


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """Exponential backoff with full jitter.

    Source: https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
    """

    attempts_max: int = 5
    """Sends of the same bytes before the ingestion goes to WAITING."""

    backoff_s_initial: float = 1.0
    backoff_s_max: float = 60.0

    probe_s_initial: float = 60.0
    """First pause between two probes of a receiver that is down."""

    probe_s_max: float = 600.0
    wait_s_max: float = 24 * 3600.0
    """How long a receiver may be down before the ingestion is FAILED, resumable."""

    rewinds_max: int = 3
    """Rewinds without progress before a person is asked."""

    rejected_max: int = 10_000
    rejected_bytes_max: int = 256 * 1024 * 1024
    """Records of one ingestion that its receiver may refuse before a person is asked."""

    def backoff_s(self, attempt: int, *, jitter: float) -> float:
        """Seconds to wait after ``attempt`` (1-based). ``jitter`` is in [0, 1)."""
        ceiling = self.backoff_s_initial * 2.0 ** min(attempt - 1, 30)
        return min(ceiling, self.backoff_s_max) * jitter

    def probe_s(self, probe: int, *, jitter: float) -> float:
        """Seconds to wait before probe number ``probe`` (1-based): half fixed, half jitter."""
        ceiling = min(self.probe_s_initial * 2.0 ** min(probe - 1, 30), self.probe_s_max)
        return ceiling * (0.5 + 0.5 * jitter)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempts:
    """How often these bytes were sent, this time included."""

    counted: int
    """Those that count against ``attempts_max``. 1-based."""

    held: int = 1
    """Answers in a row, this one included, that asked for time. 1-based."""

    damaged: int = 0
    """Answers before this one that said the chunk arrived damaged."""
