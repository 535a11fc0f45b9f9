"""A disk that fails under the database (faults D1, D2): EIO from fsync, EIO or ENOSPC from write.

strace makes calls fail that SQLite makes on its files: once, for some calls in a row, or
until the disk is well again; that may need a restart. The service goes on answering, says
what is wrong, tries again and loses nothing. ``ACKLINE_CHAOS_SEED`` repeats a run, and
``ACKLINE_CHAOS_FAULTS`` says how many faults it has, about.
"""

import os
import random
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.chaos.test_commits import DATABASE, copied, with_a_long_log
from tests.support.plain_readings import in_source, received, sample
from tests.support.processes import PATIENCE_S, Receiver, Service
from tests.support.syscalls import Tracing, strace_is_missing

SEED = int(os.environ.get("ACKLINE_CHAOS_SEED") or random.randrange(2**32))
FAULTS = int(os.environ.get("ACKLINE_CHAOS_FAULTS") or 48)
ROUNDS = max(1, FAULTS // 16)
"""Each has twelve faults amid deliveries, and four at a start."""

AT_ONCE = 8
"""Most of the time a service only waits before it tries again."""

MISSING = strace_is_missing()
pytestmark = pytest.mark.skipif(
    bool(MISSING), reason=f"FAULT D2 IS NOT TESTED: no disk that fails, for {MISSING}"
)

ERRORS = (("fdatasync", "EIO"), ("pwrite64", "EIO"), ("pwrite64", "ENOSPC"))
CALLS = {"fdatasync": 20, "pwrite64": 80}
"""The first calls to fail are among so many; a delivery makes half as many again."""

CALLS_AT_START = {"fdatasync": 6, "pwrite64": 35}
"""Those that a start on a new database makes before it can take requests."""

STARTUP_FAILED = 3
"""uvicorn's exit status."""

ALIVE = ("QUEUED", "RUNNING", "COMPLETING")


@dataclass(frozen=True, slots=True)
class Fault:
    """Calls that fail, from the ``first`` on (from 1)."""

    call: str
    error: str
    first: int
    last: int | None
    """``None``: until the disk is well again."""

    def __str__(self) -> str:
        when = f"{self.first}+" if self.last is None else f"{self.first}..{self.last}"
        return f"{self.call}:error={self.error}:when={when}"


def drawn(plan: random.Random) -> Iterator[tuple[Fault, bool]]:
    """Draw each kind of fault: once, in a row, and for ever; with whether a restart mends it."""
    for call, error in ERRORS * ROUNDS:
        for more, restart in (
            (0, False),
            (plan.randrange(1, 4), False),
            (None, False),
            (None, True),
        ):
            first = plan.randrange(1, CALLS[call])
            yield Fault(call, error, first, None if more is None else first + more), restart


class Trial:
    """One service with a file to deliver, on a disk that fails."""

    def __init__(self, folder: Path, stack: ExitStack, fault: Fault) -> None:
        folder.mkdir(exist_ok=True)
        self._fault = fault
        self._database = folder / DATABASE
        self._file = sample(folder, "ndjson", records=200)
        self._receiver = stack.enter_context(Receiver(folder))
        # It tries to write every other second, also when it has nothing to do.
        self.service = Service(folder, self._receiver.address, INGEST_LEASE_S="6")
        self.service.launch_stopped()
        stack.callback(self.service.kill)

    def fail(self) -> Tracing:
        """Let the disk fail, as the fault says."""
        return Tracing(self.service.pid, self._database, str(self._fault))

    def submit(self, *, patience_s: float = PATIENCE_S) -> str | None:
        """Submit until it is taken; until then it is refused for the right reason.

        A commit that failed may be found on disk by the next life, which has perhaps delivered
        the file by now.
        """
        asked = {"file_path": str(self._file), "file_type": "ndjson", "chunk_size_by_records": 10}
        deadline = time.monotonic() + patience_s
        while True:
            answer = self.service.post("/api/ingest", asked | {"callback_url": self._receiver.url})
            if answer.status_code == 202 or answer.json().get("status") == "ALREADY_COMPLETED":
                return str(answer.json()["ingestion_id"])
            assert (answer.status_code, answer.json()["code"]) == (503, "STORE_UNAVAILABLE")
            self.look()
            if time.monotonic() > deadline:
                return None
            time.sleep(0.1)

    def look(self, ingestion: str | None = None) -> bool:
        """See that the API lives and nothing has failed. Returns whether it is completed."""
        assert self.service.get("/healthz").status_code == 200
        state = ingestion and self.service.show(ingestion)["state"]
        assert state in (None, "COMPLETED", *ALIVE)
        return state == "COMPLETED"

    def until_it_tried_again(self, ingestion: str | None) -> None:
        """Wait until the log says twice why nothing goes on."""
        deadline = time.monotonic() + PATIENCE_S
        while len(self.told()) < 2:
            assert not self.look(ingestion)
            assert time.monotonic() < deadline, self.service.log()[-2000:]
            time.sleep(0.05)

    def until_completed(self, ingestion: str | None) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not self.look(ingestion):
            assert time.monotonic() < deadline, self.service.log()[-2000:]
            time.sleep(0.05)

    def judge(self, ingestion: str, *, needless_max: int = 0) -> None:
        with self._receiver.reading() as book:
            assert book.anomalies() == []
            assert book.state(ingestion)[0] == "completed"
            assert list(received(book.records(ingestion))) == in_source(self._file)
            assert book.needless() <= needless_max

    def told(self) -> list[str]:
        """Return the lines of the log that name the reason, and are no accident."""
        lines = (line for line in self.service.troubles() if "Traceback" not in line)
        return [line for line in lines if "STORE_UNAVAILABLE: " in line]


def start_again(folder: Path, fault: Fault) -> None:
    """Start on a failing disk, and again when it is well; then deliver a file."""
    with ExitStack() as stack:
        trial = Trial(folder, stack, fault)
        with trial.fail() as tracing:
            trial.service.signal(signal.SIGCONT)
            trial.service.listens()
            assert trial.service.wait() == STARTUP_FAILED
            tracing.wait()
        assert tracing.failed()
        *_, reason, _ = trial.service.log().splitlines()
        assert "STORE_UNAVAILABLE: the database " in reason
        before = trial.service.troubles()

        trial.service.start()
        ingestion = trial.submit()
        trial.until_completed(ingestion)

        assert trial.service.terminate() == 0
        assert trial.service.troubles() == before
        assert ingestion
        trial.judge(ingestion)


def survive(folder: Path, database: Path | None, fault: Fault, restart: bool) -> int:
    """Deliver a file while the disk fails. Returns how many calls failed."""
    with ExitStack() as stack:
        trial = Trial(folder, stack, fault)
        if database is not None:
            copied(database, folder)
        trial.service.signal(signal.SIGCONT)
        assert trial.service.listens()
        trial.look()
        with trial.fail() as tracing:
            if fault.last is None:
                ingestion = trial.submit(patience_s=1)
                trial.until_it_tried_again(ingestion)
                if restart:
                    trial.service.kill()
                    trial.service.start()
            else:
                ingestion = trial.submit()
                trial.until_completed(ingestion)
        if ingestion is None:
            ingestion = trial.submit()
        trial.until_completed(ingestion)
        assert trial.service.terminate() == 0
        assert ingestion
        assert trial.service.troubles() == trial.told()
        # Each failure, and a kill, may cost one request.
        trial.judge(ingestion, needless_max=tracing.failed() + restart)
        return tracing.failed()


@pytest.mark.timeout(180 + 10 * FAULTS)
def test_a_disk_that_fails_is_told_and_nothing_is_lost(tmp_path: Path) -> None:
    print(f"to repeat: ACKLINE_CHAOS_SEED={SEED} ACKLINE_CHAOS_FAULTS={FAULTS}")
    plan = random.Random(SEED)
    long = with_a_long_log(tmp_path / "before")

    def trial(number: int, fault: Fault, restart: bool) -> int:
        print(f"trial {number}: {fault}, {restart=}")
        return survive(tmp_path / str(number), long if number % 2 else None, fault, restart)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        failed = list(pool.map(lambda drawn: trial(drawn[0], *drawn[1]), enumerate(drawn(plan))))

    assert all(failed)


@pytest.mark.timeout(180 + 10 * FAULTS)
def test_a_service_whose_disk_fails_as_it_starts_says_so_and_starts_when_it_is_well(
    tmp_path: Path,
) -> None:
    print(f"to repeat: ACKLINE_CHAOS_SEED={SEED} ACKLINE_CHAOS_FAULTS={FAULTS}")
    plan = random.Random(f"{SEED} start")
    starts = [
        (call, error, plan.randint(1, CALLS_AT_START[call])) for call, error in ERRORS * ROUNDS
    ]
    faults = [
        *(Fault(call, error, first, first) for call, error, first in starts),
        *(
            Fault("fdatasync", "EIO", plan.randint(1, CALLS_AT_START["fdatasync"]), None)
            for _ in range(ROUNDS)
        ),
    ]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        trials = [
            pool.submit(start_again, tmp_path / str(number), fault)
            for number, fault in enumerate(faults)
        ]
    for fault, trial in zip(faults, trials, strict=True):
        print(fault)
        trial.result()
