"""A receiver that does nothing but acknowledge, so that it is not what is measured.

``python -m benchmarks.sink`` prints the port that the kernel gave it and serves until it is
told to stop. It does not look at the bodies: what arrives is proved by the tests.
"""

import asyncio
import sys
from typing import cast

import uvloop

ACK = b'{"ack":true}'
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (
    len(ACK),
    ACK,
)
_LENGTH = b"content-length:"


class Sink(asyncio.Protocol):
    """Counts body bytes by Content-Length, and answers each request."""

    def __init__(self) -> None:
        self._head = b""
        self._missing = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclasses of asyncio's.
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if self._missing:
            self._missing -= len(data)
        else:
            self._head += data
            head, end, body = self._head.partition(b"\r\n\r\n")
            if not end:
                return
            lines = head.lower().split(b"\r\n")
            length = next(line for line in lines if line.startswith(_LENGTH))
            self._missing = int(length[len(_LENGTH) :]) - len(body)
            self._head = b""
        if self._missing <= 0:
            self._missing = 0
            self._transport.write(ANSWER)


async def _serve() -> None:
    server = await asyncio.get_running_loop().create_server(Sink, "127.0.0.1", 0)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve())
