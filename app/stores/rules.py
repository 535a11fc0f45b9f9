"""What every store decides alike, as pure functions over what it has stored."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields, replace
from datetime import datetime, timedelta
from operator import attrgetter
from typing import TypeAlias

from app.domain.access import LiveLimits
from app.domain.chunk import ChunkRef
from app.domain.dead_letter import DeadLetter
from app.domain.errors import (
    Conflict,
    CursorInvalid,
    Failure,
    LimitReached,
    OutOfOrder,
    SourceCode,
    StaleLease,
)
from app.domain.identity import (
    FIRST_VERSION,
    Checksum,
    IngestionId,
    chain_next,
    chain_start,
    file_id_of,
    ingestion_id_of,
)
from app.domain.ingestion import (
    FINISHED,
    LIVE,
    MOVES,
    DecodeOptions,
    Fingerprint,
    Ingestion,
    Progress,
    State,
    Submission,
)
from app.ports import DeadLetterPage, Lease, SubmitStatus

CANCELLED = Failure(code="CANCELLED", message="cancelled on request")
"""Why an ingestion is ABORTED that nobody worked on when it was cancelled."""

HELD = LIVE - {State.QUEUED}
"""States somebody works in. Entering any other gives the lease back."""


IDEMPOTENCY_KEPT = timedelta(hours=24)
"""How long an Idempotency-Key is remembered. A client retries within minutes."""


LIVE_RETRY_S = 30
"""Told to whom has too many live ingestions: one ends in seconds or in hours, nobody knows."""


def stale(lease: Lease) -> StaleLease:
    """Return the refusal of a write under a lease that no longer holds."""
    return StaleLease(
        f"lease {lease.epoch} of ingestion {lease.ingestion_id} is over; nothing was written"
    )


# ---- submissions


@dataclass(frozen=True, slots=True)
class Create:
    """Make a new ingestion of this version."""

    version: str


@dataclass(frozen=True, slots=True)
class Requeue:
    """Let the latest one go on from where it stopped."""

    latest: Ingestion


@dataclass(frozen=True, slots=True)
class Keep:
    """Change nothing: the latest one already does, or did, what is asked."""

    latest: Ingestion
    status: SubmitStatus


Decision: TypeAlias = Create | Requeue | Keep


def decide(
    latest: Ingestion | None,
    submission: Submission,
    fingerprint: Fingerprint,
    *,
    new_version: str | None,
) -> Decision:
    """Decide what a submission leads to.

    Parameters
    ----------
    latest
        The newest ingestion of the same file, if there is one.
    new_version
        The version to make, where the caller wants one whatever there is.

    Raises
    ------
    Conflict
        ``SOURCE_CHANGED``, ``INGESTION_ABORTED``, ``NOT_RESUMABLE``.
    """
    if latest is None:
        return Create(FIRST_VERSION)
    if new_version is not None:
        return Create(new_version)
    if latest.state in LIVE:
        return Keep(latest, SubmitStatus.ALREADY_RUNNING)
    if latest.state is State.ABORTED:
        raise _never_again("INGESTION_ABORTED", f"ingestion {latest.id} was cancelled")
    failure = latest.failure
    if latest.state is State.FAILED and failure is not None and not failure.resumable:
        raise _never_again(
            "NOT_RESUMABLE",
            f"ingestion {latest.id} failed with {failure.code} and cannot go on: {failure.message}",
        )
    if changes := _changes(latest, submission, fingerprint):
        raise _never_again(
            SourceCode.SOURCE_CHANGED,
            f"{submission.file_path} is not what ingestion {latest.id} was made from: {changes}",
        )
    if latest.state is State.COMPLETED:
        return Keep(latest, SubmitStatus.ALREADY_COMPLETED)
    return Requeue(latest)


def created(
    version: str, submission: Submission, fingerprint: Fingerprint, *, at: datetime
) -> Ingestion:
    """Return a new ingestion, QUEUED."""
    file_id = file_id_of(submission.file_path, submission.file_type)
    ingestion_id = ingestion_id_of(file_id, version)
    return Ingestion(
        id=ingestion_id,
        file_id=file_id,
        version=version,
        submission=submission,
        state=State.QUEUED,
        progress=Progress(chain=chain_start(ingestion_id)),
        fingerprint=fingerprint,
        created_at=at,
        updated_at=at,
    )


def requeued(latest: Ingestion, submission: Submission, *, at: datetime) -> Ingestion:
    """Return ``latest`` as it goes on.

    Where chunks go and how big new ones are may change; the metadata may not, because it
    is part of the bodies of chunks that were already sent.
    """
    return replace(
        latest,
        submission=replace(
            latest.submission,
            callback_url=submission.callback_url,
            callback_origin=submission.callback_origin,
            caller=submission.caller,
            limits=submission.limits,
        ),
        state=State.QUEUED,
        # Whoever submits it again has seen to it that the receiver remembers.
        progress=replace(latest.progress, rewinds=0),
        failure=None,
        cancel_requested=False,
        reader_deaths=0,
        waiting_since=None,
        updated_at=at,
    )


def check_live(
    submission: Submission, limits: LiveLimits, *, of_caller: int, of_origin: int
) -> None:
    """Refuse one live ingestion more than there may be.

    Parameters
    ----------
    of_caller, of_origin
        Live ingestions of the same caller, of the same callback origin.

    Raises
    ------
    LimitReached
        ``CALLER_LIMIT``, ``ORIGIN_LIMIT``.
    """
    remedy = "Submit it again when some of them have ended."
    if submission.caller and limits.per_caller is not None and of_caller >= limits.per_caller:
        raise LimitReached(
            "CALLER_LIMIT",
            f"{of_caller} ingestions of {submission.caller} have not ended yet",
            retry_after_s=LIVE_RETRY_S,
            remedy=remedy,
        )
    if limits.per_origin is not None and of_origin >= limits.per_origin:
        raise LimitReached(
            "ORIGIN_LIMIT",
            f"{of_origin} ingestions that call {submission.callback_origin} have not ended yet",
            retry_after_s=LIVE_RETRY_S,
            remedy=remedy,
        )


def _never_again(code: str, message: str) -> Conflict:
    return Conflict(code, message, remedy="Ingest it as a new version with re_ingestion: true.")


def _changes(latest: Ingestion, submission: Submission, fingerprint: Fingerprint) -> str:
    # Nothing more is read of what is complete, so there a new name or mode is no change.
    going_on = latest.state is not State.COMPLETED
    changes = latest.fingerprint.difference(fingerprint, in_attributes=going_on)
    before, now = latest.submission.options, submission.options
    options = [
        f"options.{name} was {getattr(before, name)!r} and is {getattr(now, name)!r}"
        for name in (field.name for field in fields(DecodeOptions))
        if getattr(before, name) != getattr(now, name)
    ]
    return ", ".join(filter(None, (changes, *options)))


# ---- states


def moved(
    ingestion: Ingestion, state: State, *, failure: Failure | None, at: datetime
) -> Ingestion:
    """Return ``ingestion`` in another state.

    Staying in a live state is allowed: the reason for WAITING may change.

    Raises
    ------
    OutOfOrder
        `MOVES` has no such move.
    """
    stays = state is ingestion.state and state in LIVE
    if not stays and state not in MOVES[ingestion.state]:
        raise OutOfOrder(f"ingestion {ingestion.id} cannot go from {ingestion.state} to {state}")
    waiting_since = ingestion.waiting_since
    if state is State.WAITING:
        waiting_since = waiting_since or at
    elif state in LIVE:
        waiting_since = None
    return replace(
        ingestion,
        state=state,
        failure=failure,
        waiting_since=waiting_since,
        finished_at=at if state in FINISHED else None,
        updated_at=at,
    )


def check_cancellable(ingestion: Ingestion) -> None:
    """Raise `Conflict` ``ALREADY_FINISHED`` when it is too late."""
    if ingestion.state in FINISHED:
        raise Conflict("ALREADY_FINISHED", f"ingestion {ingestion.id} is {ingestion.state}")


def check_balance(ingestion: Ingestion, *, records_read: int, cut_end: int) -> None:
    """Refuse a source end that loses records (invariant 5).

    Parameters
    ----------
    cut_end
        One past the highest chunk number that was ever cut.

    Raises
    ------
    OutOfOrder
        Records are missing, or a chunk was cut and not acknowledged.
    """
    progress = ingestion.progress
    if progress.next_chunk != cut_end:
        raise OutOfOrder(f"chunk {progress.next_chunk} was cut and is not acknowledged")
    if records_read != progress.records_accounted:
        raise OutOfOrder(
            f"{records_read} records were read, {progress.records_accounted} are accounted for"
        )


# ---- chunks


@dataclass(frozen=True, slots=True)
class ChunkEnd:
    """What the chunk after must follow: the end of one chunk, or the very start."""

    ingestion_id: IngestionId
    number: int
    record_end: int
    chain: Checksum

    @classmethod
    def start(cls, ingestion_id: IngestionId) -> "ChunkEnd":
        """Return what the first chunk follows."""
        return cls(ingestion_id, -1, 0, chain_start(ingestion_id))

    @classmethod
    def of(cls, ref: ChunkRef) -> "ChunkEnd":
        """Return what the chunk after ``ref`` follows."""
        return cls(ref.ingestion_id, ref.number, ref.record_end, ref.chain)


def check_follows(before: ChunkEnd, ref: ChunkRef) -> None:
    """Raise `OutOfOrder` unless ``ref`` follows ``before`` without gap or overlap."""
    follows = (
        ref.ingestion_id == before.ingestion_id
        and ref.number == before.number + 1
        and ref.record_start == before.record_end
        and ref.record_end > ref.record_start
        and ref.chain == chain_next(before.chain, ref.checksum)
    )
    if not follows:
        raise OutOfOrder(
            f"chunk {ref.chunk_id} from record {ref.record_start} does not follow chunk "
            f"{before.number} of {before.ingestion_id} up to record {before.record_end}"
        )


CONTENT_FIELDS = (
    "revision",
    "record_start",
    "record_end",
    "checksum",
    "chain",
    "records_bytes",
    "unsafe_numbers",
)
"""What makes a chunk's body. Cursors and position only say how to find the records again,
and depend on where the decoder's blocks happened to end."""

