"""The floor and the naive pipeline do what they are said to do."""

import asyncio
import csv
import io
import json
import sqlite3
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.samples.formats import CSV_HEADER, SampleFormat, json_text, write
from app.samples.products import product
from benchmarks import floor, naive
from benchmarks.contenders import Job, Lap, Laps, WrongCount
from benchmarks.contenders import naive as naive_contender
from benchmarks.receiving import running_sink
from benchmarks.running import Spent
from benchmarks.sink import Connection, Sink

RECORDS = 25


def sample(folder: Path, kind: SampleFormat) -> Path:
    path = folder / f"sample.{kind}"
    with path.open("wb") as target:
        write(target, kind, records=RECORDS, progress=lambda _: None)
    return path


@pytest.mark.parametrize("by_line", [False, True])
@pytest.mark.parametrize("kind", [SampleFormat.JSON, SampleFormat.NDJSON])
def test_the_naive_pipeline_reads_every_record(
    tmp_path: Path, kind: SampleFormat, *, by_line: bool
) -> None:
    wanted = [json.loads(json_text(product(number))) for number in range(RECORDS)]
    assert list(naive.read(sample(tmp_path, kind), by_line=by_line)) == wanted


def test_the_naive_pipeline_reads_every_row(tmp_path: Path) -> None:
    path = sample(tmp_path, SampleFormat.CSV)
    rows = list(csv.DictReader(io.StringIO(path.read_text("utf-8"), newline="")))
    assert list(naive.read(path)) == rows
    sheet = list(naive.read(sample(tmp_path, SampleFormat.XLSX)))
    assert [(row["sku"], tuple(row)) for row in sheet] == [(row["sku"], CSV_HEADER) for row in rows]


def test_the_naive_pipeline_delivers_every_record_and_commits_every_chunk(tmp_path: Path) -> None:
    sink, database = Sink(depth="records"), tmp_path / "naive.db"
    records = naive.read(sample(tmp_path, SampleFormat.JSON))

    async def deliver(url: str) -> int:
        return await naive.deliver(records, url, 10, database)

    assert served(sink, deliver) == RECORDS
    report = sink.audit.report(RECORDS)
    assert (report.requests, report.records_missing, report.records_twice) == (3, 0, 0)
    with sqlite3.connect(database) as db:
        assert list(db.execute("SELECT * FROM progress")) == [(0, 10), (1, 20), (2, 25)]
    db.close()


@pytest.mark.parametrize(("total", "requests"), [(10, 3), (7, 7), (1_000_003, 41)])
def test_the_floor_sends_so_many_bytes_in_so_many_requests(total: int, requests: int) -> None:
    sizes = list(floor.sizes(total, requests))
    assert (sum(sizes), len(sizes)) == (total, requests)
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("bare", [False, True])
def test_the_floor_posts_the_files_bytes_and_commits_each_request(
    tmp_path: Path, *, bare: bool
) -> None:
    path, sink, database = tmp_path / "file", Sink(), tmp_path / "floor.db"
    path.write_bytes(b"0123456789")

    async def deliver(url: str) -> None:
        with path.open("rb", buffering=0) as file:
            await floor.deliver(file, url, floor.sizes(24, 4), database, bare=bare)

    served(sink, deliver)
    report = sink.audit.report(0)
    assert (report.requests, report.body_bytes) == (4, 24)
    with sqlite3.connect(database) as db:
        ((committed,),) = db.execute("SELECT COUNT(*) FROM progress")
        assert committed == (0 if bare else 4)
    db.close()


def test_the_floor_begins_again_where_the_file_ends() -> None:
    assert floor.block(io.BytesIO(b"abc"), 8) == b"abcabcab"


def test_a_delivery_that_sent_too_little_is_no_result(tmp_path: Path) -> None:
    path = sample(tmp_path, SampleFormat.JSON)
    with running_sink() as sink:
        wrong = Job(file=path, records=RECORDS + 10, chunk_records=10)
        with pytest.raises(WrongCount):
            naive_contender(tmp_path)(wrong, sink)


def test_a_ratio_is_the_median_of_the_turns_ratios() -> None:
    assert a_run(2.0, 4.0, 100.0).times_as_fast_as(a_run(8.0, 8.0, 100.0)) == 2.0


def a_run(*seconds: float) -> Laps:
    return Laps(
        laps=[
            Lap(
                seconds=took,
                cpu=Spent(own=0.0, below=0.0),
                receiver_cpu=0.0,
                steady_seconds=took,
                body_bytes=1,
            )
            for took in seconds
        ]
    )


def served(sink: Sink, work: Any) -> Any:
    """Run a client against a sink on one event loop."""

    async def run() -> Any:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: Connection(sink), "127.0.0.1", 0)
        try:
            return await work(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/callback")
        finally:
            server.close()
            await server.wait_closed()

    return asyncio.run(run())


def test_a_receiver_that_does_not_acknowledge_stops_the_naive_pipeline(tmp_path: Path) -> None:
    sink = Sink()
    sink.ack = sink.ack.replace(b"true}", b"null}")
    records = naive.read(sample(tmp_path, SampleFormat.CSV))

    async def deliver(url: str) -> int:
        return await naive.deliver(records, url, 10, tmp_path / "naive.db")

    with pytest.raises((RuntimeError, httpx.HTTPError)):
        served(sink, deliver)
