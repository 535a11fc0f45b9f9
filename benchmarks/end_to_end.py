"""Deliver the same file by ackline and by the naive pipeline, in turn."""

import json
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from app.api.models import IngestBody
from app.api.views import IngestionView
from app.cli.service import Service
from app.domain.ingestion import LIVE, State
from benchmarks.running import cpu_seconds, first_line, now, python, watching

POLL_S = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Lap:
    """One delivery."""

    seconds: float
    """From the request to COMPLETED; for the naive pipeline, its whole life."""

    cpu_seconds: float
    """Of the service and its reader; not of the sink."""

    peak_mb: float


@contextmanager
def sink() -> Iterator[str]:
    """Give the URL of a running sink."""
    with python("benchmarks.sink") as process:
        yield f"http://127.0.0.1:{first_line(process)}/callback"


def ackline(file: Path, url: str, chunk_records: int) -> Lap:
    """Deliver a file by a service started for it."""
    with (
        TemporaryDirectory() as folder,
        _service(file.parent, Path(folder)) as (pid, address),
        watching(pid) as watched,
        Service(address) as service,
    ):
        before, began = cpu_seconds(pid), now()
        view = _delivered(service, file, url, chunk_records)
        seconds, cpu = now() - began, cpu_seconds(pid) - before
    if view.state is not State.COMPLETED:
        raise RuntimeError(f"{file.name} is {view.state}: {view.error}")
    return Lap(seconds=seconds, cpu_seconds=cpu, peak_mb=watched.peak_mb())


def naive(file: Path, url: str, chunk_records: int) -> Lap:
    """Deliver a file by the naive pipeline."""
    with TemporaryDirectory() as folder:
        began = now()
        arguments = (str(file), url, str(chunk_records), f"{folder}/naive.db")
        with python("benchmarks.naive", *arguments) as process, watching(process.pid) as watched:
            cpu = 0.0
            while process.poll() is None:
                cpu = max(cpu, cpu_seconds(process.pid))
                _pause()
            seconds = now() - began
    if process.returncode:
        raise RuntimeError("the naive pipeline failed")
    return Lap(seconds=seconds, cpu_seconds=cpu, peak_mb=watched.peak_mb())


def compare(file: Path, chunk_records: int, laps: int) -> tuple[list[Lap], list[Lap]]:
    """Run both in turn, A B A B …, against one sink."""
    ours: list[Lap] = []
    theirs: list[Lap] = []
    with sink() as url:
        for _ in range(laps):
            ours.append(ackline(file, url, chunk_records))
            theirs.append(naive(file, url, chunk_records))
    return ours, theirs


def median(laps: list[Lap], of: Callable[[Lap], float]) -> float:
    """Return the median of one figure."""
    return statistics.median(map(of, laps))


@contextmanager
def _service(root: Path, folder: Path) -> Iterator[tuple[int, str]]:
    with python(
        *("app.cli", "serve", "--port", "0"),
        INGEST_DATABASE_PATH=str(folder / "ackline.db"),
        INGEST_SOURCE_ROOTS=json.dumps([str(root)]),
        INGEST_CALLBACK_ALLOW='["127.0.0.1"]',
        INGEST_LOG_LEVEL="error",
    ) as process:
        address = first_line(process).rpartition(" ")[2]
        with Service(address) as service:
            service.page("/api/ingestions")  # it has started when it answers
        yield process.pid, address


def _delivered(service: Service, file: Path, url: str, chunk_records: int) -> IngestionView:
    file_type = {".xlsx": "excel"}.get(file.suffix, file.suffix[1:])
    answer = service.submit(
        IngestBody(
            file_path=str(file),
            file_type=file_type,
            callback_url=url,
            chunk_size_by_records=chunk_records,
        )
    )
    while (view := service.show(answer.ingestion_id)).state in LIVE:
        _pause()
    return view


def _pause() -> None:
    time.sleep(POLL_S)
