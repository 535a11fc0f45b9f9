"""End to end: against the naive pipeline and against the floor, in turn, in one run."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from app.samples.formats import SampleFormat
from benchmarks.contenders import Job, Laps, ackline, floor, naive, take_turns
from benchmarks.options import Options, Samples
from benchmarks.receiving import RunningSink, running_sink
from benchmarks.running import first_line, now, python, spent
from benchmarks.service import Request, RunningService, running_service, takes_verbatim
from benchmarks.tables import Row, Table

OURS, VERBATIM, NAIVE, FLOOR, BARE = "ackline", "ackline, verbatim", "naive", "floor", "bare"
HAVE_VERBATIM = (SampleFormat.JSON, SampleFormat.NDJSON)
PROBE_RECORDS = 10
CHUNKS_MOST = 600
"""Requests in a lap with small chunks: more of them would only take longer."""

CHUNKS_FEWEST = 10
"""With large ones, as far as there are so many records; otherwise half the sample does."""

REFUSAL_CHARACTERS = 200


@dataclass(frozen=True, slots=True)
class Course:
    """A sink, and a service that may call it."""

    sink: RunningSink
    service: RunningService
    folder: Path


@contextmanager
def course(samples: Samples, *, delay_ms: float = 0.0) -> Iterator[Course]:
    """Set up what all laps of one comparison run on."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(dir=samples.folder)))
        sink = stack.enter_context(running_sink(delay_ms=delay_ms))
        service = stack.enter_context(running_service(folder / "ackline.db", samples.folder))
        yield Course(sink, service, folder)


def compare(on: Course, job: Job, options: Options, *, verbatim: bool) -> dict[str, Laps]:
    """Deliver the same file by everyone."""
    # Before the first lap: the file is in the page cache, and the floor knows what to match.
    warm = ackline(on.service)(job, on.sink)
    contenders = {OURS: ackline(on.service)}
    if verbatim:
        contenders[VERBATIM] = ackline(on.service, verbatim=True)
    contenders[NAIVE] = naive(on.folder, by_line=options.naive_by_line)
    contenders[FLOOR] = floor(on.folder, warm.body_bytes)
    ours = [name for name in contenders if name not in (NAIVE, FLOOR)]
    watched = dict.fromkeys(ours, on.service.pid)
    return take_turns(job, on.sink, contenders, options.laps, watched)


def formats(options: Options, samples: Samples) -> Table:
    """Every format at one chunk size."""
    rows: list[Row] = []
    notes = []
    refusal = _verbatim_refusal(options, samples)
    if refusal:
        notes.append(f"Verbatim mode was skipped: {refusal}")
    for kind in options.formats:
        job = _job(options, samples, kind)
        with course(samples) as on:
            has_verbatim = kind in HAVE_VERBATIM and not refusal
            results = compare(on, job, options, verbatim=has_verbatim)
        rows += [
            _format_row(kind, name, job, results) for name in (OURS, VERBATIM) if name in results
        ]
    rows.append(_reference(options, samples))
    return Table(
        part="throughput",
        title=f"End to end, chunks of {options.chunk:,} records",
        note=" ".join([*notes, _NOTE]),
        rows=rows,
    )


_NOTE = (
    "MB and GB are of the source file; CPU is user and system. × is how many times as fast as "
    "the naive pipeline and as the floor, which parses nothing and so cannot be reached: medians "
    "of the ratios within each turn. Memory is the proportional set size of all processes "
    "of the service at its peak, from a lap of its own. The reference receiver verifies and "
    "stores every chunk; everything else is measured with the sink, which only acknowledges."
)


def _job(options: Options, samples: Samples, kind: SampleFormat) -> Job:
    file, records = samples.sized(kind, options.mb)
    return Job(file=file, records=records, chunk_records=options.chunk)


def _format_row(kind: SampleFormat, name: str, job: Job, results: dict[str, Laps]) -> Row:
    ours = results[name]
    megabytes = job.bytes / 1e6
    seconds = ours.median(lambda lap: lap.seconds)
    per_gb = 1e3 / megabytes
    return {
        "format": f"{kind}{'' if name == OURS else ', verbatim'}",
        "MB": megabytes,
        "MB/s": megabytes / seconds,
        "records/s": round(job.records / seconds),
        "× naive": ours.times_as_fast_as(results[NAIVE]),
        "× floor": ours.times_as_fast_as(results[FLOOR]),
        "CPU s/GB service": ours.median(lambda lap: lap.cpu.own) * per_gb,
        "reader": ours.median(lambda lap: lap.cpu.below) * per_gb,
        "receiver": ours.median(lambda lap: lap.receiver_cpu) * per_gb,
        "naive": results[NAIVE].median(lambda lap: lap.cpu.total) * per_gb,
        "peak MB": ours.peak_mb,
    }


