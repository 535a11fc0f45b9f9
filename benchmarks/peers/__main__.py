"""Other ways to deliver the same file, beside ours: ``python -m benchmarks.peers``.

Each delivers the same generated file in requests of so many records to the same sink. They take
turns; nobody's start-up is counted. Then once more, watched for memory, also with a file twice as
long; and once killed with SIGKILL when 40 % of the requests had arrived, and started again.
"""

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory, gettempdir

from app.samples.formats import SampleFormat
from benchmarks.audit import Report
from benchmarks.contenders import Job, ackline
from benchmarks.options import BYTES_PER_RECORD, Samples
from benchmarks.peers.rivals import PATIENCE_S, Delivery, Peer, announce, kill, peers, stage
from benchmarks.receiving import RunningSink, running_sink
from benchmarks.running import end_tidily, watching
from benchmarks.service import Request, running_service
from benchmarks.tables import Machine, Row, Table, as_json

OURS, LOOP = "ackline", "hand-written loop"
KILL_AT = 0.4
WARM_RECORDS = 10


@dataclass(slots=True)
class Figures:
    """What is known of one of them."""

    laps: list[Delivery] = field(default_factory=list)
    peak_mb: float = 0.0
    doubled_mb: float = 0.0
    after_kill: Report | None = None


@dataclass(frozen=True, slots=True)
class Race:
    """The same for everyone."""

    samples: Samples
    environment: Path
    sink: RunningSink
    job: Job
    doubled: Job
    warm: Job
    numbers: Iterator[int]

    def folder(self) -> Path:
        """Return a folder that nobody has used."""
        return self.samples.folder / f"turn-{next(self.numbers)}"

    def lap(self, peer: Peer | None) -> Delivery:
        """Deliver once; nobody means us."""
        if peer is not None:
            with stage(peer, self.environment, self.folder()) as on:
                return on.deliver(self.job, self.sink)
        with running_service(self.folder() / "ackline.db", self.samples.folder) as service:
            ackline(service)(self.warm, self.sink)  # so that its start is not counted either
            lap = ackline(service)(self.job, self.sink)
        return Delivery(seconds=lap.seconds, cpu_s=lap.cpu.total)

    def peak_mb(self, peer: Peer | None, job: Job) -> float:
        """Deliver once, watched."""
        if peer is not None:
            with stage(peer, self.environment, self.folder()) as on:
                return on.peak(job, self.sink).peak_mb()
        with (
            running_service(self.folder() / "ackline.db", self.samples.folder) as service,
            watching(service.pid) as watched,
        ):
            ackline(service)(job, self.sink)
        return watched.peak_mb()

    def after_kill(self, peer: Peer | None) -> Report:
        """Kill it on its way, start it again, and say what arrived in the end."""
        with running_sink(audit="records") as sink:
            if peer is None:
                self._ours_killed(sink)
            else:
                self._peer_killed(peer, sink)
            return sink.report(self.job.records)

    def _peer_killed(self, peer: Peer, sink: RunningSink) -> None:
        with stage(peer, self.environment, self.folder()) as on:
            with on.started(self.job, sink.url) as process:
                self._wait(sink)
                kill(process.pid)
            with on.started(self.job, sink.url) as process:
                on.end(process)

    def _ours_killed(self, sink: RunningSink) -> None:
        database = self.folder() / "ackline.db"
        request = Request(file=self.job.file, url=sink.url, chunk_records=self.job.chunk_records)
        with running_service(database, self.samples.folder) as service:
            ingestion = service.submit(request)
            self._wait(sink)
            kill(service.pid)
        with running_service(database, self.samples.folder) as service:
            service.until_completed(ingestion, sink)

    def _wait(self, sink: RunningSink) -> None:
        if not sink.wait(requests=int(self.job.chunks * KILL_AT), timeout_s=PATIENCE_S):
            raise TimeoutError("it never came so far")


@contextmanager
def race(
    kind: SampleFormat, *, mb: float, chunk: int, environment: Path, scratch: Path
) -> Iterator[Race]:
    """Make the files and start the sink."""
    records = max(1, int(mb * 1e6 / BYTES_PER_RECORD[kind]))
    with TemporaryDirectory(prefix="ackline-peers-", dir=scratch) as folder, running_sink() as sink:
        made = Samples(Path(folder))
        job, doubled, warm = (
            Job(file=made.file(kind, many), records=many, chunk_records=chunk)
            for many in (records, records * 2, WARM_RECORDS)
        )
        yield Race(made, environment, sink, job, doubled, warm, count())


