"""What every reader promises, and what one in a process of its own adds."""

import asyncio
import os
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import ExitStack, aclosing, closing
from dataclasses import replace
from pathlib import Path

import pytest
import uvloop

from app.domain.budget import ChunkLimits
from app.domain.chunk import Boundary, Chunk, ResumePoint
from app.domain.errors import ReaderDied, ReadFailed
from app.domain.identity import IngestionId, chain_start
from app.domain.ingestion import DecodeOptions, FileType
from app.ports import Detected, Reader, Reading, ReadJob, SourceEnd
from app.readers import process
from app.readers.frames import ReaderSetup
from app.readers.inprocess import InProcessReader
from app.readers.places import Place
from app.readers.process import ProcessReader
from app.sources.local import LocalSources
from tests.support.processes import children
from tests.support.reading import no_child_is_left, server_of
from tests.support.toy_reader_process import formats

INGESTION = IngestionId("ab" * 32)


@pytest.fixture
def process_reader(tmp_path: Path) -> Iterator[Callable[..., ProcessReader]]:
    """Makes readers in processes; at the end none is left."""
    with ExitStack() as made:

        def make(
            *, stall_s: float = 30.0, memory: int = 0, processes_max: int = 0
        ) -> ProcessReader:
            reader = ProcessReader(
                module="tests.support.toy_reader_process",
                setup=ReaderSetup(source_roots=(str(tmp_path),), memory_bytes_max=memory),
                stall_s=stall_s,
                processes_max=processes_max,
            )
            return made.enter_context(closing(reader))

        yield make
    assert children(os.getpid()) == []


class Interrupted:
    """A ``Reader`` whose only place is taken back after each thing that it gave."""

    def __init__(self, reader: ProcessReader) -> None:
        self._reader = reader

    async def read(self, job: ReadJob, /) -> AsyncGenerator[Reading, None]:
        async with aclosing(self._reader.read(job)) as readings:
            async for reading in readings:
                await interrupt(self._reader)
                yield reading

    def spare(self) -> bool:
        return self._reader.spare()


async def interrupt(reader: ProcessReader) -> None:
    """Take the only place, as another read would, and leave it."""
    rival = Place(vacate=lambda: None)
    await reader._places.take(rival)
    reader._places.leave(rival)


@pytest.fixture(params=["in process", "child process", "a child for each chunk"])
def reader(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    process_reader: Callable[..., ProcessReader],
    monkeypatch: pytest.MonkeyPatch,
) -> Reader:
    match request.param:
        case "in process":
            return InProcessReader(formats((str(tmp_path),)))
        case "child process":
            return process_reader()
        case _:
            monkeypatch.setattr(process, "IDLE_S", 0.0)
            return Interrupted(process_reader(processes_max=1))


@pytest.fixture
def job(tmp_path: Path) -> Callable[..., ReadJob]:
    def make(*lines: str, records: int = 2) -> ReadJob:
        path = tmp_path / "source"
        path.write_text("".join(f"{line}\n" for line in lines))
        return ReadJob(
            ingestion_id=INGESTION,
            file_path=str(path),
            file_type=FileType.NDJSON,
            options=DecodeOptions(),
            fingerprint=LocalSources([tmp_path]).locate(str(path)).fingerprint(),
            limits=ChunkLimits(records=records),
            resume=ResumePoint(chain=chain_start(INGESTION)),
        )

    return make


async def take(reader: Reader, job: ReadJob) -> list[Reading]:
    async with aclosing(reader.read(job)) as readings:
        return [reading async for reading in readings]


def bodies(readings: list[Reading]) -> list[bytes]:
    return [reading.records for reading in readings if isinstance(reading, Chunk)]


async def test_a_reader_gives_what_it_found_then_chunks_then_the_end(
    reader: Reader, job: Callable[..., ReadJob]
) -> None:
    readings = await take(reader, job("1", "2", "3"))

    assert readings[0] == Detected(detection={"encoding": "utf-8"})
    assert bodies(readings) == [b"[1,2]", b"[3]"]
    assert readings[-1] == SourceEnd(records_read=3)