content_of: Callable[[ChunkRef], tuple[object, ...]] = attrgetter(*CONTENT_FIELDS)
"""Return these, in this order."""


def check_same(stored: tuple[object, ...], ref: ChunkRef) -> None:
    """Raise `OutOfOrder` when ``ref`` has other content than what was stored (invariant 2)."""
    if stored != content_of(ref):
        raise OutOfOrder(f"chunk {ref.chunk_id} was cut before, with other content")


# ---- pages

ORDER_MAX = 2**63 - 1
"""Above the creation order of every ingestion."""


def cursor_of(created_order: int) -> str:
    """Return the cursor of the page after the ingestion that was created in this order."""
    return urlsafe_b64encode(b"%d" % created_order).decode().rstrip("=")


def order_of(cursor: str) -> int:
    """Read what `cursor_of` wrote. Raises `CursorInvalid`."""
    try:
        order = int(urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except ValueError as error:
        raise CursorInvalid(cursor) from error
    if cursor_of(order) != cursor or order > ORDER_MAX:
        raise CursorInvalid(cursor)
    return order


DEAD_LETTERS_BYTES_MAX = 4 * 1024 * 1024
"""Of the records on a page. One that is larger alone has a page of its own."""


def page_of_dead_letters(dead_letters: Iterable[DeadLetter], *, limit: int) -> DeadLetterPage:
    """Take the first of them for a page, as few as needed."""
    shown: list[DeadLetter] = []
    size = 0
    for one in dead_letters:
        size += len(one.content)
        if shown and (len(shown) == limit or size > DEAD_LETTERS_BYTES_MAX):
            return DeadLetterPage(dead_letters=shown, next_cursor=cursor_of(shown[-1].record))
        shown.append(one)
    return DeadLetterPage(dead_letters=shown, next_cursor=None)
