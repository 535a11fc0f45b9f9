"""The product and a strict receiver as real processes, to be killed."""

import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from tests.support.strict_book import Reading

ROOT = Path(__file__).parents[2]
PATIENCE_S = 90.0
"""Longest wait for anything. The machine may be busy with other things."""

GRACE_S = 80.0
"""Time to stop: 60 s for chunks and 5 s for requests in flight, on a busy machine."""

QUICK = {
    "INGEST_BACKOFF_INITIAL_S": "0.02",
    "INGEST_BACKOFF_MAX_S": "0.1",
    "INGEST_PROBE_INITIAL_S": "0.1",
    "INGEST_PROBE_MAX_S": "0.2",
    "INGEST_EXCHANGE_TIMEOUT_S": "300",
    "INGEST_DRAIN_S": "60",
    "INGEST_LEASE_S": "600",
}
"""A service that does not keep a test waiting, and gives nothing up because the machine does.

What it may cost that a time runs out – a chunk sent again, another service that takes over – is
the business of the tests that set this time.
"""


_PLAIN: dict[str, Any] = {"timeout": PATIENCE_S, "trust_env": False, "verify": False}
"""Requests to this machine. Reading certificates that none of them needs takes 30 ms each."""

_STOPPED = """
import ctypes, os, signal, sys
import app.cli, app.main, app.api.application
PR_SET_PTRACER, ANY = 0x59616D61, ctypes.c_ulong(-1)
ctypes.CDLL(None).prctl(PR_SET_PTRACER, ANY, 0, 0, 0)
os.kill(os.getpid(), signal.SIGSTOP)
app.cli.main()
"""
"""The service, stopped when all is imported and nothing opened; any process may trace it."""


def surroundings(**settings: str) -> dict[str, str]:
    """Return an environment in which nothing of ours is set but ``settings``."""
    ours = ("INGEST_", "ACKLINE_")
    inherited = {name: text for name, text in os.environ.items() if not name.startswith(ours)}
    return inherited | settings


