"""SIGKILL inside a database commit, at the n-th system call on the database (fault K4).

Each point is a life of the service that strace ends on entry to one call: what SQLite had
written before is there, that call and all after it are not. A kill on entry to the unlock
after an fsync finds a commit on disk that nobody was told of. The calls are drawn from all
parts of a whole life, which a first one counts: the making of the tables, submission,
staging, progress, completion, the checkpoint, the end. Half of the lives begin on a new
database, half on one whose log is so long that they must checkpoint it on their way.

``ACKLINE_CHAOS_CALLS`` raises the number of points, ``ACKLINE_CHAOS_SEED`` repeats them.
"""

import os
import random
import shutil
import signal
import sqlite3
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from itertools import count
from pathlib import Path

import httpx
import pytest

from tests.support.plain_readings import in_source, received, sample
from tests.support.processes import Receiver, Service
from tests.support.syscalls import Call, Tracing, strace_is_missing

SEED = int(os.environ.get("ACKLINE_CHAOS_SEED") or random.randrange(2**32))
POINTS = int(os.environ.get("ACKLINE_CHAOS_CALLS") or 36)

AT_ONCE = 2
"""Lives that are led side by side."""

DATABASE = "ackline.db"
FRAME_BYTES = 4096 + 24
"""One page in the write-ahead log."""

MISSING = strace_is_missing()
pytestmark = pytest.mark.skipif(
    bool(MISSING), reason=f"FAULT K4 IS NOT TESTED: no kill inside a commit, for {MISSING}"
)


class Lives:
    """Lives of a service, each in a folder of its own, each with one file to deliver."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._numbers = count()

    def end_at(self, call: Call | None, database: Path | None) -> tuple[int, Sequence[Call]]:
        """Live until ``call``, and then once more to the end; the records must all be there.

        ``database`` is what the first life begins with. Returns its exit status and what it
        called.
        """
        number = next(self._numbers)
        print(f"life {number} is killed at {call}")
        folder = self._folder / f"life {number}"
        folder.mkdir()
        if database is not None:
            copied(database, folder)
        file = sample(folder, "ndjson", records=200, seed=number)
        with ExitStack() as stack:
            receiver = stack.enter_context(Receiver(folder))
            service = Service(folder, receiver.address)
            service.launch_stopped()
            stack.callback(service.kill)
            kill = () if call is None else (f"{call.name}:signal=KILL:when={call.count}",)
            with Tracing(service.pid, folder / DATABASE, *kill) as tracing:
                service.signal(signal.SIGCONT)
                ingestion = live(service, receiver, file)
                status = service.wait()
                tracing.wait()

            service.start()
            ended = service.ended(
                ingestion
                or service.resubmit(file, "ndjson", receiver.url, chunk_size_by_records=10)
            )

            assert (ended["state"], ended["error"]) == ("COMPLETED", None)
            service.kill()
            assert service.troubles() == []
            assert_whole(receiver, ended["ingestion_id"], file)
            with closing(sqlite3.connect(folder / DATABASE)) as opened:
                assert opened.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return status, tracing.calls()


def live(service: Service, receiver: Receiver, file: Path) -> str | None:
    """Lead a whole life, or as much of it as is given. Returns what the service answered for."""
    ingestion = None
    with suppress(httpx.TransportError):
        if service.listens():
            ingestion = submit(service, receiver, file)
            service.ended(ingestion)
            service.ask_to_stop()
    return ingestion


def submit(service: Service, receiver: Receiver, file: Path) -> str:
    return service.submit(file, "ndjson", receiver.url, chunk_size_by_records=10)


def assert_whole(receiver: Receiver, ingestion: str, file: Path) -> None:
    with receiver.reading() as book:
        assert book.anomalies() == []
        assert book.state(ingestion)[0] == "completed"
        assert list(received(book.records(ingestion))) == in_source(file)
        assert book.needless() <= 1


def with_a_long_log(folder: Path) -> Path:
    """Make a database whose next hundred pages in the log bring about a checkpoint."""
    folder.mkdir()
    log = folder / f"{DATABASE}-wal"
    with Receiver(folder) as receiver, Service(folder, receiver.address) as service:
        for number in count():
            # 20 to 40 pages for an ingestion, 6 to 8 for each chunk more.
            records = 10 * max(1, (800 - frames(log)) // 8)
            file = sample(folder, "ndjson", records=records, seed=number)
            service.ended(submit(service, receiver, file))
            if frames(log) > 920:
                break
        service.kill()
    assert frames(log) < 1_000
    return folder / DATABASE


def copied(database: Path, folder: Path) -> None:
    for end in ("", "-wal"):
        shutil.copy(f"{database}{end}", folder)


def frames(log: Path) -> int:
    return log.stat().st_size // FRAME_BYTES if log.exists() else 0


def drawn(calls: Sequence[Call], points: int, plan: random.Random) -> Iterator[Call]:
    """Draw a call from each part of a life; in each, every kind of call is as likely."""
    for part in range(points):
        start, end = (len(calls) * bound // points for bound in (part, part + 1))
        some = calls[start:end] or calls
        name = plan.choice(sorted({call.name for call in some}))
        yield plan.choice([call for call in some if call.name == name])


@pytest.mark.timeout(300 + 15 * POINTS)
@pytest.mark.parametrize("log", ["new", "long"])
def test_a_service_killed_in_a_commit_has_the_old_or_the_new_state(
    tmp_path: Path, log: str
) -> None:
    print(f"to repeat: ACKLINE_CHAOS_SEED={SEED} ACKLINE_CHAOS_CALLS={POINTS}")
    plan = random.Random(f"{SEED} {log}")
    lives = Lives(tmp_path)
    database = with_a_long_log(tmp_path / "before") if log == "long" else None
    whole, calls = lives.end_at(None, database)
    assert whole == 0
    points = list(drawn(calls, POINTS // 2, plan))
    with ThreadPoolExecutor(AT_ONCE) as pool:
        statuses = list(pool.map(lambda point: lives.end_at(point, database)[0], points))
    # One life has a few calls more than another, so the last points may not be reached.
    assert statuses.count(-signal.SIGKILL) >= len(points) * 2 // 3
    assert set(statuses) <= {0, -signal.SIGKILL}
