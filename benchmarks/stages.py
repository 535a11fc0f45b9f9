"""What each step costs alone, so that the next bottleneck is seen.

CPU time of this process, all its threads; what the sink does is not in it. The steps take
turns. What they work on is made by the real reader: its chunks are those of the file.
"""

import asyncio
import gc
import os
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import TypeAlias

import orjson
import uvloop

from app import wire
from app.bootstrap import SystemClock
from app.control.submission import file_type_of
from app.decoders.json.exactness import is_plain
from app.domain.budget import BLOCK_BYTES, ChunkLimits
from app.domain.chunk import Chunk, Cursor, ResumePoint
from app.domain.delivery import Answer
from app.domain.identity import chain_start
from app.domain.ingestion import DecodeOptions, Ingestion, Submission
from app.ports import Lease, ReadJob, Source
from app.reader_process import decoder_of, local_formats
from app.readers.child import GARBAGE_OBJECTS
from app.readers.cutting import cut
from app.readers.frames import PREFIX, pack, unpack
from app.receiver.egress import EgressPolicy
from app.receiver.http import HttpReceiver
from app.samples.formats import SampleFormat
from app.stores.sqlite import SqliteStore
from app.stores.sqlite.ledger import SqliteLedger
from benchmarks.options import Options, Samples
from benchmarks.receiving import running_sink
from benchmarks.service import FILE_TYPES
from benchmarks.tables import Row, Table

BATCH_RECORDS = 125
"""Records decoded at a time: about what a block of the source holds."""

MB_MAX = 10.0
"""Of a sample: a step is repeated, not long."""

PIPE_BYTES = 1 << 20


