"""From what a person wrote to a submission that can work, or a refusal that says why not.

Pure: no file is looked at and no name is resolved here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256

import orjson

from app.domain.budget import ChunkLimits
from app.domain.canonical import Numbers
from app.domain.errors import DecodeError, FileTypeUnknown, OptionInvalid
from app.domain.ingestion import FILE_TYPE_ALIASES, DecodeOptions, FileType, Submission
from app.domain.record_path import parse_path

FILE_TYPE_NAMES = (*(kind.value for kind in FileType), *FILE_TYPE_ALIASES)
"""Every name a request may use for a file type."""

CHUNK_RECORDS_MAX = 1_000_000
"""Above it, ``chunk_size_by_records`` is a mistake rather than a wish."""

CHUNK_MEMORY_MIN = 3
"""Bytes of the smallest array that holds a record, such as ``[1]``."""

CHUNK_CEILING = ChunkLimits(records=CHUNK_RECORDS_MAX, memory=64 * 1024 * 1024)
"""The most that a request may ask for, where no setting says otherwise."""

_JSON = frozenset({FileType.JSON, FileType.NDJSON})
_DELIMITED = frozenset({FileType.CSV, FileType.TSV})

OPTION_FILE_TYPES: Mapping[str, frozenset[FileType]] = {
    "record_path": frozenset({FileType.JSON}),
    "delimiter": _DELIMITED,
    "quote": _DELIMITED,
    "encoding": _DELIMITED,
    "sheet": frozenset({FileType.EXCEL}),
    "header_row": frozenset({FileType.EXCEL}),
    "canonical": _JSON,
    "numbers": _JSON,
    "duplicate_keys": _JSON,
}
"""Option → the file types that heed it. One that is not heeded is refused, never ignored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmitRequest:
    """What a person asks for, as it was written."""

    file_path: str
    file_type: str
    """A file type or one of its other names."""

    callback_url: str
    limits: ChunkLimits = field(default_factory=ChunkLimits)
    options: DecodeOptions = field(default_factory=DecodeOptions)
    metadata: Mapping[str, str] = field(default_factory=dict)
    re_ingestion: bool = False
    """Make a new version, beside whatever was ingested before."""

    idempotency_key: str | None = None

    def digest(self) -> str:
        """Identify what is asked for, whatever the order or form it was written in."""
        asked = replace(self, idempotency_key=None, metadata=dict(self.metadata))
        return sha256(orjson.dumps(asked, option=orjson.OPT_SORT_KEYS)).hexdigest()


def file_type_of(name: str) -> FileType:
    """Resolve a file type's name or other name; raises `FileTypeUnknown`."""
    if name in FILE_TYPE_ALIASES:
        return FILE_TYPE_ALIASES[name]
    try:
        return FileType(name)
    except ValueError:
        raise FileTypeUnknown(
            f"the file type {name[:40]!r} is unknown",
            remedy=f"Use one of {', '.join(FILE_TYPE_NAMES)}.",
        ) from None


def submission_of(
    request: SubmitRequest, *, defaults: ChunkLimits, ceiling: ChunkLimits
) -> Submission:
    """Check what can be checked without looking at the file, and normalise it.

    Raises
    ------
    FileTypeUnknown
        No decoder has that name.
    OptionInvalid
        A limit is too small or too large, or an option cannot work.
    """
    file_type = file_type_of(request.file_type)
    _check_limits(request.limits, ceiling)
    _check_options(request.options, file_type)
    limits = request.limits.or_default(defaults)
    return Submission(
        file_path=request.file_path,
        file_type=file_type,
        callback_url=request.callback_url,
        # Invariant 4: a limit by records alone would leave a chunk's bytes unbounded.
        limits=replace(limits, memory=limits.memory or ceiling.memory),
        options=request.options,
        metadata=request.metadata,
    )


def _check_limits(limits: ChunkLimits, ceiling: ChunkLimits) -> None:
    if limits.records > ceiling.records:
        raise OptionInvalid(
            "chunk_size_by_records", f"a chunk holds at most {ceiling.records} records"
        )
    if limits.memory > ceiling.memory:
        raise OptionInvalid(
            "chunk_size_by_memory", f"a chunk holds at most {ceiling.memory} bytes here"
        )
    if 0 < limits.memory < CHUNK_MEMORY_MIN:
        raise OptionInvalid(
            "chunk_size_by_memory",
            f"no record fits into {limits.memory} bytes, brackets included",
            remedy="Give the size in bytes, or 0 for no limit.",
        )


def _check_options(options: DecodeOptions, file_type: FileType) -> None:
    unset = DecodeOptions()
    for name, heeded_by in OPTION_FILE_TYPES.items():
        if getattr(options, name) != getattr(unset, name) and file_type not in heeded_by:
            raise OptionInvalid(
                f"options.{name}",
                f"a source of type {file_type} has no option {name}",
                remedy=f"Leave it out; it is for {', '.join(sorted(heeded_by))}.",
            )
    if options.record_path is not None:
        _check_record_path(options.record_path)
    _check_dialect(options)
    if not options.canonical and options.numbers is Numbers.STRING:
        raise OptionInvalid(
            "options.numbers",
            "numbers cannot become strings where records keep their own bytes",
            remedy="Leave out canonical, or set numbers to 'exact' or 'reject'.",
        )
    if options.header_row is not None and options.header_row < 1:
        raise OptionInvalid("options.header_row", "rows are counted from 1")
    if isinstance(options.sheet, int) and options.sheet < 0:
        raise OptionInvalid("options.sheet", "sheets are counted from 0")


def _check_record_path(text: str) -> None:
    try:
        path = parse_path(text)
    except DecodeError as error:
        raise OptionInvalid("options.record_path", error.message, remedy=error.remedy) from error
    # A member may have an empty name; somebody who writes one has most likely slipped.
    if "" in path.members:
        raise OptionInvalid(
            "options.record_path",
            "a step of the record path is empty",
            remedy="Write the members from the top to the array, as in data.products.",
        )


def _check_dialect(options: DecodeOptions) -> None:
    if options.delimiter is not None and not _is_one_mark(options.delimiter):
        raise OptionInvalid("options.delimiter", "a delimiter is one character, and no line end")
    if options.quote and not _is_one_mark(options.quote):
        raise OptionInvalid("options.quote", "a quote is one character, or empty for none")
    if options.quote and options.quote == options.delimiter:
        raise OptionInvalid("options.quote", "quote and delimiter are the same character")
    if options.encoding is not None and not _is_text_encoding(options.encoding):
        raise OptionInvalid(
            "options.encoding",
            f"the encoding {options.encoding[:40]!r} is unknown",
            remedy="Use a name such as utf-8, windows-1252 or utf-16.",
        )


def _is_one_mark(text: str) -> bool:
    return len(text) == 1 and text not in "\r\n\0"


def _is_text_encoding(name: str) -> bool:
    try:
        " ".encode(name)
    except (LookupError, ValueError):
        return False
    return True
