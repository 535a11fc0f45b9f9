"""The SQLite store and the one in memory, given the same calls, say and become the same.

On the SQLite side two services share the file. They take turns at random, die without a word,
start again, and stand still beyond their lease; the store in memory knows no services, so it is
told whose leases are free. Here with SQLite's own threads, a few times;
``test_stores_agree_at_once.py`` does it without them, often.
"""

import asyncio
import tempfile
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from app.domain.chunk import ChunkRef
from app.domain.errors import Failure, IngestError
from app.domain.identity import IngestionId
from app.domain.ingestion import LIVE, Ingestion, State
from app.ports import Lease, Ledger
from app.stores.memory import MemoryStore
from app.stores.rules import stale
from app.stores.sqlite import SqliteStore
from tests.simulation.database import IN_MEMORY
from tests.support.builders import (
    INGESTION,
    a_chunk_ref,
    a_fingerprint,
    a_submission,
    dead_letters_of,
)
from tests.support.clocks import ManualClock
from tests.support.stores import OpenStore

T = TypeVar("T")
Refusal = tuple[type[IngestError], str, str]

EXAMPLES = 25
LEASE_S = 30.0

BROKEN = Failure(code="TIMEOUT", message="no answer", resumable=True)
LOST = replace(BROKEN, code="DIVERGED", resumable=False)
FAILURES = st.sampled_from([None, BROKEN, BROKEN, LOST])

NUMBERS = st.integers(-1, 6)
CHUNKS = st.tuples(
    # Which chunk, from the next one on; how often it is the one that fits.
    st.sampled_from([0, 0, 0, 0, 1, -1]),
    st.sampled_from(["as cut", "as cut", "as cut", "other"]),
)
LEASES = st.sampled_from([0, 0, 0, 0, 0, -1])
WHOSE = st.sampled_from([True, True, True, True, True, False])
"""Does the service write that holds the lease?"""

SERVICES = st.sampled_from([0, 1])
WHICH = st.integers(0, 3)
STATES = st.sampled_from([*[State.RUNNING, State.WAITING] * 4, *State])


@dataclass
class Service:
    """One of the two that share the file."""

    store: OpenStore
    end: Callable[[], None]
    """As SIGTERM does: gives its leases back."""

    die: Callable[[], None]
    """As SIGKILL does: nothing is given back, only the kernel's lock is."""

    leases: dict[IngestionId, int] = field(default_factory=dict)
    """Epochs of what it claimed, and may have lost since."""
    frozen: bool = False
    """It has not prolonged its leases in time."""


