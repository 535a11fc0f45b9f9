"""Progress in memory, for tests."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import assert_never
from uuid import uuid4

from app.domain.access import UNLIMITED, LiveLimits
from app.domain.chunk import ChunkRef, ResumePoint
from app.domain.dead_letter import DeadLetter
from app.domain.errors import (
    Failure,
    IdempotencyKeyReused,
    IngestionNotFound,
    OutOfOrder,
)
from app.domain.identity import Checksum, FileId, IngestionId, file_id_of
from app.domain.ingestion import LIVE, Fingerprint, Ingestion, State, Submission
from app.ports import Clock, DeadLetterPage, Lease, Page, SubmitStatus, Submitted
from app.stores.changes import Changes
from app.stores.rules import (
    CANCELLED,
    HELD,
    IDEMPOTENCY_KEPT,
    ORDER_MAX,
    ChunkEnd,
    Create,
    Keep,
    Requeue,
    check_balance,
    check_cancellable,
    check_follows,
    check_live,
    check_same,
    content_of,
    created,
    cursor_of,
    decide,
    moved,
    order_of,
    page_of_dead_letters,
    requeued,
    stale,
)


@dataclass(slots=True)
class _Row:
    """What is stored of one ingestion."""

    order: int
    ingestion: Ingestion
    chunks: list[ChunkRef] = field(default_factory=list)
    """All that were cut; index = number."""

    dead_letters: dict[int, Sequence[DeadLetter]] = field(default_factory=dict)
    """Chunk number → what the receiver refused in it."""

    next_chunk_max: int = 0
    epoch: int = 0
    held: bool = False

    def end_before(self, number: int) -> ChunkEnd:
        if number == 0:
            return ChunkEnd.start(self.ingestion.id)
        return ChunkEnd.of(self.chunks[number - 1])

    def refused(self) -> Iterator[DeadLetter]:
        for number in range(self.ingestion.progress.next_chunk):
            yield from self.dead_letters.get(number, ())


@dataclass(frozen=True, slots=True)
class _Answer:
    """What an Idempotency-Key led to."""

    digest: str
    submitted: Submitted
    created_at: datetime


class MemoryStore:
    """A ``Ledger`` and a ``Catalog`` that forget. The process is its only worker.

    No method awaits, so each is one transaction.
    """

    def __init__(self, *, clock: Clock) -> None:
        self._clock = clock
        self._rows: dict[IngestionId, _Row] = {}
        self._answers: dict[str, _Answer] = {}
        self._changes = Changes()

    @property
    def ledger(self) -> "MemoryStore":
        """The data plane's side."""
        return self

    @property
    def catalog(self) -> "MemoryStore":
        """The control plane's side."""
        return self

    # ---- the ledger

    async def claim(self, *, limit: int) -> Sequence[tuple[Lease, Ingestion]]:
        free = [row for row in self._rows.values() if row.ingestion.state in LIVE and not row.held]
        return [self._take(row) for row in free[:limit]]

    def _take(self, row: _Row) -> tuple[Lease, Ingestion]:
        now, before = self._clock.now(), row.ingestion
        state = State.RUNNING if before.state is State.QUEUED else before.state
        row.ingestion = replace(
            before, state=state, started_at=before.started_at or now, updated_at=now
        )
        row.held = True
        row.epoch += 1
        return Lease(ingestion_id=before.id, epoch=row.epoch), row.ingestion

    async def renew(self) -> None:
        """Do nothing: while the process lives, so does its only worker."""

    def is_sure(self, lease: Lease) -> bool:
        self._held(lease)
        return True

    async def wait_for_work(self, timeout_s: float) -> None:
        await self._changes.wait(timeout_s)

    async def cancel_requests(self) -> Sequence[IngestionId]:
        return [
            row.ingestion.id
            for row in self._rows.values()
            if row.held and row.ingestion.cancel_requested
        ]

    async def resume_point(self, ingestion_id: IngestionId) -> ResumePoint:
        row = self._row(ingestion_id)
        number = row.ingestion.progress.next_chunk
        start = ResumePoint(
            number=number,
            chain=row.ingestion.progress.chain,
            planned=tuple(ref.boundary() for ref in row.chunks[number:]),
            refused_bytes=sum(len(one.content) for one in row.refused()),
        )
        if number == 0:
            return start
        before = row.chunks[number - 1]
        return replace(start, record_start=before.record_end, cursor=before.end)

    async def chain_before(self, ingestion_id: IngestionId, number: int) -> Checksum | None:
        row = self._row(ingestion_id)
        return row.end_before(number).chain if 0 <= number <= len(row.chunks) else None

    async def detected(self, lease: Lease, detection: Mapping[str, str]) -> None:
        row = self._held(lease)
        row.ingestion = replace(
            row.ingestion, detection=dict(detection), updated_at=self._clock.now()
        )

    async def stage(self, lease: Lease, ref: ChunkRef) -> None:
        row = self._held(lease)
        _stage(row, ref, row.end_before(row.ingestion.progress.next_chunk))

    async def commit(
        self,
        lease: Lease,
        ref: ChunkRef,
        *,
        dead_letters: Sequence[DeadLetter] = (),
        then_stage: ChunkRef | None = None,
        pause: Failure | None = None,
    ) -> None:
        row = self._held(lease)
        number = row.ingestion.progress.next_chunk
        is_next = (ref.ingestion_id, ref.number) == (lease.ingestion_id, number)
        if not is_next or number == len(row.chunks):
            raise OutOfOrder(f"chunk {ref.chunk_id} is not staged as the next one")
        check_same(content_of(row.chunks[number]), ref)
        if then_stage is not None:
            _stage(row, then_stage, ChunkEnd.of(ref))
        row.dead_letters[number] = dead_letters
        self._advance(row, to=number + 1, position=ref.position)
        if pause is not None:
            _save(row, moved(row.ingestion, State.PAUSED, failure=pause, at=self._clock.now()))
            self._changes.notify()

    async def rewind(self, lease: Lease, *, to: int) -> None:
        row = self._held(lease)
        progress = row.ingestion.progress
        if not 0 <= to <= progress.next_chunk:
            raise OutOfOrder(f"cannot rewind from chunk {progress.next_chunk} to chunk {to}")
        self._count_again(row, to, rewinds=progress.rewinds + 1)

    async def fast_forward(self, lease: Lease, *, to: int) -> None:
        row = self._held(lease)
        number = row.ingestion.progress.next_chunk
        if not number <= to <= len(row.chunks):
            raise OutOfOrder(
                f"cannot go from chunk {number} to chunk {to}: not every chunk before it was cut"
            )
        self._advance(row, to=to, position=row.chunks[to - 1].position if to else 0)

    def _advance(self, row: _Row, *, to: int, position: int) -> None:
        progress = row.ingestion.progress
        self._count_again(row, to, rewinds=0 if to > row.next_chunk_max else progress.rewinds)
        row.next_chunk_max = max(row.next_chunk_max, to)
        row.ingestion = replace(
            row.ingestion,
            progress=replace(row.ingestion.progress, position=position),
            reader_deaths=0,
            acked_at=row.ingestion.updated_at,
        )

    def _count_again(self, row: _Row, to: int, *, rewinds: int) -> None:
        acked = row.chunks[:to]
        progress = replace(
            row.ingestion.progress,
            next_chunk=to,
            records_delivered=sum(ref.record_count for ref in acked),
            records_rejected=sum(len(row.dead_letters.get(ref.number, ())) for ref in acked),
            position=acked[-1].position if acked else 0,
            unsafe_numbers=sum(ref.unsafe_numbers for ref in acked),
            chain=row.end_before(to).chain,
            rewinds=rewinds,
        )
        row.ingestion = replace(row.ingestion, progress=progress, updated_at=self._clock.now())

    async def source_ended(self, lease: Lease, *, records_read: int) -> None:
        row = self._held(lease)
        check_balance(row.ingestion, records_read=records_read, cut_end=len(row.chunks))
        ended = moved(row.ingestion, State.COMPLETING, failure=None, at=self._clock.now())
        row.ingestion = replace(ended, records_read=records_read)

    async def move(self, lease: Lease, state: State, *, failure: Failure | None = None) -> None:
        row = self._held(lease)
        _save(row, moved(row.ingestion, state, failure=failure, at=self._clock.now()))
        self._changes.notify()

    async def count_reader_death(self, lease: Lease) -> int:
        row = self._held(lease)
        deaths = row.ingestion.reader_deaths + 1
        row.ingestion = replace(row.ingestion, reader_deaths=deaths, updated_at=self._clock.now())
        return deaths

    async def release(self, lease: Lease) -> None:
        self._held(lease).held = False
        self._changes.notify()

    def _held(self, lease: Lease) -> _Row:
        row = self._rows.get(lease.ingestion_id)
        if row is None or not row.held or row.epoch != lease.epoch:
            # Invariant 9: a stale epoch changes nothing.
            raise stale(lease)
        return row

    # ---- the catalog

    async def submit(
        self,
        submission: Submission,
        fingerprint: Fingerprint,
        *,
        new_version: bool,
        idempotency: tuple[str, str] | None = None,
        live: LiveLimits = UNLIMITED,
    ) -> Submitted:
        now = self._clock.now()
        if idempotency is None:
            return self._submit(submission, fingerprint, new_version=new_version, live=live)
        key, digest = idempotency
        oldest = now - IDEMPOTENCY_KEPT
        self._answers = {k: a for k, a in self._answers.items() if a.created_at >= oldest}
        if answer := self._answers.get(key):
            if answer.digest != digest:
                raise IdempotencyKeyReused(
                    "this Idempotency-Key came with another request before",
                    remedy="Use a new key for a new request.",
                )
            return replace(
                answer.submitted, ingestion=await self.get(answer.submitted.ingestion.id)
            )
        submitted = self._submit(submission, fingerprint, new_version=new_version, live=live)
        self._answers[key] = _Answer(digest, submitted, now)
        return submitted

    def _submit(
        self,
        submission: Submission,
        fingerprint: Fingerprint,
        *,
        new_version: bool,
        live: LiveLimits,
    ) -> Submitted:
        file_id = file_id_of(submission.file_path, submission.file_type)
        versions = [row for row in self._rows.values() if row.ingestion.file_id == file_id]
        latest = versions[-1].ingestion if versions else None
        version = uuid4().hex if new_version else None
        decision = decide(latest, submission, fingerprint, new_version=version)
        at = self._clock.now()
        self._changes.notify()
        match decision:
            case Create(version=made):
                self._check_live(submission, live)
                ingestion = created(made, submission, fingerprint, at=at)
                self._rows[ingestion.id] = _Row(len(self._rows) + 1, ingestion)
                return Submitted(status=SubmitStatus.STARTED, ingestion=ingestion)
            case Requeue(latest=stopped):
                self._check_live(submission, live)
                ingestion = requeued(stopped, submission, at=at)
                _save(self._rows[ingestion.id], ingestion)
                return Submitted(status=SubmitStatus.RESUMED, ingestion=ingestion)
            case Keep(latest=kept, status=status):
                return Submitted(status=status, ingestion=kept)
            case _:
                assert_never(decision)

    def _check_live(self, submission: Submission, limits: LiveLimits) -> None:
        asked = [
            row.ingestion.submission for row in self._rows.values() if row.ingestion.state in LIVE
        ]
        check_live(
            submission,
            limits,
            of_caller=sum(one.caller == submission.caller for one in asked),
            of_origin=sum(one.callback_origin == submission.callback_origin for one in asked),
        )

    async def get(self, ingestion_id: IngestionId) -> Ingestion:
        return self._row(ingestion_id).ingestion

    async def page(
        self,
        *,
        states: Sequence[State] = (),
        file_id: FileId | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page:
        before = ORDER_MAX if cursor is None else order_of(cursor)
        rows = [
            row
            for row in reversed(self._rows.values())
            if row.order < before
            and (not states or row.ingestion.state in states)
            and (file_id is None or row.ingestion.file_id == file_id)
        ]
        shown = rows[:limit]
        return Page(
            ingestions=[row.ingestion for row in shown],
            next_cursor=cursor_of(shown[-1].order) if len(rows) > limit else None,
        )

    async def dead_letters(
        self, ingestion_id: IngestionId, *, limit: int = 50, cursor: str | None = None
    ) -> DeadLetterPage:
        row = self._row(ingestion_id)
        after = -1 if cursor is None else order_of(cursor)
        letters = (one for one in row.refused() if one.record > after)
        return page_of_dead_letters(letters, limit=limit)

    async def request_cancel(self, ingestion_id: IngestionId) -> Ingestion:
        row = self._row(ingestion_id)
        check_cancellable(row.ingestion)
        at = self._clock.now()
        if row.held:
            row.ingestion = replace(row.ingestion, cancel_requested=True, updated_at=at)
        else:
            _save(row, moved(row.ingestion, State.ABORTED, failure=CANCELLED, at=at))
        self._changes.notify()
        return row.ingestion

    async def ready(self) -> None:
        """Do nothing: memory can always be written."""

    def _row(self, ingestion_id: IngestionId) -> _Row:
        row = self._rows.get(ingestion_id)
        if row is None:
            raise IngestionNotFound(ingestion_id)
        return row


def _save(row: _Row, ingestion: Ingestion) -> None:
    row.ingestion = ingestion
    row.held = row.held and ingestion.state in HELD


def _stage(row: _Row, ref: ChunkRef, before: ChunkEnd) -> None:
    check_follows(before, ref)
    if ref.number == len(row.chunks):
        row.chunks.append(ref)
    else:
        check_same(content_of(row.chunks[ref.number]), ref)
