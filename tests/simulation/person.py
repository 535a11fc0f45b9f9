"""The person of a schedule: submits, cancels, submits again, and wants to know the reasons."""

from collections.abc import Callable

from app.domain.errors import IngestError
from app.domain.identity import IngestionId
from app.domain.ingestion import FINISHED, LIVE, Ingestion, State, Submission
from tests.simulation.engine import POLICY
from tests.simulation.files import SourceFile
from tests.simulation.network import CALLBACK, POLITE_CALLBACK
from tests.simulation.plan import some_limits
from tests.simulation.virtual import at_once
from tests.simulation.world import World

STOPPED = frozenset({State.PAUSED, State.FAILED, State.ABORTED, State.QUARANTINED})


class Person:
    """Looks at the rows over a connection of their own. A ``Watch`` of every disk."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._hold = world.rows.hold("person", world.clock)
        self._limits = dict(zip(world.files, world.plan.limits, strict=True))
        callbacks = world.plan.callbacks or [CALLBACK] * len(world.files)
        self._callbacks = dict(zip(world.files, callbacks, strict=True))
        self._file_of: dict[IngestionId, SourceFile] = {}
        self._cancelled: set[IngestionId] = set()
        self.states: dict[IngestionId, State] = {}
        """As last seen."""
        self.live = 0
        """Ingestions in a live state."""
        self.errands = 0
        """What the person is about to do."""
        self.stir: Callable[[], None] = lambda: None
        """Have every service look soon."""

    # ---- what a person does

    def submit(self, path: str, *, new_version: bool = False) -> None:
        world, file = self._world, self._world.files[path]
        if file.changed and file not in self._file_of.values():
            return world.note(f"{path} is no longer what was to be submitted")
        submission = Submission(
            file_path=path,
            file_type=file.file_type,
            callback_url=self._callbacks[path],
            limits=self._limits[path],
            metadata={"class": "Product"},
        )
        try:
            submitted = at_once(
                self._hold.catalog.submit(submission, file.fingerprint(), new_version=new_version)
            )
        except IngestError as error:
            return world.note(f"{path} is not taken: {error.code}")
        ingestion = submitted.ingestion
        world.note(f"{path} is submitted: {submitted.status} {ingestion.id[:6]}")
        world.book.expect(ingestion.id, file.truth, submission.callback_url)
        world.book.excuse_waits(ingestion.id)
        self._file_of[ingestion.id] = file
        # Next time with others: what was cut must not care (invariant 2).
        self._limits[path] = some_limits(world.random)
        self._keep(ingestion)
        self.stir()
        return None

    def submit_in(self, seconds: float, path: str) -> None:
        """Submit a file later, whatever happens meanwhile."""
        self.errands += 1
        self._world.outside.loop.call_later(seconds, self._do_errand, path)

    def cancel(self, ingestion_id: IngestionId) -> None:
        try:
            ingestion = at_once(self._hold.catalog.request_cancel(ingestion_id))
        except IngestError as error:
            return self._world.note(f"{ingestion_id[:6]} is not cancelled: {error.code}")
        self._world.note(f"{ingestion_id[:6]} is to be cancelled")
        self._cancelled.add(ingestion_id)
        self._see(ingestion)
        self.stir()
        return None

    def cancellations(self) -> int:
        return len(self._cancelled)

    def submit_what_stopped(self) -> bool:
        """Submit again what can go on. Returns whether there was anything."""
        again = False
        for ingestion_id, state in self.states.items():
            file = self._file_of[ingestion_id]
            if state in FINISHED or file.changed or file.poison or self._is_old(ingestion_id):
                continue
            failure = self.look(ingestion_id).failure
            if failure is not None and (failure.resumable or state is not State.FAILED):
                self.submit(file.path)
                again = True
        return again

    def change(self, file: SourceFile, *, in_place: bool) -> None:
        """Replace a file, or write into it."""
        self._world.note(f"{file.path} is {'rewritten' if in_place else 'replaced'}")
        if in_place:
            file.rewrite()
        else:
            file.replace()
        for ingestion_id, other in self._file_of.items():
            # Whoever has it open may send a mixture, which is noticed at its end.
            if other is file and in_place:
                self._world.book.shelves[ingestion_id].rewritten = True

    def swap(self, file: SourceFile) -> None:
        """Change a file unseen, where what was staged must reveal it. Nobody may have it open."""
        unfinished = [
            one
            for one, state in self.states.items()
            if self._file_of[one] is file and state not in FINISHED
        ]
        if not file.changed and all(self._hold.staged(one) for one in unfinished):
            self._world.note(f"{file.path} is swapped")
            file.swap()

    # ---- what a person sees

    def look(self, ingestion_id: IngestionId) -> Ingestion:
        return at_once(self._hold.catalog.get(ingestion_id))

    def wrote(self, process: str, write: str, ingestion_id: IngestionId) -> None:
        state, reached, delivered = self._hold.standing(ingestion_id)
        if self._world.outside.tracing:
            text = f"{process} wrote {ingestion_id[:6]} {write}; chunk {reached} is next"
            self._world.note(text)
        book = self._world.book
        book.written(ingestion_id, write, reached=reached, delivered=delivered, state=state)
        if book.picky:
            counted, kept = self._hold.dead_letters(ingestion_id)
            book.buried(ingestion_id, write, counted=counted, kept=kept)
        if state != self.states[ingestion_id]:
            polite = self._callbacks[self._file_of[ingestion_id].path] == POLITE_CALLBACK
            # A process that was frozen may have missed an answer.
            if state == State.WAITING and polite and process not in self._world.book.unaware:
                self._world.accuse("origin", "it waits for a receiver that always answered")
            self._see(self.look(ingestion_id))

    def failed(self, process: str, name: str, error: Exception) -> None:
        self._world.note(f"{process} could not {name}: {error}")
        self._world.book.excuse_waits(process)
        if name == "renew":
            self._world.book.unaware.add(process)  # Its lease may run out while it works on.
        if not isinstance(error, IngestError) or error.code == "OUT_OF_ORDER":
            self._world.accuse("bug", f"{name}: {error!r}")

    def close_the_books(self) -> None:
        """Compare the end of everything with what the receiver holds."""
        for ingestion_id, file in self._file_of.items():
            ingestion = self.look(ingestion_id)
            self._world.book.closing(
                ingestion_id,
                ingestion.state,
                total=ingestion.progress.records_delivered,
                read=ingestion.records_read,
            )
            if file.poison and ingestion.state is State.COMPLETED:
                self._world.accuse("S1", "a source with a broken end was completed")

    def _keep(self, ingestion: Ingestion) -> None:
        self.states[ingestion.id] = ingestion.state
        self._world.book.shelves[ingestion.id].stopped = ingestion.state in STOPPED
        self.live = sum(state in LIVE for state in self.states.values())

    def _see(self, ingestion: Ingestion) -> None:
        """Take note of a new state, and ask whether there was a reason for it."""
        world, before, state = self._world, self.states[ingestion.id], ingestion.state
        self._keep(ingestion)
        world.note(f"{ingestion.id[:6]} is {state}, was {before}")
        if state in LIVE or state is State.COMPLETED:
            return
        if not (ingestion.failure and self._has_reason(ingestion, ingestion.failure.code)):
            world.accuse("I8", f"{state} without a reason: {ingestion.failure}")
        if state is not State.ABORTED and not world.outside.calm:
            self.submit_in(world.random.uniform(0, 10), ingestion.submission.file_path)

    def _do_errand(self, path: str) -> None:
        self.errands -= 1
        self.submit(path)

    def _has_reason(self, ingestion: Ingestion, code: str) -> bool:
        world, file = self._world, self._file_of[ingestion.id]
        given = world.outside.provoked.get(code, 0)
        if ingestion.state is State.ABORTED:
            return ingestion.id in self._cancelled
        match code:
            case "SOURCE_CHANGED":
                return file.changed
            case "SOURCE_NOT_FOUND":
                return file.vanished
            case "MALFORMED" | "TRUNCATED" | "RAGGED_ROW":
                # Good records before the bad place are delivered first; the last one may have
                # ended where the file does, and then nobody knows that it is whole.
                missing = len(file.truth) - ingestion.progress.records_delivered
                return (file.poison and missing <= 1) or file.changed
            case "WAIT_EXPIRED":
                return world.time.now >= POLICY.wait_s_max or world.clock_was_set
            case "READER_DIED":
                return world.reader_deaths > 1
            case "REWIND_LOOP":
                return given >= POLICY.rewinds_max
            case "CHECKSUM_MISMATCH":
                return given > 3
            case _:
                return given > 0

    def _is_old(self, ingestion_id: IngestionId) -> bool:
        """Tell whether a newer version took its place."""
        file = self._file_of[ingestion_id]
        return ingestion_id != [i for i, other in self._file_of.items() if other is file][-1]
