"""The SQLite store and the one in memory, given the same calls, say and become the same."""

import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from app.domain.chunk import ChunkRef
from app.domain.errors import Failure, IngestError
from app.domain.ingestion import State
from app.ports import Lease, Ledger
from app.stores.memory import MemoryStore
from tests.support.builders import INGESTION, a_chunk_ref, a_fingerprint, a_submission
from tests.support.stores import OpenStore, open_store

T = TypeVar("T")
Refusal = tuple[type[IngestError], str, str]

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
STATES = st.sampled_from([*[State.RUNNING, State.WAITING] * 4, *State])


class StoresAgree(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self._runner = asyncio.Runner()
        self._opened = AsyncExitStack()
        folder = Path(self._opened.enter_context(tempfile.TemporaryDirectory()))
        self._memory, self._sqlite = (
            self._runner.run(self._opened.enter_async_context(open_store(kind, folder)))
            for kind in ("memory", "sqlite")
        )
        self._epoch = 0

    def teardown(self) -> None:
        self._runner.run(self._opened.aclose())
        self._runner.close()

    def both(self, ask: Callable[[OpenStore], Awaitable[T]]) -> T | Refusal:
        """Ask both stores; they must give the same answer, or the same refusal."""

        async def asked(store: OpenStore) -> T | Refusal:
            try:
                return await ask(store)
            except IngestError as error:
                return type(error), error.code, error.message

        expected = self._runner.run(asked(self._memory))
        assert self._runner.run(asked(self._sqlite)) == expected
        return expected

    def write(self, epoch: int, ask: Callable[[Ledger, Lease], Awaitable[object]]) -> None:
        lease = Lease(ingestion_id=INGESTION, epoch=self._epoch + epoch)
        self.both(lambda store: ask(store.ledger, lease))

    def chunk(self, which: int, content: str) -> ChunkRef:
        """Return a chunk counted from the next one: as it was cut, or as it could be."""
        store = self._memory.ledger
        assert isinstance(store, MemoryStore)
        row = store._rows[INGESTION]
        number = max(0, row.ingestion.progress.next_chunk + which)
        if content == "as cut" and number < len(row.chunks):
            return row.chunks[number]
        ref = row.chunks[min(number, len(row.chunks)) - 1] if number and row.chunks else None
        while ref is None or ref.number < number:
            ref = a_chunk_ref(after=ref, records=number + 1, content=content, unsafe_numbers=number)
        return ref

    @initialize()
    def begin(self) -> None:
        self.submit(size=1_000)
        self.claim()

    @rule(size=st.sampled_from([1_000, 1_000, 7]))
    def submit(self, size: int) -> None:
        self.both(
            lambda store: store.catalog.submit(
                a_submission(), a_fingerprint(size=size), new_version=False
            )
        )

    @rule()
    def claim(self) -> None:
        claimed = self.both(lambda store: store.ledger.claim(limit=1))
        if isinstance(claimed, list) and claimed:
            self._epoch = claimed[0][0].epoch

    @rule(epoch=LEASES, chunk=CHUNKS)
    def stage(self, epoch: int, chunk: tuple[int, str]) -> None:
        ref = self.chunk(*chunk)
        self.write(epoch, lambda ledger, lease: ledger.stage(lease, ref))

    @rule(epoch=LEASES, chunk=CHUNKS, rejected=st.integers(0, 1), following=st.none() | CHUNKS)
    def commit(
        self, epoch: int, chunk: tuple[int, str], rejected: int, following: tuple[int, str] | None
    ) -> None:
        ref = self.chunk(*chunk)
        then = None
        if following is not None:
            then = self.chunk(following[0] + 1, following[1])
        self.write(
            epoch,
            lambda ledger, lease: ledger.commit(lease, ref, rejected=rejected, then_stage=then),
        )

    @rule(rejected=st.integers(0, 1))
    def deliver(self, rejected: int) -> None:
        ref = self.chunk(0, "as cut")
        self.write(0, lambda ledger, lease: ledger.stage(lease, ref))
        self.write(0, lambda ledger, lease: ledger.commit(lease, ref, rejected=rejected))

    @rule(epoch=LEASES, to=NUMBERS)
    def rewind(self, epoch: int, to: int) -> None:
        self.write(epoch, lambda ledger, lease: ledger.rewind(lease, to=to))

    @rule(epoch=LEASES, to=NUMBERS)
    def fast_forward(self, epoch: int, to: int) -> None:
        self.write(epoch, lambda ledger, lease: ledger.fast_forward(lease, to=to))

    @rule(epoch=LEASES, missing=st.sampled_from([0, 0, 1]))
    def source_ended(self, epoch: int, missing: int) -> None:
        ingestion = self._runner.run(self._memory.catalog.get(INGESTION))
        read = ingestion.progress.records_accounted + missing
        self.write(epoch, lambda ledger, lease: ledger.source_ended(lease, records_read=read))

    @rule(epoch=LEASES, state=STATES, failure=FAILURES)
    def move(self, epoch: int, state: State, failure: Failure | None) -> None:
        self.write(epoch, lambda ledger, lease: ledger.move(lease, state, failure=failure))

    @rule(epoch=LEASES)
    def count_reader_death(self, epoch: int) -> None:
        self.write(epoch, lambda ledger, lease: ledger.count_reader_death(lease))

    @rule(epoch=LEASES)
    def release(self, epoch: int) -> None:
        self.write(epoch, lambda ledger, lease: ledger.release(lease))

    @rule()
    def request_cancel(self) -> None:
        self.both(lambda store: store.catalog.request_cancel(INGESTION))

    @rule(seconds=st.floats(0.001, 1e5))
    def advance(self, seconds: float) -> None:
        self._memory.clock.advance(seconds)
        self._sqlite.clock.advance(seconds)

    @invariant()
    def they_are_the_same(self) -> None:
        self.both(lambda store: store.catalog.page())
        self.both(lambda store: store.ledger.cancel_requests())
        self.both(lambda store: store.ledger.resume_point(INGESTION))
        for number in range(4):
            self.both(lambda store, n=number: store.ledger.chain_before(INGESTION, n))  # type: ignore[misc]


TestStoresAgree = StoresAgree.TestCase
TestStoresAgree.settings = settings(max_examples=25, stateful_step_count=40, deadline=None)
