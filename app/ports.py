"""The seams. Everything outside this process is behind one of these.

An implementation never inherits from a port; it has the right methods, and
``tests/contract`` proves that it behaves.
"""

from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import BinaryIO, Protocol, TypeAlias

from app.domain.access import UNLIMITED, LiveLimits
from app.domain.budget import ChunkLimits
from app.domain.chunk import Batch, Chunk, ChunkRef, Cursor, ResumePoint
from app.domain.dead_letter import DeadLetter
from app.domain.delivery import Message, Reply
from app.domain.errors import Failure
from app.domain.events import Event
from app.domain.identity import Checksum, FileId, IngestionId
from app.domain.ingestion import (
    DecodeOptions,
    FileType,
    Fingerprint,
    Ingestion,
    State,
    Submission,
)

# ---- bytes in


class ByteStream(Protocol):
    """Bytes in order."""

    def read(self, size: int, /) -> bytes:
        """Return 1 … ``size`` bytes; ``b""`` only at the end.

        Raises
        ------
        SourceError
            The source stopped answering part-way.
        """


class Source(Protocol):
    """Where the bytes are. One instance stands for one file.

    Blocking: sources are read in the reader process, and in a thread elsewhere.
    Implementations: ``app/sources/``.
    """

    def fingerprint(self) -> Fingerprint:
        """Identify the exact bytes. Cheap: reads at most 128 KiB.

        Raises
        ------
        SourceError
            Missing, unreadable, outside the allowed roots, or not a regular file.
        """

    def open(self, *, offset: int = 0) -> AbstractContextManager[ByteStream]:
        """Read from byte ``offset`` on. Raises `SourceError`."""

    def open_seekable(self) -> AbstractContextManager[BinaryIO]:
        """Give the whole source as a seekable file, for formats that need one."""


class Sources(Protocol):
    """Turn a requested path into a source, or refuse it."""

    def locate(self, file_path: str) -> Source:
        """Return the source behind ``file_path``; raises `SourceError`."""


# ---- records


class Decoder(Protocol):
    """How bytes become records. One instance decodes one source once.

    Implementations: ``app/decoders/``, each made by ``(source, options)``.
    """

    def detect(self) -> Mapping[str, str]:
        """Find out what the options left open, and return only that.

        Keys are fields of `DecodeOptions`. What is returned is stored, and comes back
        as options when the source is opened again: detection is never done twice.
        Raises `DecodeError` or `SourceError`.
        """

    def batches(self, cursor: Cursor, /) -> Iterator[Batch]:
        """Yield the records from ``cursor`` on, a batch at a time, in source order.

        An empty batch is a sign of life from a decoder that passes over much at once.
        The same source, options and cursor always give the same records. Good records
        before a bad place are yielded before the error is raised.

        Raises
        ------
        DecodeError
            The bytes are not in this format; its place says where. ``record`` in the place
            is counted from ``cursor``.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadJob:
    """All that a reader needs to know."""

    ingestion_id: IngestionId
    file_path: str
    file_type: FileType
    options: DecodeOptions
    """With what was detected the first time filled in."""

    fingerprint: Fingerprint
    """What the source must still have."""

    limits: ChunkLimits
    """At least one of them is not 0."""

    resume: ResumePoint


@dataclass(frozen=True, slots=True, kw_only=True)
class Detected:
    """Always the first thing a reader gives."""

    detection: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceEnd:
    """Always the last thing a reader gives."""

    records_read: int
    """Records in the whole source, those before the resume point included."""


Reading: TypeAlias = Detected | Chunk | SourceEnd


class Reader(Protocol):
    """Source, decoder and chunker, joined. Implementations: ``app/readers/``."""

    def read(self, job: ReadJob, /) -> AsyncGenerator[Reading, None]:
        """Yield `Detected`, then chunks in order, then `SourceEnd`.

        Works at most two chunks ahead, or a small stock. Closing it releases everything.

        Raises
        ------
        ReadFailed
            The source or its bytes are at fault.
        ReaderDied
            The reader itself was lost.
        """

    def spare(self) -> bool:
        """Tell whether there is memory for a chunk that is asked for before it is needed."""


# ---- chunks out


class Receiver(Protocol):
    """Who takes the chunks. Implementation: ``app/receiver/http.py``."""

    async def post(self, message: Message, *, attempt: int) -> Reply:
        """Send once (``attempt`` is 1-based) and report what came back.

        Does not retry, does not follow redirects, raises nothing but cancellation.
        """


class CallbackPolicy(Protocol):
    """Which URLs may be called."""

    async def check(self, url: str) -> str:
        """Return the ``scheme://host:port`` of ``url``; raise `CallbackRefused` for a bad one."""


