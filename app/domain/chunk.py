"""What a chunk is: a run of consecutive records, its bytes, and its proof."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from app.domain.identity import Checksum, IngestionId, chunk_id_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Cursor:
    """Where in a source the next record starts."""

    offset: int = 0
    """In the decoder's own unit: a byte for text formats, a row group for Parquet,
    always 0 for formats that can only be read from the beginning."""

    skip: int = 0
    """Records to pass over from ``offset`` on."""

    line: int = 1
    """1-based line number at ``offset``, for error messages only."""

    context: str = ""
    """What else the decoder needs to start at ``offset``; opaque to everyone else."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Some consecutive records in canonical form, as a decoder gives them.

    About 64 KiB of source at a time: few enough to stay in the processor's cache,
    many enough to make the cost of a batch vanish.
    """

    records: Sequence[bytes]
    """Canonical JSON of each record (contract 6.2), in source order."""

    start: Cursor
    """Where the first record starts. Record ``i`` is at ``start`` with ``skip + i``."""

    position: int
    """Source bytes consumed up to the end of this batch, for progress."""

    unsafe: Mapping[int, int] = field(default_factory=dict)
    """Index in ``records`` → how many of its numbers are unsafe (contract 6.4), if any."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkRef:
    """A chunk without its bytes: small enough to store, log and compare."""

    ingestion_id: IngestionId

    number: int
    """Place in the ingestion. 0-based, gapless."""

    record_start: int
    """First record in the chunk. 0-based in the ingestion, inclusive."""

    record_end: int
    """One past the last record, so also where the next chunk starts."""

    start: Cursor
    """Where the source must be opened to cut this chunk again."""

    end: Cursor
    """Where the source must be opened to cut the next one."""

    position: int
    """Source bytes up to its end, for progress; within a batch an estimate."""

    checksum: Checksum
    """SHA-256 of the records' bytes, ``[`` to ``]`` (contract 6.1)."""

    chain: Checksum
    """The chain after this chunk (contract 6.6)."""

    records_bytes: int
    """Length of the records' bytes, ``[`` to ``]``."""

    unsafe_numbers: int = 0
    """Number tokens in it that are copied verbatim from the source (contract 6.4)."""

    revision: int = 0
    """+1 whenever this number had to be cut again with other content (contract 8.3)."""

    @property
    def chunk_id(self) -> str:
        """``<ingestion_id>:<number>``."""
        return chunk_id_of(self.ingestion_id, self.number)

    @property
    def record_count(self) -> int:
        """Records in the chunk, at least 1."""
        return self.record_end - self.record_start

    def boundary(self) -> "Boundary":
        """Return what is needed to cut it again."""
        return Boundary(
            number=self.number,
            record_end=self.record_end,
            checksum=self.checksum,
            revision=self.revision,
        )


@dataclass(frozen=True, slots=True)
class Chunk:
    """A chunk ready to send. The bytes are never changed after they are hashed."""

    ref: ChunkRef

    records: bytes
    """The JSON array of the records, exactly the bytes the checksum is over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Boundary:
    """Where a chunk was cut before, and what it was: to be cut there again."""

    number: int
    record_end: int
    checksum: Checksum
    revision: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ResumePoint:
    """Where to start again, and what was already cut from there on."""

    number: int = 0
    """Next chunk to deliver."""

    record_start: int = 0
    """Its first record. Records before it are acknowledged."""

    cursor: Cursor = field(default_factory=Cursor)
    """Where the source is opened."""

    chain: Checksum
    """The chain before that chunk."""

    planned: tuple[Boundary, ...] = ()
    """Chunks that were cut before: the one staged before a crash, or, after a rewind,
    all that were sent. They are cut again exactly (invariant 2)."""

    refused_bytes: int = 0
    """Size of the records before it that the receiver refused, and that are kept."""
