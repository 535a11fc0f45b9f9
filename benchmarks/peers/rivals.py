"""The peers as processes: what starts each of them, and one delivery by one of them."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from app.samples.formats import SampleFormat
from benchmarks.contenders import Job, WrongCount
from benchmarks.receiving import RunningSink
from benchmarks.running import Watched, family, now, spent, surroundings, watching

ROOT = Path(__file__).parents[2]
NODE_PROGRAM = Path(__file__).parent / "programs" / "queue.cjs"
PATIENCE_S = 300.0
"""Longest wait for one delivery."""

GLANCE_S = 0.005
REDIS_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """One way to do it."""

    name: str
    formats: tuple[SampleFormat, ...]
    program: tuple[str, ...]
    """The beginning of the command; file, URL, chunk size and folder or port follow."""

    on_redis: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One whole delivery."""

    seconds: float
    """From the end of the start to the end of the process."""

    cpu_s: float
    """Of all its processes, Redis included, in that time."""


def peers(environment: Path) -> tuple[list[Peer], list[str]]:
    """Return who is present in the environment, and why the others are not."""
    present: list[Peer] = []
    absent: list[str] = []
    python, both = environment / "bin" / "python", (SampleFormat.CSV, SampleFormat.JSON)
    modules = {
        "hand-written loop": "loop",
        "DBOS on SQLite": "durable_workflow",
        "dlt": "load_tool",
    }
    if python.exists():
        for name, module in modules.items():
            program = (str(python), "-m", f"benchmarks.peers.programs.{module}")
            present.append(Peer(name=name, formats=both, program=program))
    else:
        absent.append(f"{', '.join(modules)}: there is no {python} (make bench-peers makes it)")
    lacking = [name for name in ("node", "redis-server") if shutil.which(name) is None]
    if not (environment / "node" / "node_modules" / "bullmq").exists():
        lacking.append("its npm packages")
    if lacking:
        absent.append(f"csv-parse + BullMQ + Redis: {', '.join(lacking)} not present")
    else:
        present.append(
            Peer(
                name="csv-parse + BullMQ + Redis",
                formats=(SampleFormat.CSV,),
                program=("node", str(NODE_PROGRAM)),
                on_redis=True,
            )
        )
    return present, absent


@contextmanager
def redis(folder: Path) -> Iterator[tuple[int, int]]:
    """Run a Redis that keeps its log on disk. Gives its process and its port."""
    with socket.socket() as chosen:
        chosen.bind(("127.0.0.1", 0))
        port = chosen.getsockname()[1]
    arguments = ["--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder)]
    process = subprocess.Popen(
        ["redis-server", *arguments, "--appendonly", "yes", "--save", ""],
        stdout=subprocess.DEVNULL,
    )
    try:
        _wait_for_redis(process, port)
        yield process.pid, port
    finally:
        process.kill()
        process.wait()


def _wait_for_redis(process: subprocess.Popen[bytes], port: int) -> None:
    deadline = now() + REDIS_S
    while now() < deadline and process.poll() is None:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1) as asked:
            asked.sendall(b"INFO server\r\n")
            if f"process_id:{process.pid}\r\n".encode() in asked.recv(65_536):
                return
        time.sleep(0.02)
    raise RuntimeError("the Redis that was started does not answer on its port")


@dataclass(frozen=True, slots=True)
class Stage:
    """Where one peer delivers: its folder and, if it needs one, its Redis."""

    peer: Peer
    environment: Path
    folder: Path
    redis: tuple[int, int] | None

    @property
    def redis_pids(self) -> tuple[int, ...]:
        """The Redis process, if any."""
        return self.redis[:1] if self.redis else ()

    @contextmanager
    def started(self, job: Job, url: str) -> Iterator[subprocess.Popen[str]]:
        """Start the program; give it once it says that it begins."""
        last = str(self.redis[1] if self.redis else self.folder)
        arguments = [str(job.file), url, str(job.chunk_records), last]
        with subprocess.Popen(
            [*self.peer.program, *arguments],
            stdout=subprocess.PIPE,
            env=surroundings() | self._additions(),
            cwd=ROOT,
            text=True,
        ) as process:
            try:
                if process.stdout is None or process.stdout.readline() != "ready\n":
                    raise RuntimeError(f"{self.peer.name} did not start")
                yield process
            finally:
                if process.returncode is None:
                    kill(process.pid)

    def deliver(self, job: Job, sink: RunningSink) -> Delivery:
        """Deliver once, from nothing."""
        sink.forget()
        with self.started(job, sink.url) as process:
            began = now()
            before = spent(process.pid).total + self._redis_cpu()
            used = self.end(process)
            seconds = now() - began
        if sink.report().requests < job.chunks:
            raise WrongCount(f"{self.peer.name}: {sink.report().requests} of {job.chunks} requests")
        return Delivery(seconds=seconds, cpu_s=used + self._redis_cpu() - before)

    def peak(self, job: Job, sink: RunningSink) -> Watched:
        """Deliver once more, watched."""
        with (
            self.started(job, sink.url) as process,
            watching(process.pid, *self.redis_pids) as watched,
        ):
            self.end(process)
        return watched

    def end(self, process: subprocess.Popen[str]) -> float:
        """Wait for the end. Returns the CPU seconds of its whole life, children included."""
        deadline = now() + PATIENCE_S
        while not (ended := os.wait4(process.pid, os.WNOHANG))[0]:
            if now() > deadline:
                raise TimeoutError(f"{self.peer.name} does not end")
            time.sleep(GLANCE_S)
        _, status, usage = ended
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, self.peer.name)
        return usage.ru_utime + usage.ru_stime

    def _redis_cpu(self) -> float:
        return sum(spent(pid).total for pid in self.redis_pids)

    def _additions(self) -> dict[str, str]:
        return {
            "PYTHONPATH": str(ROOT),
            "NODE_PATH": str(self.environment / "node" / "node_modules"),
            "PYTHONWARNINGS": "ignore",
        }


@contextmanager
def stage(peer: Peer, environment: Path, folder: Path) -> Iterator[Stage]:
    """Give a peer an empty folder, and a Redis of its own."""
    folder.mkdir()
    try:
        if peer.on_redis:
            with redis(folder) as running:
                yield Stage(peer, environment, folder, running)
        else:
            yield Stage(peer, environment, folder, None)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def kill(pid: int) -> None:
    """SIGKILL a process and all below it."""
    for member in family(pid):
        with suppress(ProcessLookupError):
            os.kill(member, signal.SIGKILL)


def announce(absent: list[str]) -> None:
    """Say loudly who does not take part."""
    for reason in absent:
        sys.stderr.write(f"\n*** SKIPPED *** {reason}\n\n")
