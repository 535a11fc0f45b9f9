"""The data plane's side: claim, stage, commit.

Every write runs in one transaction that first checks the lease (invariant 9).
"""

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

from app.domain.chunk import ChunkRef, ResumePoint
from app.domain.dead_letter import DeadLetter
from app.domain.errors import Failure, OutOfOrder
from app.domain.identity import Checksum, IngestionId, chain_start
from app.domain.ingestion import Ingestion, State
from app.ports import Clock, Lease
from app.stores.changes import Changes
from app.stores.rules import (
    ChunkEnd,
    check_balance,
    check_same,
    moved,
    stale,
)
from app.stores.sqlite import dead_letters as refused
from app.stores.sqlite.chunks import (
    CONTENT_COLUMNS,
    cut_end,
    end_before,
    progress_of,
    resume_point,
    stage,
)
from app.stores.sqlite.connection import Connection
from app.stores.sqlite.rows import (
    UPDATE_STANDING,
    ingestion_of,
    mapping_cell,
    standing_cells,
    text_of_time,
)
from app.stores.sqlite.tenure import Tenure
from app.stores.sqlite.transactions import T
from app.stores.sqlite.workers import Worker

_FREE = """
    SELECT id, lease_owner FROM ingestions
     WHERE state IN ('QUEUED', 'RUNNING', 'WAITING', 'COMPLETING')
       AND lease_owner IS NOT ?
     ORDER BY created_order
"""

_OWN = "SELECT id, lease_epoch FROM ingestions WHERE lease_owner = ?"

_GIVE_BACK = "UPDATE ingestions SET lease_owner = NULL WHERE id = ? AND lease_owner = ?"

_TAKE = """
    UPDATE ingestions
       SET lease_owner = :owner, lease_epoch = lease_epoch + 1, updated_at = :now,
           started_at = COALESCE(started_at, :now),
           state = CASE state WHEN 'QUEUED' THEN 'RUNNING' ELSE state END
     WHERE id = :id
    RETURNING *
"""

_HELD = "SELECT * FROM ingestions WHERE id = ? AND lease_epoch = ? AND lease_owner = ?"

_STAGED = f"""
    SELECT next_chunk, rejected, {CONTENT_COLUMNS}
      FROM ingestions
      LEFT JOIN chunks ON ingestion_id = id AND number = next_chunk
     WHERE id = ? AND lease_epoch = ? AND lease_owner = ?
"""  # noqa: S608 - names of columns
"""The lease, the position and the chunk that is next, in one statement: each costs some 10 µs."""

_BEFORE_NEXT = """
    SELECT next_chunk, record_end, chunks.chain
      FROM ingestions
      LEFT JOIN chunks ON ingestion_id = id AND number = next_chunk - 1
     WHERE id = ? AND lease_epoch = ? AND lease_owner = ?
"""

_REJECTED = "UPDATE chunks SET rejected = :rejected WHERE ingestion_id = :id AND number = :number"

_ADVANCE = """
    UPDATE ingestions
       SET next_chunk = :number + 1, next_chunk_max = MAX(next_chunk_max, :number + 1),
           rewinds = CASE WHEN :number >= next_chunk_max THEN 0 ELSE rewinds END,
           records_delivered = records_delivered + :records,
           records_rejected = records_rejected + :rejected,
           unsafe_numbers = unsafe_numbers + :unsafe,
           position = :position, chain = :chain, reader_deaths = 0,
           acked_at = :now, updated_at = :now
     WHERE id = :id
"""

_COUNT_AGAIN = """
    UPDATE ingestions
       SET next_chunk = :to, next_chunk_max = MAX(next_chunk_max, :to),
           rewinds = CASE WHEN :to > next_chunk_max THEN 0 ELSE rewinds END,
           (records_delivered, records_rejected, unsafe_numbers) = (
               SELECT COALESCE(SUM(record_end - record_start), 0), COALESCE(SUM(rejected), 0),
                      COALESCE(SUM(unsafe_numbers), 0)
                 FROM chunks WHERE ingestion_id = :id AND number < :to),
           position = COALESCE(
               (SELECT position FROM chunks WHERE ingestion_id = :id AND number = :to - 1), 0),
           chain = COALESCE(
               (SELECT chain FROM chunks WHERE ingestion_id = :id AND number = :to - 1), :start),
           updated_at = :now
     WHERE id = :id
"""


class _Large(Exception):
    """Records are written, or removed: the event loop does only what is small."""