class _Lines:
    """The lines of a child's standard output, with a limit to the patience."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        self._pipe = process.stdout
        self._seen = b""

    def next(self, patience_s: float = PATIENCE_S) -> str | None:
        """Return a line; ``None`` at the end of the output. Raises ``TimeoutError``."""
        deadline = time.monotonic() + patience_s
        while b"\n" not in self._seen:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._pipe], [], [], left)[0]:
                raise TimeoutError(f"no line within {patience_s:g} s")
            part = os.read(self._pipe.fileno(), 65_536)
            if not part:
                return None
            self._seen += part
        line, _, self._seen = self._seen.partition(b"\n")
        return line.decode()


class Receiver:
    """A strict receiver. It keeps its port and its database when it is started again."""

    def __init__(self, folder: Path, *options: str, seed: int | None = None) -> None:
        self.database = folder / "strict.db"
        self._options = [*options, *(["--seed", str(seed)] if seed is not None else [])]
        self._name = socket.socket()
        """Bound, and never listening: between two lives nobody else is given the port."""
        self._name.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._name.bind(("127.0.0.1", 0))
        self.port = int(self._name.getsockname()[1])
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/callback"

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def start(self) -> None:
        asked = ("--database", str(self.database), "--port", str(self.port), *self._options)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.strict_receiver", *asked],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._lines = _Lines(self._process)
        self._heard: deque[dict[str, Any]] = deque()
        """What it said while an order was under way."""
        assert self.said() == {"port": self.port}

    def kill(self) -> None:
        _end(self._process)

    def close(self) -> None:
        """Kill it for good, and let go of its port."""
        self.kill()
        self._name.close()

    def gate(self, count: int, phase: str, kind: str = "ingestion") -> None:
        """Have it stop in ``phase`` of the ``count``-th request from now of that kind."""
        self._order(f"gate {count} {phase} {kind}")

    def go(self) -> None:
        """Let it go on."""
        self._order("go")

    def play(self, *faults: str) -> None:
        """Have the next requests meet these faults."""
        for fault in faults:
            self._order(f"play {fault}")

    def said(self, patience_s: float = PATIENCE_S) -> dict[str, Any]:
        """Return what it says next."""
        return self._heard.popleft() if self._heard else self._next(patience_s)

    def _next(self, patience_s: float = PATIENCE_S) -> dict[str, Any]:
        line = self._lines.next(patience_s)
        if line is None:
            raise EOFError("the receiver has ended")
        said: dict[str, Any] = json.loads(line)
        return said

    def closed(self, ingestion_id: str) -> str:
        """Wait until an ingestion ends. Returns with which event."""
        while (said := self.said()).get("closed") != ingestion_id:
            pass
        return str(said["kind"])

    @contextmanager
    def reading(self) -> Iterator[Reading]:
        """Look into its database."""
        reading = Reading(self.database)
        try:
            yield reading
        finally:
            reading.close()

    def _order(self, order: str) -> None:
        """Return when the order is in force: it holds for every request from now on."""
        assert self._process.stdin is not None
        self._process.stdin.write(order.encode() + b"\n")
        self._process.stdin.flush()
        while (said := self._next()) != {"obeyed": order}:
            self._heard.append(said)


class Service:
    """The service, started by the command line as a user would. Entering it starts it."""

    def __init__(self, folder: Path, callbacks: str, **settings: str) -> None:
        self._log = folder / "service.log"
        self._environment = surroundings(
            **QUICK
            | {
                "INGEST_DATABASE_PATH": str(folder / "ackline.db"),
                "INGEST_SOURCE_ROOTS": json.dumps([str(folder)]),
                "INGEST_CALLBACK_ALLOW": json.dumps([callbacks]),
            }
            | settings
        )
        self.url = ""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()

    @property
    def pid(self) -> int:
        return self._process.pid

    def start(self) -> None:
        """Start, and wait until it says where it listens."""
        self.launch()
        assert self.listens(), self.log()[-2000:]

    def listens(self) -> bool:
        """Wait until it says where it listens. Returns false when it ends before."""
        line = self._lines.next() or ""
        assert not line or line.startswith("listening on "), line
        self.url = line.removeprefix("listening on ")
        return bool(line)

    def launch(self) -> None:
        """Start, and wait for nothing."""
        self._launch("-m", "app.cli")

    def launch_stopped(self) -> None:
        """Start, and wait until it stands still before it has opened anything."""
        self._launch("-c", _STOPPED)
        _, status = os.waitpid(self.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status), self.log()[-2000:]

    def _launch(self, *program: str) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, *program, "serve", "--port", "0"],
                cwd=ROOT,
                env=self._environment,
                stdout=subprocess.PIPE,
                stderr=log,
            )
        self._lines = _Lines(self._process)

    def kill(self) -> None:
        """SIGKILL, and no word of farewell."""
        _end(self._process)

    def ask_to_stop(self) -> None:
        """SIGTERM."""
        self._process.terminate()

    def terminate(self) -> int:
        """SIGTERM. Returns the exit status."""
        self.ask_to_stop()
        return self.wait()

    def wait(self) -> int:
        """Wait for the end, within the grace time. Returns the exit status."""
        status = self._process.wait(GRACE_S)
        assert self._process.stdout is not None
        self._process.stdout.close()
        return status

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def readers(self) -> list[int]:
        """Return the process ids of its reader processes: the children of the fork server."""
        return [reader for server in self.fork_servers() for reader in children(server)]

    def fork_servers(self) -> list[int]:
        """Return the process id of the one that makes its readers, if it has begun to."""
        return [pid for pid in children(self.pid) if "app.reader_process" in command_line(pid)]

    def post(self, path: str, body: object) -> httpx.Response:
        return httpx.post(self.url + path, json=body, **_PLAIN)

    def get(self, path: str) -> httpx.Response:
        return httpx.get(self.url + path, **_PLAIN)

    def submit(self, file: Path, kind: str, callback: str, **members: object) -> str:
        """Submit a file. Returns the ingestion's id."""
        answer = self._submit(file, kind, callback, members)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["ingestion_id"])

    def resubmit(self, file: Path, kind: str, callback: str, **members: object) -> str:
        """Submit a file whose first submission was not answered. Returns the ingestion's id.

        That may have arrived all the same, and the file may be delivered by now.
        """
        answer = self._submit(file, kind, callback, members)
        assert answer.status_code in (200, 202), answer.text
        return str(answer.json()["ingestion_id"])

    def _submit(
        self, file: Path, kind: str, callback: str, members: dict[str, object]
    ) -> httpx.Response:
        asked = {"file_path": str(file), "file_type": kind, "callback_url": callback}
        return self.post("/api/ingest", asked | members)

    def show(self, ingestion_id: str) -> dict[str, Any]:
        answer = self.get(f"/api/ingestions/{ingestion_id}")
        assert answer.status_code == 200, answer.text
        shown: dict[str, Any] = answer.json()
        return shown

    def dead_letters(self, ingestion_id: str) -> list[dict[str, Any]]:
        """Return all of an ingestion, page by page."""
        found: list[dict[str, Any]] = []
        following: str | None = f"/api/ingestions/{ingestion_id}/dead-letters?limit=7"
        while following is not None:
            page = self.get(following).json()
            found += page["dead_letters"]
            following = page["next"]
        return found

    def until(self, ingestion_id: str, *states: str) -> dict[str, Any]:
        """Look again and again until the ingestion is in one of the states."""
        deadline = time.monotonic() + PATIENCE_S
        while (shown := self.show(ingestion_id))["state"] not in states:
            assert time.monotonic() < deadline, shown
            time.sleep(0.02)
        return shown

    def ended(self, ingestion_id: str) -> dict[str, Any]:
        """Wait until the service does nothing more for an ingestion by itself."""
        states = ("COMPLETED", "FAILED", "PAUSED", "ABORTED", "QUARANTINED")
        return self.until(ingestion_id, *states)

    def log(self) -> str:
        return self._log.read_text()

    def troubles(self) -> list[str]:
        """Return what it logged as an error of its own, over all its lives."""
        signs = ('"level":"error"', '"level":"critical"', "Traceback", '"exception"')
        return [line for line in self.log().splitlines() if any(sign in line for sign in signs)]


def children(pid: int) -> list[int]:
    """Return the process ids of all children of a process."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            found += map(int, task.read_text().split())
    return found


def command_line(pid: int) -> str:
    """Return how a process was started; empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


def environments_with(setting: str) -> list[str]:
    """Return how all processes were started that run with this in their environment."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if setting.encode() in (folder / "environ").read_bytes().split(b"\0"):
                found.append(command_line(int(folder.name)))
    return found


def kill_now(pid: int) -> None:
    """SIGKILL a process that may be gone already."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def wait_until_gone(*pids: int) -> None:
    """Wait until none of these processes runs any more."""
    deadline = time.monotonic() + PATIENCE_S
    while left := [pid for pid in pids if command_line(pid)]:
        assert time.monotonic() < deadline, f"still there: {[command_line(pid) for pid in left]}"
        time.sleep(0.02)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None and not pipe.closed:
            with suppress(BrokenPipeError):
                pipe.close()
