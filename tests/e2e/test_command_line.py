"""Every command as a person or a script runs it, against a real service."""

import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.plain_readings import FILE_TYPES, in_source, received, sample
from tests.support.processes import (
    PATIENCE_S,
    ROOT,
    Receiver,
    Service,
    environments_with,
    surroundings,
    wait_until_gone,
)

STOPPED, USAGE, UNREACHABLE, REFUSED = 1, 2, 3, 4


def run(
    *arguments: str, url: str = "", folder: Path = ROOT, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run a command of ours in ``folder``, to its end."""
    settings = {**({"ACKLINE_URL": url} if url else {}), **environment}
    return subprocess.run(
        [sys.executable, "-m", "app.cli", *arguments],
        cwd=folder,
        env=surroundings(**settings, PYTHONPATH=str(ROOT)),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


Ackline = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def ackline(service: Service) -> Ackline:
    def ask(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        return run(*arguments, url=service.url, **options)

    return ask


def test_the_demo_proves_every_record_prints_a_receipt_and_leaves_nothing_behind(
    tmp_path: Path,
) -> None:
    done = run("demo", "--records", "2345", TMPDIR=str(tmp_path))

    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr
    assert "2,345 records at the receiver: each once, in order" in done.stdout
    assert list(tmp_path.iterdir()) == []
    deadline = time.monotonic() + PATIENCE_S
    while left := environments_with(f"TMPDIR={tmp_path}"):  # who was killed takes time to go
        assert time.monotonic() < deadline, left
        time.sleep(0.02)


@pytest.mark.parametrize("kind", FILE_TYPES)
def test_a_generated_file_is_ingested_and_followed_to_its_end(
    tmp_path: Path, receiver: Receiver, ackline: Ackline, kind: str
) -> None:
    file = tmp_path / f"made.{kind}"
    made = ackline("generate", str(file), "--records", "1234", "--seed", "7")
    assert (made.returncode, made.stdout[: len(str(file)) + 15]) == (0, f"{file}: 1,234 records")
    assert list(tmp_path.glob(".*.part")) == []

    done = ackline(
        *("ingest", f"../{tmp_path.name}/made.{kind}", "--callback", receiver.url),
        *("--records", "100", "--follow"),
        folder=tmp_path,
    )

    assert (done.returncode, done.stdout) == (0, "COMPLETED: 1,234 records in 13 chunks\n")
    status, ingestion = done.stderr.splitlines()[0].split()
    assert (status, done.stderr.splitlines()[-1]) == ("STARTED", "COMPLETED 100.0% 1234 records")
    with receiver.reading() as book:
        assert book.anomalies() == []
        assert list(received(book.records(ingestion))) == in_source(file)


def test_json_goes_to_standard_output_alone_for_programs(
    tmp_path: Path, receiver: Receiver, ackline: Ackline
) -> None:
    file = sample(tmp_path, "json", records=100)
    ask = ("ingest", str(file), "--callback", receiver.url, "--json")

    first = json.loads(ackline(*ask).stdout)
    whole = ackline(*ask, "--follow")
    view = json.loads(whole.stdout)
    status = json.loads(ackline("status", view["ingestion_id"][:8], "--json").stdout)
    listed = json.loads(ackline("ls", "--json").stdout)

    assert first["status"] == "STARTED"
    assert (view["state"], whole.stderr) == ("COMPLETED", "")
    assert first["ingestion_id"] == view["ingestion_id"] == status["ingestion_id"]
    assert [one["ingestion_id"] for one in listed["ingestions"]] == [view["ingestion_id"]]


def test_a_person_lists_looks_and_cancels(
    tmp_path: Path, receiver: Receiver, service: Service, ackline: Ackline
) -> None:
    file = sample(tmp_path, "ndjson", records=500)
    assert ackline("ls").stdout == "no ingestions\n"
    receiver.gate(2, "received", "chunk")
    started = ackline("ingest", str(file), "--callback", receiver.url, "--records", "50")
    _, ingestion = started.stdout.split()
    assert receiver.said() == {"at": "received"}

    assert "RUNNING" in ackline("ls").stdout
    assert ackline("ls", "--state", "COMPLETED").stdout == "no ingestions\n"
    looked = ackline("status", ingestion[:10])
    assert (looked.returncode, ingestion in looked.stdout) == (0, True)
    cancelled = ackline("cancel", ingestion)
    service.until(ingestion, "ABORTED")  # or it might complete first
    receiver.go()
    assert (cancelled.returncode, ingestion in cancelled.stdout) == (0, True)
    assert receiver.closed(ingestion) == "ingestion.aborted"
    assert ackline("status", ingestion, "--follow").returncode == STOPPED
    again = ackline("ingest", str(file), "--callback", receiver.url)
    assert (again.returncode, "INGESTION_ABORTED" in again.stderr) == (REFUSED, True)
    assert ackline("cancel", ingestion).returncode == REFUSED
    anew = ackline("ingest", str(file), "--callback", receiver.url, "--new-version", "--follow")
    assert anew.returncode == 0
    with receiver.reading() as book:
        assert book.anomalies() == []
    wait_until_gone(*service.readers())


def test_an_ingestion_that_stops_early_ends_with_its_reason(
    tmp_path: Path, receiver: Receiver, ackline: Ackline
) -> None:
    whole = sample(tmp_path, "json", records=100)
    file = tmp_path / "cut.json"
    file.write_bytes(whole.read_bytes()[:30_000])

    done = ackline("ingest", str(file), "--callback", receiver.url, "--follow")

    assert done.returncode == STOPPED
    assert done.stdout.splitlines()[1] == "TRUNCATED: the file ends before the array does"
    assert "100%" not in ackline("ls").stdout


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Service]]:
    """A service that only refuses, so that many may ask it."""
    folder = tmp_path_factory.mktemp("shared")
    sample(folder, "json", records=1)
    with Service(folder, "127.0.0.1") as service:
        yield folder, service


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("ingest", "{file}"), USAGE, "--callback"),
        (("ingest", "{file}", "--callback", "{url}", "--records", "-1"), USAGE, "--records"),
        (("ingest", "{file}", "--callback", "{url}", "--delimiter", "ab"), USAGE, "delimiter"),
        (("generate", "/proc/none/made.json"), USAGE, "/proc/none"),
        (
            ("ingest", "{file}.nope", "--callback", "{url}"),
            USAGE,
            "--type json|ndjson|csv|tsv|excel",
        ),
        (("ingest", "{folder}/no.json", "--callback", "{url}"), REFUSED, "SOURCE_NOT_FOUND"),
        (("ingest", "/etc/passwd", "--callback", "{url}", "--type", "csv"), REFUSED, "FORBIDDEN"),
        (("ingest", "{file}", "--callback", "{url}", "--sheet", "1"), REFUSED, "OPTION_INVALID"),
        (("status", "0123"), REFUSED, "INGESTION_NOT_FOUND"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_cannot_work_ends_with_a_status_and_a_sentence(
    shared: tuple[Path, Service], arguments: tuple[str, ...], status: int, said: str
) -> None:
    folder, service = shared
    names = {"file": folder / "products-0.json", "folder": folder, "url": "http://127.0.0.1:1/"}
    filled = (one.format(**names) for one in arguments)

    done = run(*filled, url=service.url, folder=folder, COLUMNS="200")

    assert (done.returncode, done.stdout) == (status, "")
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_service_that_is_not_there_is_said_to_be_not_there() -> None:
    with socket.socket() as taken:  # by nobody who listens
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        done = run("ls", url=f"http://127.0.0.1:{port}")

    assert (done.returncode, f"127.0.0.1:{port}" in done.stderr) == (UNREACHABLE, True)
    assert "Traceback" not in done.stderr


def test_a_service_that_cannot_start_says_why(tmp_path: Path) -> None:
    database = tmp_path / "other.db"
    database.write_bytes(b"no database, but a text" * 100)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        busy = run("serve", "--port", str(port), INGEST_DATABASE_PATH=str(tmp_path / "a.db"))
    unknown = run("serve", "--port", "0", INGEST_BLA="1", INGEST_LEASE_S="x")
    foreign = run("serve", "--port", "0", INGEST_DATABASE_PATH=str(database))

    assert (busy.returncode, f"127.0.0.1:{port}" in busy.stderr) == (USAGE, True)
    assert "Traceback" not in busy.stderr
    assert (unknown.returncode, "INGEST_BLA" in unknown.stderr) == (USAGE, True)
    assert (foreign.returncode, "file is not a database" in foreign.stderr) == (3, True)
    assert "Traceback" not in foreign.stderr
    assert database.stat().st_size == 2300
