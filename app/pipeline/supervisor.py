"""Claim what is to be done, run it side by side, and stop cleanly."""

import asyncio
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from app.domain.errors import Failure, StaleLease, StoreError
from app.domain.events import StateChanged, WorkerTrouble
from app.domain.identity import IngestionId
from app.domain.ingestion import State
from app.pipeline.run import Crew, Run
from app.ports import Lease

LOOK_S = 1.0
"""Longest time between two looks at the store for work that another process put there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SupervisorPolicy:
    """How many at once, and how long to wait for them."""

    running_max: int
    """Ingestions that run side by side."""

    renew_s: float
    """Time between two renewals of the leases; a third of the lease time or less."""

    drain_s: float
    """How long chunks in flight may take to be settled at shutdown."""


@dataclass(slots=True)
class _Running:
    run: Run
    task: asyncio.Task[None]
    cancelled: bool = False

    def cancel(self) -> None:
        """Cancel once: a second time would hit the tidying up after the first."""
        if not self.cancelled:
            self.cancelled = True
            self.task.cancel()


class Supervisor:
    """One per service process."""

    def __init__(self, crew: Crew, policy: SupervisorPolicy) -> None:
        self._crew = crew
        self._policy = policy
        self._running: dict[IngestionId, _Running] = {}
        self._to_abort: set[IngestionId] = set()
        self._draining = asyncio.Event()
        self.alive = False
        """Whether claims are being made. Read by the readiness check."""

    async def supervise(self) -> None:
        """Work until `drain` is called. Returns when nothing runs any more."""
        async with asyncio.TaskGroup() as tasks:
            renewing = tasks.create_task(self._renew())
            self.alive = True
            while not self._draining.is_set():
                await self._guarded(tasks)
            self.alive = False
            await self._finish()
            renewing.cancel()

    def drain(self) -> None:
        """Begin to stop: claim nothing more, settle what is in flight (invariant 7)."""
        self._draining.set()

    async def _guarded(self, tasks: asyncio.TaskGroup) -> None:
        """Look once; a store that fails is met again later, never fatal (faults D1–D3)."""
        try:
            await self._look(tasks)
            timeout_s = LOOK_S
        except StoreError as error:
            self._crew.events.emit(WorkerTrouble(f"{error.code}: {error.message}"))
            timeout_s = LOOK_S * 2
        work = tasks.create_task(self._crew.ledger.wait_for_work(timeout_s))
        stop = tasks.create_task(self._draining.wait())
        # A run that ends makes room for another one.
        ends = {running.task for running in self._running.values()}
        await asyncio.wait({work, stop, *ends}, return_when=asyncio.FIRST_COMPLETED)
        for task in (work, stop):
            task.cancel()

    async def _look(self, tasks: asyncio.TaskGroup) -> None:
        free = self._policy.running_max - len(self._running)
        if free > 0:
            for lease, ingestion in await self._crew.ledger.claim(limit=free):
                run = Run(self._crew, lease, draining=self._draining.is_set)
                self._crew.events.emit(StateChanged(ingestion.id, ingestion.state))
                task = tasks.create_task(self._run(run, lease), name=f"run {ingestion.id[:8]}")
                self._running[ingestion.id] = _Running(run, task)
        for ingestion_id in await self._crew.ledger.cancel_requests():
            if running := self._running.get(ingestion_id):
                self._to_abort.add(ingestion_id)
                running.cancel()

    async def _run(self, run: Run, lease: Lease) -> None:
        """Run to the end; whatever happens, this ingestion alone bears it."""
        try:
            await run.advance()
        except asyncio.CancelledError:
            if lease.ingestion_id in self._to_abort:
                await self._contained(run.abort, lease)
            else:
                await self._contained(lambda: self._crew.ledger.release(lease), lease)
        except Exception:  # noqa: BLE001 - a bug in one run must not stop the others
            self._crew.events.emit(WorkerTrouble(traceback.format_exc()))
            failure = Failure(
                code="INTERNAL",
                message="the service met an error of its own; its log says more",
                remedy="Report it; submitting the file again resumes it.",
                resumable=True,
            )
            move = self._crew.ledger.move
            await self._contained(lambda: move(lease, State.FAILED, failure=failure), lease)
        finally:
            del self._running[lease.ingestion_id]
            self._to_abort.discard(lease.ingestion_id)

    async def _contained(self, action: Callable[[], Awaitable[None]], lease: Lease) -> None:
        """Do a last thing for an ingestion, as soon as the store lets us (faults D1–D3)."""
        while True:
            try:
                return await action()
            except StaleLease:
                return None  # Invariant 9: another worker has it, and will do what is to be done.
            except StoreError as error:
                self._crew.events.emit(
                    WorkerTrouble(f"{lease.ingestion_id}: {error.code}: {error.message}")
                )
            if self._draining.is_set():
                return None  # The lease ends with this process.
            await self._crew.clock.sleep(LOOK_S)

    async def _renew(self) -> None:
        while True:
            await self._crew.clock.sleep(self._policy.renew_s)
            try:
                await self._crew.ledger.renew()
            except StoreError as error:
                self._crew.events.emit(WorkerTrouble(f"{error.code}: {error.message}"))

    async def _finish(self) -> None:
        """Settle what is in flight within the grace time, stop what only waits at once."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._policy.drain_s
        while self._running:
            late = loop.time() >= deadline
            for running in self._running.values():
                if late:
                    running.task.cancel()  # a second time too: tidying up has no more time
                elif running.run.rest.resting:
                    running.cancel()
            tasks = [running.task for running in self._running.values()]
            await asyncio.wait(tasks, timeout=0.05)
