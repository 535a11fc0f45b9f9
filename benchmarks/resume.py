"""SIGKILL in the middle: how long until the first new chunk, and whether anything is missing."""

import os
import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from app.samples.formats import SampleFormat
from benchmarks.audit import Report
from benchmarks.options import Options, Samples
from benchmarks.receiving import RunningSink, running_sink
from benchmarks.running import family, now
from benchmarks.service import Request, RunningService, running_service
from benchmarks.tables import Row, Table

PATIENCE_S = 600.0
SETTLED_S = 0.05
"""For a chunk that was on its way to the sink, whole, when its sender died."""

FORMATS = (SampleFormat.JSON, SampleFormat.NDJSON, SampleFormat.CSV)
"""Those that can be read from any place. XLSX is read from its beginning."""


class Incomplete(Exception):
    """What must not happen: a chunk is missing, or more than the one in flight came twice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resumed:
    """One start after a kill."""

    first_s: float
    """From the start of the process to the first chunk that had not come before."""

    ready_s: float
    killed_at: float
    """Chunks at the sink by then, of all."""


def measure(options: Options, samples: Samples) -> Table:
    """Kill every service process at several places of a file, in one delivery."""
    rows: list[Row] = []
    for kind in [kind for kind in FORMATS if kind in options.formats]:
        file, records = samples.sized(kind, options.resume_mb)
        chunks = -(-records // options.chunk)
        laps = [_lap(file, chunks, options) for _ in range(options.laps)]
        for number, place in enumerate(options.places):
            starts = [lap[number] for lap in laps]
            rows.append(
                {
                    "format": str(kind),
                    "MB": file.stat().st_size / 1e6,
                    "killed at %": place,
                    "really at %": median(start.killed_at for start in starts) * 100,
                    "first new chunk s": median(start.first_s for start in starts),
                    "slowest s": max(start.first_s for start in starts),
                    "ready s": median(start.ready_s for start in starts),
                }
            )
    return Table(
        part="resume",
        title=f"Resume after SIGKILL, chunks of {options.chunk:,}",
        note="From the start of the new process to the first chunk at the sink that had not "
        "come before; ready is when it answers that it takes work. Every delivery ended with "
        "the whole file at the sink: no chunk missing, none twice but the one in flight.",
        rows=rows,
    )


def _lap(file: Path, chunks: int, options: Options) -> Sequence[Resumed]:
    starts: list[Resumed] = []
    with TemporaryDirectory(dir=file.parent) as folder, running_sink(audit="chunks") as sink:
        database = Path(folder, "ackline.db")
        with running_service(database, file.parent) as service:
            request = Request(file=file, url=sink.url, chunk_records=options.chunk)
            ingestion = service.submit(request)
            known = _kill(service, sink, chunks, options.places[0])
        for following in (*options.places[1:], None):
            before, began = known, now()
            with running_service(database, file.parent, wait_ready=False) as service:
                service.until_ready()
                ready = now() - began
                if following is None:
                    service.until_completed(ingestion, sink)
                else:
                    known = _kill(service, sink, chunks, following)
            first = sink.report().new_at[before] - began
            starts.append(Resumed(first_s=first, ready_s=ready, killed_at=before / chunks))
        check_complete(sink.report(), chunks, kills=len(starts))
    return starts


def _kill(service: RunningService, sink: RunningSink, chunks: int, place: int) -> int:
    """SIGKILL all processes when so much arrived. Returns how many chunks did."""
    wanted = max(1, chunks * place // 100)
    if not sink.wait(requests=wanted, timeout_s=PATIENCE_S):
        raise TimeoutError(f"chunk {wanted} of {chunks} never arrived")
    for pid in family(service.pid):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    time.sleep(SETTLED_S)
    known = len(sink.report().new_at)
    if known >= chunks:
        raise Incomplete(f"delivered before it could be killed at {place} %: take a larger file")
    return known


def check_complete(report: Report, chunks: int, *, kills: int) -> None:
    """Raise `Incomplete` unless every chunk arrived, and none twice but one for each kill."""
    if report.chunks_missing or len(report.new_at) != chunks or report.chunks_twice > kills:
        raise Incomplete(
            f"{len(report.new_at)} of {chunks} chunks, {report.chunks_missing} missing, "
            f"{report.chunks_twice} twice after {kills} kills"
        )
