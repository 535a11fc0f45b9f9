"""What the service answers, as JSON."""

from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import BaseModel, Field

from app.api.models import IngestOptions
from app.control.ingestions import Snapshot, SnapshotPage
from app.domain.dead_letter import DeadLetter
from app.domain.errors import Failure
from app.domain.ingestion import LIVE, Ingestion, State
from app.ports import DeadLetterPage, SubmitStatus, Submitted


def ingestion_path(ingestion_id: str) -> str:
    """Return where an ingestion can be looked at."""
    return f"/api/ingestions/{ingestion_id}"


def dead_letters_path(ingestion_id: str) -> str:
    """Return where its refused records can be looked at."""
    return f"{ingestion_path(ingestion_id)}/dead-letters"


class Links(BaseModel):
    """Where to go from here."""

    self: str
    dead_letters: str
    cancel: str

    @classmethod
    def of(cls, ingestion_id: str) -> Self:
        """Return the links of one ingestion."""
        path = ingestion_path(ingestion_id)
        return cls.model_validate(
            {
                "self": path,
                "dead_letters": dead_letters_path(ingestion_id),
                "cancel": f"{path}/cancel",
            }
        )


class IngestAnswer(BaseModel):
    """What became of a submission."""

    status: SubmitStatus
    ingestion_id: str
    links: Links

    @classmethod
    def of(cls, submitted: Submitted) -> Self:
        """Return the answer to a submission."""
        found = submitted.ingestion.id
        return cls(status=submitted.status, ingestion_id=found, links=Links.of(found))


class CountsView(BaseModel):
    """`read = delivered + filtered + dead_lettered`, at every moment."""

    read: Annotated[int, Field(description="Records that are settled.")]
    delivered: Annotated[int, Field(description="Acknowledged by the receiver.")]
    filtered: int
    dead_lettered: int
    rejected_by_receiver: Annotated[
        int, Field(description="Of the delivered ones, those an ACK named as refused.")
    ]


class ProgressView(BaseModel):
    """Progress over the source's bytes. What cannot be known is null, never a guess."""

    position: Annotated[int, Field(description="Source bytes delivered and acknowledged.")]
    size: Annotated[int, Field(description="Source bytes.")]
    fraction: Annotated[float, Field(description="0 to 1.")]
    bytes_per_s: Annotated[
        float | None, Field(description="From the first start to the last ACK, pauses included.")
    ]
    records_per_s: float | None
    eta_s: Annotated[float | None, Field(description="Only while RUNNING, at that rate.")]
    ack_age_s: Annotated[float | None, Field(description="Seconds since the last ACK.")]


class PlaceView(BaseModel):
    """Where in the source something is wrong."""

    byte: Annotated[int | None, Field(description="0-based.")]
    line: Annotated[int | None, Field(description="1-based.")]
    record: Annotated[int | None, Field(description="0-based, in the ingestion.")]
    cell: str | None


class FailureView(BaseModel):
    """Why an ingestion stopped."""

    code: str
    message: str
    remedy: str
    resumable: Annotated[
        bool, Field(description="Does submitting it again go on from the last acknowledged chunk?")
    ]
    place: PlaceView | None

    @classmethod
    def of(cls, failure: Failure) -> Self:
        """Return what is shown of a failure."""
        place = failure.place
        return cls(
            code=failure.code,
            message=failure.message,
            remedy=failure.remedy,
            resumable=failure.resumable,
            place=None if place is None else PlaceView.model_validate(place, from_attributes=True),
        )


class WaitingView(BaseModel):
    """What the service is waiting for. It goes on by itself."""

    since: datetime | None
    code: str
    message: str
    remedy: str