class SqliteLedger:
    """A ``Ledger``."""

    def __init__(
        self,
        writer: Connection,
        reader: Connection,
        *,
        worker: Worker,
        clock: Clock,
        changes: Changes,
    ) -> None:
        self._writer = writer
        self._reader = reader
        self._worker = worker
        self._tenure = Tenure(worker.uptime)
        self._clock = clock
        self._changes = changes
        self._undelivered: list[IngestionId] = []
        """Claimed, but nobody was told yet: a cancelled claim still happens."""

    # ---- work

    async def claim(self, *, limit: int) -> Sequence[tuple[Lease, Ingestion]]:
        claimed = await self._writer.write(lambda db: self._claim(db, limit))
        self._undelivered = []
        return claimed

    def _claim(self, db: sqlite3.Connection, limit: int) -> Sequence[tuple[Lease, Ingestion]]:
        for undelivered in self._undelivered:
            db.execute(_GIVE_BACK, (undelivered, self._worker.id))
        alive: dict[str, bool] = {}
        free: list[str] = []
        for ingestion_id, owner in db.execute(_FREE, (self._worker.id,)):
            if len(free) == limit:
                break
            if owner is not None and owner not in alive:
                alive[owner] = self._worker.is_alive(db, owner)
            if owner is None or not alive[owner]:
                free.append(ingestion_id)
        if free:
            self._worker.prolong(db)
        claimed = [self._take(db, ingestion_id) for ingestion_id in free]
        self._undelivered = [lease.ingestion_id for lease, _ in claimed]
        return claimed

    def _take(self, db: sqlite3.Connection, ingestion_id: str) -> tuple[Lease, Ingestion]:
        cells = {"owner": self._worker.id, "id": ingestion_id, "now": self._now()}
        (row,) = db.execute(_TAKE, cells).fetchall()
        ingestion = ingestion_of(row)
        lease = Lease(
            ingestion_id=ingestion.id, epoch=row["lease_epoch"], stretch=self._tenure.stretch
        )
        return lease, ingestion

    async def renew(self) -> None:
        self._tenure.lasts_until(await self._writer.write(self._renew))

    def _renew(self, db: sqlite3.Connection) -> float:
        if self._tenure.is_over():
            self._tenure.begin((row[0], row[1]) for row in db.execute(_OWN, (self._worker.id,)))
        return self._worker.prolong(db)

    def is_sure(self, lease: Lease) -> bool:
        return self._tenure.covers(lease)

    async def wait_for_work(self, timeout_s: float) -> None:
        await self._changes.wait(timeout_s)

    async def cancel_requests(self) -> Sequence[IngestionId]:
        def work(db: sqlite3.Connection) -> Sequence[IngestionId]:
            rows = db.execute(
                """
                SELECT id FROM ingestions
                 WHERE state IN ('QUEUED', 'RUNNING', 'WAITING', 'COMPLETING')
                   AND lease_owner = ? AND cancel_requested
                 ORDER BY created_order
                """,
                (self._worker.id,),
            )
            return [IngestionId(row["id"]) for row in rows]

        return await self._reader.read(work)

    # ---- where to go on; read after all writes asked for before, also cancelled ones

    async def resume_point(self, ingestion_id: IngestionId) -> ResumePoint:
        return await self._writer.read(lambda db: resume_point(db, ingestion_id))

    async def chain_before(self, ingestion_id: IngestionId, number: int) -> Checksum | None:
        def work(db: sqlite3.Connection) -> Checksum | None:
            progress_of(db, ingestion_id)
            if not 0 <= number <= cut_end(db, ingestion_id):
                return None
            return end_before(db, ingestion_id, number).chain

        return await self._writer.read(work)

    # ---- progress

    async def detected(self, lease: Lease, detection: Mapping[str, str]) -> None:
        def work(db: sqlite3.Connection, held: sqlite3.Row) -> None:
            db.execute(
                "UPDATE ingestions SET detection = ?, updated_at = ? WHERE id = ?",
                (mapping_cell(detection), self._now(), held["id"]),
            )

        await self._write(lease, work)

    async def stage(self, lease: Lease, ref: ChunkRef) -> None:
        def work(db: sqlite3.Connection) -> None:
            next_chunk, record_end, chain = self._held(db, lease, _BEFORE_NEXT)
            if next_chunk == 0:
                before = ChunkEnd.start(lease.ingestion_id)
            else:
                before = ChunkEnd(lease.ingestion_id, next_chunk - 1, record_end, chain)
            stage(db, ref, before, now=self._now())

        await self._writer.write_soon(work)

    async def commit(
        self,
        lease: Lease,
        ref: ChunkRef,
        *,
        dead_letters: Sequence[DeadLetter] = (),
        then_stage: ChunkRef | None = None,
        pause: Failure | None = None,
    ) -> None:
        def work(db: sqlite3.Connection, *, small: bool = False) -> None:
            now = self._now()
            next_chunk, rejected_before, *staged = self._held(db, lease, _STAGED)
            if small and rejected_before:
                raise _Large
            is_next = (ref.ingestion_id, ref.number) == (lease.ingestion_id, next_chunk)
            if staged[0] is None or not is_next:
                raise OutOfOrder(f"chunk {ref.chunk_id} is not staged as the next one")
            check_same(tuple(staged), ref)
            acked = {
                "id": ref.ingestion_id,
                "number": ref.number,
                "records": ref.record_count,
                "rejected": len(dead_letters),
                "unsafe": ref.unsafe_numbers,
                "position": ref.position,
                "chain": ref.chain,
                "now": now,
            }
            # Invariant 1: position and counts move here, in one statement. The chunk's own row
            # stays as it is: it is acked because the position is beyond it.
            db.execute(_ADVANCE, acked)
            if dead_letters or rejected_before:
                db.execute(_REJECTED, acked)
                refused.replace(db, ref, dead_letters)
            if then_stage is not None:
                stage(db, then_stage, ChunkEnd.of(ref), now=now)
            if pause is not None:
                self._move(db, self._held(db, lease), State.PAUSED, pause)

        is_large = bool(dead_letters)
        if not is_large:
            try:
                await self._writer.write_soon(partial(work, small=True))
            except _Large:
                is_large = True
        if is_large:
            await self._writer.write(work)
        if pause is not None:
            self._changes.notify()

    async def rewind(self, lease: Lease, *, to: int) -> None:
        def work(db: sqlite3.Connection, held: sqlite3.Row) -> None:
            if not 0 <= to <= held["next_chunk"]:
                raise OutOfOrder(f"cannot rewind from chunk {held['next_chunk']} to chunk {to}")
            self._count_again(db, held, to)
            db.execute("UPDATE ingestions SET rewinds = rewinds + 1 WHERE id = ?", (held["id"],))

        await self._write(lease, work)

    async def fast_forward(self, lease: Lease, *, to: int) -> None:
        def work(db: sqlite3.Connection, held: sqlite3.Row) -> None:
            if not held["next_chunk"] <= to <= cut_end(db, held["id"]):
                raise OutOfOrder(
                    f"cannot go from chunk {held['next_chunk']} to chunk {to}: "
                    "not every chunk before it was cut"
                )
            self._count_again(db, held, to)
            db.execute(
                "UPDATE ingestions SET acked_at = ?, reader_deaths = 0 WHERE id = ?",
                (self._now(), held["id"]),
            )

        await self._write(lease, work)

    def _count_again(self, db: sqlite3.Connection, held: sqlite3.Row, to: int) -> None:
        cells = {"id": held["id"], "to": to, "start": chain_start(held["id"]), "now": self._now()}
        db.execute(_COUNT_AGAIN, cells)

    # ---- states

    async def source_ended(self, lease: Lease, *, records_read: int) -> None:
        def work(db: sqlite3.Connection, held: sqlite3.Row) -> None:
            ingestion = ingestion_of(held)
            check_balance(ingestion, records_read=records_read, cut_end=cut_end(db, held["id"]))
            ended = moved(ingestion, State.COMPLETING, failure=None, at=self._clock.now())
            ended = replace(ended, records_read=records_read)
            db.execute(UPDATE_STANDING, standing_cells(ended))

        await self._write(lease, work)

    async def move(self, lease: Lease, state: State, *, failure: Failure | None = None) -> None:
        try:
            await self._write(lease, lambda db, held: self._move(db, held, state, failure))
        finally:
            self._changes.notify()

    def _move(
        self, db: sqlite3.Connection, held: sqlite3.Row, state: State, failure: Failure | None
    ) -> None:
        after = moved(ingestion_of(held), state, failure=failure, at=self._clock.now())
        db.execute(UPDATE_STANDING, standing_cells(after))

    async def count_reader_death(self, lease: Lease) -> int:
        def work(db: sqlite3.Connection, held: sqlite3.Row) -> int:
            deaths = int(held["reader_deaths"]) + 1
            db.execute(
                "UPDATE ingestions SET reader_deaths = ?, updated_at = ? WHERE id = ?",
                (deaths, self._now(), held["id"]),
            )
            return deaths

        return await self._write(lease, work)

    async def release(self, lease: Lease) -> None:
        def work(db: sqlite3.Connection, held: sqlite3.Row) -> None:
            db.execute(_GIVE_BACK, (held["id"], self._worker.id))

        try:
            await self._write(lease, work)
        finally:
            self._changes.notify()

    # ---- every write

    async def _write(self, lease: Lease, work: Callable[[sqlite3.Connection, sqlite3.Row], T]) -> T:
        """Run ``work`` on the ingestion's row, if the lease still holds."""
        return await self._writer.write(lambda db: work(db, self._held(db, lease)))

    def _held(self, db: sqlite3.Connection, lease: Lease, select: str = _HELD) -> sqlite3.Row:
        """Return what ``select`` finds, which must be nothing unless the lease holds."""
        row: sqlite3.Row | None = db.execute(
            select, (lease.ingestion_id, lease.epoch, self._worker.id)
        ).fetchone()
        if row is None:
            # Invariant 9: a stale epoch changes nothing.
            raise stale(lease)
        return row

    def _now(self) -> str:
        return text_of_time(self._clock.now())
