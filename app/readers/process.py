"""Read in a child process of its own.

A hostile file may crash or bloat a native parser, and decoding must neither stall the
event loop nor share its GIL. The child gives a chunk over its pipe for each credit, and seals
one more while it waits: with the one that the delivery looks ahead at, two chunks ahead of
the one in flight.
"""

import asyncio
import fcntl
import os
import sys
import tempfile
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncGenerator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Self, cast

from app.domain.chunk import Chunk
from app.domain.errors import Failure, ReaderDied, ReadFailed
from app.ports import Detected, Reading, ReadJob, SourceEnd
from app.readers.frames import PREFIX, Alive, Frame, ReaderSetup, Start, pack_start, unpack

PIPE_BYTES = 1 << 20
"""Room in the pipe: a usual chunk fits, so that the child goes on decoding at once."""

DYING_WORDS_BYTES = 4096
"""How much of a dead child's standard error is kept as the reason."""

CREDIT = b"."

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
            child = await _Child.spawn(self._module, stderr)
            try:
                await child.tell(pack_start(Start(setup=self._setup, job=job)))
                await child.tell(CREDIT)
                while True:
                    frame = await child.next_frame(self._stall_s)
                    match frame:
                        case Alive():
                            continue
                        case Failure():
                            raise ReadFailed(frame)
                        case Chunk():
                            yield frame
                            # Only now: the child seals one ahead and waits with it.
                            await child.tell(CREDIT)
                        case Detected():
                            yield frame
                        case SourceEnd():
                            yield frame
                            return
            finally:
                await child.end()


@dataclass(frozen=True, slots=True)
class _Child:
    """A process and the two ends of it that we hold."""

    process: Process
    frames: asyncio.StreamReader
    pipe: asyncio.ReadTransport
    stderr: BinaryIO

    @classmethod
    async def spawn(cls, module: str, stderr: BinaryIO) -> Self:
        # A pipe of our own: event loops differ in what they give a child as its output.
        ours, theirs = os.pipe()
        output = os.fdopen(ours, "rb", buffering=0)
        try:
            with suppress(OSError):  # a limit for unprivileged users may forbid it
                fcntl.fcntl(ours, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-m", module),
                stdin=PIPE,
                stdout=theirs,
                stderr=stderr,
                env={
                    "PATH": os.environ.get("PATH", os.defpath),
                    "PYTHONPATH": _PACKAGE_ROOT,
                    "TMPDIR": tempfile.gettempdir(),
                },
                start_new_session=True,  # a Ctrl-C for the service is no order for its readers
            )
        except BaseException:
            output.close()
            raise
        finally:
            os.close(theirs)
        frames = asyncio.StreamReader(limit=PIPE_BYTES)
        pipe, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(frames), output
        )
        return cls(process, frames, pipe, stderr)

    async def tell(self, order: bytes) -> None:
        stdin = cast("asyncio.StreamWriter", self.process.stdin)
        if stdin.is_closing():
            return  # It has ended; uvloop would raise a RuntimeError at a write.
        try:
            stdin.write(order)
            await stdin.drain()
        except ConnectionError:
            return  # The child is dead; the next frame says how it died.

    async def next_frame(self, stall_s: float) -> Frame:
        try:
            async with asyncio.timeout(stall_s):
                prefix = await self.frames.readexactly(PREFIX.size)
                header_bytes, body_bytes = PREFIX.unpack(prefix)
                header = await self.frames.readexactly(header_bytes)
                body = await self.frames.readexactly(body_bytes) if body_bytes else b""
        except TimeoutError as error:
            raise ReaderDied(f"the reader gave no sign of life for {stall_s:g} s") from error
        except asyncio.IncompleteReadError as error:
            status = await self.process.wait()
            how = f"signal {-status}" if status < 0 else f"status {status}"
            raise ReaderDied(f"the reader ended with {how}: {self._dying_words()}") from error
        return unpack(header, body)

    async def end(self) -> None:
        if self.process.returncode is None:
            with suppress(ProcessLookupError):
                self.process.kill()
        cast("asyncio.StreamWriter", self.process.stdin).close()
        self.pipe.close()
        await self.process.wait()

    def _dying_words(self) -> str:
        size = self.stderr.seek(0, os.SEEK_END)
        self.stderr.seek(max(0, size - DYING_WORDS_BYTES))
        return self.stderr.read().decode(errors="replace").strip() or "it said nothing"
