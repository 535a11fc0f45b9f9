"""The control plane's side: submit, look, cancel."""

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import replace
from typing import assert_never
from uuid import uuid4

from app.domain.access import UNLIMITED, LiveLimits
from app.domain.errors import IdempotencyKeyReused, IngestionNotFound
from app.domain.identity import FileId, IngestionId, file_id_of
from app.domain.ingestion import Fingerprint, Ingestion, State, Submission
from app.ports import Clock, DeadLetterPage, Page, SubmitStatus, Submitted
from app.stores.changes import Changes
from app.stores.rules import (
    CANCELLED,
    IDEMPOTENCY_KEPT,
    ORDER_MAX,
    Create,
    Keep,
    Requeue,
    check_cancellable,
    check_live,
    created,
    cursor_of,
    decide,
    moved,
    order_of,
    requeued,
)
from app.stores.sqlite import dead_letters as refused
from app.stores.sqlite.connection import Connection
from app.stores.sqlite.rows import (
    INSERT_INGESTION,
    UPDATE_STANDING,
    ingestion_cells,
    ingestion_of,
    standing_cells,
    text_of_time,
)
from app.stores.sqlite.schema import VERSION
from app.stores.sqlite.workers import Worker

_PAGE = """
    SELECT * FROM ingestions
     WHERE created_order < ?1
       AND (?2 OR state IN (SELECT value FROM json_each(?3)))
       {file}
     ORDER BY created_order DESC
     LIMIT ?5
"""

# The states are written as in the partial indexes, so that only live rows are looked at.
_LIVE_COUNTS = """
    SELECT (SELECT count(*) FROM ingestions WHERE caller = ?1
               AND state IN ('QUEUED', 'RUNNING', 'WAITING', 'COMPLETING')),
           (SELECT count(*) FROM ingestions WHERE callback_origin = ?2
               AND state IN ('QUEUED', 'RUNNING', 'WAITING', 'COMPLETING'))
"""


