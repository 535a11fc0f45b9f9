"""What an ingestion is, the states it can be in, and the moves between them."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum

from app.domain.budget import ChunkLimits
from app.domain.canonical import DuplicateKeys, Numbers
from app.domain.errors import Failure
from app.domain.identity import Checksum, FileId, IngestionId


class State(StrEnum):
    """Where an ingestion stands."""

    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    WAITING = "WAITING"
    """The receiver is unavailable; the service probes it by itself."""
    COMPLETING = "COMPLETING"
    """Every chunk is acknowledged, the completion is not."""
    COMPLETED = "COMPLETED"
    PAUSED = "PAUSED"
    """Needs a person; goes on from where it stopped when it is submitted again."""
    FAILED = "FAILED"
    ABORTED = "ABORTED"
    QUARANTINED = "QUARANTINED"
    """Its reader died twice at the same place."""


LIVE = frozenset({State.QUEUED, State.RUNNING, State.WAITING, State.COMPLETING})
"""States the service works on by itself, also after a restart."""

FINISHED = frozenset({State.COMPLETED, State.ABORTED})
"""States that are never left (invariant 10)."""

_STOPS = frozenset({State.PAUSED, State.FAILED, State.ABORTED, State.QUARANTINED})

MOVES: Mapping[State, frozenset[State]] = {
    State.QUEUED: _STOPS | {State.RUNNING},
    State.RUNNING: _STOPS | {State.WAITING, State.COMPLETING, State.QUEUED},
    State.WAITING: _STOPS | {State.RUNNING, State.COMPLETING, State.QUEUED},
    State.COMPLETING: _STOPS | {State.COMPLETED, State.WAITING, State.RUNNING, State.QUEUED},
    State.COMPLETED: frozenset(),
    State.PAUSED: frozenset({State.QUEUED, State.ABORTED}),
    State.FAILED: frozenset({State.QUEUED, State.ABORTED}),
    State.ABORTED: frozenset(),
    State.QUARANTINED: frozenset({State.QUEUED, State.ABORTED}),
}
"""From → to. Anything else is a bug, and the store refuses it."""


class FileType(StrEnum):
    """How the bytes of a source are read."""

    JSON = "json"
    NDJSON = "ndjson"
    CSV = "csv"
    TSV = "tsv"
    EXCEL = "excel"


FILE_TYPE_ALIASES: Mapping[str, FileType] = {
    "jsonl": FileType.NDJSON,
    "jsonlines": FileType.NDJSON,
    "xlsx": FileType.EXCEL,
}
"""Other names a request may use. The file's identity is always made from the main name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodeOptions:
    """What a person said about the bytes. ``None``: detect it, and report what was found."""

    record_path: str | None = None
    """JSON: members from the top to the array of records, joined by ``.``."""

    delimiter: str | None = None
    """CSV: one character."""

    quote: str | None = None
    """CSV: one character; empty for none."""

    encoding: str | None = None
    """CSV: a Python codec name."""

    sheet: str | int | None = None
    """Excel: its name, or its 0-based index."""

    header_row: int | None = None
    """Excel: 1-based number of the row that names the columns."""

    canonical: bool = True
    """JSON, NDJSON: false keeps each record's own bytes, which are still checked to be JSON."""

    numbers: Numbers = Numbers.EXACT
    duplicate_keys: DuplicateKeys = DuplicateKeys.LAST

    def with_detected(self, detection: Mapping[str, str]) -> "DecodeOptions":
        """Fill in what was found out the first time, so that it is never found out anew."""
        return replace(
            self,
            record_path=self.record_path or detection.get("record_path"),
            delimiter=self.delimiter or detection.get("delimiter"),
            quote=detection.get("quote") if self.quote is None else self.quote,
            encoding=self.encoding or detection.get("encoding"),
            sheet=detection.get("sheet") if self.sheet is None else self.sheet,
            header_row=self.header_row or int(detection.get("header_row", 0)) or None,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Fingerprint:
    """Identity of the exact source bytes. Two equal ones stand for equal bytes (fault S2)."""

    size: int
    """Bytes."""

    modified_ns: int
    """Nanoseconds since the epoch."""

    sample: Checksum
    """SHA-256 over the first and the last 64 KiB."""

    changed_ns: int = 0
    """When the file system last noted a change of bytes or attributes, in nanoseconds since
    the epoch; 0: not known. Nobody can set it, so it gives away bytes replaced in the middle
    under the old time; but it also moves when the file is only renamed or gets another mode."""

    def difference(self, now: "Fingerprint", *, in_attributes: bool = True) -> str:
        """Name what differs in ``now``, in words; empty when nothing does.

        ``in_attributes``: also when it may be no more than the name or the mode.
        """
        changes = [
            (self.size != now.size, f"its size was {self.size} bytes and is {now.size}"),
            (self.sample != now.sample, "its first or last 64 KiB differ"),
            (self.modified_ns != now.modified_ns, "its modification time differs"),
        ]
        if any(changed for changed, _ in changes):
            return ", ".join(text for changed, text in changes if changed)
        known = in_attributes and self.changed_ns and now.changed_ns
        if known and self.changed_ns != now.changed_ns:
            return "it was written to, replaced, renamed or given a new mode"
        return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """What a request asks for, checked and normalised."""

    file_path: str
    file_type: FileType
    callback_url: str
    limits: ChunkLimits = field(default_factory=ChunkLimits)
    options: DecodeOptions = field(default_factory=DecodeOptions)
    metadata: Mapping[str, str] = field(default_factory=dict)
    """Sent with every chunk. The key ``records`` is forbidden."""

    caller: str = ""
    """Name of who asked for it; empty without API keys."""

    callback_origin: str = ""
    """``scheme://host:port`` of the callback, by which live ingestions are limited."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far an ingestion has come. Moves only with an ACK (invariant 1)."""

    next_chunk: int = 0
    """Chunks 0 … next_chunk - 1 are acknowledged."""

    records_delivered: int = 0
    """Records in them."""

    records_filtered: int = 0
    records_dead_lettered: int = 0
    records_rejected: int = 0
    """Of the delivered ones, those the receiver acknowledged but refused."""

    position: int = 0
    """Source bytes they took."""

    unsafe_numbers: int = 0
    chain: Checksum
    rewinds: int = 0

    @property
    def records_accounted(self) -> int:
        """What must equal the records read (invariant 5)."""
        return self.records_delivered + self.records_filtered + self.records_dead_lettered


@dataclass(frozen=True, slots=True, kw_only=True)
class Ingestion:
    """One execution over one file, as the store knows it."""

    id: IngestionId
    file_id: FileId
    version: str
    """``"resume"`` for the first, a stored unique value for each re-ingestion."""

    submission: Submission
    state: State
    progress: Progress
    fingerprint: Fingerprint
    """Taken when it was submitted; the source must still have it whenever it is opened."""

    detection: Mapping[str, str] = field(default_factory=dict)
    """What the decoder found out by itself: delimiter, encoding, record path."""

    failure: Failure | None = None
    """Why it is FAILED, PAUSED, QUARANTINED, ABORTED – or WAITING."""

    records_read: int | None = None
    """Records in the whole source; known when its end was reached."""

    cancel_requested: bool = False
    reader_deaths: int = 0
    """Times in a row that the reader died before the next ACK."""

    created_at: datetime
    updated_at: datetime
    started_at: datetime | None = None
    acked_at: datetime | None = None
    """When the last ACK came."""

    waiting_since: datetime | None = None
    finished_at: datetime | None = None
