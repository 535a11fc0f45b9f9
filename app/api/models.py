"""What a request may say, as JSON."""

from typing import Annotated, Literal, Self
from urllib.parse import urlencode

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    model_validator,
)

from app.control.submission import CHUNK_RECORDS_MAX, FILE_TYPE_NAMES, SubmitRequest
from app.domain.budget import ChunkLimits
from app.domain.canonical import DuplicateKeys, Numbers
from app.domain.ingestion import DecodeOptions, State

METADATA_ENTRIES_MAX = 32


def _not_records(name: str) -> str:
    if name == "records":
        raise ValueError("the key 'records' is forbidden: receivers find the records by it")
    return name


def _without_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError("it contains a NUL character")
    return text


class _Asked(BaseModel):
    """Nothing is converted, and a member that is not documented is refused."""

    model_config = ConfigDict(strict=True, extra="forbid")


MetadataKey = Annotated[
    str, StringConstraints(min_length=1, max_length=64), AfterValidator(_not_records)
]
MetadataValue = Annotated[str, StringConstraints(max_length=1024)]


class IngestOptions(_Asked):
    """How the bytes are read. What is left out is detected and reported."""

    record_path: Annotated[
        str | None,
        Field(max_length=512, description="JSON: members from the top to the array, by dots."),
    ] = None
    delimiter: Annotated[
        str | None, Field(min_length=1, max_length=1, description="CSV, TSV: one character.")
    ] = None
    quote: Annotated[
        str | None, Field(max_length=1, description="CSV, TSV: one character; empty for none.")
    ] = None
    encoding: Annotated[
        str | None, Field(max_length=40, description="CSV, TSV: such as `windows-1252`.")
    ] = None
    sheet: Annotated[
        Annotated[str, Field(max_length=255)] | Annotated[int, Field(ge=0)] | None,
        Field(description="Excel: the sheet's name, or its 0-based index."),
    ] = None
    header_row: Annotated[
        int | None,
        Field(ge=1, le=1_048_576, description="Excel: 1-based row that names the columns."),
    ] = None
    canonical: Annotated[
        bool,
        Field(
            description="JSON, NDJSON: false sends each record's own bytes, key order, number "
            "text and escapes untouched, instead of the canonical form."
        ),
    ] = True
    numbers: Annotated[
        Literal["exact", "string", "reject"],
        Field(description="JSON: what becomes of a number that a double cannot carry."),
    ] = "exact"
    duplicate_keys: Annotated[
        Literal["last", "refuse"],
        Field(description="JSON: what becomes of an object that names a key twice."),
    ] = "last"

    def decoded(self) -> DecodeOptions:
        """Return the domain's form."""
        members = self.model_dump(exclude={"numbers", "duplicate_keys"})
        return DecodeOptions(
            **members,
            numbers=Numbers(self.numbers),
            duplicate_keys=DuplicateKeys(self.duplicate_keys),
        )


class IngestBody(_Asked):
    """A file to deliver, and where to."""

    file_path: Annotated[
        str,
        Field(min_length=1, max_length=4096, description="The source, on the service's side."),
        AfterValidator(_without_nul),
    ]
    file_type: Annotated[
        str, Field(max_length=32, json_schema_extra={"enum": list(FILE_TYPE_NAMES)})
    ]
    callback_url: Annotated[
        str, Field(min_length=1, max_length=2048, description="Where chunks are POSTed to.")
    ]
    chunk_size_by_records: Annotated[
        int,
        Field(ge=0, le=CHUNK_RECORDS_MAX, description="Most records in a chunk; 0: no limit."),
    ] = 0
    chunk_size_by_memory: Annotated[
        int,
        Field(
            ge=0,
            description="Most bytes of a chunk's `records`, `[` to `]`; 0: only the service's "
            "own. Both sizes 0: the service's defaults.",
        ),
    ] = 0
    re_ingestion: Annotated[
        bool, Field(description="Make a new version beside what was ingested before.")
    ] = False
    options: IngestOptions = IngestOptions()
    metadata: Annotated[
        dict[MetadataKey, MetadataValue],
        Field(
            max_length=METADATA_ENTRIES_MAX,
            description="Sent with every chunk. The key `records` is forbidden.",
        ),
    ] = {}

    def request(self, idempotency_key: str | None) -> SubmitRequest:
        """Return the control plane's form."""
        return SubmitRequest(
            file_path=self.file_path,
            file_type=self.file_type,
            callback_url=self.callback_url,
            limits=ChunkLimits(
                records=self.chunk_size_by_records, memory=self.chunk_size_by_memory
            ),
            options=self.options.decoded(),
            metadata=self.metadata,
            re_ingestion=self.re_ingestion,
            idempotency_key=idempotency_key,
        )


class DeadLettersQuery(BaseModel):
    """Which dead letters to list."""

    model_config = ConfigDict(extra="forbid")

    limit: Annotated[
        int, Field(ge=1, le=200, description="At most so many; fewer when they are large.")
    ] = 50
    cursor: Annotated[
        str | None, Field(max_length=512, description="From the link to the next slice.")
    ] = None


class ListQuery(BaseModel):
    """Which ingestions to list."""

    model_config = ConfigDict(extra="forbid")

    state: Annotated[
        list[State], Field(max_length=len(State), description="Any of these; repeat it.")
    ] = []
    file_path: Annotated[str | None, Field(max_length=4096)] = None
    file_type: Annotated[
        str | None, Field(max_length=32, description="Needed with `file_path`, and only there.")
    ] = None
    limit: Annotated[int, Field(ge=1, le=200)] = 50
    cursor: Annotated[
        str | None, Field(max_length=512, description="From the link to the next slice.")
    ] = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.file_path is None) != (self.file_type is None):
            raise ValueError("file_path and file_type go together")
        return self

    def file(self) -> tuple[str, str] | None:
        """Return the file to look for, if one is named."""
        if self.file_path is None or self.file_type is None:
            return None
        return self.file_path, self.file_type

    def link(self, cursor: str | None) -> str:
        """Return where the slice that starts at ``cursor`` is."""
        asked = [("state", state.value) for state in self.state]
        if self.file_path is not None and self.file_type is not None:
            asked += [("file_path", self.file_path), ("file_type", self.file_type)]
        asked += [("limit", str(self.limit))]
        asked += [("cursor", cursor)] if cursor is not None else []
        return "/api/ingestions?" + urlencode(asked)
