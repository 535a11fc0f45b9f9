"""What the reference receiver has acknowledged survives its own death."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.support.chunks import chunks
from tests.support.senders import Sender

ROOT = Path(__file__).parents[2]


@contextmanager
def running(database: Path, listener: socket.socket) -> Iterator[subprocess.Popen[bytes]]:
    """Start it on a socket that outlives it: requests wait there until it answers."""
    command = [sys.executable, "-m", "uvicorn", "--factory", "mock_receiver.main:create_app"]
    process = subprocess.Popen(
        [*command, "--fd", str(listener.fileno()), "--log-level", "error"],
        cwd=ROOT,
        env={**os.environ, "RECEIVER_DATABASE": str(database)},
        pass_fds=[listener.fileno()],
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


async def test_every_acknowledged_chunk_survives_a_kill(tmp_path: Path) -> None:
    sent = chunks(*(b'[{"n":%d}]' % number for number in range(2)))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        for number, chunk in enumerate(sent):
            with running(tmp_path / "receiver.db", listener) as process:
                async with httpx.AsyncClient(base_url=url, timeout=60) as client:
                    sender = Sender(client)
                    if number:
                        assert (await sender.holding())["next_chunk"] == number
                    assert (await sender.chunk(chunk)).json()["duplicate"] is False
                    process.kill()
        with running(tmp_path / "receiver.db", listener):
            async with httpx.AsyncClient(base_url=url, timeout=60) as client:
                lines = await Sender(client).download()
    assert lines == b"".join(b'{"n":%d}\n' % number for number in range(2))
