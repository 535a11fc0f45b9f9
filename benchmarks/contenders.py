"""One delivery of one file, by each of those that are compared, in turn."""

import json
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import TypeAlias

from benchmarks.receiving import RunningSink
from benchmarks.running import Spent, now, python, spent, watching
from benchmarks.service import Request, RunningService


class WrongCount(Exception):
    """Not what was sent arrived: the figure would be worth nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What is to be delivered."""

    file: Path
    records: int
    chunk_records: int

    @property
    def chunks(self) -> int:
        """Requests that carry records."""
        return -(-self.records // self.chunk_records)

    @property
    def bytes(self) -> int:
        """Size of the source."""
        return self.file.stat().st_size


@dataclass(frozen=True, slots=True, kw_only=True)
class Lap:
    """One delivery."""

    seconds: float
    cpu: Spent
    """Of the service and, below it, its reader; or of the one program."""

    receiver_cpu: float
    steady_seconds: float
    """From the first request that was whole at the sink to the last."""

    body_bytes: int
    """On the wire, without headers."""


@dataclass(slots=True)
class Laps:
    """The laps of one contender."""

    laps: list[Lap] = field(default_factory=list)
    peak_mb: float | None = None
    """Measured in a lap of its own, which is not among the laps."""

    def median(self, of: Callable[[Lap], float]) -> float:
        """Return the median of one figure."""
        return median(map(of, self.laps))

    def times_as_fast_as(
        self, other: "Laps", of: Callable[[Lap], float] = lambda lap: lap.seconds
    ) -> float:
        """Return the median, over the turns, of the other's time to ours in the same turn."""
        pairs = zip(self.laps, other.laps, strict=True)
        return median(of(theirs) / of(ours) for ours, theirs in pairs)


Contender: TypeAlias = Callable[[Job, RunningSink], Lap]


def take_turns(
    job: Job,
    sink: RunningSink,
    contenders: Mapping[str, Contender],
    laps: int,
    watched: Mapping[str, int],
) -> dict[str, Laps]:
    """Run A B C A B C …; then once more those whose memory is to be ``watched``, untimed.

    ``watched`` names for each the process that it and all below it are watched from.
    """
    results = {name: Laps() for name in contenders}
    for _ in range(laps):
        for name, deliver in contenders.items():
            results[name].laps.append(deliver(job, sink))
    for name, pid in watched.items():
        with watching(pid) as looked:
            contenders[name](job, sink)
        results[name].peak_mb = looked.peak_mb()
    return results


def ackline(service: RunningService, *, verbatim: bool = False) -> Contender:
    """Deliver by a running service, as a new version.

    The clock stops when the receiver has the completion, which is sent after the last commit of
    a chunk. That the service shows it too is checked afterwards.
    """

    def deliver(job: Job, sink: RunningSink) -> Lap:
        sink.forget()
        before, sink_before, began = spent(service.pid), spent(sink.pid), now()
        request = Request(
            file=job.file, url=sink.url, chunk_records=job.chunk_records, verbatim=verbatim
        )
        ingestion = service.submit(request)
        service.until_told(ingestion, sink)
        seconds = now() - began
        shown = service.until_completed(ingestion, sink)
        cpu = spent(service.pid).since(before)
        if shown.counts.delivered != job.records:
            raise WrongCount(f"ackline delivered {shown.counts.delivered} of {job.records}")
        return _lap(job, sink, seconds, cpu, sink_before, requests=job.chunks + 1)

    return deliver


def naive(folder: Path, *, by_line: bool = False) -> Contender:
    """Deliver by the naive pipeline."""

    def deliver(job: Job, sink: RunningSink) -> Lap:
        switches = ["--by-line"] if by_line else []
        sizes = (str(job.chunk_records), str(folder / "naive.db"))
        return _program("benchmarks.naive", job, sink, *sizes, *switches)

    return deliver


def floor(folder: Path, body_bytes: int, *, bare: bool = False) -> Contender:
    """Deliver as many bytes as another needed, by the floor."""

    def deliver(job: Job, sink: RunningSink) -> Lap:
        switches = ["--bare"] if bare else []
        sizes = (str(job.chunks), str(body_bytes), str(folder / "floor.db"))
        folder.joinpath("floor.db").unlink(missing_ok=True)
        return _program("benchmarks.floor", job, sink, *sizes, *switches)

    return deliver


def _program(module: str, job: Job, sink: RunningSink, *arguments: str) -> Lap:
    sink.forget()
    before = spent(sink.pid)
    with python(module, str(job.file), sink.url, *arguments) as process:
        output, _ = process.communicate()
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, module)
    took = json.loads(output)
    cpu = Spent(own=took["cpu_seconds"], below=0.0)
    return _lap(job, sink, took["seconds"], cpu, before, requests=job.chunks)


def _lap(
    job: Job, sink: RunningSink, seconds: float, cpu: Spent, before: Spent, *, requests: int
) -> Lap:
    receiver_cpu = spent(sink.pid).since(before).total
    report = sink.report()
    if report.requests != requests:
        raise WrongCount(f"{report.requests} requests arrived instead of {requests}: {job}")
    return Lap(
        seconds=seconds,
        cpu=cpu,
        receiver_cpu=receiver_cpu,
        steady_seconds=report.last_at - report.first_at,
        body_bytes=report.body_bytes,
    )
