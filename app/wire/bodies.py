"""The bodies of the four events, byte for byte (contract 4).

Each is a pure function of what is stored, so a chunk has the same bytes on every attempt
and after every restart (contract 0.4).
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import sha256

import orjson

from app.domain.chunk import Chunk
from app.domain.delivery import Message
from app.domain.errors import Failure
from app.domain.ingestion import Ingestion, State
from app.wire.protocol import PROTOCOL, RECORDS_MEMBER, EventType

FORBIDDEN_METADATA_KEY = "records"
"""Would stand before the real ``records`` and be taken for it. Contract 4.3."""


def chunk_message(ingestion: Ingestion, chunk: Chunk) -> Message:
    """Build the POST that carries a chunk. Contract 4.1.

    Raises
    ------
    ValueError
        The metadata holds the forbidden key; the API refuses it long before.
    """
    ref = chunk.ref
    metadata = ingestion.submission.metadata
    if FORBIDDEN_METADATA_KEY in metadata:
        raise ValueError("metadata must not have the key 'records' (contract 4.3)")
    head = orjson.dumps(
        {
            "protocol": PROTOCOL,
            "type": EventType.CHUNK,
            "timestamp": _timestamp(ingestion),
            "ingestion_id": ingestion.id,
            "file_id": ingestion.file_id,
            "chunk_id": ref.chunk_id,
            "chunk_number": ref.number,
            "revision": ref.revision,
            "record_offset": ref.record_start,
            "record_count": ref.record_count,
            "unsafe_numbers": ref.unsafe_numbers,
            "chain": ref.chain,
            "metadata": dict(metadata),
            "checksum": ref.checksum,
        }
    )
    return Message(
        url=ingestion.submission.callback_url,
        event=EventType.CHUNK,
        message_id=f"chk_{ingestion.id}_{ref.number}_{ref.revision}",
        idempotency_key=ref.chunk_id,
        content=(head[:-1] + RECORDS_MEMBER, chunk.records, b"}"),
    )


def completed_message(ingestion: Ingestion) -> Message:
    """Build the POST that says everything was delivered. Contract 4.4.

    Raises
    ------
    ValueError
        The end of the source was not reached yet.
    """
    progress = ingestion.progress
    if ingestion.records_read is None:
        raise ValueError(f"{ingestion.id} cannot complete: its source was not read to the end")
    return _event(
        ingestion,
        EventType.COMPLETED,
        {
            "status": "COMPLETED",
            "ingestion_id": ingestion.id,
            "total_records": progress.records_delivered,
            "file_id": ingestion.file_id,
            "total_chunks": progress.next_chunk,
            "chain": progress.chain,
            "counts": {
                "read": ingestion.records_read,
                "delivered": progress.records_delivered,
                "filtered": progress.records_filtered,
                "dead_lettered": progress.records_dead_lettered,
                "rejected_by_receiver": progress.records_rejected,
            },
        },
        message_id=f"evt_{ingestion.id}_completed",
    )


def stopped_message(ingestion: Ingestion) -> Message:
    """Build the POST that says the ingestion stopped: FAILED or ABORTED. Contract 4.5.

    A quarantined ingestion is FAILED to the receiver: the difference is ours alone.
    """
    aborted = ingestion.state is State.ABORTED
    status = "ABORTED" if aborted else "FAILED"
    failure = ingestion.failure or Failure(code=status, message=f"the ingestion is {status}")
    progress = ingestion.progress
    resumable = failure.resumable and not aborted
    members: dict[str, object] = {
        "status": status,
        "ingestion_id": ingestion.id,
        "error": {
            "code": failure.code,
            # A message may quote a file name that is not Unicode.
            "message": failure.message.encode("utf-8", "replace").decode(),
            "retryable": resumable,
        },
        "next_chunk": progress.next_chunk,
        "records_delivered": progress.records_delivered,
        "file_id": ingestion.file_id,
        "chain": progress.chain,
        "resumable": resumable,
    }
    # One ingestion can fail, be resumed and fail again: other news, other id.
    news = sha256(orjson.dumps(members)).hexdigest()[:16]
    return _event(
        ingestion,
        EventType.ABORTED if aborted else EventType.FAILED,
        members,
        message_id=f"evt_{ingestion.id}_{status.lower()}_{news}",
    )


def _event(
    ingestion: Ingestion, event: EventType, members: Mapping[str, object], *, message_id: str
) -> Message:
    opening = {"protocol": PROTOCOL, "type": event, "timestamp": _timestamp(ingestion)}
    return Message(
        url=ingestion.submission.callback_url,
        event=event,
        message_id=message_id,
        idempotency_key=message_id,
        content=(orjson.dumps({**opening, **members}),),
    )


def _timestamp(ingestion: Ingestion) -> str:
    """Return when the ingestion was created, RFC 3339 UTC, in whole seconds.

    Whole, so that no store's rounding can ever change a body.
    """
    return _written(ingestion.created_at)


@lru_cache(maxsize=1024)  # the same for all messages of an ingestion
def _written(time: datetime) -> str:
    return time.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="seconds") + "Z"
