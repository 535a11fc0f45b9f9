"""SIGTERM at random moments, once or twice (fault P4). ``ACKLINE_CHAOS_SEED`` repeats a run."""

import os
import random
import time
from pathlib import Path

import pytest

from tests.support.plain_readings import FILE_TYPES, in_source, received, sample
from tests.support.processes import Receiver, Service, command_line, wait_until_gone

SEED = int(os.environ.get("ACKLINE_CHAOS_SEED") or random.randrange(2**32))
STOPS = int(os.environ.get("ACKLINE_CHAOS_STOPS") or 8)


@pytest.mark.timeout(240 + 20 * STOPS)
def test_a_service_told_to_stop_at_any_moment_ends_well_and_goes_on_when_it_is_started(
    tmp_path: Path, receiver: Receiver, service: Service
) -> None:
    print(f"to repeat: ACKLINE_CHAOS_SEED={SEED} ACKLINE_CHAOS_STOPS={STOPS}")
    plan = random.Random(SEED)
    files = [sample(tmp_path, kind, records=2_000, seed=plan.randrange(99)) for kind in FILE_TYPES]
    ingestions: list[tuple[Path, str]] = []
    resent = 0
    for _ in range(STOPS):
        running = [one for _, one in ingestions if service.show(one)["state"] != "COMPLETED"]
        if not running:
            # All formats at once; each time anew, when they have all arrived.
            for file in files:
                members = {"chunk_size_by_records": 25, "re_ingestion": bool(ingestions)}
                kind = FILE_TYPES[file.suffix.removeprefix(".")]
                ingestions.append((file, service.submit(file, kind, receiver.url, **members)))
        time.sleep(plan.uniform(0, 0.6))
        readers = service.readers()
        service.ask_to_stop()
        if plan.random() < 0.4:
            time.sleep(plan.uniform(0, 0.2))
            service.ask_to_stop()

        assert service.wait() == 0

        wait_until_gone(*readers)
        with receiver.reading() as book:
            resent, before = book.needless(), resent
        # In one life, of each ingestion that the stop before interrupted.
        assert resent - before <= len(FILE_TYPES)
        service.start()

    for file, ingestion in ingestions:
        assert service.ended(ingestion)["state"] == "COMPLETED"
        with receiver.reading() as book:
            assert list(received(book.records(ingestion))) == in_source(file)
    with receiver.reading() as book:
        assert book.anomalies() == []
        assert book.needless() - resent <= len(FILE_TYPES)
    assert service.terminate() == 0
    assert service.troubles() == []


def test_a_service_that_is_told_to_stop_until_it_is_gone_ends_with_status_0(
    service: Service,
) -> None:
    """Python forgets its signal handlers some 50 ms before the process ends."""
    while command_line(service.pid):
        service.ask_to_stop()
        time.sleep(0.001)
    assert service.wait() == 0
