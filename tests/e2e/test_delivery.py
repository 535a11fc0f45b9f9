"""What an operator counts on: signatures, memory, a quick resume, and plain refusals."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.running import first_line, python, watching
from tests.support.plain_readings import FILE_TYPES, in_source, received, sample
from tests.support.processes import Receiver, Service

SECRET, OLD_SECRET = (f"whsec_{letter * 32}" for letter in "QZ")
Services = Callable[..., Service]


def test_every_request_is_signed_where_a_secret_is_configured(
    tmp_path: Path, another: Services, receivers: Callable[..., Receiver]
) -> None:
    """Contract 3.3; the old secret still counts while it is replaced, and no other does."""
    receiver = receivers("--secret", SECRET, seed=11)
    origin = f"http://{receiver.address}"
    service = another(
        receiver,
        INGEST_SECRETS=json.dumps({origin: [OLD_SECRET, SECRET]}),
        INGEST_CALLBACK_HEADERS=json.dumps({origin: {"Authorization": "Bearer xyzzy"}}),
    )
    file = sample(tmp_path, "json", records=2_000)

    ingestion = service.submit(
        file, "json", receiver.url, chunk_size_by_records=50, metadata={"klass": "Prödukt"}
    )

    assert service.ended(ingestion)["state"] == "COMPLETED"
    with receiver.reading() as book:
        assert book.anomalies() == []
        assert list(received(book.records(ingestion))) == in_source(file)
    told = service.log() + service.get(f"/api/ingestions/{ingestion}").text
    assert not any(secret in told for secret in (SECRET, OLD_SECRET, "xyzzy"))


def test_a_receiver_with_another_secret_pauses_the_ingestion(
    tmp_path: Path, another: Services, receivers: Callable[..., Receiver]
) -> None:
    receiver = receivers("--secret", SECRET)
    service = another(
        receiver, INGEST_SECRETS=json.dumps({f"http://{receiver.address}": [OLD_SECRET]})
    )
    receiver.play("before 401")

    ingestion = service.submit(sample(tmp_path, "csv", records=10), "csv", receiver.url)

    shown = service.ended(ingestion)
    assert (shown["state"], shown["error"]["code"]) == ("PAUSED", "AUTH_FAILED")
    assert shown["error"]["resumable"] is True
    with receiver.reading() as book:
        (anomaly,) = book.anomalies()
    assert anomaly.startswith("after request 0: 3.3: no signature fits")


@pytest.mark.parametrize("kind", ["json", "ndjson", "csv"])
def test_a_resume_near_the_end_reads_little_of_the_source(
    tmp_path: Path, receiver: Receiver, service: Service, kind: str
) -> None:
    """What its reader has read when the first chunk arrives: mostly our own modules."""
    file = sample(tmp_path, kind, records=24_000 if kind != "csv" else 60_000)
    size = file.stat().st_size
    chunk = 400 if kind != "csv" else 1_000
    receiver.gate(57, "received", "chunk")
    ingestion = service.submit(file, FILE_TYPES[kind], receiver.url, chunk_size_by_records=chunk)
    assert receiver.said() == {"at": "received"}
    assert service.show(ingestion)["progress"]["fraction"] > 0.9
    service.kill()
    receiver.gate(1, "received", "chunk")
    service.start()

    assert receiver.said() == {"at": "received"}

    (reader,) = service.readers()
    words = Path(f"/proc/{reader}/io").read_text().split()
    assert words[0] == "rchar:"
    assert int(words[1]) < size / 2
    receiver.go()
    assert receiver.closed(ingestion) == "ingestion.completed"
    with receiver.reading() as book:
        assert book.anomalies() == []
        assert list(received(book.records(ingestion))) == in_source(file)


def test_memory_does_not_grow_with_the_file(tmp_path: Path, another: Services) -> None:
    """Invariant 4: 10 times the file, the same peak of the service and its readers together.

    The peak is looked up 50 times a second, so it is no exact figure: hence the margin.
    """
    products = sample(tmp_path, "json", records=20_000).read_bytes().strip()[1:-1]
    peaks = []
    with python("benchmarks.sink") as sink:
        callback = f"127.0.0.1:{first_line(sink)}"
        for times in (2, 20):
            file = tmp_path / f"{times}.json"
            with file.open("wb") as target:
                target.writelines([b"[", *[products + b","] * (times - 1), products, b"]"])
            with Service(tmp_path, callback) as service, watching(service.pid) as watched:
                ingestion = service.submit(file, "json", f"http://{callback}/")
                shown = service.ended(ingestion)
            assert (shown["state"], shown["counts"]["delivered"]) == ("COMPLETED", times * 20_000)
            peaks.append(watched.peak_mb())
            file.unlink()
        assert sink.stdout is not None
        sink.stdout.close()

    assert peaks[1] < peaks[0] * 1.1 + 2, peaks
    assert peaks[1] < 200


def test_a_source_that_changes_while_it_is_read_never_completes(
    tmp_path: Path, receiver: Receiver, service: Service
) -> None:
    """S2. What was delivered before is a true prefix."""
    file = sample(tmp_path, "ndjson", records=1_000)
    before = in_source(file)
    receiver.gate(3, "received", "chunk")
    ingestion = service.submit(file, "ndjson", receiver.url, chunk_size_by_records=50)
    assert receiver.said() == {"at": "received"}
    with file.open("ab") as target:
        target.write(b'{"one":"more"}\n')
    receiver.go()

    shown = service.ended(ingestion)

    assert (shown["state"], shown["error"]["code"]) == ("FAILED", "SOURCE_CHANGED")
    again = service.post(
        "/api/ingest",
        {"file_path": str(file), "file_type": "ndjson", "callback_url": receiver.url},
    )
    assert (again.status_code, again.headers["content-type"]) == (409, "application/problem+json")
    assert "re_ingestion" in again.json()["remedy"]
    anew = service.submit(file, "ndjson", receiver.url, re_ingestion=True)
    assert service.ended(anew)["state"] == "COMPLETED"
    with receiver.reading() as book:
        assert book.anomalies() == []
        prefix = list(received(book.records(ingestion)))
        assert prefix == before[: len(prefix)]
        assert list(received(book.records(anew))) == in_source(file)


def test_a_source_that_vanishes_can_come_back(
    tmp_path: Path, receiver: Receiver, service: Service
) -> None:
    """S3: as a disk that is unmounted and mounted again. The file itself is not touched."""
    disk, away = tmp_path / "disk", tmp_path / "away"
    disk.mkdir()
    file = sample(disk, "csv", records=1_000)
    receiver.gate(3, "received", "chunk")
    ingestion = service.submit(file, "csv", receiver.url, chunk_size_by_records=50)
    assert receiver.said() == {"at": "received"}
    disk.rename(away)
    service.kill()
    receiver.go()
    service.start()
    gone = service.ended(ingestion)
    assert (gone["state"], gone["error"]["code"]) == ("FAILED", "SOURCE_NOT_FOUND")
    away.rename(disk)

    assert service.submit(file, "csv", receiver.url, chunk_size_by_records=50) == ingestion

    assert service.ended(ingestion)["state"] == "COMPLETED"
    with receiver.reading() as book:
        assert book.anomalies() == []
        assert list(received(book.records(ingestion))) == in_source(file)


def test_what_cannot_work_is_refused_at_once_with_a_problem_document(
    tmp_path: Path, receiver: Receiver, service: Service
) -> None:
    file = sample(tmp_path, "json", records=1)
    os.mkfifo(tmp_path / "pipe.json")
    (tmp_path / "link.json").symlink_to("/etc/passwd")
    good: dict[str, object] = {
        "file_path": str(file),
        "file_type": "json",
        "callback_url": receiver.url,
    }
    refused: dict[str, dict[str, object]] = {
        "SOURCE_NOT_FOUND": {"file_path": f"{tmp_path}/no.json"},
        "SOURCE_NOT_A_FILE": {"file_path": f"{tmp_path}/pipe.json"},
        "SOURCE_FORBIDDEN": {"file_path": f"{tmp_path}/link.json"},
        "FILE_TYPE_UNKNOWN": {"file_type": "parquet"},
        "URL_BLOCKED": {"callback_url": "http://169.254.169.254/latest"},
        "REQUEST_INVALID": {"chunk_size_by_records": -1, "bla": 1},
        "OPTION_INVALID": {"options": {"delimiter": ";"}},
    }
    for code, members in refused.items():
        answer = service.post("/api/ingest", good | members)
        assert answer.headers["content-type"] == "application/problem+json"
        assert (answer.json()["code"], answer.json()["status"]) == (code, answer.status_code)
        assert 400 <= answer.status_code < 500
    assert service.get("/api/ingestions").json()["ingestions"] == []
    assert service.get("/readyz").json() == {"status": "ready"}
    with receiver.reading() as book:
        assert book.requests() == []
