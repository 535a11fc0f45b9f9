"""The records that a receiver refused.

Functions over a connection that is in a transaction.
"""

import sqlite3
from collections.abc import Sequence

from app.domain.chunk import ChunkRef
from app.domain.dead_letter import DeadLetter
from app.domain.identity import IngestionId
from app.ports import DeadLetterPage
from app.stores.rules import order_of, page_of_dead_letters

_INSERT = """
    INSERT INTO dead_letters (
        ingestion_id, record, chunk_number, content, code, message, path, retryable
    ) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
"""

_COUNTED = """
      FROM dead_letters
     WHERE ingestion_id = ?1 AND record > ?2
       AND chunk_number < (SELECT next_chunk FROM ingestions WHERE id = ?1)
"""

_AFTER = f"""
    SELECT record, chunk_number, content, code, message, path, retryable {_COUNTED}
     ORDER BY record
"""

_SIZE = f"SELECT COALESCE(SUM(LENGTH(content)), 0) {_COUNTED}"
"""SQLite knows the length of a BLOB without reading it."""


def replace(db: sqlite3.Connection, ref: ChunkRef, dead_letters: Sequence[DeadLetter]) -> None:
    """Keep these records of a chunk, and no others of it."""
    db.execute(
        "DELETE FROM dead_letters WHERE ingestion_id = ? AND record >= ? AND record < ?",
        (ref.ingestion_id, ref.record_start, ref.record_end),
    )
    db.executemany(
        _INSERT,
        (
            (
                ref.ingestion_id,
                one.record,
                one.chunk_number,
                one.content,
                one.code,
                one.message,
                one.path,
                one.retryable,
            )
            for one in dead_letters
        ),
    )


def size(db: sqlite3.Connection, ingestion_id: IngestionId) -> int:
    """Return how many bytes those of the chunks that are acked have."""
    (found,) = db.execute(_SIZE, (ingestion_id, -1)).fetchone()
    return int(found)


def page(
    db: sqlite3.Connection, ingestion_id: IngestionId, *, limit: int, cursor: str | None
) -> DeadLetterPage:
    """Read those of the chunks that are acked. Raises `CursorInvalid`."""
    after = -1 if cursor is None else order_of(cursor)
    rows = db.execute(_AFTER, (ingestion_id, after))
    return page_of_dead_letters(map(_dead_letter_of, rows), limit=limit)


def _dead_letter_of(row: sqlite3.Row) -> DeadLetter:
    return DeadLetter(
        record=row["record"],
        chunk_number=row["chunk_number"],
        content=row["content"],
        code=row["code"],
        message=row["message"],
        path=row["path"],
        retryable=bool(row["retryable"]),
    )