class IngestionView(BaseModel):
    """One ingestion as it stands."""

    ingestion_id: str
    file_id: str
    version: str
    state: State
    file_path: str
    file_type: str
    callback_url: str
    chunk_size_by_records: int
    chunk_size_by_memory: int
    options: dict[str, str | int | bool | None]
    detection: Annotated[
        dict[str, str], Field(description="Options that were found out, not given.")
    ]
    metadata: dict[str, str]
    counts: CountsView
    records_in_source: Annotated[
        int | None, Field(description="Known when the end of the source was reached.")
    ]
    chunks_acked: int
    unsafe_numbers: int
    rewinds: int
    chain: Annotated[str, Field(description="The chain over all acknowledged chunks.")]
    progress: ProgressView
    error: Annotated[FailureView | None, Field(description="Why it stopped, if it did.")]
    waiting: Annotated[WaitingView | None, Field(description="Only while WAITING.")]
    cancel_requested: bool
    created_at: datetime
    updated_at: datetime
    started_at: datetime | None
    acked_at: datetime | None
    finished_at: datetime | None
    links: Links

    @classmethod
    def of(cls, snapshot: Snapshot) -> Self:
        """Return what is shown of an ingestion."""
        ingestion = snapshot.ingestion
        submission, progress = ingestion.submission, ingestion.progress
        options = submission.options
        return cls(
            ingestion_id=ingestion.id,
            file_id=ingestion.file_id,
            version=ingestion.version,
            state=ingestion.state,
            file_path=submission.file_path,
            file_type=submission.file_type,
            callback_url=submission.callback_url,
            chunk_size_by_records=submission.limits.records,
            chunk_size_by_memory=submission.limits.memory,
            options={name: getattr(options, name) for name in IngestOptions.model_fields},
            detection=dict(ingestion.detection),
            metadata=dict(submission.metadata),
            counts=CountsView(
                read=progress.records_accounted,
                delivered=progress.records_delivered,
                filtered=progress.records_filtered,
                dead_lettered=progress.records_dead_lettered,
                rejected_by_receiver=progress.records_rejected,
            ),
            records_in_source=ingestion.records_read,
            chunks_acked=progress.next_chunk,
            unsafe_numbers=progress.unsafe_numbers,
            rewinds=progress.rewinds,
            chain=progress.chain,
            progress=_progress(snapshot),
            error=_error(ingestion),
            waiting=_waiting(ingestion),
            cancel_requested=ingestion.cancel_requested,
            created_at=ingestion.created_at,
            updated_at=ingestion.updated_at,
            started_at=ingestion.started_at,
            acked_at=ingestion.acked_at,
            finished_at=ingestion.finished_at,
            links=Links.of(ingestion.id),
        )


def _progress(snapshot: Snapshot) -> ProgressView:
    ingestion, pace = snapshot.ingestion, snapshot.pace
    return ProgressView(
        position=ingestion.progress.position,
        size=ingestion.fingerprint.size,
        fraction=pace.fraction,
        bytes_per_s=pace.bytes_per_s,
        records_per_s=pace.records_per_s,
        eta_s=pace.eta_s,
        ack_age_s=pace.ack_age_s,
    )


def _error(ingestion: Ingestion) -> FailureView | None:
    if ingestion.failure is None or ingestion.state in LIVE:
        return None
    return FailureView.of(ingestion.failure)


def _waiting(ingestion: Ingestion) -> WaitingView | None:
    failure = ingestion.failure
    if ingestion.state is not State.WAITING or failure is None:
        return None
    return WaitingView(
        since=ingestion.waiting_since,
        code=failure.code,
        message=failure.message,
        remedy=failure.remedy,
    )


class IngestionList(BaseModel):
    """A slice of the ingestions, newest first."""

    ingestions: list[IngestionView]
    next: Annotated[str | None, Field(description="Where the next slice is; null on the last.")]

    @classmethod
    def of(cls, page: SnapshotPage, *, following: str | None) -> Self:
        """Return a slice and where the one after it is."""
        views = [IngestionView.of(snapshot) for snapshot in page.snapshots]
        return cls(ingestions=views, next=following)


class DeadLetterView(BaseModel):
    """A record that the receiver refused by name. Its chunk counts as delivered."""

    record: Annotated[int, Field(description="0-based, in the ingestion.")]
    chunk_number: int
    code: Annotated[str, Field(description="The receiver's; empty where it gave none.")]
    message: str
    path: Annotated[str, Field(description="What in the record is wrong, as the receiver says it.")]
    retryable: bool
    content: Annotated[
        str,
        Field(description="The record's JSON exactly as it was sent, as text: no digit is lost."),
    ]

    @classmethod
    def of(cls, letter: DeadLetter) -> Self:
        """Return what is shown of a dead letter."""
        return cls(
            record=letter.record,
            chunk_number=letter.chunk_number,
            code=letter.code,
            message=letter.message,
            path=letter.path,
            retryable=letter.retryable,
            content=letter.content.decode(),
        )


class DeadLetterList(BaseModel):
    """A slice of the refused records, in the order of the source."""

    dead_letters: list[DeadLetterView]
    next: Annotated[str | None, Field(description="Where the next slice is; null on the last.")]

    @classmethod
    def of(cls, page: DeadLetterPage, *, following: str | None) -> Self:
        """Return a slice and where the one after it is."""
        return cls(
            dead_letters=[DeadLetterView.of(one) for one in page.dead_letters], next=following
        )


class Health(BaseModel):
    """The service lives."""

    status: Literal["ok"] = "ok"


class Ready(BaseModel):
    """The service can take work."""

    status: Literal["ready"] = "ready"
