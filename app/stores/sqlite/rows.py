"""Rows to domain values and back. Nothing else knows the columns' forms."""

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime

from app.domain.budget import ChunkLimits
from app.domain.canonical import DuplicateKeys, Numbers
from app.domain.chunk import ChunkRef
from app.domain.errors import Failure, Place
from app.domain.identity import Checksum, FileId, IngestionId
from app.domain.ingestion import (
    DecodeOptions,
    FileType,
    Fingerprint,
    Ingestion,
    Progress,
    State,
    Submission,
)
from app.stores.rules import HELD

INSERT_INGESTION = """
    INSERT INTO ingestions (
        id, file_id, version, file_path, file_type, callback_url, callback_origin, caller,
        chunk_records_max, chunk_bytes_max, options, metadata, fingerprint_size,
        fingerprint_modified_ns, fingerprint_sample, fingerprint_changed_ns, state, chain,
        created_at, updated_at
    ) VALUES (
        :id, :file_id, :version, :file_path, :file_type, :callback_url, :callback_origin, :caller,
        :chunk_records_max, :chunk_bytes_max, :options, :metadata, :fingerprint_size,
        :fingerprint_modified_ns, :fingerprint_sample, :fingerprint_changed_ns, :state, :chain,
        :created_at, :updated_at
    )
"""

INSERT_CHUNK = """
    INSERT INTO chunks (
        ingestion_id, number, revision, record_start, record_end, start_offset, start_skip,
        start_line, start_context, end_offset, end_skip, end_line, end_context, position,
        checksum, chain, records_bytes, unsafe_numbers, staged_at
    ) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""

UPDATE_STANDING = """
    UPDATE ingestions
       SET callback_url = :callback_url, callback_origin = :callback_origin,
           caller = :caller, chunk_records_max = :chunk_records_max,
           chunk_bytes_max = :chunk_bytes_max, state = :state, failure = :failure,
           records_read = :records_read, cancel_requested = :cancel_requested,
           rewinds = :rewinds, reader_deaths = :reader_deaths, updated_at = :updated_at,
           waiting_since = :waiting_since, finished_at = :finished_at,
           lease_owner = CASE WHEN :held THEN lease_owner END
     WHERE id = :id
