"""A receiver that does nothing but acknowledge, so that it is not what is measured.

``python -m benchmarks.sink`` prints the port that the kernel gave it and serves until it is
told to stop. A body is read into one buffer and forgotten. Only with ``--audit`` it looks at
what arrives: the numbers of the chunks, or every record.

``GET /report?records=N`` says what arrived, ``GET /wait?requests=N`` or ``?completed=N`` says
so once that many arrived, ``GET /forget`` starts from nothing. Every answer names the sink by
its token: who reads it knows that this listener is the one that was started.
"""

import argparse
import asyncio
import sys
import time
from secrets import token_hex
from typing import Literal, cast
from urllib.parse import parse_qs, urlsplit

import orjson
import uvloop

from benchmarks.audit import Audit, Chunks, Records

TOKEN_HEADER = "x-listener"
ACK = b'{"ack":true}'
BUFFER_BYTES = 256 * 1024
"""Of the one buffer. More would not stay in the processor's cache."""

Depth = Literal["tally", "chunks", "records"]
_LENGTH = b"content-length:"


def answer(body: bytes, token: str) -> bytes:
    """Return an HTTP answer."""
    return (
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n%b: %b\r\n\r\n%b"
    ) % (len(body), TOKEN_HEADER.encode(), token.encode(), body)


class Sink:
    """What all connections share."""

    def __init__(self, *, depth: Depth = "tally", delay_s: float = 0.0, token: str = "") -> None:
        self.token = token
        self.ack = answer(ACK, token)
        self.delay_s = delay_s
        self.keeps_bodies = depth == "records"
        # One for all: nothing else runs between the reading into it and the looking at it.
        self.buffer = memoryview(bytearray(BUFFER_BYTES))
        self._depth = depth
        self._waiting: list[tuple[str, int, Connection]] = []
        self.audit = self._empty()

    def _empty(self) -> Audit:
        return Audit(
            chunks=Chunks() if self._depth == "chunks" else None,
            records=Records() if self._depth == "records" else None,
        )

    def arrived(self, head: bytes, body_bytes: int, body: bytes) -> None:
        """Note a request that is there, whole; tell those who waited for it."""
        self.audit.arrived(head, body_bytes, body, time.monotonic())
        if self._waiting:
            ready = [one for one in self._waiting if self._has(one[0], one[1])]
            self._waiting = [one for one in self._waiting if one not in ready]
            for _, _, connection in ready:
                connection.say(answer(b"{}", self.token))

    def asked(self, target: str, connection: "Connection") -> None:
        """Answer a GET."""
        url = urlsplit(target)
        query = {name: int(texts[0]) for name, texts in parse_qs(url.query).items()}
        match url.path:
            case "/forget":
                self.audit = self._empty()
                connection.say(answer(b"{}", self.token))
            case "/wait":
                [(what, many)] = query.items()
                if self._has(what, many):
                    connection.say(answer(b"{}", self.token))
                else:
                    self._waiting.append((what, many, connection))
            case _:
                report = self.audit.report(query.get("records", 0))
                connection.say(answer(orjson.dumps(report), self.token))

    def gone(self, connection: "Connection") -> None:
        """Forget who no longer waits."""
        self._waiting = [one for one in self._waiting if one[2] is not connection]

    def _has(self, what: str, many: int) -> bool:
        tally = self.audit.tally
        return (tally.completed if what == "completed" else tally.requests) >= many


class Connection(asyncio.BufferedProtocol):
    """Takes a request at a time, and answers it."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._loop = asyncio.get_running_loop()
        self._head = b""
        self._length = 0
        self._missing = 0
        self._body = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclasses of asyncio's.
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._sink.gone(self)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._sink.buffer

    def buffer_updated(self, nbytes: int) -> None:
        if self._missing:
            if self._sink.keeps_bodies:
                self._body += self._sink.buffer[:nbytes]
            self._missing -= nbytes
        else:
            self._head += self._sink.buffer[:nbytes]
            end = self._head.find(b"\r\n\r\n")
            if end < 0:
                return
            if self._head.startswith(b"GET "):
                target, self._head = self._head.split(b" ", 2)[1], b""
                self._sink.asked(target.decode(), self)
                return
            self._begin(end + 4)
        if self._missing <= 0:
            self._end()

    def say(self, text: bytes) -> None:
        """Write an answer, if there is still somebody."""
        if not self._transport.is_closing():
            self._transport.write(text)

    def _begin(self, end: int) -> None:
        head = self._head[:end].lower()
        at = head.find(_LENGTH)
        if at < 0:
            raise ValueError("a request without Content-Length")
        self._length = int(head[at + len(_LENGTH) : head.find(b"\r", at)])
        self._body += self._head[end:] if self._sink.keeps_bodies else b""
        self._missing = self._length - (len(self._head) - end)
        self._head = self._head[:end]

    def _end(self) -> None:
        if self._missing < 0:
            raise ValueError("more bytes than Content-Length says")
        self._sink.arrived(self._head, self._length, bytes(self._body))
        self._head = b""
        self._body.clear()
        if self._sink.delay_s:
            self._loop.call_later(self._sink.delay_s, self.say, self._sink.ack)
        else:
            self._transport.write(self._sink.ack)


async def _serve(sink: Sink) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(sink), "127.0.0.1", 0, backlog=1024)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


def main() -> None:
    """Serve until told to stop."""
    options = argparse.ArgumentParser(prog="python -m benchmarks.sink", description=__doc__)
    options.add_argument("--audit", choices=["tally", "chunks", "records"], default="tally")
    options.add_argument("--delay-ms", type=float, default=0.0, help="before each ACK")
    options.add_argument("--token", default=token_hex(8), help="named in every answer")
    asked = options.parse_args()
    uvloop.run(_serve(Sink(depth=asked.audit, delay_s=asked.delay_ms / 1e3, token=asked.token)))


if __name__ == "__main__":
    main()