async def test_what_is_known_is_not_found_out_again(
    reader: Reader, job: Callable[..., ReadJob]
) -> None:
    known = replace(job("1"), options=DecodeOptions(encoding="latin-1"))

    assert (await take(reader, known))[0] == Detected()


async def test_a_reader_goes_on_where_it_is_told(
    reader: Reader, job: Callable[..., ReadJob]
) -> None:
    whole = job("1", "2", "3", "4", "5")
    first = [r for r in await take(reader, whole) if isinstance(r, Chunk)]
    resume = ResumePoint(
        number=1,
        record_start=2,
        cursor=first[0].ref.end,
        chain=first[0].ref.chain,
        planned=(Boundary(number=1, record_end=4, checksum=first[1].ref.checksum),),
    )

    rest = await take(reader, replace(whole, resume=resume, limits=ChunkLimits(records=1)))

    assert [r for r in rest if isinstance(r, Chunk)] == first[1:]
    assert rest[-1] == SourceEnd(records_read=5)


async def test_what_was_cut_before_may_be_larger_than_the_limits_now_say(
    reader: Reader, job: Callable[..., ReadJob]
) -> None:
    """Invariant 2; and the bound on what a child may send does not stand in its way."""
    whole = job("1", "2", "3", "4", records=3)
    [first, last] = [r for r in await take(reader, whole) if isinstance(r, Chunk)]
    planned = (Boundary(number=0, record_end=3, checksum=first.ref.checksum),)
    resume = replace(whole.resume, planned=planned)

    again = await take(reader, replace(whole, resume=resume, limits=ChunkLimits(memory=3)))

    assert bodies(again) == [b"[1,2,3]", b"[4]"]
    assert last.ref in [r.ref for r in again if isinstance(r, Chunk)]


async def test_the_good_records_before_a_bad_place_are_given_first(
    reader: Reader, job: Callable[..., ReadJob]
) -> None:
    got: list[Reading] = []
    with pytest.raises(ReadFailed) as caught:
        async with aclosing(reader.read(job("1", "2", "3", "!bad", "4"))) as readings:
            async for reading in readings:
                got.append(reading)  # noqa: PERF401 - what came before the error counts

    assert bodies(got) == [b"[1,2]", b"[3]"]
    failure = caught.value.failure()
    assert (failure.code, failure.resumable) == ("MALFORMED", False)
    assert failure.place is not None
    assert (failure.place.line, failure.place.record) == (7, 3)


async def test_a_source_that_changed_since_it_was_submitted_gives_nothing(
    reader: Reader, job: Callable[..., ReadJob]
) -> None:
    old = job("1", "2")
    Path(old.file_path).write_text("1\n3\n")
    os.utime(old.file_path, ns=(0, old.fingerprint.modified_ns))

    with pytest.raises(ReadFailed) as caught:
        await take(reader, old)

    assert caught.value.failure().code == "SOURCE_CHANGED"


async def test_a_source_that_changes_while_it_is_read_is_never_the_end(
    reader: Reader, job: Callable[..., ReadJob]
) -> None:
    growing = job(*map(str, range(10)))
    with pytest.raises(ReadFailed) as caught:
        async with aclosing(reader.read(growing)) as readings:
            async for reading in readings:
                assert not isinstance(reading, SourceEnd)
                with Path(growing.file_path).open("a") as source:
                    source.write("11\n")

    assert caught.value.failure().code == "SOURCE_CHANGED"


async def test_closing_a_reader_midway_releases_it(
    process_reader: Callable[..., ProcessReader], job: Callable[..., ReadJob]
) -> None:
    reader = process_reader(processes_max=1)
    readings = reader.read(job(*map(str, range(100))))
    async for one in readings:
        if isinstance(one, Chunk):
            break
    await readings.aclose()

    assert bodies(await take(reader, job("1"))) == [b"[1]"]
    await no_child_is_left(reader)