"""

Cells = Mapping[str, str | int | None]


def text_of_time(time: datetime) -> str:
    """Write a time so that earlier ones sort before later ones."""
    return time.astimezone(UTC).isoformat(timespec="microseconds")


def ingestion_cells(ingestion: Ingestion) -> Cells:
    """Return what `INSERT_INGESTION` binds, for an ingestion that has not begun."""
    submission, fingerprint = ingestion.submission, ingestion.fingerprint
    return {
        "id": ingestion.id,
        "file_id": ingestion.file_id,
        "version": ingestion.version,
        "file_path": submission.file_path,
        "file_type": submission.file_type,
        "callback_url": submission.callback_url,
        "callback_origin": submission.callback_origin,
        "caller": submission.caller,
        "chunk_records_max": submission.limits.records,
        "chunk_bytes_max": submission.limits.memory,
        "options": json.dumps(asdict(submission.options)),
        "metadata": mapping_cell(submission.metadata),
        "fingerprint_size": fingerprint.size,
        "fingerprint_modified_ns": fingerprint.modified_ns,
        "fingerprint_sample": fingerprint.sample,
        "fingerprint_changed_ns": fingerprint.changed_ns,
        "state": ingestion.state,
        "chain": ingestion.progress.chain,
        "created_at": text_of_time(ingestion.created_at),
        "updated_at": text_of_time(ingestion.updated_at),
    }


def standing_cells(ingestion: Ingestion) -> Cells:
    """Return what `UPDATE_STANDING` binds: all that changes but progress."""
    submission = ingestion.submission
    return {
        "id": ingestion.id,
        "callback_url": submission.callback_url,
        "callback_origin": submission.callback_origin,
        "caller": submission.caller,
        "chunk_records_max": submission.limits.records,
        "chunk_bytes_max": submission.limits.memory,
        "state": ingestion.state,
        "failure": _failure_cell(ingestion.failure),
        "records_read": ingestion.records_read,
        "cancel_requested": ingestion.cancel_requested,
        "rewinds": ingestion.progress.rewinds,
        "reader_deaths": ingestion.reader_deaths,
        "updated_at": text_of_time(ingestion.updated_at),
        "waiting_since": _time_cell(ingestion.waiting_since),
        "finished_at": _time_cell(ingestion.finished_at),
        "held": ingestion.state in HELD,
    }


def mapping_cell(mapping: Mapping[str, str]) -> str:
    """Write a mapping, in its own order: it is part of bodies that never change."""
    return json.dumps(dict(mapping))


def chunk_cells(ref: ChunkRef, *, staged_at: str) -> tuple[str | int, ...]:
    """Return what `INSERT_CHUNK` binds."""
    return (
        ref.ingestion_id,
        ref.number,
        ref.revision,
        ref.record_start,
        ref.record_end,
        ref.start.offset,
        ref.start.skip,
        ref.start.line,
        ref.start.context,
        ref.end.offset,
        ref.end.skip,
        ref.end.line,
        ref.end.context,
        ref.position,
        ref.checksum,
        ref.chain,
        ref.records_bytes,
        ref.unsafe_numbers,
        staged_at,
    )


def ingestion_of(row: sqlite3.Row) -> Ingestion:
    """Read a whole row of ``ingestions``."""
    return Ingestion(
        id=IngestionId(row["id"]),
        file_id=FileId(row["file_id"]),
        version=row["version"],
        submission=_submission_of(row),
        state=State(row["state"]),
        progress=_progress_of(row),
        fingerprint=Fingerprint(
            size=row["fingerprint_size"],
            modified_ns=row["fingerprint_modified_ns"],
            sample=Checksum(row["fingerprint_sample"]),
            changed_ns=row["fingerprint_changed_ns"],
        ),
        detection=json.loads(row["detection"]),
        failure=_failure_of(row["failure"]),
        records_read=row["records_read"],
        cancel_requested=bool(row["cancel_requested"]),
        reader_deaths=row["reader_deaths"],
        created_at=datetime.fromisoformat(row["created_at"]),
        updated_at=datetime.fromisoformat(row["updated_at"]),
        started_at=_time_of(row["started_at"]),
        acked_at=_time_of(row["acked_at"]),
        waiting_since=_time_of(row["waiting_since"]),
        finished_at=_time_of(row["finished_at"]),
    )


def _submission_of(row: sqlite3.Row) -> Submission:
    options = json.loads(row["options"])
    options["numbers"] = Numbers(options["numbers"])
    options["duplicate_keys"] = DuplicateKeys(options["duplicate_keys"])
    return Submission(
        file_path=row["file_path"],
        file_type=FileType(row["file_type"]),
        callback_url=row["callback_url"],
        limits=ChunkLimits(records=row["chunk_records_max"], memory=row["chunk_bytes_max"]),
        options=DecodeOptions(**options),
        metadata=json.loads(row["metadata"]),
        caller=row["caller"],
        callback_origin=row["callback_origin"],
    )


def _progress_of(row: sqlite3.Row) -> Progress:
    return Progress(
        next_chunk=row["next_chunk"],
        records_delivered=row["records_delivered"],
        records_filtered=row["records_filtered"],
        records_dead_lettered=row["records_dead_lettered"],
        records_rejected=row["records_rejected"],
        position=row["position"],
        unsafe_numbers=row["unsafe_numbers"],
        chain=Checksum(row["chain"]),
        rewinds=row["rewinds"],
    )


def _failure_cell(failure: Failure | None) -> str | None:
    return None if failure is None else json.dumps(asdict(failure))


def _failure_of(cell: str | None) -> Failure | None:
    if cell is None:
        return None
    members = json.loads(cell)
    place = members.pop("place")
    return Failure(**members, place=None if place is None else Place(**place))


def _time_cell(time: datetime | None) -> str | None:
    return None if time is None else text_of_time(time)


def _time_of(cell: str | None) -> datetime | None:
    return None if cell is None else datetime.fromisoformat(cell)