class StoresAgree(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self._runner = asyncio.Runner()
        self._opened = AsyncExitStack()
        self._patched = self._opened.enter_context(pytest.MonkeyPatch.context())
        self._submissions = 0
        for module in ("memory", "sqlite.catalog"):
            self._patched.setattr(f"app.stores.{module}.uuid4", lambda: UUID(int=self._submissions))
        self._folder = Path(self._opened.enter_context(tempfile.TemporaryDirectory(dir=IN_MEMORY)))
        self._clock, self._uptime = ManualClock(), 1_000.0
        self._memory = MemoryStore(clock=self._clock)
        self._mirror = OpenStore(self._memory.ledger, self._memory.catalog, self._clock)
        self._services = [self.started(), self.started()]

    def teardown(self) -> None:
        for service in self._services:
            service.end()
        self._runner.run(self._opened.aclose())
        self._runner.close()

    def run(self, asking: Coroutine[Any, Any, T]) -> T:
        """Have something done, and wait for it."""
        return self._runner.run(asking)

    def started(self) -> Service:
        """Open the SQLite store as one more service."""
        opened = AsyncExitStack()
        sqlite = self.run(
            opened.enter_async_context(
                SqliteStore.open(
                    self._folder / "progress.db",
                    clock=self._clock,
                    lease_s=LEASE_S,
                    uptime=lambda: self._uptime,
                )
            )
        )

        def end() -> None:
            self.run(opened.aclose())

        def die() -> None:
            with pytest.MonkeyPatch.context() as patched:
                patched.setattr(sqlite.ledger._worker, "leave", lambda db: None)
                end()

        return Service(OpenStore(sqlite.ledger, sqlite.catalog, self._clock), end, die)

    def asked(self, store: OpenStore, ask: Callable[[OpenStore], Awaitable[T]]) -> T | Refusal:
        async def answered() -> T | Refusal:
            try:
                return await ask(store)
            except IngestError as error:
                return type(error), error.code, error.message

        return self.run(answered())

    def both(self, ask: Callable[[OpenStore], Awaitable[T]], service: int = 0) -> T | Refusal:
        """Ask both stores; they must give the same answer, or the same refusal."""
        expected = self.asked(self._mirror, ask)
        assert self.asked(self._services[service].store, ask) == expected
        return expected

    def holder(self, ingestion_id: IngestionId) -> int | None:
        """Return who has the lease: whoever claimed last, if it was not given back."""
        row = self._memory._rows[ingestion_id]
        held = [
            number
            for number, service in enumerate(self._services)
            if row.held and service.leases.get(ingestion_id) == row.epoch
        ]
        return held[0] if held else None

    def free(self, *, of: int) -> None:
        """Tell the store in memory that a service is gone, or taken to be."""
        for ingestion_id, row in self._memory._rows.items():
            if self.holder(ingestion_id) == of:
                row.held = False

    def free_the_frozen(self, *, seen_by: int, limit: int) -> None:
        """Do what the other service does when it claims: it takes what it finds first."""
        other = 1 - seen_by
        live = [id_ for id_, row in self._memory._rows.items() if row.ingestion.state in LIVE]
        takes = [
            ingestion_id
            for ingestion_id in live
            if not self._memory._rows[ingestion_id].held
            or (self._services[other].frozen and self.holder(ingestion_id) == other)
        ]
        for ingestion_id in takes[:limit]:
            self._memory._rows[ingestion_id].held = False

    def ingestion(self, which: int) -> IngestionId:
        """Return one of those there are."""
        known = list(self._memory._rows)
        return known[which % len(known)]

    def write(
        self,
        which: int,
        epoch: int,
        whose: bool,
        ask: Callable[[Ledger, Lease], Awaitable[object]],
    ) -> None:
        """Write under the lease of the holder, or an older one, or as the other service."""
        ingestion_id = self.ingestion(which)
        holder = self.holder(ingestion_id)
        lease = Lease(
            ingestion_id=ingestion_id, epoch=self._memory._rows[ingestion_id].epoch + epoch
        )
        if holder is None or whose:
            self.both(lambda store: ask(store.ledger, lease), service=holder or 0)
            return
        refusal = self.asked(self._services[1 - holder].store, lambda s: ask(s.ledger, lease))
        error = stale(lease)
        assert refusal == (type(error), error.code, error.message)

    def chunk(self, ingestion_id: IngestionId, which: int, content: str) -> ChunkRef:
        """Return a chunk counted from the next one: as it was cut, or as it could be."""
        row = self._memory._rows[ingestion_id]
        number = max(0, row.ingestion.progress.next_chunk + which)
        if content == "as cut" and number < len(row.chunks):
            return row.chunks[number]
        ref = row.chunks[min(number, len(row.chunks)) - 1] if number and row.chunks else None
        while ref is None or ref.number < number:
            ref = a_chunk_ref(
                ingestion_id,
                after=ref,
                records=number + 1,
                content=content,
                unsafe_numbers=number,
            )
        return ref

    @initialize()
    def begin(self) -> None:
        self.submit(size=1_000, again=False, key="", service=0)
        self.claim(service=0, limit=1)

    @rule(
        size=st.sampled_from([1_000, 1_000, 7]),
        again=st.sampled_from([False, False, False, True]),
        key=st.sampled_from(["", "", "one", "two"]),
        service=SERVICES,
    )
    def submit(self, size: int, again: bool, key: str, service: int) -> None:
        self._submissions += 1
        self.both(
            lambda store: store.catalog.submit(
                a_submission(),
                a_fingerprint(size=size),
                new_version=again,
                idempotency=(key, f"{size} {again}") if key else None,
            ),
            service,
        )

    @rule(service=SERVICES, limit=st.integers(1, 3))
    def claim(self, service: int, limit: int) -> None:
        self.free_the_frozen(seen_by=service, limit=limit)
        claimed = self.both(lambda store: store.ledger.claim(limit=limit), service)
        if isinstance(claimed, list):
            found: Sequence[tuple[Lease, Ingestion]] = claimed
            for lease, _ in found:
                self._services[service].leases[lease.ingestion_id] = lease.epoch
                self._services[service].frozen = False  # to take one is a sign of life

    @rule(service=SERVICES)
    def die_and_start_again(self, service: int) -> None:
        self.free(of=service)
        self._services[service].die()
        self._services[service] = self.started()

    @rule(service=SERVICES)
    def restart(self, service: int) -> None:
        self.free(of=service)
        self._services[service].end()
        self._services[service] = self.started()

    @rule(service=SERVICES)
    def stand_still_beyond_the_lease(self, service: int) -> None:
        self._uptime += LEASE_S + 1
        self._services[service].frozen = True
        self.renew(1 - service)

    @rule(service=SERVICES)
    def renew(self, service: int) -> None:
        self.run(self._services[service].store.ledger.renew())
        self._services[service].frozen = False

    @rule(which=WHICH, epoch=LEASES, whose=WHOSE, chunk=CHUNKS)
    def stage(self, which: int, epoch: int, whose: bool, chunk: tuple[int, str]) -> None:
        ref = self.chunk(self.ingestion(which), *chunk)
        self.write(which, epoch, whose, lambda ledger, lease: ledger.stage(lease, ref))

    @rule(
        which=WHICH,
        epoch=LEASES,
        whose=WHOSE,
        chunk=CHUNKS,
        rejected=st.integers(0, 1),
        following=st.none() | CHUNKS,
    )
    def commit(
        self,
        which: int,
        epoch: int,
        whose: bool,
        chunk: tuple[int, str],
        rejected: int,
        following: tuple[int, str] | None,
    ) -> None:
        ref = self.chunk(self.ingestion(which), *chunk)
        then = None
        if following is not None:
            then = self.chunk(self.ingestion(which), following[0] + 1, following[1])
        self.write(
            which,
            epoch,
            whose,
            lambda ledger, lease: ledger.commit(
                lease, ref, dead_letters=dead_letters_of(ref, rejected), then_stage=then
            ),
        )

    @rule(which=WHICH, rejected=st.integers(0, 1))
    def deliver(self, which: int, rejected: int) -> None:
        ref = self.chunk(self.ingestion(which), 0, "as cut")
        self.write(which, 0, True, lambda ledger, lease: ledger.stage(lease, ref))
        self.write(
            which,
            0,
            True,
            lambda ledger, lease: ledger.commit(
                lease, ref, dead_letters=dead_letters_of(ref, rejected)
            ),
        )

    @rule(which=WHICH, epoch=LEASES, whose=WHOSE, to=NUMBERS)
    def rewind(self, which: int, epoch: int, whose: bool, to: int) -> None:
        self.write(which, epoch, whose, lambda ledger, lease: ledger.rewind(lease, to=to))

    @rule(which=WHICH, epoch=LEASES, whose=WHOSE, to=NUMBERS)
    def fast_forward(self, which: int, epoch: int, whose: bool, to: int) -> None:
        self.write(which, epoch, whose, lambda ledger, lease: ledger.fast_forward(lease, to=to))

    @rule(which=WHICH, epoch=LEASES, whose=WHOSE, missing=st.sampled_from([0, 0, 1]))
    def source_ended(self, which: int, epoch: int, whose: bool, missing: int) -> None:
        ingestion = self._memory._rows[self.ingestion(which)].ingestion
        read = ingestion.progress.records_accounted + missing
        self.write(
            which, epoch, whose, lambda ledger, lease: ledger.source_ended(lease, records_read=read)
        )

    @rule(which=WHICH, epoch=LEASES, whose=WHOSE, state=STATES, failure=FAILURES)
    def move(
        self, which: int, epoch: int, whose: bool, state: State, failure: Failure | None
    ) -> None:
        self.write(
            which, epoch, whose, lambda ledger, lease: ledger.move(lease, state, failure=failure)
        )

    @rule(which=WHICH, epoch=LEASES, whose=WHOSE)
    def count_reader_death(self, which: int, epoch: int, whose: bool) -> None:
        self.write(which, epoch, whose, lambda ledger, lease: ledger.count_reader_death(lease))

    @rule(which=WHICH, epoch=LEASES, whose=WHOSE)
    def release(self, which: int, epoch: int, whose: bool) -> None:
        self.write(which, epoch, whose, lambda ledger, lease: ledger.release(lease))

    @rule(which=WHICH, service=SERVICES)
    def request_cancel(self, which: int, service: int) -> None:
        ingestion_id = self.ingestion(which)
        if self.holder(ingestion_id) == 1 - service and self._services[1 - service].frozen:
            self._memory._rows[ingestion_id].held = False
        self.both(lambda store: store.catalog.request_cancel(ingestion_id), service)

    @rule(seconds=st.floats(0.001, 1e5))
    def advance(self, seconds: float) -> None:
        self._clock.advance(seconds)

    @invariant()
    def they_are_the_same(self) -> None:
        self.both(lambda store: store.catalog.page())
        self.both(lambda store: store.catalog.page(), service=1)
        requests = self.run(self._memory.cancel_requests())
        for number, service in enumerate(self._services):
            own = [each for each in requests if self.holder(each) == number]
            assert self.run(service.store.ledger.cancel_requests()) == own
        for ingestion_id in self._memory._rows:
            self.both(lambda store, id_=ingestion_id: store.ledger.resume_point(id_))  # type: ignore[misc]
            self.both(lambda store, id_=ingestion_id: store.catalog.dead_letters(id_))  # type: ignore[misc]
        for number in range(4):
            self.both(lambda store, n=number: store.ledger.chain_before(INGESTION, n))  # type: ignore[misc]


TestStoresAgree = StoresAgree.TestCase
TestStoresAgree.settings = settings(
    max_examples=EXAMPLES, stateful_step_count=40, deadline=None, print_blob=True
)
