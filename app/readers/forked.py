"""The service's end of the fork server, and of each reader that it makes."""

import asyncio
import fcntl
import os
import select
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack, suppress
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from app.domain.errors import ReaderDied
from app.readers.fork_server import ORDER, Ends
from app.readers.frames import PREFIX, Frame, FrameInvalid, lengths, unpack

PIPE_BYTES = 1 << 20
"""Room in the pipe: a usual chunk fits, so that the child goes on decoding at once."""

DYING_WORDS_BYTES = 4096
"""How much of a dead process's standard error is kept as the reason."""

ALLOCATOR = {
    "MALLOC_MMAP_THRESHOLD_": str(16 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(32 << 20),
}
"""Memory of one chunk is used for the next instead of being given back and asked for again, page
by page: a tenth of a reader's time. Source: mallopt(3); other C libraries pass over it."""

PACKAGE_ROOT = str(Path(__file__).resolve().parent.parent.parent)


class ForkServer:
    """Makes reader processes. Started with the first one, and again when it was lost."""

    def __init__(self, module: str) -> None:
        """Run ``python -m module``."""
        self._module = module
        self._running: _Running | None = None

    def fork(self) -> "Forked":
        """Have a reader made. It says in its own time whether that went well.

        Raises `ReaderDied` when it cannot even be tried.
        """
        with ExitStack() as theirs, ExitStack() as ours:
            orders_end, orders = os.pipe()
            theirs.callback(os.close, orders_end)
            ours.callback(os.close, orders)
            frames, frames_end = os.pipe()
            theirs.callback(os.close, frames_end)
            ours.callback(os.close, frames)
            life, life_end = socket.socketpair()
            theirs.enter_context(life_end)
            ours.enter_context(life)
            stderr = ours.enter_context(tempfile.TemporaryFile())
            with suppress(OSError):  # a limit for unprivileged users may forbid it
                fcntl.fcntl(frames, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
            life.settimeout(0)
            for fd in (orders, frames):
                os.set_blocking(fd, False)
            server = self._order(Ends(orders_end, frames_end, stderr.fileno(), life_end.fileno()))
            ours.pop_all()
        return Forked(server, orders=orders, frames=frames, life=life, stderr=stderr)

    def close(self) -> None:
        """End the fork server and, with it, every reader."""
        if self._running:
            self._running.end()
            self._running = None

    def _order(self, ends: Ends) -> "_Running":
        try:
            try:
                return self._send(ends)
            except ConnectionError:
                self.close()  # it was lost since the last order
                return self._send(ends)
        except OSError as error:
            raise ReaderDied(f"no reader can be started: {error}") from error

    def _send(self, ends: Ends) -> "_Running":
        if not self._running or self._running.ended:
            self._running = _Running(self._module)
        socket.send_fds(self._running.control, [ORDER], ends)
        return self._running


class _Running:
    """One life of the fork server."""

    def __init__(self, module: str) -> None:
        # Whole orders or none, each with its descriptors.
        self.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.control.settimeout(0)
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `end`
        with theirs:
            self.process = subprocess.Popen(  # noqa: S603 - our own module
                [sys.executable, "-P", "-m", module],
                stdin=theirs.fileno(),
                stdout=self._stderr,
                stderr=self._stderr,
                env={
                    "PATH": os.environ.get("PATH", os.defpath),
                    "PYTHONPATH": PACKAGE_ROOT,
                    "TMPDIR": tempfile.gettempdir(),
                    **ALLOCATOR,
                },
                start_new_session=True,  # a Ctrl-C for the service is no order for its readers
            )
        self._words: str | None = None

    @property
    def ended(self) -> bool:
        """Whether `end` was called."""
        return self._words is not None

    def end(self) -> str:
        """Kill it, unless it is dead, and reap it. Returns its last words, each time."""
        if self._words is None:
            self.process.kill()
            self.process.wait()
            self.control.close()
            with self._stderr:
                self._words = _last_words(self._stderr)
        return self._words


class Forked:
    """One reader process, and our ends of its pipes."""

    def __init__(
        self, server: _Running, *, orders: int, frames: int, life: socket.socket, stderr: BinaryIO
    ) -> None:
        self._server = server
        self._orders = orders
        self._frames = frames
        self._life = life
        self._stderr = stderr
        self._loop = asyncio.get_running_loop()
        self._waiter: asyncio.Future[None] | None = None
        self._watched = False
        self._look = select.poll()
        self._look.register(frames, select.POLLIN)

    async def tell(self, order: bytes) -> None:
        """Write to the reader. Into the void, too: its next frame says how it ended."""
        left = memoryview(order)
        while left:
            try:
                left = left[os.write(self._orders, left) :]
            except BlockingIOError:
                await _ready(self._loop.add_writer, self._loop.remove_writer, self._orders)
            except BrokenPipeError:
                return

    async def has_more(self, within_s: float) -> bool:
        """Tell whether something can be read, or the end be seen, within so many seconds."""
        until = self._loop.time() + within_s
        try:
            await self._readable(until)
            # The loop may speak of what has been read since it looked.
            while not self._look.poll(0):
                await self._readable(until)
        except TimeoutError:
            return False
        return True

    async def next_frame(self, *, stall_s: float, body_bytes_max: int) -> Frame:
        """Return what the reader sends next.

        Raises `ReaderDied`: it has ended, sends no frames, or is silent for ``stall_s``.
        """
        until = self._loop.time() + stall_s
        try:
            frame = await self._frame(body_bytes_max, until)
            if frame is not None:
                return frame
            async with asyncio.timeout_at(until):
                how = (await self._loop.sock_recv(self._life, 1024)).decode()
        except TimeoutError as error:
            raise ReaderDied(f"the reader gave no sign of life for {stall_s:g} s") from error
        except FrameInvalid as error:
            raise ReaderDied(f"the reader sent {error}") from error
        except ConnectionError:
            how = ""
        words = _last_words(self._stderr)
        if not how:
            how = "was lost with its fork server"
            words = "\n".join(filter(None, (words, self._server.end())))
        raise ReaderDied(f"the reader {how}: {words or 'it said nothing'}")

    def end(self) -> None:
        """Kill the reader, if it lives, and let go of it. The fork server reaps it."""
        self._unwatch()
        self._life.close()
        os.close(self._orders)
        os.close(self._frames)
        self._stderr.close()

    async def _frame(self, body_bytes_max: int, until: float) -> Frame | None:
        # The reader is only just told to write. To look at once finds nothing, or waits for a
        # pipe that is locked until all of the frame is in it.
        prefix = bytearray(PREFIX.size)
        if not await self._fill([memoryview(prefix)], until):
            return None
        header_bytes, body_bytes = lengths(prefix, body_bytes_max=body_bytes_max)
        header = bytearray(header_bytes)
        # Becomes bytes without a copy: `BytesIO` gives out the object it was filled in.
        body = BytesIO(bytes(body_bytes))
        with body.getbuffer() as room:
            if not await self._fill([memoryview(header), room], until):
                return None
        return unpack(header, body.getvalue())

    async def _readable(self, until: float) -> None:
        """Wait for something to read. The loop goes on watching for the next frame, if asked.

        Raises ``TimeoutError`` at ``until``. A timer only where there is something to wait for:
        what a quick receiver makes us ask for mostly lies in the pipe.
        """
        self._waiter = self._loop.create_future()
        deadline = self._loop.call_at(until, self._on_deadline, self._waiter)
        if not self._watched:
            self._watched = True
            self._loop.add_reader(self._frames, self._on_readable)
        try:
            await self._waiter
        finally:
            deadline.cancel()

    @staticmethod
    def _on_deadline(waiter: asyncio.Future[None]) -> None:
        if not waiter.done():
            waiter.set_exception(TimeoutError())

    def _on_readable(self) -> None:
        if self._waiter and not self._waiter.done():
            self._waiter.set_result(None)
        else:
            self._unwatch()

    def _unwatch(self) -> None:
        if self._watched:
            self._watched = False
            self._loop.remove_reader(self._frames)

    async def _fill(self, buffers: list[memoryview], until: float) -> bool:
        """Read straight into the buffers; ``False`` if the output ends before they are full."""
        buffers = [buffer for buffer in buffers if buffer]
        while buffers:
            try:
                size = os.readv(self._frames, buffers)
            except BlockingIOError:
                await self._readable(until)
                continue
            if not size:
                return False
            while buffers and size >= len(buffers[0]):
                size -= len(buffers.pop(0))
            if size:
                buffers[0] = buffers[0][size:]
        return True


async def _ready(
    add: Callable[[int, Callable[[], None]], None], remove: Callable[[int], object], fd: int
) -> None:
    """Wait until a descriptor can be read or written."""
    ready = asyncio.Event()
    add(fd, ready.set)
    try:
        await ready.wait()
    finally:
        remove(fd)


def _last_words(stderr: BinaryIO) -> str:
    size = stderr.seek(0, os.SEEK_END)
    stderr.seek(max(0, size - DYING_WORDS_BYTES))
    return stderr.read().decode(errors="replace").strip()
