"""Two services on one database: one runner at a time, and no gap between two (P1, P2)."""

import os
import signal
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

from tests.chaos.test_moments import assert_arrived
from tests.support.plain_readings import sample
from tests.support.processes import PATIENCE_S, Receiver, Service


def is_writable(database: Path) -> bool:
    """Tell whether nobody holds the lock that a write takes."""
    with closing(sqlite3.connect(database, timeout=0, isolation_level=None)) as opened:
        try:
            opened.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorname != "SQLITE_BUSY":
                raise
            return False
        opened.execute("ROLLBACK")
        return True


def freeze(service: Service, database: Path) -> None:
    """SIGSTOP, but not within a write: nobody else could write until it thaws."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        service.signal(signal.SIGSTOP)
        _, status = os.waitpid(service.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)
        if is_writable(database):
            return
        service.signal(signal.SIGCONT)
        assert time.monotonic() < deadline
        time.sleep(0.01)


def claims(database: Path, ingestion_id: str) -> int:
    """Return how often somebody began to work on an ingestion."""
    with closing(sqlite3.connect(database)) as opened:
        select = "SELECT lease_epoch FROM ingestions WHERE id = ?"
        ((epoch,),) = opened.execute(select, (ingestion_id,))
    return int(epoch)


def test_when_a_runner_dies_the_other_service_goes_on_without_being_asked(
    tmp_path: Path, receiver: Receiver, service: Service, another: Callable[..., Service]
) -> None:
    file = sample(tmp_path, "json", records=3_000)
    both = [service, another(receiver)]
    receiver.gate(1, "received", "chunk")
    ingestion = service.submit(file, "json", receiver.url, chunk_size_by_records=50)
    kills = 6
    for _ in range(kills):
        assert receiver.said() == {"at": "received"}
        (runner,) = [one for one in both if one.readers()]
        runner.kill()
        receiver.gate(5, "received", "chunk")
        # The one that dies here must be the one that took over.
        runner.start()

    receiver.go()
    assert receiver.closed(ingestion) == "ingestion.completed"

    for one in both:
        assert one.ended(ingestion)["state"] == "COMPLETED"
        assert one.troubles() == []
    requests = assert_arrived(receiver, ingestion, file)
    assert len(requests) <= 60 + 1 + kills


def test_a_service_that_froze_beyond_its_lease_changes_nothing_when_it_thaws(
    tmp_path: Path, receivers: Callable[..., Receiver], another: Callable[..., Service]
) -> None:
    receiver = receivers("--overlap")
    frozen, other = (another(receiver, INGEST_LEASE_S="2") for _ in range(2))
    file = sample(tmp_path, "ndjson", records=1_500)
    receiver.gate(4, "committed", "chunk")
    ingestion = frozen.submit(file, "ndjson", receiver.url, chunk_size_by_records=50)
    assert receiver.said() == {"at": "committed"}
    if not frozen.readers():
        frozen, other = other, frozen
    freeze(frozen, tmp_path / "ackline.db")
    receiver.gate(10, "received", "chunk")
    assert receiver.said() == {"at": "received"}  # the other one has taken over, and delivers
    frozen.signal(signal.SIGCONT)
    receiver.go()

    assert receiver.closed(ingestion) == "ingestion.completed"

    for one in (frozen, other):
        shown = one.ended(ingestion)
        assert (shown["state"], shown["counts"]["delivered"]) == ("COMPLETED", 1_500)
        assert one.terminate() == 0
        assert one.troubles() == []
    requests = assert_arrived(receiver, ingestion, file)
    # Each take-over may cost one. On a busy machine a lease may run out without being asked to.
    takeovers = claims(tmp_path / "ackline.db", ingestion) - 1
    assert takeovers >= 1
    assert len(requests) <= 30 + 1 + takeovers


def test_the_same_request_fifty_times_at_once_at_two_services_is_one_ingestion(
    tmp_path: Path, receiver: Receiver, service: Service, another: Callable[..., Service]
) -> None:
    file = sample(tmp_path, "csv", records=500)
    both = [service, another(receiver)]

    def submit(turn: int) -> str:
        return both[turn % 2].submit(file, "csv", receiver.url, chunk_size_by_records=50)

    receiver.gate(1, "received")
    with ThreadPoolExecutor(10) as pool:
        ingestions = set(pool.map(submit, range(50)))
    receiver.go()

    (ingestion,) = ingestions
    assert receiver.closed(ingestion) == "ingestion.completed"
    requests = assert_arrived(receiver, ingestion, file)
    assert requests == [*((number, 1) for number in range(10)), (-1, 1)]
