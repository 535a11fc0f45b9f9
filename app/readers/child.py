"""The inside of a reader process: read one job, write frames, stop when nobody listens."""

import faulthandler
import gc
import os
import resource
import sys
import time
from collections.abc import Callable
from contextlib import closing

from app.domain.chunk import Chunk
from app.domain.errors import DecodeError, SourceError
from app.readers.cutting import Formats, cut
from app.readers.frames import Alive, Frame, ReaderSetup, pack, read_start

GARBAGE_OBJECTS = 100_000
"""Containers alive before cycles among them are looked for: several batches' worth."""

ALIVE_S = 5.0
"""A reader that has nothing to send says so this often."""


def serve(formats_of: Callable[[ReaderSetup], Formats]) -> int:
    """Serve the one job that comes on standard input. Returns the exit status."""
    faulthandler.enable()
    # Decoded records are freed by their reference counts; looking for cycles among them
    # every 700 objects took a third of the time of decoding.
    gc.freeze()
    gc.set_threshold(GARBAGE_OBJECTS, 20, 20)
    # Whatever a library prints must not get between the frames.
    frames, stdin = os.dup(1), sys.stdin.buffer
    os.dup2(2, 1)

    start = read_start(stdin)
    if cap := start.setup.memory_bytes_max:
        resource.setrlimit(resource.RLIMIT_AS, (cap, cap))

    last = time.monotonic()

    def send(frame: Frame) -> None:
        nonlocal last
        for buffer in pack(frame):
            view = memoryview(buffer)
            while view:
                view = view[os.write(frames, view) :]
        last = time.monotonic()

    def at_work() -> None:
        if time.monotonic() - last > ALIVE_S:
            send(Alive())

    try:
        with closing(cut(start.job, formats_of(start.setup), at_work=at_work)) as readings:
            for reading in readings:
                # Back-pressure: a chunk costs a credit, and the service gives one for
                # each chunk that it takes. No credit ever again: the service is gone.
                if isinstance(reading, Chunk) and not stdin.read(1):
                    return 0
                send(reading)
    except (SourceError, DecodeError) as error:
        send(error.failure())
    except BrokenPipeError:
        return 0
    return 0
