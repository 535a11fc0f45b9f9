"""The sink as a process, asked over HTTP by whoever measures."""

from collections.abc import Iterator
from contextlib import contextmanager
from secrets import token_hex

import httpx
from pydantic import TypeAdapter

from benchmarks.audit import Report
from benchmarks.running import first_line, python
from benchmarks.sink import TOKEN_HEADER, Depth

_REPORT = TypeAdapter(Report)


class NotOurs(Exception):
    """Another program listens where ours should."""


class RunningSink:
    """A client of one sink."""

    def __init__(self, pid: int, port: int, token: str) -> None:
        self.pid = pid
        self.token = token
        self.address = f"127.0.0.1:{port}"
        self.url = f"http://{self.address}/callback"
        self._http = httpx.Client(base_url=f"http://{self.address}", trust_env=False)

    def close(self) -> None:
        """Hang up."""
        self._http.close()

    def report(self, records: int = 0) -> Report:
        """Ask what arrived; with a number, how many of so many products did not."""
        return _REPORT.validate_json(self._ask(f"/report?records={records}"))

    def forget(self) -> None:
        """Have it start from nothing."""
        self._ask("/forget")

    def wait(self, *, timeout_s: float, requests: int = 0, completed: int = 0) -> bool:
        """Return whether that many arrived before the time was over; no polling."""
        what = f"completed={completed}" if completed else f"requests={requests}"
        try:
            self._ask(f"/wait?{what}", timeout_s)
        except httpx.ReadTimeout:
            return False
        return True

    def _ask(self, path: str, timeout_s: float = 30.0) -> bytes:
        response = self._http.get(path, timeout=timeout_s)
        if response.headers.get(TOKEN_HEADER) != self.token:
            raise NotOurs(f"{self.address} is not the sink that was started")
        return response.content


@contextmanager
def running_sink(*, audit: Depth = "tally", delay_ms: float = 0.0) -> Iterator[RunningSink]:
    """Run a sink on a port from the kernel, and make sure that it is ours."""
    token = token_hex(8)
    arguments = ("--audit", audit, "--delay-ms", str(delay_ms), "--token", token)
    with python("benchmarks.sink", *arguments) as process:
        sink = RunningSink(process.pid, int(first_line(process)), token)
        try:
            sink.forget()
            yield sink
        finally:
            sink.close()
