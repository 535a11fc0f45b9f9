"""What happens, as values. The pipeline says these; telemetry and the store write them down."""

from dataclasses import dataclass
from typing import TypeAlias

from app.domain.chunk import ChunkRef
from app.domain.errors import Failure
from app.domain.identity import IngestionId
from app.domain.ingestion import State


@dataclass(frozen=True, slots=True)
class StateChanged:
    """An ingestion moved to another state."""

    ingestion_id: IngestionId
    state: State
    failure: Failure | None = None


@dataclass(frozen=True, slots=True)
class ChunkAcked:
    """A chunk was acknowledged and committed."""

    ref: ChunkRef
    attempts: int
    seconds: float
    """From the first send to the commit."""


@dataclass(frozen=True, slots=True)
class RecordsRefused:
    """An ACK named records that the receiver refused; they are dead letters now."""

    ref: ChunkRef
    count: int


@dataclass(frozen=True, slots=True)
class AttemptFailed:
    """A send was not acknowledged; the same bytes will be sent again."""

    ingestion_id: IngestionId
    number: int
    attempt: int
    failure: Failure
    after_s: float


@dataclass(frozen=True, slots=True)
class Rewound:
    """Delivery went back to an earlier chunk because the receiver said so."""

    ingestion_id: IngestionId
    from_chunk: int
    to_chunk: int


@dataclass(frozen=True, slots=True)
class ReaderLost:
    """The child process that reads was lost."""

    ingestion_id: IngestionId
    detail: str


@dataclass(frozen=True, slots=True)
class WorkerTrouble:
    """Something the service itself met, such as a full disk."""

    detail: str


Event: TypeAlias = (
    StateChanged
    | ChunkAcked
    | RecordsRefused
    | AttemptFailed
    | Rewound
    | ReaderLost
    | WorkerTrouble
)
