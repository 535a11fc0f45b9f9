"""Processes to be measured: started, asked where they listen, watched, stopped."""

import os
import signal
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

NEWBORN_S = 0.005
"""Longer than a process takes from its birth to its exec."""

_TICKS = os.sysconf("SC_CLK_TCK")


@contextmanager
def python(
    *arguments: str, interpreter: str = sys.executable, **environment: str
) -> Iterator[subprocess.Popen[str]]:
    """Run ``python -m`` something for a while; it is told to stop at the end."""
    process = subprocess.Popen(
        [interpreter, "-m", *arguments],
        stdout=subprocess.PIPE,
        env=surroundings() | environment,
        text=True,
    )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout:
            process.stdout.close()


def end_tidily() -> None:
    """Have SIGTERM end this program as Ctrl-C does: with it its processes and its files go."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))


def surroundings() -> dict[str, str]:
    """Return the environment without settings of ours: a run is the same everywhere."""
    ours = ("INGEST_", "ACKLINE_", "RECEIVER_")
    return {name: text for name, text in os.environ.items() if not name.startswith(ours)}


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

    processes: int = 0
    """Most of them at once."""

    known: frozenset[int] = frozenset()
    """Those that lived at the last look."""

    def look(self, *pids: int) -> None:
        """Take what they hold at this moment into account.

        A newborn is looked at a moment later: between vfork and exec it has its parent's
        memory, which would count twice.
        """
        alive = frozenset(member for pid in pids for member in family(pid))
        if not alive <= self.known:
            time.sleep(NEWBORN_S)
        self.known = alive
        self.processes = max(self.processes, len(alive))
        self.peak_bytes = max(self.peak_bytes, sum(map(pss_bytes, alive)))

    def peak_mb(self) -> float:
        """Return the peak in MB (10⁶ bytes)."""
        return self.peak_bytes / 1e6


@contextmanager
def watching(*pids: int, every_s: float = WATCH_S) -> Iterator[Watched]:
    """Watch the memory of processes and all below them.

    A look costs about a millisecond a process, so nothing is timed meanwhile.
    """
    watched, stop = Watched(), threading.Event()

    def watch() -> None:
        while not stop.wait(every_s):
            watched.look(*pids)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield watched
    finally:
        stop.set()
        thread.join()


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """CPU seconds, user and system."""

    own: float
    """Of the process itself."""

    below: float
    """Of its children, those that live and those that it waited for."""

    def since(self, before: "Spent") -> "Spent":
        """Return what was spent after ``before``."""
        return Spent(own=self.own - before.own, below=self.below - before.below)

    @property
    def total(self) -> float:
        """Own and below."""
        return self.own + self.below


def spent(pid: int) -> Spent:
    """Return the CPU time of a living process and of everything below it."""
    user, system, waited_user, waited_system = _ticks(pid)
    living = sum(sum(_ticks(member)) for member in family(pid)[1:])
    return Spent(
        own=(user + system) / _TICKS, below=(waited_user + waited_system + living) / _TICKS
    )


def _ticks(pid: int) -> tuple[int, int, int, int]:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0, 0, 0, 0
    user, system, waited_user, waited_system = map(int, fields[11:15])
    return user, system, waited_user, waited_system


def family(pid: int) -> list[int]:
    """Return a process and all below it."""
    found = [pid]
    for member in found:
        try:
            for task in Path(f"/proc/{member}/task").iterdir():
                found += map(int, (task / "children").read_text().split())
        except OSError:  # it has just ended
            continue
    return found


def pss_bytes(pid: int) -> int:
    """Return the proportional set size of one process; 0 when it has ended."""
    try:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0
    return next(
        int(line.split()[1]) * 1024 for line in rollup.splitlines() if line.startswith("Pss:")
    )


def now() -> float:
    """Return a time in seconds, for differences, the same for all processes of this machine."""
    return time.monotonic()
