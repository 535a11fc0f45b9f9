"""The system calls that a running process makes on a database: counted, killed, failed.

By strace, which stops the process at every call: it runs several times slower. A call
that is killed or failed was not done.
"""

import re
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.processes import PATIENCE_S

CALLS = ("pwrite64", "fdatasync", "fsync", "ftruncate", "unlink", "unlinkat", "fcntl")
"""All that change a database, and the locks around them: the call after the fsync of a commit
is an unlock, so a kill there finds the commit on disk and nobody told."""

_ENDINGS = ("", "-wal", "-shm", "-journal")
_LINE = re.compile(r"(\d+) +(\w+)\(")


@dataclass(frozen=True, slots=True, order=True)
class Call:
    """One call of one thread: the ``count``-th (from 1) with this name."""

    name: str
    count: int

    def __str__(self) -> str:
        return f"{self.name} {self.count}"


def strace_is_missing() -> str:
    """Return why there is no strace to be used here; empty when there is."""
    if shutil.which("strace") is None:
        return "strace is not installed"
    inject = ("-e", "trace=fsync", "-e", "inject=fsync:signal=KILL:when=9")
    tried = subprocess.run(
        ["strace", "-f", "-o", "/dev/null", *inject, "true"],
        capture_output=True,
        text=True,
        check=False,
    )
    return tried.stderr.strip() if tried.returncode else ""


class Tracing:
    """strace, attached to a process and to all threads and children it will have."""

    def __init__(self, pid: int, database: Path, *inject: str) -> None:
        """Begin. ``inject`` is as for ``strace -e inject=``."""
        self._report = database.with_name(f"{database.name}.calls")
        self._process = subprocess.Popen(
            [
                *("strace", "-f", "-p", str(pid), "-o", str(self._report), "-e", "signal=none"),
                # Not every processor has all of them.
                *("-e", f"trace={','.join(f'?{name}' for name in CALLS)}"),
                *(word for one in inject for word in ("-e", f"inject={one}")),
                *(word for end in _ENDINGS for word in ("-P", f"{database}{end}")),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        self._await_attached(pid)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Let go of the process, if it is still there: from now on all is as it should be."""
        self._process.terminate()
        self.wait()

    def wait(self) -> None:
        """Wait until all that is traced has ended."""
        self._process.communicate(timeout=PATIENCE_S)

    def calls(self) -> Sequence[Call]:
        """Return the calls of the thread that made most, in order. After the end."""
        found = _LINE.findall(self._report.read_text(errors="replace"))
        threads = Counter(thread for thread, _ in found)
        ((busiest, _),) = threads.most_common(1)
        counts: Counter[str] = Counter()
        calls = []
        for thread, name in found:
            if thread == busiest:
                counts[name] += 1
                calls.append(Call(name, counts[name]))
        return calls

    def failed(self) -> int:
        """Count the calls that were failed. After the end."""
        return self._report.read_text(errors="replace").count("(INJECTED)")

    def _await_attached(self, pid: int) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not _is_traced(pid):
            if self._process.poll() is not None:
                raise ChildProcessError(self._process.communicate()[1].decode())
            assert time.monotonic() < deadline, "strace does not attach"
            time.sleep(0.005)


def _is_traced(pid: int) -> bool:
    states = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/status")]
    return all("\nTracerPid:\t0\n" not in state for state in states)
