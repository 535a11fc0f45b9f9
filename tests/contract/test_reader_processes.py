"""Many reads, few processes, and every way for one of them to end. Real processes, real kills."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from signal import SIGKILL

import pytest

from app.domain.chunk import Chunk
from app.domain.errors import ReaderDied, ReadFailed
from app.domain.ingestion import FileType
from app.ports import Detected, Reading, ReadJob, SourceEnd
from app.readers import process, stock
from app.readers.frames import ReaderSetup
from app.readers.process import ProcessReader
from tests.support.processes import ROOT, children, kill_now, wait_until_gone
from tests.support.reading import job_of, no_child_is_left, server_of

LINES = 12


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.write_text("".join(f"{n}\n" for n in range(LINES)))
    return path


@asynccontextmanager
async def reader_of(
    root: Path, *, processes_max: int = 0, module: str = "tests.support.toy_reader_process"
) -> AsyncIterator[ProcessReader]:
    setup = ReaderSetup(source_roots=(str(root),), memory_bytes_max=2 << 30)
    async with ProcessReader(
        module=module, setup=setup, stall_s=60, processes_max=processes_max
    ) as reader:
        yield reader
    assert children(os.getpid()) == []


async def first_chunk(readings: AsyncGenerator[Reading, None]) -> Chunk:
    async for reading in readings:
        if isinstance(reading, Chunk):
            return reading
    raise AssertionError("no chunk")


def is_to_live(pid: int) -> bool:
    """Tell whether a process is neither ending nor killed. On a busy machine that takes time."""
    try:
        flags = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[6])
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
    pending = int(status.partition("SigPnd:\t")[2].split()[0], 16)
    exiting, killed = 0x4, 1 << (SIGKILL - 1)  # PF_EXITING
    return not flags & exiting and not pending & killed


async def test_more_reads_than_places_all_advance_and_none_can_tell(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each loses its place after each chunk: all ask for one before anyone asks for the next."""
    monkeypatch.setattr(process, "IDLE_S", 0.0)
    monkeypatch.setattr(stock, "STOCK_BYTES_MAX", 0)
    alive: list[int] = []
    seen: set[int] = set()

    async def read(reader: ProcessReader, job: ReadJob) -> list[Reading]:
        got: list[Reading] = []
        async with aclosing(reader.read(job)) as readings:
            async for reading in readings:
                got.append(reading)
                now = children(server_of(reader))
                alive.append(sum(map(is_to_live, now)))
                seen.update(now)
                await round_.wait()
        return got

    jobs = [job_of(source, number=n, records=5) for n in range(9)]
    round_ = asyncio.Barrier(len(jobs))
    async with reader_of(source.parent, processes_max=3) as reader:
        crowded = await asyncio.gather(*(read(reader, job) for job in jobs))
        round_ = asyncio.Barrier(1)
        alone = [await read(reader, job) for job in jobs]

    assert crowded == alone
    assert [type(reading) for reading in alone[0]] == [Detected, Chunk, Chunk, Chunk, SourceEnd]
    # Between the signal and the mark of its end a process looks as if it were to live.
    assert max(alive) <= 2 * 3
    assert len(seen) > 2 * len(jobs)


async def test_a_quick_receivers_child_is_kept_while_others_wait(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "IDLE_S", 60.0)  # quick, however busy the machine is
    async with reader_of(source.parent, processes_max=1) as reader:
        async with aclosing(reader.read(job_of(source))) as quick:
            await first_chunk(quick)
            kept = children(server_of(reader))
            slow = asyncio.create_task(first_chunk(reader.read(job_of(source, number=1))))
            # Small chunks are sent one ahead, so it may have ended before the last two are taken.
            for _ in range(LINES - 3):
                await anext(quick)
                assert children(server_of(reader)) == kept

        assert (await slow).ref.number == 0


@asynccontextmanager
async def one_chunk_left(
    source: Path,
) -> AsyncIterator[tuple[ProcessReader, AsyncGenerator[Reading, None]]]:
    async with (
        reader_of(source.parent) as reader,
        aclosing(reader.read(job_of(source))) as readings,
    ):
        await first_chunk(readings)
        for _ in range(LINES - 2):
            await anext(readings)
        yield reader, readings


async def test_a_small_chunk_is_there_before_it_is_asked_for(source: Path) -> None:
    """Otherwise a quick receiver's ACK finds nothing to be staged along with its commit."""
    async with one_chunk_left(source) as (reader, readings):
        async with asyncio.timeout(60):
            while children(server_of(reader)):  # it has sent the last one, and is done
                await asyncio.sleep(0.01)
        assert [type(reading) async for reading in readings] == [Chunk, SourceEnd]


