"""The records that a receiver refused, on the command line."""

import json
from collections.abc import Callable
from pathlib import Path

from tests.e2e.test_command_line import run
from tests.support.plain_readings import sample
from tests.support.processes import Receiver, Service


def test_refused_records_are_listed_and_can_be_ingested_again(
    tmp_path: Path, receivers: Callable[..., Receiver], another: Callable[..., Service]
) -> None:
    receiver = receivers("--picky", "20")
    url = another(receiver).url
    file = sample(tmp_path, "ndjson", records=50)
    ask = ("--callback", receiver.url, "--records", "10", "--follow")

    done = run("ingest", str(file), *ask, url=url)

    assert done.returncode == 0
    ingestion = done.stderr.split()[1]
    assert done.stdout.splitlines() == [
        "COMPLETED: 50 records in 5 chunks",
        f"2 of them refused by the receiver: ackline dead-letters {ingestion[:12]}",
    ]
    listed = run("dead-letters", ingestion[:12], url=url)
    assert listed.stdout.split() == [
        *("RECORD", "CODE", "PATH", "MESSAGE"),
        *("19", "PICKY", "19", "39", "PICKY", "39"),
    ]
    letters = [
        json.loads(line)
        for line in run("dead-letters", ingestion, "--json", url=url).stdout.splitlines()
    ]
    assert [(one["record"], one["code"]) for one in letters] == [(19, "PICKY"), (39, "PICKY")]

    again = tmp_path / "again.ndjson"
    again.write_text(run("dead-letters", ingestion, "--records", url=url).stdout)
    assert again.read_text().splitlines() == [one["content"] for one in letters]
    done = run("ingest", str(again), *ask, url=url)

    assert done.stdout == "COMPLETED: 2 records in 1 chunks\n"
    with receiver.reading() as book:
        assert book.anomalies() == []
    assert run("dead-letters", done.stderr.split()[1], url=url).stdout == "no dead letters\n"


def test_an_ingestion_that_does_not_exist_has_none(service: Service) -> None:
    done = run("dead-letters", "0" * 64, url=service.url)
    assert (done.returncode, done.stdout) == (4, "")
    assert "INGESTION_NOT_FOUND" in done.stderr