# ---- what survives


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """The right to advance one ingestion. Every write of progress carries it (invariant 9)."""

    ingestion_id: IngestionId
    epoch: int
    stretch: int = field(default=0, compare=False)
    """In which unbroken stretch of its worker's life it was claimed; for `Ledger.is_sure`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A slice of a long list, newest first."""

    ingestions: Sequence[Ingestion]
    next_cursor: str | None
    """Give it back to get the next slice; ``None`` on the last one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetterPage:
    """A slice of the records of an ingestion that were refused, in their order."""

    dead_letters: Sequence[DeadLetter]
    next_cursor: str | None
    """As in `Page`."""


class Ledger(Protocol):
    """The data plane's side of the store: claim, stage, commit."""

    async def claim(self, *, limit: int) -> Sequence[tuple[Lease, Ingestion]]:
        """Take over at most ``limit`` live ingestions that no living worker holds.

        QUEUED ones, and RUNNING, WAITING or COMPLETING ones whose worker is gone. Oldest
        first. A QUEUED one is RUNNING afterwards; the others keep their state.
        """

    async def renew(self) -> None:
        """Prolong every lease of this worker; called well within the lease time."""

    def is_sure(self, lease: Lease) -> bool:
        """Tell, without a look at the store, that nobody can have taken this ingestion over.

        Asked before anything is sent, with no await between (invariant 9). `renew` when false.
        Raises `StaleLease` when somebody has taken it over.
        """

    async def wait_for_work(self, timeout_s: float) -> None:
        """Return when something may have changed in the store, or after ``timeout_s``."""

    async def cancel_requests(self) -> Sequence[IngestionId]:
        """Return the ingestions held by this worker that a person wants cancelled."""

    async def resume_point(self, ingestion_id: IngestionId) -> ResumePoint:
        """Say where to start again, and what was already cut from there on."""

    async def chain_before(self, ingestion_id: IngestionId, number: int) -> Checksum | None:
        """Return the chain before chunk ``number`` (contract 6.6), if all before it were cut."""

    async def detected(self, lease: Lease, detection: Mapping[str, str]) -> None:
        """Remember what the decoder found out."""

    async def stage(self, lease: Lease, ref: ChunkRef) -> None:
        """Remember, durably, that this chunk is about to be sent (invariant 2).

        Staging a chunk that is already staged with the same content changes nothing.

        Raises
        ------
        OutOfOrder
            ``ref`` does not follow the last chunk, or contradicts what was staged.
        StaleLease
            Another worker holds this ingestion. So do all writes below.
        """

    async def commit(
        self,
        lease: Lease,
        ref: ChunkRef,
        *,
        dead_letters: Sequence[DeadLetter] = (),
        then_stage: ChunkRef | None = None,
        pause: Failure | None = None,
    ) -> None:
        """Remember, durably and as one, that this chunk was acked, and which records were refused.

        Stages the next one with it. ``dead_letters`` are those of this chunk, and replace
        those of an ACK before a rewind. ``pause`` is why the ingestion is PAUSED from then on.
        Raises `OutOfOrder` when ``ref`` is not the staged chunk that is next.
        """

    async def rewind(self, lease: Lease, *, to: int) -> None:
        """Take back the acks of chunk ``to`` and all after it; they stay cut as they are."""

    async def fast_forward(self, lease: Lease, *, to: int) -> None:
        """Count every chunk before ``to`` as acked; all of them were cut before."""

    async def source_ended(self, lease: Lease, *, records_read: int) -> None:
        """Remember how many records the source holds; the state becomes COMPLETING.

        Raises `OutOfOrder` when they do not balance with those accounted for (invariant 5).
        """

    async def move(self, lease: Lease, state: State, *, failure: Failure | None = None) -> None:
        """Change the state, and why. Leaving the live states gives the lease back."""

    async def count_reader_death(self, lease: Lease) -> int:
        """Return how many times in a row, this one included, the reader died (K6)."""

    async def release(self, lease: Lease) -> None:
        """Give the lease back; the ingestion stays in its live state, for the next claim."""


class SubmitStatus(StrEnum):
    """What became of a submission."""

    STARTED = "STARTED"
    RESUMED = "RESUMED"
    ALREADY_RUNNING = "ALREADY_RUNNING"
    ALREADY_COMPLETED = "ALREADY_COMPLETED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Submitted:
    """What a submission led to."""

    status: SubmitStatus
    ingestion: Ingestion


class Catalog(Protocol):
    """The control plane's side of the store: what a person may ask."""

    async def submit(
        self,
        submission: Submission,
        fingerprint: Fingerprint,
        *,
        new_version: bool,
        idempotency: tuple[str, str] | None = None,
        live: LiveLimits = UNLIMITED,
    ) -> Submitted:
        """Create an ingestion, or requeue one that stopped, in one transaction.

        ``idempotency`` is the client's key and a digest of its request. Whoever asks for
        the same file 50 times at once gets one ingestion (P2).

        Raises
        ------
        Conflict
            ``SOURCE_CHANGED``: the latest version was made from other bytes or options.
            ``INGESTION_ABORTED``, ``NOT_RESUMABLE``: it will never go on.
        IdempotencyKeyReused
            The key came with another digest before.
        LimitReached
            There would be one live ingestion more than ``live`` allows.
        """

    async def get(self, ingestion_id: IngestionId) -> Ingestion:
        """Raise `IngestionNotFound` when no ingestion has this id."""

    async def page(
        self,
        *,
        states: Sequence[State] = (),
        file_id: FileId | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page:
        """Return ingestions, newest first, in pages that stay stable while new ones come."""

    async def dead_letters(
        self, ingestion_id: IngestionId, *, limit: int = 50, cursor: str | None = None
    ) -> DeadLetterPage:
        """Return the refused records of the chunks that are acked, a few MiB at a time.

        Raises `IngestionNotFound`.
        """

    async def request_cancel(self, ingestion_id: IngestionId) -> Ingestion:
        """Ask for an ingestion to be aborted; at once where nobody works on it.

        Raises `IngestionNotFound`; `Conflict` ``ALREADY_FINISHED``.
        """

    async def ready(self) -> None:
        """Raise `StoreError` when the store cannot be written."""


# ---- the rest


class Clock(Protocol):
    """Time, injected."""

    def now(self) -> datetime:
        """Aware UTC; may jump."""

    def monotonic(self) -> float:
        """Seconds; never goes back."""

    async def sleep(self, seconds: float) -> None:
        """Wait."""


class EventSink(Protocol):
    """Who wants to know what happens. Implementations: ``app/telemetry/``."""

    def emit(self, event: Event) -> None:
        """Take an event. Never blocks, never raises."""
