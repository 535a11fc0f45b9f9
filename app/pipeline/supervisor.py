"""Claim what is to be done, run it side by side, and stop cleanly."""

import asyncio
import traceback
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from app.domain.errors import Failure, StaleLease, StoreError
from app.domain.events import StateChanged, WorkerTrouble
from app.domain.identity import IngestionId
from app.domain.ingestion import Ingestion, State
from app.pipeline.run import Crew, Run
from app.pipeline.slots import Slot, Slots
from app.ports import Lease

_POLL_S = 0.05
"""Time between two looks whether a run that must end only waits by now."""

LOOK_S = 1.0
"""Longest time between two looks at the store for work that another process put there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SupervisorPolicy:
    """How many at once, and how long to wait for them."""

    running_max: int
    """Ingestions that run side by side. Those whose receiver is unavailable do not count."""

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
        self._slots = Slots(policy.running_max)
        self._running: dict[Lease, _Running] = {}
        self._to_abort: set[Lease] = set()
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
        room = tasks.create_task(self._slots.freed.wait())
        await asyncio.wait({work, stop, room}, return_when=asyncio.FIRST_COMPLETED)
        for task in (work, stop, room):
            task.cancel()

    async def _look(self, tasks: asyncio.TaskGroup) -> None:
        for lease, ingestion in await self._claim():
            slot = Slot(self._slots, ingestion.created_at)
            run = Run(self._crew, lease, ingestion, slot=slot, draining=self._draining.is_set)
            self._crew.events.emit(StateChanged(ingestion.id, ingestion.state))
            before = self._latest(ingestion.id)
            task = tasks.create_task(
                self._run(run, lease, slot, self._running[before] if before else None),
                name=f"run {ingestion.id[:8]}",
            )
            self._running[lease] = _Running(run, task)
        for ingestion_id in await self._crew.ledger.cancel_requests():
            if cancelled := self._latest(ingestion_id):
                self._to_abort.add(cancelled)
                self._running[cancelled].cancel()

    def _latest(self, ingestion_id: IngestionId) -> Lease | None:
        """Return the lease of the last run of an ingestion that has not ended yet."""
        leases = [lease for lease in self._running if lease.ingestion_id == ingestion_id]
        return max(leases, key=lambda lease: lease.epoch, default=None)

    async def _claim(self) -> Sequence[tuple[Lease, Ingestion]]:
        """Claim as many as there are slots for; what is claimed has one each."""
        self._slots.freed.clear()
        reserved = self._slots.reserve()
        claimed: Sequence[tuple[Lease, Ingestion]] = ()
        try:
            if reserved:
                claimed = await self._crew.ledger.claim(limit=reserved)
        finally:
            self._slots.unreserve(reserved - len(claimed))
        return claimed

    async def _run(self, run: Run, lease: Lease, slot: Slot, before: _Running | None) -> None:
        """Run to the end; whatever happens, this ingestion alone bears it."""
        try:
            if before is not None:
                await self._let_end(before, run)
            await run.advance()
        except asyncio.CancelledError:
            if lease in self._to_abort:
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
            slot.release()
            del self._running[lease]
            self._to_abort.discard(lease)

    async def _let_end(self, before: _Running, run: Run) -> None:
        """Wait for an earlier run of the same ingestion, which has lost or given up its lease.

        It may be saying its farewell while a person submits the file again. Invariant 3: one
        message at a time; and what it only waits for is of no use any more.
        """
        with run.rest.here():
            while not before.task.done():
                if before.run.rest.resting:
                    before.cancel()
                await asyncio.wait([before.task], timeout=_POLL_S)

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
            await asyncio.wait(tasks, timeout=_POLL_S)
