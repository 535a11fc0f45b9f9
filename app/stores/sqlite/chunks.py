"""The chunks of an ingestion that were cut: acknowledged ones, then planned ones.

Functions over a connection that is in a transaction.
"""

import sqlite3
from dataclasses import replace

from app.domain.chunk import Boundary, ChunkRef, Cursor, ResumePoint
from app.domain.errors import IngestionNotFound
from app.domain.identity import Checksum, IngestionId
from app.stores.rules import CONTENT_FIELDS, ChunkEnd, check_follows, check_same
from app.stores.sqlite import dead_letters
from app.stores.sqlite.rows import INSERT_CHUNK, chunk_cells

CONTENT_COLUMNS = ", ".join(f"chunks.{name}" for name in CONTENT_FIELDS)
"""What `content_of` gives, in that order."""

_CONTENT = f"SELECT {CONTENT_COLUMNS} FROM chunks WHERE ingestion_id = ? AND number = ?"  # noqa: S608 - names of columns

_INSERT_NEW = f"{INSERT_CHUNK} ON CONFLICT DO NOTHING"


def stage(db: sqlite3.Connection, ref: ChunkRef, before: ChunkEnd, *, now: str) -> None:
    """Insert a chunk (invariant 2), or find it there already."""
    check_follows(before, ref)
    if db.execute(_INSERT_NEW, chunk_cells(ref, staged_at=now)).rowcount == 0:
        stored = db.execute(_CONTENT, (ref.ingestion_id, ref.number)).fetchone()
        check_same(tuple(stored), ref)


def cut_end(db: sqlite3.Connection, ingestion_id: str) -> int:
    """Return one past the highest chunk number that was ever cut."""
    (end,) = db.execute(
        "SELECT COALESCE(MAX(number), -1) + 1 FROM chunks WHERE ingestion_id = ?", (ingestion_id,)
    ).fetchone()
    return int(end)


def end_before(db: sqlite3.Connection, ingestion_id: IngestionId, number: int) -> ChunkEnd:
    """Return the end of the chunk before ``number``, which was cut."""
    if number == 0:
        return ChunkEnd.start(ingestion_id)
    record_end, chain = db.execute(
        "SELECT record_end, chain FROM chunks WHERE ingestion_id = ? AND number = ?",
        (ingestion_id, number - 1),
    ).fetchone()
    return ChunkEnd(ingestion_id, number - 1, record_end, chain)


def resume_point(db: sqlite3.Connection, ingestion_id: IngestionId) -> ResumePoint:
    """Read where to start again. Raises `IngestionNotFound`."""
    number, chain = progress_of(db, ingestion_id)
    before = db.execute(
        """
        SELECT record_end, end_offset, end_skip, end_line, end_context
          FROM chunks WHERE ingestion_id = ? AND number = ?
        """,
        (ingestion_id, number - 1),
    ).fetchone()
    planned = db.execute(
        """
        SELECT number, record_end, checksum, revision
          FROM chunks WHERE ingestion_id = ? AND number >= ? ORDER BY number
        """,
        (ingestion_id, number),
    )
    start = ResumePoint(
        number=number,
        chain=chain,
        planned=tuple(Boundary(**dict(row)) for row in planned),
        refused_bytes=dead_letters.size(db, ingestion_id),
    )
    if before is None:
        return start
    record_end, offset, skip, line, context = before
    cursor = Cursor(offset=offset, skip=skip, line=line, context=context)
    return replace(start, record_start=record_end, cursor=cursor)


def progress_of(db: sqlite3.Connection, ingestion_id: IngestionId) -> tuple[int, Checksum]:
    """Return the next chunk and the chain before it. Raises `IngestionNotFound`."""
    row = db.execute(
        "SELECT next_chunk, chain FROM ingestions WHERE id = ?", (ingestion_id,)
    ).fetchone()
    if row is None:
        raise IngestionNotFound(ingestion_id)
    return row["next_chunk"], Checksum(row["chain"])
