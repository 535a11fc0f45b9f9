"""What was received: state and records of every ingestion, in one SQLite file.

State and records change in one transaction, and only then is a chunk acknowledged. That
is all it takes to make at-least-once on the wire exactly-once in effect (contract 0.6).
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TypeAlias

from app.wire.protocol import EventType
from app.wire.receiving import (
    ChunkEnvelope,
    CompletedEnvelope,
    StoppedEnvelope,
    chain_next,
    chain_start,
    same,
)

_PRAGMAS = """
PRAGMA page_size = 16384;
PRAGMA journal_mode = WAL;
PRAGMA synchronous = FULL;
PRAGMA foreign_keys = ON;
"""
"""Pages of 16 KiB: storing a chunk of 500 KB takes 1.3 ms of CPU, against 2.0 ms with
4 KiB; larger ones save no more, and cost more for small chunks. FULL: what is
acknowledged survives a power cut."""

_BUSY_S = 10.0
"""How long to wait while another process writes."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS ingestions (
    key INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    state TEXT NOT NULL,
    next_chunk INTEGER NOT NULL,
    chain TEXT NOT NULL,
    records INTEGER NOT NULL,
    bytes INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS chunks (
    ingestion INTEGER NOT NULL REFERENCES ingestions (key) ON DELETE CASCADE,
    number INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    checksum TEXT NOT NULL,
    record_count INTEGER NOT NULL,
    records BLOB NOT NULL,
    PRIMARY KEY (ingestion, number)
) STRICT;
CREATE TABLE IF NOT EXISTS forgotten (
    id TEXT NOT NULL,
    place TEXT NOT NULL,
    PRIMARY KEY (id, place)
) STRICT, WITHOUT ROWID;
"""


class Standing(StrEnum):
    """Where an ingestion stands, as far as its sender told."""

    OPEN = "open"
    FAILED = "failed"
    """It stopped; when it is resumed, more chunks come."""
    COMPLETED = "completed"
    ABORTED = "aborted"


_CLOSED = frozenset({Standing.COMPLETED, Standing.ABORTED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """What is held of one ingestion."""

    ingestion_id: str
    state: Standing
    next_chunk: int
    """Chunks 0 … next_chunk - 1 are held."""

    chain: str
    """After the last of them. Contract 6.6."""

    records: int
    bytes: int
    """Length of all ``records`` arrays together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """It is stored, now or before."""

    next_chunk: int
    chain: str
    duplicate: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """Nothing was changed. ``code`` is one of contract 7.2."""

    code: str
    message: str
    expected_chunk: int | None = None
    chain: str | None = None


Outcome: TypeAlias = Accepted | Refused


