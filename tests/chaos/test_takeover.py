"""Two services on one database: one runner at a time, and no gap between two (P1, P2)."""

import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.chaos.test_moments import assert_arrived
from tests.support.plain_readings import sample
from tests.support.processes import Receiver, Service


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
    frozen.signal(signal.SIGSTOP)
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
    assert len(requests) <= 30 + 1 + 1


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