def measure(on: Race, taking_part: list[Peer], laps: int, kind: SampleFormat) -> Table:
    """Have everyone deliver, in turn."""
    who: dict[str, Peer | None] = {OURS: None} | {
        peer.name: peer for peer in taking_part if kind in peer.formats
    }
    figures = {name: Figures() for name in who}
    for number in range(laps):
        for name, peer in who.items():
            figures[name].laps.append(on.lap(peer))
            print(f"{kind}, lap {number + 1}, {name}: {figures[name].laps[-1]}", file=sys.stderr)
    for name, peer in who.items():
        figures[name].peak_mb = on.peak_mb(peer, on.job)
        figures[name].doubled_mb = on.peak_mb(peer, on.doubled)
        figures[name].after_kill = on.after_kill(peer)
    return Table(
        part=f"peers-{kind}",
        title=f"Peers, {kind}, {on.job.records:,} records ({on.job.bytes / 1e6:.0f} MB), "
        f"requests of {on.job.chunk_records:,}",
        note=_NOTE,
        rows=[_row(on.job, name, figures) for name in who],
    )


_NOTE = (
    "CPU and memory of all processes of each, Redis included, without the sink. After SIGKILL of "
    f"the program at {KILL_AT:.0%} and a restart: records that never arrived, records that "
    "arrived more than once, and of those the ones that no `Idempotency-Key` tells from new ones. "
    "Redis itself was not killed. ackline sends a checksum with every chunk and commits it durably "
    "before it is sent and when it is acknowledged; Redis writes its log to disk once a second."
)


def _row(job: Job, name: str, figures: dict[str, Figures]) -> Row:
    own = figures[name]
    seconds = median(lap.seconds for lap in own.laps)
    row: Row = {"peer": name, "records/s": round(job.records / seconds)}
    if LOOP in figures:
        pairs = zip(own.laps, figures[LOOP].laps, strict=True)
        row["× the loop"] = median(loop.seconds / lap.seconds for lap, loop in pairs)
    row |= {
        "CPU s/GB": median(lap.cpu_s for lap in own.laps) / job.bytes * 1e9,
        "peak MB": own.peak_mb,
        "file doubled": own.doubled_mb,
    }
    if (report := own.after_kill) is not None:
        row |= {
            "missing": report.records_missing,
            "twice": report.records_twice,
            "twice, no key": report.effects_twice,
        }
    return row


def main() -> None:
    """Measure, and print a table for each format."""
    end_tidily()
    options = argparse.ArgumentParser(
        prog="python -m benchmarks.peers",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = options.add_argument
    add("--laps", type=int, default=5, help="turns; fewer than 5 is a quick look (%(default)s)")
    add("--mb", type=float, default=20, help="size of the file (%(default)s)")
    add("--chunk", type=int, default=1_000, help="records in a request (%(default)s)")
    add("--formats", nargs="+", choices=["csv", "json"], default=["csv", "json"])
    add("--environment", type=Path, default=Path(".bench-peers"), help="where the peers are")
    add("--scratch", type=Path, default=Path(gettempdir()), help="where files are made, removed")
    add("--json", type=Path, metavar="FILE", help="write figures for programs")
    asked = options.parse_args()
    taking_part, absent = peers(asked.environment.absolute())
    announce(absent)
    machine, tables = Machine.here(), []
    print(f"{machine.line(asked.laps)}\n", flush=True)
    for kind in map(SampleFormat, asked.formats):
        with race(
            kind,
            mb=asked.mb,
            chunk=asked.chunk,
            environment=asked.environment.absolute(),
            scratch=asked.scratch,
        ) as on:
            tables.append(measure(on, taking_part, asked.laps, kind))
        print(f"{tables[-1].markdown()}\n", flush=True)
    for reason in absent:
        print(f"Skipped: {reason}.")
    if asked.json:
        asked.json.write_bytes(as_json(machine, asked.laps, tables))


if __name__ == "__main__":
    main()
