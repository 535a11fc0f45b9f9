"""Read in a child process of its own.

A hostile file may crash or bloat a native parser, and decoding must neither stall the
event loop nor share its GIL. The child gives its chunks over a pipe, one for each credit:
with the chunk that the delivery looks ahead, that is two chunks ahead of the one in flight.
"""

import asyncio
import fcntl
import os
import sys
import tempfile
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncGenerator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, TypeVar

from app.domain.chunk import Chunk
from app.domain.errors import Failure, ReaderDied, ReadFailed
from app.ports import Detected, Reading, ReadJob, SourceEnd
from app.readers.frames import PREFIX, Alive, Frame, ReaderSetup, Start, pack_start, unpack

PIPE_BYTES = 1 << 20
"""Room in the pipe: a usual chunk fits, so that the child goes on decoding at once."""

DYING_WORDS_BYTES = 4096
"""How much of a dead child's standard error is kept as the reason."""

T = TypeVar("T")

_PACKAGE_ROOT = str(Path(__file__).resolve().parent.parent.parent)


class ProcessReader:
    """A ``Reader`` whose death harms nobody else."""

    def __init__(self, *, module: str, setup: ReaderSetup, stall_s: float) -> None:
        """Run ``python -m module``; ``stall_s`` without a sign of life counts as death."""
        self._module = module
        self._setup = setup
        self._stall_s = stall_s

    async def read(self, job: ReadJob, /) -> AsyncGenerator[Reading, None]:
        """Yield what the child sends."""
        with tempfile.TemporaryFile() as stderr:
            process = await self._spawn(stderr)
            try:
                await _write(process, pack_start(Start(setup=self._setup, job=job)))
                await _give_credit(process)
                while True:
                    frame = await self._next(process, stderr)
                    match frame:
                        case Alive():
                            continue
                        case Failure():
                            raise ReadFailed(frame)
                        case Chunk():
                            await _give_credit(process)
                            yield frame
                        case Detected():
                            yield frame
                        case SourceEnd():
                            yield frame
                            return
            finally:
                await _end(process)

    async def _spawn(self, stderr: BinaryIO) -> Process:
        environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "PYTHONPATH": _PACKAGE_ROOT,
            "TMPDIR": tempfile.gettempdir(),
        }
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", self._module),
            stdin=PIPE,
            stdout=PIPE,
            stderr=stderr,
            env=environment,
            limit=PIPE_BYTES,
            start_new_session=True,  # a Ctrl-C for the service is no order for its readers
        )
        _widen(process)
        return process

    async def _next(self, process: Process, stderr: BinaryIO) -> Frame:
        stdout = _piped(process.stdout)
        try:
            async with asyncio.timeout(self._stall_s):
                prefix = await stdout.readexactly(PREFIX.size)
                header_bytes, body_bytes = PREFIX.unpack(prefix)
                header = await stdout.readexactly(header_bytes)
                body = await stdout.readexactly(body_bytes) if body_bytes else b""
        except TimeoutError as error:
            raise ReaderDied(f"the reader gave no sign of life for {self._stall_s:g} s") from error
        except asyncio.IncompleteReadError as error:
            status = await process.wait()
            how = f"signal {-status}" if status < 0 else f"status {status}"
            raise ReaderDied(f"the reader ended with {how}: {_dying_words(stderr)}") from error
        return unpack(header, body)


async def _write(process: Process, payload: bytes) -> None:
    stdin = _piped(process.stdin)
    try:
        stdin.write(payload)
        await stdin.drain()
    except ConnectionError:
        return  # The child is dead; the next read says how it died.


async def _give_credit(process: Process) -> None:
    await _write(process, b".")


async def _end(process: Process) -> None:
    if process.returncode is None:
        with suppress(ProcessLookupError):
            process.kill()
    _piped(process.stdin).close()
    await process.wait()


def _piped(stream: T | None) -> T:
    """Return a stream that was asked for as a pipe, and so is there."""
    if stream is None:
        raise AssertionError("the process was started without this pipe")
    return stream


def _dying_words(stderr: BinaryIO) -> str:
    size = stderr.seek(0, os.SEEK_END)
    stderr.seek(max(0, size - DYING_WORDS_BYTES))
    return stderr.read().decode(errors="replace").strip() or "it said nothing"


def _widen(process: Process) -> None:
    """Make the child's output pipe as large as a chunk. Best effort: a limit may forbid it."""
    transport = process._transport.get_pipe_transport(1)  # type: ignore[attr-defined]  # noqa: SLF001 - no public way to the pipe
    if transport is None:
        return
    try:
        fcntl.fcntl(transport.get_extra_info("pipe"), fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    except OSError:
        return
