"""The peers: who takes part, and that what they deliver is looked at."""

import subprocess
import sys
from pathlib import Path

import pytest

from app.samples.formats import SampleFormat, write
from benchmarks.contenders import Job, WrongCount
from benchmarks.peers.programs import reading
from benchmarks.peers.rivals import Peer, announce, peers, stage
from benchmarks.receiving import running_sink

RECORDS = 30

HALF = """
import sys, urllib.request
print("ready", flush=True)
sent = urllib.request.Request(sys.argv[2], data=b"{}")
urllib.request.build_opener(urllib.request.ProxyHandler({})).open(sent)
"""


def a_peer(program: str) -> Peer:
    return Peer(name="half", formats=(SampleFormat.CSV,), program=(sys.executable, "-c", program))


def a_job(folder: Path) -> Job:
    path = folder / "sample.csv"
    with path.open("wb") as target:
        write(target, SampleFormat.CSV, records=RECORDS, progress=lambda _: None)
    return Job(file=path, records=RECORDS, chunk_records=10)


def test_who_is_not_present_is_skipped_loudly(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    present, absent = peers(tmp_path)
    announce(absent)
    assert present == []
    told = capsys.readouterr().err
    for name in ("SKIPPED", "DBOS", "dlt", "hand-written loop", "BullMQ"):
        assert name in told


def test_a_peer_that_delivers_too_little_is_no_result(tmp_path: Path) -> None:
    with running_sink() as sink, stage(a_peer(HALF), tmp_path, tmp_path / "turn") as on:
        with pytest.raises(WrongCount):
            on.deliver(a_job(tmp_path), sink)
        assert sink.report().requests == 1


@pytest.mark.parametrize(
    ("program", "error"),
    [
        ("print('ready'); raise SystemExit(3)", subprocess.CalledProcessError),
        ("pass", RuntimeError),
    ],
    ids=["it fails", "it never begins"],
)
def test_a_peer_that_fails_is_no_result(
    tmp_path: Path, program: str, error: type[Exception]
) -> None:
    with (
        running_sink() as sink,
        stage(a_peer(program), tmp_path, tmp_path / "turn") as on,
        pytest.raises(error),
    ):
        on.deliver(a_job(tmp_path), sink)


@pytest.mark.parametrize("kind", [SampleFormat.CSV, SampleFormat.JSON])
def test_the_peers_read_every_record(tmp_path: Path, kind: SampleFormat) -> None:
    path = tmp_path / f"sample.{kind}"
    with path.open("wb") as target:
        write(target, kind, records=RECORDS, progress=lambda _: None)
    chunks = list(reading.chunks(path, 20))
    assert [len(chunk) for chunk in chunks] == [20, 10]
    assert chunks[1][-1]["sku"] == f"SKU-{RECORDS - 1:09d}"