class Took:
    """One turn of one step."""

    def __init__(self) -> None:
        self.cpu_s = -time.process_time()
        self.wall_s = -time.perf_counter()

    def end(self) -> "Took":
        """Stop counting."""
        self.cpu_s += time.process_time()
        self.wall_s += time.perf_counter()
        return self

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave out what only prepares the step."""
        self.end()
        yield
        self.cpu_s -= time.process_time()
        self.wall_s -= time.perf_counter()


Step: TypeAlias = Callable[[Took], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """What the steps of one format work on."""

    path: Path
    kind: SampleFormat
    source: Source
    submission: Submission
    ingestion: Ingestion
    chunks: Sequence[Chunk]
    ledgers: Iterator[tuple[SqliteLedger, Lease]]
    """One that holds nothing yet for each turn."""

    receiver: HttpReceiver

    @property
    def records(self) -> int:
        """Records in the file."""
        return self.chunks[-1].ref.record_end


def measure(options: Options, samples: Samples) -> Table:
    """Measure every format."""
    rows: list[Row] = []
    gc.freeze()  # as in a reader process
    gc.set_threshold(GARBAGE_OBJECTS, 20, 20)
    for kind in options.formats:
        rows += uvloop.run(_measure(options, samples, kind))
    return Table(
        part="stages",
        title=f"Steps alone, chunks of {options.chunk:,} records",
        note="CPU time; GB of the source. Decoding gives canonical records out of bytes. Beside "
        "it, for JSON, what its parts take without the compiled scanners: orjson parses, the "
        "exactness check looks at each block, orjson writes with sorted keys, "
        f"{BATCH_RECORDS} records at a time. POST includes message and headers; the wall time of "
        "a POST includes the sink, that of stage and commit the fsync.",
        rows=rows,
    )


async def _measure(options: Options, samples: Samples, kind: SampleFormat) -> list[Row]:
    path, _ = samples.sized(kind, min(options.mb, MB_MAX))
    with TemporaryDirectory(dir=samples.folder) as folder, running_sink() as sink:
        async with AsyncExitStack() as stack:
            bench = await _bench(
                stack,
                path=path,
                kind=kind,
                url=sink.url,
                folder=Path(folder),
                laps=options.laps,
                limits=ChunkLimits(records=options.chunk),
            )
            steps = _steps(bench)
            turns: dict[str, list[Took]] = {name: [] for name in steps}
            for _ in range(options.laps):
                for name, step in steps.items():
                    took = Took()
                    await step(took)
                    turns[name].append(took.end())
    return [_row(bench, name, took) for name, took in turns.items()]


def _row(bench: Bench, name: str, turns: Sequence[Took]) -> Row:
    cpu = median(took.cpu_s for took in turns)
    return {
        "format": str(bench.kind),
        "step": name,
        "µs/record": cpu / bench.records * 1e6,
        "s/GB": cpu / bench.path.stat().st_size * 1e9,
        "µs/chunk": cpu / len(bench.chunks) * 1e6,
        "wall µs/chunk": median(took.wall_s for took in turns) / len(bench.chunks) * 1e6,
    }


async def _bench(
    stack: AsyncExitStack,
    *,
    path: Path,
    kind: SampleFormat,
    url: str,
    folder: Path,
    laps: int,
    limits: ChunkLimits,
) -> Bench:
    clock = SystemClock()
    receiver = await stack.enter_async_context(
        HttpReceiver(egress=EgressPolicy(allow=["127.0.0.1"]), clock=clock)
    )
    formats = local_formats((str(path.parent),))
    source = formats.sources.locate(str(path))
    submission = Submission(
        file_path=str(path),
        file_type=file_type_of(FILE_TYPES[path.suffix]),
        callback_url=url,
        limits=limits,
    )
    ledgers: list[tuple[SqliteLedger, Lease]] = []
    for number in range(laps):
        store = await stack.enter_async_context(
            SqliteStore.open(folder / f"{number}.db", clock=clock, lease_s=3600)
        )
        await store.catalog.submit(submission, source.fingerprint(), new_version=False)
        [(lease, ingestion)] = await store.ledger.claim(limit=1)
        ledgers.append((store.ledger, lease))
    job = ReadJob(
        ingestion_id=ingestion.id,
        file_path=str(path),
        file_type=submission.file_type,
        options=DecodeOptions(),
        fingerprint=ingestion.fingerprint,
        limits=submission.limits,
        resume=ResumePoint(chain=chain_start(ingestion.id)),
    )
    return Bench(
        path=path,
        kind=kind,
        source=source,
        submission=submission,
        ingestion=ingestion,
        chunks=[reading for reading in cut(job, formats) if isinstance(reading, Chunk)],
        ledgers=iter(ledgers),
        receiver=receiver,
    )


def _steps(bench: Bench) -> dict[str, Step]:
    steps: dict[str, Step] = {
        "read": lambda _: _read(bench),
        "decode": lambda _: _decode(bench),
    }
    if bench.kind in (SampleFormat.JSON, SampleFormat.NDJSON):
        runs = [chunk.records for chunk in bench.chunks]
        batches = [
            orjson.dumps(values[at : at + BATCH_RECORDS])
            for values in map(orjson.loads, runs)
            for at in range(0, len(values), BATCH_RECORDS)
        ]
        steps |= {
            "plain: parse": lambda _: _over(batches, orjson.loads),
            "plain: exactness": lambda _: _over(_blocks(bench.path), is_plain),
            "plain: canonicalise": lambda took: _canonicalise(batches, took),
        }
    return steps | {
        "hash": lambda _: _over([chunk.records for chunk in bench.chunks], sha256),
        "frame": lambda _: _frame(bench),
        "POST": lambda _: _post(bench),
        "stage + commit": lambda _: _commit(bench),
    }


def _blocks(path: Path) -> list[bytes]:
    lines = path.read_bytes().splitlines(keepends=True)
    return [b"".join(lines[at : at + BATCH_RECORDS]) for at in range(0, len(lines), BATCH_RECORDS)]


async def _over(parts: Sequence[bytes], work: Callable[[bytes], object]) -> None:
    for part in parts:
        work(part)


async def _read(bench: Bench) -> None:
    with bench.source.open() as stream:
        while stream.read(BLOCK_BYTES):
            pass


async def _decode(bench: Bench) -> None:
    decoder = decoder_of(bench.submission.file_type)(bench.source, DecodeOptions())
    decoder.detect()
    for _ in decoder.batches(Cursor()):
        pass


async def _canonicalise(batches: Sequence[bytes], took: Took) -> None:
    for batch in batches:
        with took.paused():
            values = orjson.loads(batch)  # a moment ago, as in the decoder: still in the cache
        orjson.dumps(values, option=orjson.OPT_SORT_KEYS)


async def _frame(bench: Bench) -> None:
    """Send every chunk through a pipe, as a reader process does."""
    reading, writing = os.pipe()
    stream = asyncio.StreamReader(limit=PIPE_BYTES)
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(stream), os.fdopen(reading, "rb", buffering=0)
    )

    def write() -> None:
        for chunk in bench.chunks:
            for buffer in pack(chunk):
                left = memoryview(buffer)
                while left:
                    left = left[os.write(writing, left) :]

    writer = threading.Thread(target=write)
    writer.start()
    for _ in bench.chunks:
        lengths = PREFIX.unpack(await stream.readexactly(PREFIX.size))
        header, body = [await stream.readexactly(length) for length in lengths]
        unpack(header, body)
    writer.join()
    transport.close()
    with suppress(OSError):
        os.close(writing)


async def _post(bench: Bench) -> None:
    for chunk in bench.chunks:
        reply = await bench.receiver.post(wire.chunk_message(bench.ingestion, chunk), attempt=1)
        if not isinstance(reply, Answer) or reply.ack is not True:
            raise RuntimeError(f"not acknowledged: {reply}")


async def _commit(bench: Bench) -> None:
    """Move through the whole ingestion as the delivery loop does."""
    ledger, lease = next(bench.ledgers)
    await ledger.stage(lease, bench.chunks[0].ref)
    for chunk, after in zip(bench.chunks, [*bench.chunks[1:], None], strict=True):
        await ledger.commit(lease, chunk.ref, then_stage=after.ref if after else None)