def _verbatim_refusal(options: Options, samples: Samples) -> str:
    if not options.verbatim:
        return "not asked for."
    with course(samples) as on:
        file = samples.file(SampleFormat.NDJSON, PROBE_RECORDS)
        return takes_verbatim(on.service, file, on.sink)[:REFUSAL_CHARACTERS]


def _reference(options: Options, samples: Samples) -> Row:
    """Deliver once to the reference receiver instead of the sink."""
    kind = options.formats[0]
    job = _job(options, samples, kind)
    with course(samples) as on:
        ackline(on.service)(job, on.sink)  # as everywhere: nothing is started any more
        database = str(on.folder / "receiver.db")
        with python("app.cli", "receiver", "--port", "0", "--database", database) as receiver:
            url = f"{first_line(receiver).rpartition(' ')[2]}/callback"
            before, receiver_before, began = spent(on.service.pid), spent(receiver.pid), now()
            request = Request(file=job.file, url=url, chunk_records=job.chunk_records)
            on.service.until_completed(on.service.submit(request))
            seconds, cpu = now() - began, spent(on.service.pid).since(before)
            receiver_cpu = spent(receiver.pid).since(receiver_before).total
    megabytes = job.bytes / 1e6
    return {
        "format": f"{kind}, reference receiver, once",
        "MB": megabytes,
        "MB/s": megabytes / seconds,
        "records/s": round(job.records / seconds),
        "CPU s/GB service": cpu.own / megabytes * 1e3,
        "reader": cpu.below / megabytes * 1e3,
        "receiver": receiver_cpu / megabytes * 1e3,
    }


def chunks(options: Options, samples: Samples) -> Table:
    """One format at several chunk sizes."""
    kind = options.formats[0]
    rows: list[Row] = []
    for chunk in options.chunk_sizes:
        _, whole = samples.sized(kind, options.mb)
        records = min(whole, max(whole // 2, chunk * CHUNKS_FEWEST), chunk * CHUNKS_MOST)
        job = Job(file=samples.file(kind, records), records=records, chunk_records=chunk)
        with course(samples) as on:
            results = compare(on, job, options, verbatim=False)
        ours = results[OURS]
        seconds = ours.median(lambda lap: lap.seconds)
        rows.append(
            {
                "records in a chunk": chunk,
                "chunks": job.chunks,
                "records/s": round(records / seconds),
                "MB/s": job.bytes / 1e6 / seconds,
                "× naive": ours.times_as_fast_as(results[NAIVE]),
                "× floor": ours.times_as_fast_as(results[FLOOR]),
                "service CPU ms/chunk": ours.median(lambda lap: lap.cpu.own) / job.chunks * 1e3,
                "peak MB": ours.peak_mb,
            }
        )
    return Table(
        part="chunks",
        title=f"Chunk sizes, {kind}",
        note="The service's CPU is everything but reading and decoding: frames, POST, stage "
        "and commit (`synchronous=FULL`), and what one ingestion costs once, shared out.",
        rows=rows,
    )


def delays(options: Options, samples: Samples) -> Table:
    """A receiver that takes its time."""
    kind = options.formats[0]
    rows: list[Row] = []
    for delay_ms in options.delays_ms:
        job = _job(options, samples, kind)
        if job.chunks < 2:
            raise ValueError("there is no rate of one chunk: take a larger sample")
        with course(samples, delay_ms=delay_ms) as on:
            warm = ackline(on.service)(job, on.sink)
            contenders = {
                OURS: ackline(on.service),
                BARE: floor(on.folder, warm.body_bytes, bare=True),
            }
            results = take_turns(job, on.sink, contenders, options.laps, {})
        intervals = job.chunks - 1
        ours, bare = results[OURS], results[BARE]
        rows.append(
            {
                "ACK delay ms": delay_ms,
                "chunks/s": intervals / ours.median(lambda lap: lap.steady_seconds),
                "one (delay + POST) after the other": intervals
                / bare.median(lambda lap: lap.steady_seconds),
                "reached": ours.times_as_fast_as(bare, lambda lap: lap.steady_seconds),
                "MB/s": job.bytes / 1e6 / ours.median(lambda lap: lap.seconds),
            }
        )
    return Table(
        part="delays",
        title=f"ACK delays, {kind}, chunks of {options.chunk:,}",
        note="One chunk is in flight per ingestion, so the ideal is one (delay + POST) after "
        "the other: measured in turn with a program that does nothing else, with the same "
        "bytes. Both rates are from the first chunk at the sink to the last.",
        rows=rows,
    )
