"""The one place where ports meet their implementations."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from shutil import disk_usage
from time import monotonic

from app import wire
from app.control.admission import Admission
from app.control.ingestions import Ingestions
from app.domain.budget import ChunkLimits
from app.pipeline.run import Crew, Messages
from app.pipeline.supervisor import Supervisor, SupervisorPolicy
from app.readers.frames import ReaderSetup
from app.readers.process import ProcessReader
from app.receiver.egress import EgressPolicy
from app.receiver.http import HttpReceiver
from app.settings import Settings
from app.sources.local import LocalSources
from app.stores.sqlite import SqliteStore
from app.telemetry.logs import LogSink


class SystemClock:
    """A ``Clock``: this machine's."""

    def now(self) -> datetime:
        """Aware UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds since some start."""
        return monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait on the event loop."""
        await asyncio.sleep(seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """What the outside may ask for."""

    ingestions: Ingestions
    service_defaults: ChunkLimits
    supervisor: Supervisor


@asynccontextmanager
async def start(settings: Settings) -> AsyncIterator[Runtime]:
    """Open everything, in order; close it in reverse, whatever happens.

    Leaving it drains: chunks in flight are settled within the grace time (invariant 7).
    """
    clock, events = SystemClock(), LogSink()
    egress = EgressPolicy(allow=settings.callback_allow)
    async with (
        SqliteStore.open(settings.database_path, clock=clock, lease_s=settings.lease_s) as store,
        HttpReceiver(
            egress=egress,
            clock=clock,
            origins=settings.callback_origins(),
            deadline_s=settings.exchange_timeout_s,
        ) as receiver,
        ProcessReader(
            module="app.reader_process",
            setup=ReaderSetup(
                source_roots=tuple(str(root) for root in settings.source_roots),
                memory_bytes_max=settings.reader_memory_max_bytes,
            ),
            stall_s=settings.reader_stall_s,
            processes_max=settings.reader_processes_max,
        ) as reader,
    ):
        crew = Crew(
            reader=reader,
            receiver=receiver,
            ledger=store.ledger,
            catalog=store.catalog,
            events=events,
            clock=clock,
            policy=settings.retry_policy(),
            messages=Messages(
                chunk=wire.chunk_message,
                dead_letters=wire.dead_letters,
                completed=wire.completed_message,
                stopped=wire.stopped_message,
            ),
            default_limits=settings.default_limits(),
        )
        supervisor = Supervisor(
            crew,
            SupervisorPolicy(
                running_max=settings.ingestions_running_max,
                renew_s=settings.lease_s / 3,
                drain_s=settings.drain_s,
            ),
        )
        ingestions = Ingestions(
            catalog=store.catalog,
            sources=LocalSources(settings.source_roots),
            callbacks=egress,
            defaults=crew.default_limits,
            clock=clock,
            ceiling=settings.limits_ceiling(),
            admission=Admission(
                clock=clock,
                policy=settings.admission_policy(),
                disk_free_bytes=lambda: disk_usage(settings.database_path.parent).free,
            ),
            delivering=lambda: supervisor.alive,
        )
        async with _supervised(supervisor):
            yield Runtime(
                ingestions=ingestions, service_defaults=crew.default_limits, supervisor=supervisor
            )


@asynccontextmanager
async def _supervised(supervisor: Supervisor) -> AsyncIterator[None]:
    # Not a TaskGroup: one must not be left open across a yield, and the service should
    # go on answering, as not ready, should supervision ever end by itself.
    task = asyncio.create_task(supervisor.supervise(), name="supervisor")
    try:
        yield
    finally:
        supervisor.drain()
        with suppress(asyncio.CancelledError):
            await task
