"""Small valid things, so that a test names only what it is about."""

from collections.abc import Iterator
from datetime import UTC, datetime
from hashlib import sha256

from app.domain.budget import ChunkLimits
from app.domain.chunk import ChunkRef, Cursor
from app.domain.dead_letter import DeadLetter
from app.domain.identity import (
    FIRST_VERSION,
    Checksum,
    IngestionId,
    chain_next,
    chain_start,
    file_id_of,
    ingestion_id_of,
)
from app.domain.ingestion import (
    DecodeOptions,
    FileType,
    Fingerprint,
    Ingestion,
    Progress,
    State,
    Submission,
)

LONG_AGO = datetime(2024, 5, 6, 7, 8, 9, 123456, tzinfo=UTC)
FILE_PATH = "/srv/exports/products.json"
INGESTION = ingestion_id_of(file_id_of(FILE_PATH, FileType.JSON), FIRST_VERSION)
"""What the first submission of `a_submission` becomes."""


def a_fingerprint(*, size: int = 1_000, modified_ns: int = 17, content: str = "") -> Fingerprint:
    sample = Checksum(sha256(content.encode()).hexdigest())
    return Fingerprint(size=size, modified_ns=modified_ns, sample=sample)


def a_submission(
    file_path: str = FILE_PATH,
    *,
    file_type: FileType = FileType.JSON,
    callback_url: str = "https://receiver.example/chunks",
    limits: ChunkLimits | None = None,
    options: DecodeOptions | None = None,
    metadata: dict[str, str] | None = None,
) -> Submission:
    return Submission(
        file_path=file_path,
        file_type=file_type,
        callback_url=callback_url,
        limits=limits or ChunkLimits(records=2),
        options=options or DecodeOptions(),
        metadata=metadata or {},
    )


def an_ingestion(
    *,
    submission: Submission | None = None,
    state: State = State.RUNNING,
    progress: Progress | None = None,
    fingerprint: Fingerprint | None = None,
    version: str = FIRST_VERSION,
) -> Ingestion:
    asked = submission or a_submission()
    file_id = file_id_of(asked.file_path, asked.file_type)
    ingestion_id = ingestion_id_of(file_id, version)
    return Ingestion(
        id=ingestion_id,
        file_id=file_id,
        version=version,
        submission=asked,
        state=state,
        progress=progress or Progress(chain=chain_start(ingestion_id)),
        fingerprint=fingerprint or a_fingerprint(),
        created_at=LONG_AGO,
        updated_at=LONG_AGO,
    )


def dead_letters_of(ref: ChunkRef, count: int) -> list[DeadLetter]:
    """Return the first ``count`` records of a chunk as refused."""
    return [
        DeadLetter(
            record=record,
            chunk_number=ref.number,
            content=b'{"n":%d.00,"text":"\xe2\x98\x95"}' % record,
            code="INVALID",
            message=f"record {record} is not welcome",
            path="/n",
            retryable=record % 2 == 1,
        )
        for record in range(ref.record_start, ref.record_start + count)
    ]


def a_chunk_ref(
    ingestion_id: IngestionId = INGESTION,
    *,
    after: ChunkRef | None = None,
    records: int = 2,
    content: str = "",
    unsafe_numbers: int = 0,
) -> ChunkRef:
    """Return the first chunk, or the one after another. ``content`` decides its checksum."""
    number = after.number + 1 if after else 0
    record_start = after.record_end if after else 0
    text = f"[{content or number}]"
    checksum = Checksum(sha256(text.encode()).hexdigest())
    return ChunkRef(
        ingestion_id=ingestion_id,
        number=number,
        record_start=record_start,
        record_end=record_start + records,
        start=after.end if after else Cursor(),
        end=Cursor(
            offset=100 * (number + 1), skip=number % 3, line=number + 2, context=f"c{number}"
        ),
        position=100 * (number + 1) + 7,
        checksum=checksum,
        chain=chain_next(after.chain if after else chain_start(ingestion_id), checksum),
        records_bytes=len(text),
        unsafe_numbers=unsafe_numbers,
    )


def chunk_refs(ingestion_id: IngestionId = INGESTION, *, records: int = 2) -> Iterator[ChunkRef]:
    """Yield chunk 0, 1, 2 … of an ingestion, for ever."""
    ref = a_chunk_ref(ingestion_id, records=records)
    while True:
        yield ref
        ref = a_chunk_ref(ingestion_id, after=ref, records=records)
