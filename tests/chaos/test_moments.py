"""A kill at each moment that the contract gives a meaning, and what it may cost."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.plain_readings import in_source, received, sample
from tests.support.processes import Receiver, Service, kill_now, wait_until_gone

COMPLETION = -1
"""What a completion has in the place of a chunk number."""


def assert_arrived(receiver: Receiver, ingestion_id: str, file: Path) -> list[tuple[int, int]]:
    """Compare what is held with the source. Returns the requests: number and attempt."""
    with receiver.reading() as book:
        assert book.anomalies() == []
        assert book.state(ingestion_id)[0] == "completed"
        assert list(received(book.records(ingestion_id))) == in_source(file)
        return book.requests()


@pytest.mark.parametrize(
    ("phase", "resent"),
    [
        # What the dead sender had written may arrive whole, or never have left its process.
        ("head", [{}, {3: 1}]),
        ("body", [{}, {3: 1}]),
        ("received", [{3: 1}]),
        ("committed", [{3: 1}]),
        # It may not have read the ACK; or have stored it; or have written the next chunk too.
        ("acked", [{3: 1}, {}, {4: 1}]),
    ],
    ids=["head", "body", "received", "committed", "acked"],
)
def test_a_service_killed_at_any_moment_of_a_chunk_goes_on_by_itself_and_resends_that_one(
    tmp_path: Path, receiver: Receiver, service: Service, phase: str, resent: list[dict[int, int]]
) -> None:
    """K1, K2, K3. Nobody asks the service for anything after its start."""
    file = sample(tmp_path, "ndjson", records=1_000)
    receiver.gate(4, phase, "chunk")
    ingestion = service.submit(file, "ndjson", receiver.url, chunk_size_by_records=100)
    assert receiver.said() == {"at": phase}
    service.kill()
    receiver.go()
    service.start()

    assert receiver.closed(ingestion) == "ingestion.completed"

    numbers = [number for number, _ in assert_arrived(receiver, ingestion, file)]
    sends = {number: numbers.count(number) for number in numbers}
    more = {number: count - 1 for number, count in sends.items() if count > 1}
    assert sorted(sends) == [COMPLETION, *range(10)]
    assert more in resent


@pytest.mark.parametrize(
    ("phase", "times"),
    # It may have read the ACK and stored it, or not.
    [("received", [2]), ("committed", [2]), ("acked", [1, 2])],
    ids=["received", "committed", "acked"],
)
def test_a_service_killed_while_it_completes_says_the_same_again(
    tmp_path: Path, receiver: Receiver, service: Service, phase: str, times: list[int]
) -> None:
    """K5."""
    file = sample(tmp_path, "csv", records=500)
    receiver.gate(1, phase, "completed")
    ingestion = service.submit(file, "csv", receiver.url, chunk_size_by_records=100)
    told = [receiver.said()]
    if phase == "acked":
        told.append(receiver.said())
    assert {"at": phase} in told
    if phase != "acked":
        assert service.show(ingestion)["state"] == "COMPLETING"  # Invariant 6
    service.kill()
    receiver.go()
    service.start()

    shown = service.ended(ingestion)

    assert (shown["state"], shown["counts"]["delivered"]) == ("COMPLETED", 500)
    requests = assert_arrived(receiver, ingestion, file)
    assert requests[:5] == [(number, 1) for number in range(5)]
    assert requests[5:] in ([(COMPLETION, 1)] * count for count in times)


def test_a_chunk_that_may_have_arrived_keeps_its_bytes_when_its_ingestion_resumes_otherwise(
    tmp_path: Path, receiver: Receiver, service: Service
) -> None:
    """Invariant 2: it was staged, so a new size counts only for the chunks after it."""
    file = sample(tmp_path, "json", records=300)
    receiver.gate(2, "received", "chunk")
    receiver.play("", "after reset", "before 410")
    ingestion = service.submit(file, "json", receiver.url, chunk_size_by_records=100)
    assert receiver.said() == {"at": "received"}
    receiver.go()
    assert receiver.closed(ingestion) == "ingestion.failed"
    assert service.ended(ingestion)["error"]["code"] == "RECEIVER_GONE"
    service.kill()
    service.start()

    service.submit(file, "json", receiver.url, chunk_size_by_records=30)

    assert receiver.closed(ingestion) == "ingestion.completed"
    requests = [number for number, _ in assert_arrived(receiver, ingestion, file)]
    # 100 records, 100 (lost, refused), the failure, those 100 again, the rest by 30.
    assert requests == [0, 1, 1, COMPLETION, 1, 2, 3, 4, 5, COMPLETION]


def test_a_completed_ingestion_is_never_touched_again(
    tmp_path: Path, receiver: Receiver, service: Service
) -> None:
    """Invariant 10."""
    file = sample(tmp_path, "json", records=300)
    ingestion = service.submit(file, "json", receiver.url)
    before = service.ended(ingestion)
    service.kill()
    service.start()

    again = service.post(
        "/api/ingest",
        {"file_path": str(file), "file_type": "json", "callback_url": receiver.url},
    )

    assert again.json()["status"] == "ALREADY_COMPLETED"
    assert service.show(ingestion) == before
    assert assert_arrived(receiver, ingestion, file) == [(0, 1), (COMPLETION, 1)]


def test_a_re_ingestion_that_is_killed_resumes_as_the_same_version(
    tmp_path: Path, receiver: Receiver, service: Service
) -> None:
    file = sample(tmp_path, "json", records=600)
    first = service.submit(file, "json", receiver.url, chunk_size_by_records=50)
    assert service.ended(first)["state"] == "COMPLETED"
    receiver.gate(6, "committed", "chunk")
    second = service.submit(file, "json", receiver.url, chunk_size_by_records=50, re_ingestion=True)
    assert receiver.closed(first) == "ingestion.completed"
    assert receiver.said() == {"at": "committed"}
    service.kill()
    receiver.go()
    service.start()

    assert receiver.closed(second) == "ingestion.completed"

    assert second != first
    for ingestion in (first, second):
        assert_arrived(receiver, ingestion, file)
    with receiver.reading() as book:
        assert book.needless() <= 1


def test_a_service_killed_while_its_receiver_is_down_finds_it_again(
    tmp_path: Path, receiver: Receiver, service: Service
) -> None:
    """R12."""
    file = sample(tmp_path, "xlsx", records=800)
    receiver.gate(3, "received", "chunk")
    ingestion = service.submit(file, "excel", receiver.url, chunk_size_by_records=100)
    assert receiver.said() == {"at": "received"}
    receiver.kill()
    waiting = service.until(ingestion, "WAITING")
    assert waiting["waiting"]["code"] in ("CONNECTION_FAILED", "CONNECTION_LOST")
    service.kill()
    service.start()
    assert service.show(ingestion)["state"] == "WAITING"
    receiver.start()

    assert receiver.closed(ingestion) == "ingestion.completed"

    shown = service.ended(ingestion)
    assert (shown["state"], shown["waiting"]) == ("COMPLETED", None)
    assert_arrived(receiver, ingestion, file)


def test_a_reader_killed_twice_at_one_place_is_quarantined_and_others_go_on(
    tmp_path: Path, receiver: Receiver, service: Service
) -> None:
    """K6. What was sent stays sent; a new submission goes on from there."""
    # A workbook is read from its start again, so the next reader gives nothing for a while.
    file = sample(tmp_path, "xlsx", records=20_000, seed=1)
    other = sample(tmp_path, "json", records=2_000, seed=2)
    receiver.gate(70, "received", "chunk")
    ingestion = service.submit(file, "excel", receiver.url, chunk_size_by_records=200)
    assert receiver.said() == {"at": "received"}
    unlucky = set(service.readers())
    for pid in unlucky:
        kill_now(pid)
    receiver.go()
    # The next reader is killed before it can give anything, so there is no ACK in between. Each
    # one that we are too late for has given a chunk or two of the 31 that are left, and the one
    # after it reads all before them again.
    while service.show(ingestion)["state"] == "RUNNING":
        for _ in range(20):
            for pid in set(service.readers()) - unlucky:
                kill_now(pid)
            time.sleep(0.005)

    shown = service.ended(ingestion)
    assert (shown["state"], shown["error"]["code"]) == ("QUARANTINED", "READER_DIED")
    assert shown["error"]["resumable"] is True
    beside = service.submit(other, "json", receiver.url)
    service.submit(file, "excel", receiver.url, chunk_size_by_records=200)
    assert [service.ended(one)["state"] for one in (ingestion, beside)] == ["COMPLETED"] * 2
    assert_arrived(receiver, ingestion, file)
    wait_until_gone(*unlucky)
    assert service.troubles() == []


@pytest.mark.parametrize("times", [1, 2])
def test_a_service_that_is_told_to_stop_settles_the_chunk_in_flight(
    tmp_path: Path, receiver: Receiver, service: Service, times: int
) -> None:
    """P4: exit 0, nothing resent; a second SIGTERM changes nothing."""
    file = sample(tmp_path, "json", records=1_000)
    receiver.gate(3, "received", "chunk")
    ingestion = service.submit(file, "json", receiver.url, chunk_size_by_records=100)
    assert receiver.said() == {"at": "received"}
    readers = service.readers()
    for _ in range(times):
        service.ask_to_stop()
    receiver.go()

    assert service.wait() == 0

    wait_until_gone(*readers)
    service.start()
    assert receiver.closed(ingestion) == "ingestion.completed"
    requests = assert_arrived(receiver, ingestion, file)
    assert requests == [*((number, 1) for number in range(10)), (COMPLETION, 1)]


def test_a_service_that_is_told_to_stop_gives_up_a_receiver_that_hangs(
    tmp_path: Path, receiver: Receiver, another: Callable[..., Service]
) -> None:
    file = sample(tmp_path, "json", records=1_000)
    service = another(receiver, INGEST_DRAIN_S="0.5")
    receiver.gate(3, "received", "chunk")
    ingestion = service.submit(file, "json", receiver.url, chunk_size_by_records=100)
    assert receiver.said() == {"at": "received"}

    assert service.terminate() == 0

    receiver.go()
    service.start()
    assert receiver.closed(ingestion) == "ingestion.completed"
    assert_arrived(receiver, ingestion, file)
    with receiver.reading() as book:
        assert book.needless() <= 1


def test_a_service_that_is_told_to_stop_as_soon_as_it_listens_ends_well(
    tmp_path: Path, receiver: Receiver, service: Service
) -> None:
    """It has work to take up, and is stopped before, while or after it has."""
    file = sample(tmp_path, "json", records=2_000)
    receiver.gate(3, "received", "chunk")
    ingestion = service.submit(file, "json", receiver.url, chunk_size_by_records=100)
    assert receiver.said() == {"at": "received"}
    service.kill()
    receiver.go()
    for pause_s in (0, 0.02, 0.1, 0.2, 0.4):
        service.start()
        time.sleep(pause_s)
        assert service.terminate() == 0
    service.start()

    assert receiver.closed(ingestion) == "ingestion.completed"

    assert_arrived(receiver, ingestion, file)
    assert service.troubles() == []
