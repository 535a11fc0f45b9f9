"""The bodies and the ACK as pydantic models, for API documents only.

The sender never builds a body from these: it writes bytes (`bodies`). A test holds both
together by reading the sender's bytes with them.
"""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Count = Annotated[int, Field(ge=0)]

_INGESTION = "8d0f3c6a5b1e4d7f9a2c8d0f3c6a5b1e4d7f9a2c8d0f3c6a5b1e4d7f9a2cabcd"
_FILE = "1d8f0f3a7f3c1f6f8f6f3f5b3f0d8a4b3c2d1e0f9a8b7c6d5e4f3a2b1c0d9e8f"
_CHECKSUM = "eedc56f61e41be9f29dfefb81117311f10d4a1d2b7e3fa7b78b8049d723c45b9"
_CHAIN = "6ce62ffffa9624c24f53a2e05a68a1df8a1e98eed1b18ac51b008103168e3a6f"
_OPENING = {"protocol": "1", "timestamp": "2026-03-01T09:30:00Z"}


class _Strict(BaseModel):
    """Members are of exactly the kind shown; unknown ones are for receivers to ignore."""

    model_config = ConfigDict(strict=True)


class _Opening(_Strict):
    protocol: Literal["1"]
    timestamp: Annotated[datetime, Field(description="When the ingestion was created.")]
    ingestion_id: Digest
    file_id: Digest


class ChunkBody(_Opening):
    """Some consecutive records, in order. Contract 4.1."""

    type: Literal["ingestion.chunk"]
    chunk_id: Annotated[str, Field(description="`<ingestion_id>:<chunk_number>`")]
    chunk_number: Annotated[Count, Field(description="0, 1, 2, … without gaps.")]
    revision: Count
    record_offset: Annotated[Count, Field(description="Index of the first record, 0-based.")]
    record_count: Annotated[int, Field(ge=1)]
    unsafe_numbers: Annotated[
        Count, Field(description="Numbers in `records` that a double cannot carry.")
    ]
    chain: Annotated[Digest, Field(description="The chain after this chunk.")]
    metadata: dict[str, str]
    checksum: Annotated[
        Digest, Field(description="SHA-256 of the exact bytes of `records`, `[` to `]`.")
    ]
    records: Annotated[list[JsonValue], Field(description="Always the last member.")]

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    **_OPENING,
                    "type": "ingestion.chunk",
                    "ingestion_id": _INGESTION,
                    "file_id": _FILE,
                    "chunk_id": f"{_INGESTION}:0",
                    "chunk_number": 0,
                    "revision": 0,
                    "record_offset": 0,
                    "record_count": 1,
                    "unsafe_numbers": 0,
                    "chain": _CHAIN,
                    "metadata": {"class": "Product"},
                    "checksum": _CHECKSUM,
                    "records": [{"price": 19.99, "sku": "00042"}],
                }
            ]
        }
    )


class Counts(_Strict):
    """`read = delivered + filtered + dead_lettered`."""

    read: Count
    delivered: Count
    filtered: Count
    dead_lettered: Count
    rejected_by_receiver: Annotated[
        Count, Field(description="Of the delivered ones, those an ACK named as refused.")
    ]


class CompletedBody(_Opening):
    """Every record was delivered and acknowledged. Contract 4.4."""

    type: Literal["ingestion.completed"]
    status: Literal["COMPLETED"]
    total_records: Count
    total_chunks: Count
    chain: Annotated[Digest, Field(description="The chain after the last chunk.")]
    counts: Counts

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    **_OPENING,
                    "type": "ingestion.completed",
                    "status": "COMPLETED",
                    "ingestion_id": _INGESTION,
                    "total_records": 128455,
                    "file_id": _FILE,
                    "total_chunks": 129,
                    "chain": _CHAIN,
                    "counts": {
                        "read": 128460,
                        "delivered": 128455,
                        "filtered": 3,
                        "dead_lettered": 2,
                        "rejected_by_receiver": 1,
                    },
                }
            ]
        }
    )


class StopReason(_Strict):
    """Why the ingestion stopped."""

    code: str
    message: str
    retryable: bool


class StoppedBody(_Opening):
    """The ingestion failed or was cancelled. Contract 4.5."""

    type: Literal["ingestion.failed", "ingestion.aborted"]
    status: Literal["FAILED", "ABORTED"]
    error: StopReason
    next_chunk: Annotated[Count, Field(description="Chunks before it were acknowledged.")]
    records_delivered: Count
    chain: Digest
    resumable: Annotated[bool, Field(description="May chunks of it still come?")]

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    **_OPENING,
                    "type": "ingestion.failed",
                    "status": "FAILED",
                    "ingestion_id": _INGESTION,
                    "error": {
                        "code": "TRUNCATED",
                        "message": "the array is not closed (byte 1048576, record 2201)",
                        "retryable": False,
                    },
                    "next_chunk": 2,
                    "records_delivered": 2201,
                    "file_id": _FILE,
                    "chain": _CHAIN,
                    "resumable": False,
                }
            ]
        }
    )


class RejectedRecord(_Strict):
    """One record the receiver acknowledged but refused. Contract 5.3."""

    index: Annotated[Count, Field(description="0-based in this chunk.")]
    code: str
    message: str = ""
    path: str = ""
    retryable: bool = False


class AckBody(_Strict):
    """What a receiver answers. Only `ack` is required. Contract 5."""

    ack: Annotated[bool, Field(description="The JSON `true` is the only acknowledgement.")]
    error: Annotated[str | None, Field(description="Upper-case code of a refusal.")] = None
    message: str | None = None
    expected_chunk: Annotated[
        Count | None, Field(description="The chunk to go on with, after a refusal.")
    ] = None
    chunk_id: str | None = None
    chunk_number: Count | None = None
    checksum: Digest | None = None
    next_chunk: Count | None = None
    duplicate: bool | None = None
    accepted: Count | None = None
    rejected: list[RejectedRecord] | None = None
    chain: Digest | None = None
    protocol: Literal["1"] | None = None

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "ack": True,
                    "chunk_id": f"{_INGESTION}:0",
                    "next_chunk": 1,
                    "duplicate": False,
                    "accepted": 1000,
                    "protocol": "1",
                },
                {"ack": False, "error": "OUT_OF_ORDER_CHUNK", "expected_chunk": 0},
            ]
        }
    )
