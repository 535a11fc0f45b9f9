"""The floor: what cannot be left out, as lean as Python can be.

``python -m benchmarks.floor FILE URL REQUESTS TOTAL_BYTES DATABASE`` reads the file in blocks,
hashes each with SHA-256, POSTs it over one raw connection, and writes one durable commit
(``synchronous=FULL``) for each ACK. It parses nothing, so nobody who delivers records can
reach it. The bytes and the requests are as many as another program needed; where that is more
than the file holds, because JSON says more than CSV, it reads the file again from the start.

While an answer is on its way the next block is read and hashed. ``--bare`` leaves hash and
commit out: then it measures what the receiver and one POST at a time allow.

It prints one JSON line: seconds and CPU seconds, both without the start of Python.
"""

import argparse
import asyncio
import json
import sqlite3
import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO, cast
from urllib.parse import urlsplit

import uvloop

from benchmarks.sink import ACK


class Poster(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self) -> None:
        self._answer = b""
        self._done: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)

    def send(self, head: bytes, body: bytes) -> asyncio.Future[None]:
        """Write a request; what is returned is done with its ACK."""
        self._answer = b""
        self._done = asyncio.get_running_loop().create_future()
        self._transport.writelines((head, body))
        return self._done

    def data_received(self, data: bytes) -> None:
        """Look for the end of the answer."""
        self._answer += data
        if self._answer.endswith(ACK) and self._done is not None:
            self._done.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell who waits."""
        if self._done is not None and not self._done.done():
            self._done.set_exception(exc or ConnectionError("the receiver hung up"))

    def close(self) -> None:
        """Hang up."""
        self._done = None
        self._transport.close()


def sizes(total_bytes: int, requests: int) -> Iterator[int]:
    """Split a number of bytes into equal parts, as equal as whole bytes allow."""
    for number in range(requests):
        yield total_bytes * (number + 1) // requests - total_bytes * number // requests


def block(file: BinaryIO, size: int) -> bytes:
    """Return the next ``size`` bytes, from the start again where the file ends."""
    read = file.read(size)
    while len(read) < size:
        file.seek(0)
        read += file.read(size - len(read))
    return read


async def deliver(
    file: BinaryIO, url: str, blocks: Iterator[int], database: Path, *, bare: bool
) -> None:
    """Deliver blocks of these sizes."""
    target = urlsplit(url)
    head = (
        f"POST {target.path} HTTP/1.1\r\nHost: {target.netloc}\r\n"
        "Content-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    ).encode()
    db = sqlite3.connect(database, isolation_level=None)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    db.execute("CREATE TABLE IF NOT EXISTS progress (number INTEGER PRIMARY KEY, checksum TEXT)")
    loop = asyncio.get_running_loop()
    _, poster = await loop.create_connection(Poster, target.hostname or "", target.port or 80)

    def upcoming() -> tuple[bytes, str] | None:
        size = next(blocks, None)
        if size is None:
            return None
        body = block(file, size)
        return body, "" if bare else sha256(body).hexdigest()

    number, ahead = 0, upcoming()
    while ahead is not None:
        body, checksum = ahead
        acked = poster.send(head % len(body), body)
        await asyncio.sleep(0)  # uvloop writes at the end of a round
        ahead = upcoming()
        await acked
        if not bare:
            db.execute("INSERT INTO progress VALUES (?, ?)", (number, checksum))
        number += 1
    poster.close()
    db.close()


def main() -> None:
    """Deliver, and tell what it took."""
    options = argparse.ArgumentParser(prog="python -m benchmarks.floor", description=__doc__)
    options.add_argument("file", type=Path)
    options.add_argument("url")
    options.add_argument("requests", type=int)
    options.add_argument("total_bytes", type=int)
    options.add_argument("database", type=Path)
    options.add_argument("--bare", action="store_true")
    asked = options.parse_args()
    began, cpu = time.monotonic(), time.process_time()
    with asked.file.open("rb", buffering=0) as file:
        blocks = sizes(asked.total_bytes, asked.requests)
        uvloop.run(deliver(file, asked.url, blocks, asked.database, bare=asked.bare))
    took = {"seconds": time.monotonic() - began, "cpu_seconds": time.process_time() - cpu}
    print(json.dumps(took))


if __name__ == "__main__":
    main()
