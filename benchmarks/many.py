"""Many ingestions at once, each to a receiver that takes its time."""

import os
import signal
import time
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from tempfile import TemporaryDirectory

from app.samples.formats import SampleFormat
from benchmarks.audit import Report
from benchmarks.options import Options, Samples
from benchmarks.receiving import RunningSink, running_sink
from benchmarks.running import Watched, now, spent
from benchmarks.service import Request, RunningService, running_service
from benchmarks.tables import Row, Table

DELAY_MS = 500.0
CHUNK_RECORDS = 100
CHUNKS = 200
"""In each file: more than can be acknowledged while it is watched."""

RUNNING_MAX = "1000"
LOOK_S = 0.5
START_S_MAX = 120.0
"""Longest wait for every ingestion's first chunk."""


def half_of_the_machine_mb() -> int:
    """Return half of the memory there is, in MB."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2_000_000


def measure(options: Options, samples: Samples) -> Table:
    """Run 1, 10, 100 … at the same time."""
    rows = [_measured(options, samples, count) for count in options.ingestions]
    return Table(
        part="many",
        title=f"Many ingestions at once, ACK after {DELAY_MS:g} ms, chunks of {CHUNK_RECORDS}",
        note=f"NDJSON, watched for {options.window_s:g} s from when each had delivered a chunk, or "
        f"{START_S_MAX:g} s had passed. Ideal: a chunk every {DELAY_MS:g} ms in each. Progressed: "
        "delivered a chunk within the window.",
        rows=rows,
    )


def _measured(options: Options, samples: Samples, count: int) -> Row:
    source = samples.file(SampleFormat.NDJSON, CHUNK_RECORDS * CHUNKS)
    with (
        TemporaryDirectory(dir=samples.folder) as folder,
        running_sink(audit="chunks", delay_ms=DELAY_MS) as sink,
        running_service(
            Path(folder, "ackline.db"), Path(folder), INGEST_INGESTIONS_RUNNING_MAX=RUNNING_MAX
        ) as service,
    ):
        files = [Path(folder, f"{number}.ndjson") for number in range(count)]
        for file in files:  # all before the first is submitted: a link changes its file's ctime
            file.hardlink_to(source)
        began, watched = now(), Watched()
        ids = [
            service.submit(Request(file=file, url=sink.url, chunk_records=CHUNK_RECORDS))
            for file in files
        ]
        within = _look_until_all_started(options, service, sink, watched, ids)
        started = now() - began
        before, cpu, window = sink.report(), spent(service.pid), now()
        while within and now() < window + options.window_s:
            time.sleep(LOOK_S)
            watched.look(service.pid)
            within = watched.peak_mb() <= options.memory_limit_mb
        seconds, after = now() - window, sink.report()
        used = spent(service.pid).since(cpu)
        if within:
            for ingestion_id in ids:
                service.check(ingestion_id)
        else:
            os.kill(service.pid, signal.SIGKILL)
    return standing(
        count, before, after, seconds=seconds, started=started, cpu=used.total, watched=watched
    ) | {"stopped": "" if within else f"above {options.memory_limit_mb:,} MB"}


def _look_until_all_started(
    options: Options,
    service: RunningService,
    sink: RunningSink,
    watched: Watched,
    ids: Sequence[str],
) -> bool:
    """Return whether memory stayed within its limit. Raises `Failed` when an ingestion did."""
    deadline, one_by_one = now() + START_S_MAX, cycle(ids)
    while now() < deadline and len(sink.report().chunks_of) < len(ids):
        service.check(next(one_by_one))
        watched.look(service.pid)
        if watched.peak_mb() > options.memory_limit_mb:
            return False
        time.sleep(LOOK_S / 5)
    return True


def standing(
    count: int,
    before: Report,
    after: Report,
    *,
    seconds: float,
    started: float,
    cpu: float,
    watched: Watched,
) -> Row:
    """Return how many ingestions did how much between two reports."""
    # Ingestions are listed in the order of their first chunk, so both lists begin alike.
    earlier = before.chunks_of + [0] * (len(after.chunks_of) - len(before.chunks_of))
    gained = [late - early for late, early in zip(after.chunks_of, earlier, strict=True)]
    gained += [0] * (count - len(gained))
    each = sum(gained) / count / seconds
    return {
        "ingestions": count,
        "all started s": started,
        "progressed": sum(1 for chunks in gained if chunks),
        "records/s each": each * CHUNK_RECORDS,
        "slowest": min(gained) / seconds * CHUNK_RECORDS,
        "of the ideal": each * DELAY_MS / 1e3,
        "CPU s/s": cpu / seconds,
        "peak MB": watched.peak_mb(),
        "processes": watched.processes,
        "chunks missing": after.chunks_missing,
    }