class Ledger:
    """The receiver's memory. Blocking, and used by one thread at a time.

    Other processes may use the same file at the same time.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._db = self._connect()
        self._db.executescript(_PRAGMAS + _SCHEMA)

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    # ---- the three things a sender can say

    def accept(self, chunk: ChunkEnvelope, records: bytes) -> Outcome:
        """Take a chunk whose checksum was verified. Contract 8.4."""
        with self._transaction():
            held = self._held(chunk.ingestion_id)
            if held.state in _CLOSED:
                return _closed(held)
            if chunk.chunk_number < held.next_chunk:
                return self._seen_before(chunk, held)
            if chunk.chunk_number > held.next_chunk:
                return _elsewhere("OUT_OF_ORDER_CHUNK", chunk.chunk_number, held)
            chain = chain_next(held.chain, chunk.checksum)
            if not same(chain, chunk.chain):
                return Refused(
                    code="CHAIN_MISMATCH",
                    message=f"the chain after chunk {chunk.chunk_number} would be {chain} here",
                    chain=held.chain,
                )
            after = Holding(
                ingestion_id=chunk.ingestion_id,
                state=Standing.OPEN,
                next_chunk=chunk.chunk_number + 1,
                chain=chain,
                records=held.records + chunk.record_count,
                bytes=held.bytes + len(records),
            )
            self._keep(after)
            self._db.execute(
                "INSERT INTO chunks (ingestion, number, revision, checksum, record_count, records)"
                " SELECT key, ?, ?, ?, ?, ? FROM ingestions WHERE id = ?",
                (
                    chunk.chunk_number,
                    chunk.revision,
                    chunk.checksum,
                    chunk.record_count,
                    records,
                    chunk.ingestion_id,
                ),
            )
        return Accepted(next_chunk=after.next_chunk, chain=chain)

    def complete(self, completed: CompletedEnvelope) -> Outcome:
        """Close an ingestion, if everything that was sent is here. Contract 8.5."""
        with self._transaction():
            held = self._held(completed.ingestion_id)
            if held.state is Standing.ABORTED:
                # INGESTION_CLOSED would be taken for an ACK.
                return Refused(code="REJECTED_INGESTION", message="the ingestion was aborted")
            if held.next_chunk < completed.total_chunks:
                return _elsewhere("INCOMPLETE", completed.total_chunks, held)
            if not same(held.chain, completed.chain):
                return Refused(
                    code="CHAIN_MISMATCH",
                    message=f"after {held.next_chunk} chunks the chain is {held.chain} here",
                    chain=held.chain,
                )
            if held.records != completed.total_records:
                return Refused(
                    code="REJECTED_INGESTION",
                    message=f"total_records is {completed.total_records}, "
                    f"but the chunks said {held.records}",
                )
            duplicate = held.state is Standing.COMPLETED
            self._keep(held, state=Standing.COMPLETED)
        return Accepted(next_chunk=held.next_chunk, chain=held.chain, duplicate=duplicate)

    def stop(self, stopped: StoppedEnvelope) -> Outcome:
        """Note that an ingestion failed, or close it because it was aborted. Contract 8.6."""
        aborted = stopped.event is EventType.ABORTED
        state = Standing.ABORTED if aborted else Standing.FAILED
        with self._transaction():
            held = self._held(stopped.ingestion_id)
            if held.state in _CLOSED and held.state is not state:
                return _closed(held)
            self._keep(held, state=state)
        return Accepted(next_chunk=held.next_chunk, chain=held.chain, duplicate=held.state is state)

    # ---- what is held

    def holdings(self) -> list[Holding]:
        """Return all ingestions, in the order in which they first came."""
        with closing(self._connect()) as db:
            return [_holding(row) for row in db.execute(f"{_SELECT} ORDER BY key")]

    def holding(self, ingestion_id: str) -> Holding | None:
        """Return one ingestion, if anything of it is held."""
        with closing(self._connect()) as db:
            row = db.execute(f"{_SELECT} WHERE id = ?", (ingestion_id,)).fetchone()
        return None if row is None else _holding(row)

    def chunks(self, ingestion_id: str) -> Iterator[bytes]:
        """Yield the ``records`` array of every chunk in order, as it came; one at a time.

        No transaction is held open meanwhile: it would keep the log from being emptied.

        Raises
        ------
        LookupError
            The ingestion was forgotten meanwhile.
        """
        held = self.holding(ingestion_id)
        with closing(self._connect()) as db:
            for number in range(0 if held is None else held.next_chunk):
                row = db.execute(
                    "SELECT chunks.records FROM chunks JOIN ingestions ON ingestion = key"
                    " WHERE id = ? AND number = ?",
                    (ingestion_id, number),
                ).fetchone()
                if row is None:
                    raise LookupError(f"chunk {number} of {ingestion_id} is gone")
                yield row[0]

    # ---- losing it on purpose

    def forget(self, ingestion_id: str) -> bool:
        """Lose everything about an ingestion; tell whether there was anything."""
        with self._transaction():
            return self._forget(ingestion_id)

    def forget_once(self, ingestion_id: str, place: str) -> bool:
        """Lose everything, unless that was done at this place before."""
        with self._transaction():
            new = self._db.execute(
                "INSERT OR IGNORE INTO forgotten (id, place) VALUES (?, ?)", (ingestion_id, place)
            )
            return new.rowcount == 1 and self._forget(ingestion_id)

    # ---- inside

    def _connect(self) -> sqlite3.Connection:
        # Which thread uses it changes; that it is one at a time is the caller's promise.
        return sqlite3.connect(
            self._path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False
        )

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        # IMMEDIATE: of many duplicates at once, one is first and the others wait for it.
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        finally:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")

    def _held(self, ingestion_id: str) -> Holding:
        row = self._db.execute(f"{_SELECT} WHERE id = ?", (ingestion_id,)).fetchone()
        if row is not None:
            return _holding(row)
        return Holding(
            ingestion_id=ingestion_id,
            state=Standing.OPEN,
            next_chunk=0,
            chain=chain_start(ingestion_id),
            records=0,
            bytes=0,
        )

    def _keep(self, held: Holding, *, state: Standing | None = None) -> None:
        self._db.execute(
            "INSERT INTO ingestions (id, state, next_chunk, chain, records, bytes)"
            " VALUES (?, ?, ?, ?, ?, ?)"
            " ON CONFLICT (id) DO UPDATE SET state = excluded.state,"
            " next_chunk = excluded.next_chunk, chain = excluded.chain,"
            " records = excluded.records, bytes = excluded.bytes",
            (
                held.ingestion_id,
                state or held.state,
                held.next_chunk,
                held.chain,
                held.records,
                held.bytes,
            ),
        )

    def _forget(self, ingestion_id: str) -> bool:
        gone = self._db.execute("DELETE FROM ingestions WHERE id = ?", (ingestion_id,))
        return gone.rowcount == 1

    def _seen_before(self, chunk: ChunkEnvelope, held: Holding) -> Outcome:
        (checksum,) = self._db.execute(
            "SELECT checksum FROM chunks JOIN ingestions ON ingestion = key"
            " WHERE id = ? AND number = ?",
            (chunk.ingestion_id, chunk.chunk_number),
        ).fetchone()
        if same(checksum, chunk.checksum):
            return Accepted(next_chunk=held.next_chunk, chain=held.chain, duplicate=True)
        return Refused(
            code="CHECKSUM_CONFLICT",
            message=f"chunk {chunk.chunk_number} is held with the checksum {checksum}",
            chain=held.chain,
        )


_SELECT = "SELECT id, state, next_chunk, chain, records, bytes FROM ingestions"


def _holding(row: tuple[str, str, int, str, int, int]) -> Holding:
    ingestion_id, state, next_chunk, chain, records, size = row
    return Holding(
        ingestion_id=ingestion_id,
        state=Standing(state),
        next_chunk=next_chunk,
        chain=chain,
        records=records,
        bytes=size,
    )


def _closed(held: Holding) -> Refused:
    return Refused(
        code="INGESTION_CLOSED", message=f"the ingestion is {held.state}", chain=held.chain
    )


def _elsewhere(code: str, number: int, held: Holding) -> Refused:
    return Refused(
        code=code,
        message=f"got {number}, but the next chunk here is {held.next_chunk}",
        expected_chunk=held.next_chunk,
        chain=held.chain,
    )
