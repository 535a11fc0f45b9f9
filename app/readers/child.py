"""The inside of a reader process: read one job, write frames, stop when nobody listens."""

import gc
import os
import resource
import select
import time
from collections.abc import Callable
from contextlib import closing

from app.domain.chunk import Chunk
from app.domain.errors import DecodeError, SourceError
from app.readers.cutting import Formats, cut
from app.readers.frames import CREDIT_ALONE, Alive, Frame, ReaderSetup, pack, read_start

GARBAGE_OBJECTS = 100_000
"""Containers alive before cycles among them are looked for: several batches' worth."""

ALIVE_S = 5.0
"""A reader that has nothing to send says so this often."""


def serve(orders: int, frames: int, formats_of: Callable[[ReaderSetup], Formats]) -> int:
    """Serve the one job that comes on ``orders``. Returns the exit status."""
    # Decoded records are freed by their reference counts; looking for cycles among them
    # every 700 objects took a third of the time of decoding.
    gc.set_threshold(GARBAGE_OBJECTS, 20, 20)

    start = read_start(orders)
    if cap := start.setup.memory_bytes_max:
        resource.setrlimit(resource.RLIMIT_AS, (cap, cap))

    last = time.monotonic()

    def send(frame: Frame) -> None:
        nonlocal last
        write_all(frames, pack(frame))
        last = time.monotonic()

    def at_work() -> None:
        if time.monotonic() - last > ALIVE_S:
            send(Alive())

    try:
        with closing(cut(start.job, formats_of(start.setup), at_work=at_work)) as readings:
            for reading in readings:
                if not isinstance(reading, Chunk):
                    send(reading)
                    continue
                # Back-pressure: a chunk costs a credit, and the service gives one for
                # each chunk that it takes. No credit ever again: the service is gone.
                credit = os.read(orders, 1)
                if not credit:
                    return 0
                send(reading)
                if credit == CREDIT_ALONE:
                    select.select([orders], [], [])
    except (SourceError, DecodeError) as error:
        send(error.failure())
    except BrokenPipeError:
        return 0
    return 0


def write_all(fd: int, buffers: list[bytes]) -> None:
    """Write the buffers one after the other, in as few calls as the pipe has room for."""
    views = [memoryview(buffer) for buffer in buffers if buffer]
    while views:
        written = os.writev(fd, views)
        while views and written >= len(views[0]):
            written -= len(views.pop(0))
        if written:
            views[0] = views[0][written:]
