"""Everything that can go wrong, on one page.

IngestError
├── SourceError            the bytes could not be had              SourceCode
├── DecodeError            the bytes are not what the format says  DecodeCode
│   └── RecordError          this one record, the file goes on
├── ReadFailed             one of those two, as told by a reader
├── ReaderDied             the child process that reads was lost
├── StoreError             progress could not be saved
│   ├── StoreUnavailable     busy, full, or failing: try again later
│   ├── StaleLease           another worker has taken this ingestion over
│   ├── OutOfOrder           a write did not follow the last one: a bug
│   └── SchemaTooNew         the database was written by a newer version
├── NotReady               the service cannot take work just now
│   └── DiskLow              too little space for progress is left
└── RequestError           the caller asked for something impossible
    ├── IngestionNotFound
    ├── FileTypeUnknown
    ├── OptionInvalid        an option or limit that cannot work
    ├── CallbackRefused
    ├── NotAllowed           the caller's API key is not for this
    ├── LimitReached         too much at one time: try again later
    ├── Conflict             the ingestion is in a state that forbids it
    ├── CursorInvalid        a page cursor that this service never gave
    └── IdempotencyKeyReused

Replies from a receiver are not here: a nack or a timeout is an expected outcome the
delivery loop must branch on, so it is a value (``domain.delivery``).
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where in a source something is wrong. What is not known stays ``None``."""

    byte: int | None = None
    """0-based offset in the (decompressed) source."""

    line: int | None = None
    """1-based."""

    record: int | None = None
    """0-based index of the record in the ingestion."""

    cell: str | None = None
    """Sheet and cell of a workbook, such as ``Products!C7``."""

    def __str__(self) -> str:
        parts = (
            ("byte", self.byte),
            ("line", self.line),
            ("record", self.record),
            ("cell", self.cell),
        )
        return ", ".join(f"{name} {value}" for name, value in parts if value is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why an ingestion stopped, as it is stored, shown and sent."""

    code: str
    """Stable and public. Never renamed."""

    message: str

    remedy: str = ""
    """What a person can do about it, one sentence."""

    resumable: bool = False
    """Can the same ingestion go on from its last acknowledged chunk?"""

    place: Place | None = None


class SourceCode(StrEnum):
    """Why the bytes could not be had."""

    SOURCE_NOT_FOUND = "SOURCE_NOT_FOUND"
    SOURCE_FORBIDDEN = "SOURCE_FORBIDDEN"
    SOURCE_UNREADABLE = "SOURCE_UNREADABLE"
    SOURCE_NOT_A_FILE = "SOURCE_NOT_A_FILE"
    SOURCE_UNAVAILABLE = "SOURCE_UNAVAILABLE"
    SOURCE_CHANGED = "SOURCE_CHANGED"


class DecodeCode(StrEnum):
    """What is wrong with the bytes."""

    # The file as a whole.
    MALFORMED = "MALFORMED"
    TRUNCATED = "TRUNCATED"
    ENCODING_INVALID = "ENCODING_INVALID"
    OPTION_INVALID = "OPTION_INVALID"
    NO_RECORDS_AT_PATH = "NO_RECORDS_AT_PATH"
    AMBIGUOUS_RECORDS = "AMBIGUOUS_RECORDS"
    DUPLICATE_HEADER = "DUPLICATE_HEADER"
    SHEET_NOT_FOUND = "SHEET_NOT_FOUND"
    DECOMPRESSION_LIMIT = "DECOMPRESSION_LIMIT"
    # One record of it.
    RAGGED_ROW = "RAGGED_ROW"
    CELL_ERROR = "CELL_ERROR"
    RECORD_INVALID = "RECORD_INVALID"
    RECORD_TOO_LARGE = "RECORD_TOO_LARGE"
    RECORD_TOO_DEEP = "RECORD_TOO_DEEP"
    NUMBER_TOO_LONG = "NUMBER_TOO_LONG"
    NUMBER_UNSAFE = "NUMBER_UNSAFE"
    DUPLICATE_KEY = "DUPLICATE_KEY"


class IngestError(Exception):
    """Base of every error this service raises on purpose."""

    code: str = "INTERNAL"
    """Stable and public: in logs, metrics, the API and the docs. Never renamed."""

    retryable: ClassVar[bool] = False
    """Could the same call succeed later with nothing changed?"""

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def failure(self) -> Failure:
        """Return the value that is stored and shown for this error."""
        return Failure(
            code=self.code, message=self.message, remedy=self.remedy, resumable=self.retryable
        )


class SourceError(IngestError):
    """The bytes could not be had."""

    def __init__(self, code: SourceCode, message: str, *, remedy: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.code = code

    def failure(self) -> Failure:
        """Resumable unless the source is another one now."""
        resumable = self.code != SourceCode.SOURCE_CHANGED
        return Failure(
            code=self.code, message=self.message, remedy=self.remedy, resumable=resumable
        )


class DecodeError(IngestError):
    """The bytes are not what the format says they are."""

    def __init__(
        self, code: DecodeCode, message: str, *, place: Place | None = None, remedy: str = ""
    ) -> None:
        super().__init__(message, remedy=remedy)
        self.code = code
        self.place = place

    def failure(self) -> Failure:
        """Not resumable: the same bytes fail again at the same place."""
        return Failure(code=self.code, message=self.message, remedy=self.remedy, place=self.place)


class RecordError(DecodeError):
    """One record cannot be delivered; those after it could be."""


class ReaderDied(IngestError):
    """The child process that reads a source was lost, or did not answer in time."""

    code = "READER_DIED"
    retryable = True


class StoreError(IngestError):
    """Progress could not be saved."""

    code = "STORE_ERROR"


class StoreUnavailable(StoreError):
    """The database is busy, full, or failing."""

    code = "STORE_UNAVAILABLE"
    retryable = True


class StaleLease(StoreError):
    """Another worker has taken this ingestion over; nothing was written."""

    code = "STALE_LEASE"


class OutOfOrder(StoreError):
    """A write did not follow the last one."""

    code = "OUT_OF_ORDER"


class SchemaTooNew(StoreError):
    """The database was written by a newer version of the service."""

    code = "SCHEMA_TOO_NEW"


class NotReady(IngestError):
    """The service cannot take work just now."""

    code = "NOT_READY"
    retryable = True


class DiskLow(NotReady):
    """There is too little space left to keep the progress of more ingestions."""

    code = "DISK_LOW"


class RequestError(IngestError):
    """The caller asked for something impossible."""

    code = "REQUEST_INVALID"


class IngestionNotFound(RequestError):
    """No ingestion has this id."""

    code = "INGESTION_NOT_FOUND"

    def __init__(self, ingestion_id: str) -> None:
        super().__init__(f"no ingestion has the id {ingestion_id}")


class FileTypeUnknown(RequestError):
    """No decoder has this name."""

    code = "FILE_TYPE_UNKNOWN"


class OptionInvalid(RequestError):
    """An option or a limit of the request cannot work."""

    code = "OPTION_INVALID"

    def __init__(self, member: str, message: str, *, remedy: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.member = member
        """Which member of the request, such as ``options.delimiter``."""


class CallbackRefused(RequestError):
    """The callback URL is malformed, or points where the service may not call."""

    code = "URL_BLOCKED"


class NotAllowed(RequestError):
    """The caller is known, but may not do this."""

    code = "SCOPE_INSUFFICIENT"


class LimitReached(RequestError):
    """The caller, or a receiver, has as much going on as it may."""

    retryable = True

    def __init__(self, code: str, message: str, *, retry_after_s: int, remedy: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.code = code
        self.retry_after_s = retry_after_s
        """When it is worth trying again."""


class Conflict(RequestError):
    """What was asked is not possible in the ingestion's present state."""

    def __init__(self, code: str, message: str, *, remedy: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.code = code


class CursorInvalid(RequestError):
    """A page cursor that this service never gave."""

    code = "CURSOR_INVALID"

    def __init__(self, cursor: str) -> None:
        super().__init__(
            f"{cursor!r} is not a page cursor",
            remedy="Start again without a cursor, and follow the links of each page.",
        )


class IdempotencyKeyReused(RequestError):
    """The same Idempotency-Key came with another request."""

    code = "IDEMPOTENCY_KEY_REUSED"


class ReadFailed(IngestError):
    """A reader met a `SourceError` or `DecodeError`, perhaps in another process."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message, remedy=failure.remedy)
        self.code = failure.code
        self._failure = failure

    def failure(self) -> Failure:
        """Return the failure as the reader saw it."""
        return self._failure
