"""The API over a real socket: what only the server can get wrong."""

import asyncio
import resource
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx

from app.cli.listening import LISTENING, OPEN_FILES_WANTED
from app.main import HEADER_BYTES_MAX


@dataclass(kw_only=True)
class Served:
    process: asyncio.subprocess.Process
    http: httpx.AsyncClient


@asynccontextmanager
async def a_service(folder: Path, *, open_files: int = 1024) -> AsyncIterator[Served]:
    """Run the service as an operator does, on a free port, until the block ends."""
    process = await asyncio.create_subprocess_exec(
        *("sh", "-c", f'ulimit -Sn {open_files}; exec "$0" "$@"'),
        *(sys.executable, "-m", "app.cli", "serve", "--port", "0"),
        stdout=asyncio.subprocess.PIPE,
        env={"INGEST_DATABASE_PATH": str(folder / "db"), "INGEST_LOG_LEVEL": "warning"},
    )
    assert process.stdout is not None
    try:
        line = (await process.stdout.readline()).decode().strip()
        assert line.startswith(LISTENING)
        url = line.removeprefix(LISTENING)
        async with httpx.AsyncClient(base_url=url, timeout=60, trust_env=False) as http:
            assert (await http.get("/healthz")).status_code == 200
            yield Served(process=process, http=http)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def test_a_signal_ends_it_with_exit_code_0_also_when_it_comes_twice(tmp_path: Path) -> None:
    """P4."""
    for number in (signal.SIGTERM, signal.SIGINT):
        async with a_service(tmp_path) as served:
            served.process.send_signal(number)
            if number == signal.SIGTERM:
                served.process.send_signal(number)
            assert await asyncio.wait_for(served.process.wait(), 60) == 0


async def test_it_takes_more_open_files_than_it_was_given_at_first(tmp_path: Path) -> None:
    """A thousand receivers are a thousand connections."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with a_service(tmp_path, open_files=64) as served:
        soft, _ = resource.prlimit(served.process.pid, resource.RLIMIT_NOFILE)
    assert soft == (OPEN_FILES_WANTED if hard < 0 else min(hard, OPEN_FILES_WANTED))


async def test_it_is_ready_and_names_no_software(tmp_path: Path) -> None:
    async with a_service(tmp_path) as served:
        answer = await served.http.get("/readyz")

    assert (answer.status_code, answer.json()) == (200, {"status": "ready"})
    assert "server" not in answer.headers


async def test_what_a_client_sends_is_bounded(tmp_path: Path) -> None:
    async with a_service(tmp_path) as served:
        # Perhaps 400, perhaps the connection is cut while we still send.
        with suppress(httpx.TransportError):
            headers = {"x-long": "x" * (200 * HEADER_BYTES_MAX)}
            assert (await served.http.get("/healthz", headers=headers)).status_code == 400

        async def without_length() -> AsyncIterator[bytes]:
            for _ in range(9):
                yield b" " * 8192

        long_body = await served.http.post(
            "/api/ingest", content=without_length(), headers={"content-type": "application/json"}
        )
        alive = await served.http.get("/healthz")

    assert (long_body.status_code, long_body.json()["code"]) == (413, "BODY_TOO_LARGE")
    assert alive.status_code == 200
