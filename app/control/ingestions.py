"""What a person may ask of an ingestion: submit, look at, list, cancel."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from app.control.pace import Pace, pace_of
from app.control.submission import CHUNK_CEILING, SubmitRequest, file_type_of, submission_of
from app.domain.budget import ChunkLimits
from app.domain.errors import NotReady, SourceCode, SourceError
from app.domain.identity import IngestionId, file_id_of
from app.domain.ingestion import Fingerprint, Ingestion, State
from app.ports import CallbackPolicy, Catalog, Clock, Sources, Submitted

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
        delivering: Callable[[], bool] = lambda: True,
    ) -> None:
        self._catalog = catalog
        self._sources = sources
        self._callbacks = callbacks
        self._defaults = defaults
        self._clock = clock
        self._ceiling = ceiling
        self._delivering = delivering

    async def submit(self, request: SubmitRequest) -> Submitted:
        """Queue a file, or requeue one that stopped. A worker picks it up; this does not wait.

        Refuses at once what cannot work.

        Raises
        ------
        FileTypeUnknown, OptionInvalid
            The request contradicts itself or the service's limits.
        SourceError
            The source is missing, unreadable, outside the allowed roots, or no regular file.
        CallbackRefused
            The service may not call that URL.
        Conflict, IdempotencyKeyReused
            As `Catalog.submit`.
        """
        submission = submission_of(request, defaults=self._defaults, ceiling=self._ceiling)
        fingerprint = await self._fingerprint(submission.file_path)
        await self._callbacks.check(submission.callback_url)
        key = request.idempotency_key
        return await self._catalog.submit(
            submission,
            fingerprint,
            new_version=request.re_ingestion,
            idempotency=None if key is None else (key, request.digest()),
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

    async def cancel(self, ingestion_id: IngestionId) -> Snapshot:
        """Ask for an ingestion to be aborted; raises `IngestionNotFound` or `Conflict`."""
        return self._snapshot(await self._catalog.request_cancel(ingestion_id))

    async def ready(self) -> None:
        """Raise `StoreError` or `NotReady` when work cannot be taken."""
        if not self._delivering():
            raise NotReady("the delivery side is not running")
        try:
            async with asyncio.timeout(READY_S_MAX):
                await self._catalog.ready()
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