@pytest.mark.parametrize(
    ("order", "words"), [("!die", "signal 9"), ("!exit", "the last words"), ("!hog", "MemoryError")]
)
async def test_the_death_of_a_reader_is_told_after_its_chunks(
    process_reader: Callable[..., ProcessReader],
    job: Callable[..., ReadJob],
    order: str,
    words: str,
) -> None:
    reader, got = process_reader(memory=2 << 30), []
    with pytest.raises(ReaderDied, match=words):
        async with aclosing(reader.read(job("1", "2", "3", order))) as readings:
            async for one in readings:
                got.append(one)  # noqa: PERF401 - what came before the error counts

    assert bodies(got) == [b"[1,2]"]
    await no_child_is_left(reader)


async def test_a_reader_that_hangs_is_given_up(
    process_reader: Callable[..., ProcessReader], job: Callable[..., ReadJob]
) -> None:
    reader = process_reader(stall_s=1.0)
    with pytest.raises(ReaderDied, match="no sign of life"):
        await take(reader, job("1", "!hang"))

    await no_child_is_left(reader)


@pytest.mark.parametrize(
    ("order", "words"),
    [("!spill", "a header of"), ("!babble", "a header that is none"), ("!swell", "and a body of")],
)
async def test_a_reader_that_sends_what_is_no_frame_is_not_believed(
    process_reader: Callable[..., ProcessReader],
    job: Callable[..., ReadJob],
    order: str,
    words: str,
) -> None:
    """Invariant 4: nor is anything allocated because it says so."""
    small = replace(job("1", order), limits=ChunkLimits(records=1, memory=1024))
    with pytest.raises(ReaderDied, match=words):
        await take(process_reader(), small)


async def test_what_a_library_prints_does_not_get_between_the_chunks(
    process_reader: Callable[..., ProcessReader], job: Callable[..., ReadJob]
) -> None:
    readings = await take(process_reader(), job("1", "!print", "2"))

    assert bodies(readings) == [b"[1,2]"]


async def test_a_reader_works_no_more_than_one_chunk_ahead_of_what_was_asked(
    tmp_path: Path,
    process_reader: Callable[..., ProcessReader],
    job: Callable[..., ReadJob],
) -> None:
    """Sealed, and waiting for its credit."""
    reader = process_reader()
    marks = [tmp_path / f"mark{n}" for n in range(6)]
    lines = [line for n, mark in enumerate(marks) for line in (f"!touch {mark}", str(n))]
    async with aclosing(reader.read(job(*lines, records=1))) as readings:
        async for one in readings:
            if isinstance(one, Chunk):
                break
        [pid] = children(server_of(reader))
        while not waits_for_credit(pid):
            await asyncio.sleep(0.01)

        assert [mark.exists() for mark in marks] == [True, True, False, False, False, False]


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_reader_that_ended_while_the_last_chunk_was_delivered_is_taken_to_its_end(
    process_reader: Callable[..., ProcessReader],
    job: Callable[..., ReadJob],
    loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    """What is told to it then is told to nobody."""
    order, reader = job("1", "2", "3"), process_reader()

    async def take_slowly() -> list[Reading]:
        got: list[Reading] = []
        async with aclosing(reader.read(order)) as readings:
            async for one in readings:
                got.append(one)
                if bodies(got) == [b"[1,2]", b"[3]"]:
                    await no_child_is_left(reader)
        return got

    with asyncio.Runner(loop_factory=loop) as runner:
        got = runner.run(take_slowly())

    assert got[-1] == SourceEnd(records_read=3)


def waits_for_credit(pid: int) -> bool:
    """Tell whether the process is blocked reading its standard input."""
    call = Path(f"/proc/{pid}/syscall").read_text().split()
    return call[:2] == ["0", "0x0"]  # x86-64: read(0, …)
