"""Ingestions whose receiver is away hold no process and nobody's place, on real processes."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.plain_readings import FILE_TYPES, in_source, received, sample
from tests.support.processes import Receiver, Service, wait_until_gone

KINDS = ["json", "ndjson", "csv", "xlsx", "json", "csv"]


def test_ingestions_to_a_dead_receiver_hold_no_reader_and_do_not_stop_a_healthy_one(
    tmp_path: Path,
) -> None:
    files = [sample(tmp_path, "ndjson", records=400, seed=seed) for seed in range(5)]
    seldom = {"INGEST_PROBE_INITIAL_S": "60", "INGEST_PROBE_MAX_S": "60"}
    service = Service(tmp_path, "127.0.0.1", INGEST_INGESTIONS_RUNNING_MAX="2", **seldom)
    with Receiver(tmp_path) as receiver, _nobody() as dead, service:
        waiting = [service.submit(file, "ndjson", dead) for file in files[:4]]
        for one in waiting:
            assert service.until(one, "WAITING")["waiting"]["code"] == "CONNECTION_FAILED"
        wait_until_gone(*service.readers())

        healthy = service.submit(files[4], "ndjson", receiver.url)

        assert service.ended(healthy)["state"] == "COMPLETED"
        assert {service.show(one)["state"] for one in waiting} == {"WAITING"}
        assert service.terminate() == 0
        assert service.troubles() == []
        with receiver.reading() as book:
            assert list(received(book.records(healthy))) == in_source(files[4])


def test_all_that_waited_arrive_when_the_receiver_is_back_also_after_a_kill(
    tmp_path: Path,
) -> None:
    files = [sample(tmp_path, kind, records=3_000, seed=n) for n, kind in enumerate(KINDS)]
    with Receiver(tmp_path) as receiver:
        service = Service(tmp_path, receiver.address, INGEST_INGESTIONS_RUNNING_MAX="2")
        with service:
            receiver.gate(3, "received", "chunk")
            ids = [
                service.submit(file, FILE_TYPES[kind], receiver.url, chunk_size_by_records=50)
                for file, kind in zip(files, KINDS, strict=True)
            ]
            assert receiver.said() == {"at": "received"}
            receiver.kill()
            for one in ids:
                service.until(one, "WAITING")
            service.kill()
            service.start()
            receiver.start()

            assert [service.ended(one)["state"] for one in ids] == ["COMPLETED"] * len(ids)

        with receiver.reading() as book:
            assert book.anomalies() == []
            for one, file in zip(ids, files, strict=True):
                assert list(received(book.records(one))) == in_source(file)
        assert service.troubles() == []


@contextmanager
def _nobody() -> Iterator[str]:
    """Give a callback at which nobody listens, on a port that nobody else gets."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}/callback"
