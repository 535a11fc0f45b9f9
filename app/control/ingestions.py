"""What a person may ask of an ingestion: submit, look at, list, cancel."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from app.control.admission import Admission
from app.control.pace import Pace, pace_of
from app.control.submission import CHUNK_CEILING, SubmitRequest, file_type_of, submission_of
from app.domain.access import Caller, Scope
from app.domain.budget import ChunkLimits
from app.domain.errors import NotAllowed, NotReady, SourceCode, SourceError
from app.domain.identity import IngestionId, file_id_of
from app.domain.ingestion import Fingerprint, Ingestion, State
from app.ports import CallbackPolicy, Catalog, Clock, DeadLetterPage, Sources, Submitted

FINGERPRINT_S_MAX = 20.0
"""A source that has not shown 128 KiB by then (a dead network mount) does not answer."""

READY_S_MAX = 5.0
"""A store that has not taken a write by then is not ready. Orchestrators give up at 1-10 s."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """An ingestion as it stands, with what can be computed from it."""

    ingestion: Ingestion
    pace: Pace


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotPage:
    """A slice of the list of ingestions, newest first."""

    snapshots: Sequence[Snapshot]
    next_cursor: str | None
    """Give it back to get the next slice; ``None`` on the last one."""


class Ingestions:
    """Use cases. The API and the command line call these and nothing else."""

    def __init__(
        self,
        *,
        catalog: Catalog,
        sources: Sources,
        callbacks: CallbackPolicy,
        defaults: ChunkLimits,
        clock: Clock,
        ceiling: ChunkLimits = CHUNK_CEILING,
        admission: Admission | None = None,
        delivering: Callable[[], bool] = lambda: True,
    ) -> None:
        self._catalog = catalog
        self._sources = sources
        self._callbacks = callbacks
        self._defaults = defaults
        self._clock = clock
        self._ceiling = ceiling
        self._admission = admission or Admission(clock=clock)
        self._delivering = delivering

    async def submit(self, request: SubmitRequest, *, caller: Caller) -> Submitted:
        """Queue a file, or requeue one that stopped. A worker picks it up; this does not wait.

        Refuses at once what cannot work.

        Raises
        ------
        LimitReached, DiskLow
            There is too much going on to begin more.
        FileTypeUnknown, OptionInvalid
            The request contradicts itself or the service's limits.
        SourceError
            The source is missing, unreadable, outside the allowed roots, or no regular file.
        CallbackRefused
            The service may not call that URL.
        Conflict, IdempotencyKeyReused
            As `Catalog.submit`.
        """
        await self._admission.admit(caller)
        submission = submission_of(request, defaults=self._defaults, ceiling=self._ceiling)
        fingerprint = await self._fingerprint(submission.file_path)
        origin = await self._callbacks.check(submission.callback_url)
        key = request.idempotency_key
        if key is not None and caller.name:
            # Callers choose their keys for themselves: the same one is not the same request.
            key = f"{caller.name}:{key}"
        return await self._catalog.submit(
            replace(submission, caller=caller.name, callback_origin=origin),
            fingerprint,
            new_version=request.re_ingestion,
            idempotency=None if key is None else (key, request.digest()),
            live=self._admission.live,
        )

    async def get(self, ingestion_id: IngestionId) -> Snapshot:
        """Return one ingestion; raises `IngestionNotFound`."""
        return self._snapshot(await self._catalog.get(ingestion_id))

    async def page(
        self,
        *,
        states: Sequence[State] = (),
        file: tuple[str, str] | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> SnapshotPage:
        """Return ingestions, newest first; of one ``file`` (path, type) only, where given.

        Raises
        ------
        FileTypeUnknown
            ``file`` has a type that no decoder has.
        RequestError
            ``cursor`` did not come from an earlier page.
        """
        file_id = None if file is None else file_id_of(file[0], file_type_of(file[1]))
        page = await self._catalog.page(states=states, file_id=file_id, limit=limit, cursor=cursor)
        return SnapshotPage(
            snapshots=[self._snapshot(ingestion) for ingestion in page.ingestions],
            next_cursor=page.next_cursor,
        )

    async def cancel(self, ingestion_id: IngestionId, *, caller: Caller) -> Snapshot:
        """Ask for an ingestion to be aborted.

        Raises `IngestionNotFound`, `Conflict`, or `NotAllowed` when somebody else's.
        """
        await self._check_own(ingestion_id, caller)
        return self._snapshot(await self._catalog.request_cancel(ingestion_id))

    async def dead_letters(
        self,
        ingestion_id: IngestionId,
        *,
        caller: Caller,
        limit: int = 50,
        cursor: str | None = None,
    ) -> DeadLetterPage:
        """Return records that the receiver refused, in their order.

        Raises `IngestionNotFound`, `CursorInvalid`, or `NotAllowed` when somebody else's: they
        are what its file holds.
        """
        await self._check_own(ingestion_id, caller)
        return await self._catalog.dead_letters(ingestion_id, limit=limit, cursor=cursor)

    async def _check_own(self, ingestion_id: IngestionId, caller: Caller) -> None:
        if caller.scope.includes(Scope.ADMIN):
            return
        submission = (await self._catalog.get(ingestion_id)).submission
        if submission.caller != caller.name:
            raise NotAllowed(
                "another caller submitted this ingestion",
                remedy=f"Ask with a key of that caller, or with one of scope {Scope.ADMIN}.",
            )

    async def ready(self) -> None:
        """Raise `StoreError` or `NotReady` (`DiskLow`) when work cannot be taken."""
        if not self._delivering():
            raise NotReady("the delivery side is not running")
        try:
            async with asyncio.timeout(READY_S_MAX):
                await self._catalog.ready()
                await self._admission.check_disk()
        except TimeoutError as error:
            raise NotReady(f"the store took no write within {READY_S_MAX:.0f} s") from error

    async def _fingerprint(self, file_path: str) -> Fingerprint:
        try:
            async with asyncio.timeout(FINGERPRINT_S_MAX):
                return await asyncio.to_thread(
                    lambda: self._sources.locate(file_path).fingerprint()
                )
        except TimeoutError as error:
            raise SourceError(
                SourceCode.SOURCE_UNAVAILABLE,
                f"the source did not answer within {FINGERPRINT_S_MAX:.0f} s",
                remedy="Check the mount or network share that it lies on.",
            ) from error

    def _snapshot(self, ingestion: Ingestion) -> Snapshot:
        return Snapshot(ingestion=ingestion, pace=pace_of(ingestion, now=self._clock.now()))