class SqliteCatalog:
    """A ``Catalog``."""

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
        self._clock = clock
        self._changes = changes

    async def submit(
        self,
        submission: Submission,
        fingerprint: Fingerprint,
        *,
        new_version: bool,
        idempotency: tuple[str, str] | None = None,
        live: LiveLimits = UNLIMITED,
    ) -> Submitted:
        version = uuid4().hex if new_version else None

        def work(db: sqlite3.Connection) -> Submitted:
            if idempotency is None:
                return self._submit(db, submission, fingerprint, version, live)
            answered = self._answered(db, *idempotency)
            if answered is not None:
                return answered
            submitted = self._submit(db, submission, fingerprint, version, live)
            self._remember(db, *idempotency, submitted)
            return submitted

        try:
            return await self._writer.write(work)
        finally:
            # Also when the caller was cancelled: what it asked for may still happen.
            self._changes.notify()

    def _submit(
        self,
        db: sqlite3.Connection,
        submission: Submission,
        fingerprint: Fingerprint,
        version: str | None,
        live: LiveLimits,
    ) -> Submitted:
        latest = _latest(db, file_id_of(submission.file_path, submission.file_type))
        at = self._clock.now()
        match decide(latest, submission, fingerprint, new_version=version):
            case Create(version=made):
                _check_live(db, submission, live)
                ingestion = created(made, submission, fingerprint, at=at)
                db.execute(INSERT_INGESTION, ingestion_cells(ingestion))
                return Submitted(status=SubmitStatus.STARTED, ingestion=ingestion)
            case Requeue(latest=stopped):
                _check_live(db, submission, live)
                ingestion = requeued(stopped, submission, at=at)
                db.execute(UPDATE_STANDING, standing_cells(ingestion))
                return Submitted(status=SubmitStatus.RESUMED, ingestion=ingestion)
            case Keep(latest=kept, status=status):
                return Submitted(status=status, ingestion=kept)
            case decision:
                assert_never(decision)

    def _answered(self, db: sqlite3.Connection, key: str, digest: str) -> Submitted | None:
        """Return what this key led to the first time."""
        oldest = text_of_time(self._clock.now() - IDEMPOTENCY_KEPT)
        db.execute("DELETE FROM idempotency_keys WHERE created_at < ?", (oldest,))
        row = db.execute(
            "SELECT digest, ingestion_id, status FROM idempotency_keys WHERE key = ?", (key,)
        ).fetchone()
        if row is None:
            return None
        if row["digest"] != digest:
            raise IdempotencyKeyReused(
                "this Idempotency-Key came with another request before",
                remedy="Use a new key for a new request.",
            )
        ingestion = _get(db, IngestionId(row["ingestion_id"]))
        return Submitted(status=SubmitStatus(row["status"]), ingestion=ingestion)

    def _remember(
        self, db: sqlite3.Connection, key: str, digest: str, submitted: Submitted
    ) -> None:
        db.execute(
            """
            INSERT INTO idempotency_keys (key, digest, ingestion_id, status, created_at)
            VALUES (?, ?, ?, ?, ?)
            """,
            (
                key,
                digest,
                submitted.ingestion.id,
                submitted.status,
                text_of_time(self._clock.now()),
            ),
        )

    async def get(self, ingestion_id: IngestionId) -> Ingestion:
        return await self._reader.read(lambda db: _get(db, ingestion_id))

    async def page(
        self,
        *,
        states: Sequence[State] = (),
        file_id: FileId | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page:
        before = ORDER_MAX if cursor is None else order_of(cursor)
        sql = _PAGE.format(file="" if file_id is None else "AND file_id = ?4")
        cells = (before, not states, json.dumps(list(states)), file_id, limit + 1)
        rows = await self._reader.read(lambda db: db.execute(sql, cells).fetchall())
        shown = rows[:limit]
        more = len(rows) > limit
        return Page(
            ingestions=[ingestion_of(row) for row in shown],
            next_cursor=cursor_of(shown[-1]["created_order"]) if more else None,
        )

    async def dead_letters(
        self, ingestion_id: IngestionId, *, limit: int = 50, cursor: str | None = None
    ) -> DeadLetterPage:
        def work(db: sqlite3.Connection) -> DeadLetterPage:
            _get(db, ingestion_id)
            return refused.page(db, ingestion_id, limit=limit, cursor=cursor)

        return await self._reader.read(work)

    async def request_cancel(self, ingestion_id: IngestionId) -> Ingestion:
        try:
            return await self._writer.write(lambda db: self._cancel(db, ingestion_id))
        finally:
            self._changes.notify()

    def _cancel(self, db: sqlite3.Connection, ingestion_id: IngestionId) -> Ingestion:
        ingestion = _get(db, ingestion_id)
        check_cancellable(ingestion)
        (owner,) = db.execute(
            "SELECT lease_owner FROM ingestions WHERE id = ?", (ingestion_id,)
        ).fetchone()
        at = self._clock.now()
        if owner is not None and self._worker.is_alive(db, owner):
            cancelled = replace(ingestion, cancel_requested=True, updated_at=at)
        else:
            # Without an owner no lease holds, so a worker that wakes up writes nothing.
            cancelled = moved(ingestion, State.ABORTED, failure=CANCELLED, at=at)
        db.execute(UPDATE_STANDING, standing_cells(cancelled))
        return cancelled

    async def ready(self) -> None:
        # Writes one page, unchanged: a full disk or a lost one shows only in a write.
        await self._writer.write(lambda db: db.execute(f"PRAGMA user_version = {VERSION}"))


def _check_live(db: sqlite3.Connection, submission: Submission, limits: LiveLimits) -> None:
    of_caller, of_origin = db.execute(
        _LIVE_COUNTS, (submission.caller, submission.callback_origin)
    ).fetchone()
    check_live(submission, limits, of_caller=of_caller, of_origin=of_origin)


def _get(db: sqlite3.Connection, ingestion_id: IngestionId) -> Ingestion:
    row = db.execute("SELECT * FROM ingestions WHERE id = ?", (ingestion_id,)).fetchone()
    if row is None:
        raise IngestionNotFound(ingestion_id)
    return ingestion_of(row)


def _latest(db: sqlite3.Connection, file_id: FileId) -> Ingestion | None:
    row = db.execute(
        "SELECT * FROM ingestions WHERE file_id = ? ORDER BY created_order DESC LIMIT 1",
        (file_id,),
    ).fetchone()
    return None if row is None else ingestion_of(row)