async def test_a_large_one_is_not(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would be held by the child, the pipe and the service."""
    monkeypatch.setattr(process, "SMALL_BYTES_MAX", 0)
    async with one_chunk_left(source) as (reader, readings):
        [pid] = children(server_of(reader))
        kill_now(pid)
        with pytest.raises(ReaderDied):
            await anext(readings)


async def test_a_child_always_at_work_lets_others_have_their_turn(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.readers.places.TURN_S", 0.0)
    monkeypatch.setattr(process, "IDLE_S", 60.0)
    monkeypatch.setattr(stock, "STOCK_BYTES_MAX", 0)
    order: list[int] = []

    async def read(reader: ProcessReader, number: int) -> None:
        async with aclosing(reader.read(job_of(source, number=number))) as readings:
            async for reading in readings:
                order.extend([number] * isinstance(reading, Chunk))

    async with reader_of(source.parent, processes_max=1) as reader:
        await asyncio.gather(read(reader, 0), read(reader, 1))

    assert sorted(order) == [0] * LINES + [1] * LINES
    assert all(abs(order[:n].count(0) - order[:n].count(1)) <= 1 for n in range(len(order)))


@asynccontextmanager
async def wanted(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[ProcessReader, AsyncGenerator[Reading, None]]]:
    """Give a read that has the one place and is to be asked for its first chunk; one waits."""
    for seconds in ("IDLE_S", "GATHER_S"):  # however busy the machine is
        monkeypatch.setattr(process, seconds, 3600.0)
    monkeypatch.setattr(process._Read, "_slow", True)
    async with (
        reader_of(source.parent, processes_max=1) as reader,
        aclosing(reader.read(job_of(source))) as readings,
    ):
        assert isinstance(await anext(readings), Detected)
        other = asyncio.create_task(first_chunk(reader.read(job_of(source, number=1))))
        while not reader._places.wanted():
            await asyncio.sleep(0)
        try:
            yield reader, readings
        finally:
            other.cancel()
            await asyncio.wait([other])


async def test_one_whose_place_is_wanted_leaves_chunks_in_stock(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with wanted(source, monkeypatch) as (reader, readings):
        assert (await first_chunk(readings)).records == b"[0]"
        reader.close()  # and with it every process
        rest = [reading async for reading in readings]
        assert reader._stock.bytes == 0

    assert [r.records for r in rest if isinstance(r, Chunk)] == [
        b"[%d]" % n for n in range(1, LINES)
    ]
    assert isinstance(rest[-1], SourceEnd)


async def test_what_is_in_stock_is_given_before_its_readers_death_is_told(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is one death, at the place where it happened (K6)."""
    source.write_text("0\n1\n2\n!die\n")
    async with wanted(source, monkeypatch) as (_, readings):
        assert [(await first_chunk(readings)).records for _ in range(3)] == [b"[0]", b"[1]", b"[2]"]
        with pytest.raises(ReaderDied, match="signal 9"):
            await anext(readings)


async def test_the_good_chunks_before_a_bad_place_are_given_from_stock_too(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source.write_text("0\n1\n!bad\n")
    async with wanted(source, monkeypatch) as (_, readings):
        assert [(await first_chunk(readings)).records for _ in range(2)] == [b"[0]", b"[1]"]
        with pytest.raises(ReadFailed, match="an order to be bad"):
            await anext(readings)


async def test_a_chunk_is_not_kept_back_for_one_that_does_not_come(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source.write_text("0\n!hang\n")
    monkeypatch.setattr(process, "GATHER_S", 0.05)
    monkeypatch.setattr(process._Read, "_slow", True)
    async with asyncio.timeout(50), reader_of(source.parent, processes_max=1) as reader:
        reads = [reader.read(job_of(source, number=n)) for n in range(3)]
        for chunk in await asyncio.gather(*map(first_chunk, reads)):
            assert chunk.records == b"[0]"
        for read in reads:
            await read.aclose()


async def test_the_stock_of_many_reads_stays_within_its_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Chunks grow tenfold on the way: what was thought to fit may be one too much, for each."""
    source = tmp_path / "growing"
    texts = [f'"{"x" * (20_000 if n % 4 else 2_000)}"' for n in range(20)]
    source.write_text("\n".join(texts))
    monkeypatch.setattr(stock, "STOCK_BYTES_MAX", 100_000)
    monkeypatch.setattr(stock, "SHARES_LEFT", 2)
    monkeypatch.setattr(process, "IDLE_S", 0.0)
    highest = 0

    async def read(readings: AsyncGenerator[Reading, None]) -> list[bytes]:
        nonlocal highest
        got = []
        async with aclosing(readings):
            async for reading in readings:
                highest = max(highest, reader._stock.bytes)
                if isinstance(reading, Chunk):
                    got.append(reading.records)
                    await asyncio.sleep(0.001)  # longer than IDLE_S: a slow receiver
        return got

    async with reader_of(tmp_path, processes_max=2) as reader:
        jobs = [job_of(source, number=n) for n in range(8)]
        crowd = await asyncio.gather(*(read(reader.read(job)) for job in jobs))
        assert reader._stock.bytes == 0

    assert crowd == [[f"[{text}]".encode() for text in texts]] * 8
    largest = 20_004 + stock.AROUND_BYTES
    assert 0 < highest <= 100_000 + 2 * largest


async def test_memory_is_spared_when_many_chunks_are_out(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "AHEAD_BYTES_MAX", 6)
    async with reader_of(source.parent) as reader:
        reads = [reader.read(job_of(source, number=n)) for n in range(3)]
        spare = []
        for read in reads:
            assert len((await first_chunk(read)).records) == 3
            spare.append(reader.spare())
        await reads[0].aclose()

        assert spare == [True, True, False]
        assert reader.spare()
        for read in reads[1:]:
            await read.aclose()


async def test_one_reader_killed_harms_no_other(source: Path) -> None:
    async with (
        reader_of(source.parent) as reader,
        aclosing(reader.read(job_of(source))) as unlucky,
        aclosing(reader.read(job_of(source, number=1))) as lucky,
    ):
        await first_chunk(unlucky)
        [pid] = children(server_of(reader))
        await first_chunk(lucky)
        os.kill(pid, signal.SIGKILL)

        with pytest.raises(ReaderDied, match="ended with signal 9"):
            await anext(unlucky)
        assert len([reading async for reading in lucky]) == LINES


async def test_a_fork_server_that_was_killed_takes_its_readers_along_and_is_made_again(
    source: Path,
) -> None:
    async with reader_of(source.parent) as reader:
        async with aclosing(reader.read(job_of(source))) as readings:
            await first_chunk(readings)
            server = server_of(reader)
            pids = children(server)
            os.kill(server, signal.SIGKILL)
            wait_until_gone(*pids, server)
            with pytest.raises(ReaderDied, match="lost with its fork server"):
                await anext(readings)
        assert len(pids) == 1

        async with aclosing(reader.read(job_of(source))) as readings:
            assert len([reading async for reading in readings]) == LINES + 2
        assert server_of(reader) != server


async def test_a_fork_server_killed_while_nobody_reads_is_not_even_noticed(source: Path) -> None:
    async with reader_of(source.parent) as reader:
        for _ in range(2):
            async with aclosing(reader.read(job_of(source))) as readings:
                assert len([reading async for reading in readings]) == LINES + 2
            kill_now(server_of(reader))
            # Dead to its last descriptor; an order could still be sent to one that is dying.
            os.waitid(os.P_PID, server_of(reader), os.WEXITED | os.WNOWAIT)


async def test_a_fork_server_that_cannot_start_says_why(source: Path) -> None:
    async with reader_of(source.parent, module="tests.support.no_such_module") as reader:
        with pytest.raises(ReaderDied, match="No module named"):
            await first_chunk(reader.read(job_of(source)))


async def test_a_reader_holds_nothing_of_another(source: Path) -> None:
    async with reader_of(source.parent) as reader:
        reads = [reader.read(job_of(source, number=n)) for n in range(3)]
        for read in reads:
            await first_chunk(read)
        held: list[str] = []
        for pid in children(server_of(reader)):
            ends = sorted(Path(f"/proc/{pid}/fd").iterdir(), key=lambda fd: int(fd.name))
            files = [str(fd.readlink()) for fd in ends]
            # Orders, its last words as both outputs, frames.
            assert [name.startswith("pipe:") for name in files] == [True, False, False, True]
            held += set(files)
            assert (os.getpgid(pid), os.getsid(pid)) == (pid, server_of(reader))
            assert Path(f"/proc/{pid}/oom_score_adj").read_text() == "500\n"
            variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
            assert {variable.partition(b"=")[0] for variable in variables if variable} <= {
                *(b"PATH", b"PYTHONPATH", b"TMPDIR", b"LC_CTYPE"),
                *(b"MALLOC_MMAP_THRESHOLD_", b"MALLOC_TRIM_THRESHOLD_"),
            }
        assert len(held) == len(set(held))
        for read in reads:
            await read.aclose()
        await no_child_is_left(reader)


async def test_the_real_fork_server_has_one_thread(tmp_path: Path) -> None:
    """What forks with more may leave locks of theirs closed for ever."""
    path = tmp_path / "rows.csv"
    path.write_text("a\n1\n")
    async with (
        reader_of(tmp_path, module="app.reader_process") as reader,
        aclosing(reader.read(job_of(path, file_type=FileType.CSV))) as readings,
    ):
        assert (await first_chunk(readings)).records == b'[{"a":"1"}]'
        assert len(list(Path(f"/proc/{server_of(reader)}/task").iterdir())) == 1


@pytest.mark.parametrize("busy", [False, True], ids=["waiting for credit", "deep in a decoder"])
def test_nothing_outlives_a_service_that_is_killed(tmp_path: Path, busy: bool) -> None:
    paths = [tmp_path / "one", tmp_path / "two"]
    for path in paths:
        path.write_text("1\n!hang\n" if busy else "1\n2\n3\n4\n")
    with subprocess.Popen(
        [sys.executable, "-m", "tests.support.reading_process", *map(str, paths)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
    ) as service:
        assert service.stdout is not None
        assert {service.stdout.readline(), service.stdout.readline()} == {b"one\n", b"two\n"}
        [server] = children(service.pid)
        readers = children(server)
        assert len(readers) == 2
        service.kill()

    wait_until_gone(server, *readers)
