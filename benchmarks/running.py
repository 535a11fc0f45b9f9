"""Processes to be measured: started, asked for their port, watched, stopped."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

WATCH_S = 0.02
"""Time between two looks at the memory of all processes."""


@contextmanager
def python(*arguments: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """Run ``python -m`` something for a while; it is told to stop at the end."""
    process = subprocess.Popen(
        [sys.executable, "-m", *arguments],
        stdout=subprocess.PIPE,
        env=os.environ | environment,
        text=True,
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(30)


def first_line(process: subprocess.Popen[str]) -> str:
    """Return the first line a server prints: where it listens."""
    line = process.stdout.readline().strip() if process.stdout else ""
    if not line:
        raise RuntimeError("a server did not start")
    return line


@dataclass(slots=True)
class Watched:
    """What a process and its children took together."""

    peak_bytes: int = 0
    """Proportional set size at its highest, all of them together: shared pages count once."""

    def peak_mb(self) -> float:
        """Return the peak in MB (10⁶ bytes)."""
        return self.peak_bytes / 1e6


@contextmanager
def watching(pid: int) -> Iterator[Watched]:
    """Watch the memory of a process and all below it."""
    watched, stop = Watched(), threading.Event()

    def watch() -> None:
        while not stop.wait(WATCH_S):
            watched.peak_bytes = max(watched.peak_bytes, sum(map(_bytes_of, _family(pid))))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield watched
    finally:
        stop.set()
        thread.join()


def cpu_seconds(pid: int) -> float:
    """Return the CPU time of a living process and of its children that have ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except FileNotFoundError:
        return 0.0
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def _family(pid: int) -> list[int]:
    found = [pid]
    for member in found:
        try:
            for task in Path(f"/proc/{member}/task").iterdir():
                found += map(int, (task / "children").read_text().split())
        except OSError:  # it has just ended
            continue
    return found


def _bytes_of(pid: int) -> int:
    try:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0
    return next(
        int(line.split()[1]) * 1024 for line in rollup.splitlines() if line.startswith("Pss:")
    )


def now() -> float:
    """Return a time in seconds, for differences."""
    return time.perf_counter()
