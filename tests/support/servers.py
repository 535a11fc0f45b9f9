"""Receivers on loopback that answer byte by byte as told, however wrong that is.

    async with ScriptedServer(answer(b'{"ack":true}'), reset()) as server:
        ...  # the first request is answered, the second one met with a reset
        assert len(server.requests) == 2

A script plays for one request; the last one given plays for all that follow. Free ports
come from the kernel; nothing here waits for a clock but `drip`.
"""

import asyncio
import socket
import ssl
import struct
import zlib
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Self, TypeAlias

ACK = b'{"ack":true}'
_BLOCK = bytes(64 * 1024)


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """A request as it arrived."""

    head: bytes
    body: bytes
    connection: int
    """Which connection it came over, counted from 1."""

    @property
    def headers(self) -> dict[str, str]:
        """Fields by lower-case name."""
        lines = self.head.decode("latin-1").split("\r\n")[1:]
        pairs = (line.split(":", 1) for line in lines if line)
        return {name.lower(): value.strip() for name, value in pairs}


@dataclass(slots=True, kw_only=True)
class Conversation:
    """One connection, as a script sees it."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    server: "ScriptedServer"
    number: int
    first: bytes = b""
    """What was read of the next request to see that there is one."""

    async def read_request(self) -> Received | None:
        """Read a whole request; ``None`` when the client has gone."""
        try:
            head = self.first + await self.reader.readuntil(b"\r\n\r\n")
            received = Received(head=head, body=b"", connection=self.number)
            length = int(received.headers.get("content-length", "0"))
            body = await self.reader.readexactly(length)
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        received = Received(head=head, body=body, connection=self.number)
        self.server.requests.append(received)
        return received

    async def send(self, *parts: bytes) -> None:
        """Write, and wait until the client takes it."""
        for part in parts:
            self.writer.write(part)
            await self.writer.drain()
            self.server.bytes_sent += len(part)

    async def client_gone(self) -> None:
        """Wait until the client ends the connection."""
        while await self.reader.read(65_536):
            pass

    def close(self) -> None:
        """End the connection in order."""
        self.writer.close()

    def reset(self) -> None:
        """End the connection with an RST."""
        connected: socket.socket = self.writer.get_extra_info("socket")
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


Script: TypeAlias = Callable[[Conversation], Awaitable[None]]


class ScriptedServer:
    """A TCP server that plays one script per request."""

    def __init__(self, *scripts: Script, tls: ssl.SSLContext | None = None) -> None:
        self._scripts = list(scripts)
        self._tls = tls
        self._conversations: set[asyncio.Task[None]] = set()
        self.requests: list[Received] = []
        """Every request that arrived whole, in order."""

        self.connections = 0
        """Connections accepted."""

        self.bytes_sent = 0
        """Bytes that clients, and the kernel for them, took."""

        self.port = 0

    @property
    def url(self) -> str:
        """Where it listens, by address."""
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}/ingest"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.close()
        for conversation in self._conversations:
            conversation.cancel()
        await asyncio.gather(*self._conversations, return_exceptions=True)
        await self._server.wait_closed()

    async def connections_closed(self) -> None:
        """Wait until every connection so far has ended."""
        await asyncio.gather(*self._conversations, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._conversations.add(task)
        self.connections += 1
        conversation = Conversation(
            reader=reader, writer=writer, server=self, number=self.connections
        )
        # A script that finds the client gone has played to its end; so has a cancelled one.
        with suppress(ConnectionError, asyncio.CancelledError):
            while not writer.is_closing():
                await self._next_script()(conversation)
                conversation.first = await reader.read(1)
                if not conversation.first:
                    break
        writer.close()
        self._conversations.discard(task)

    def _next_script(self) -> Script:
        return self._scripts.pop(0) if len(self._scripts) > 1 else self._scripts[0]


def http(body: bytes = ACK, *, status: str = "200 OK", headers: tuple[str, ...] = ()) -> bytes:
    """Return an answer in good order, as bytes."""
    fields = (f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", "")
    return "\r\n".join(fields).encode() + body


def answer(body: bytes = ACK, *, status: str = "200 OK", headers: tuple[str, ...] = ()) -> Script:
    """Read the request and answer in good order; the connection stays open."""
    return raw(http(body, status=status, headers=headers))


def raw(*parts: bytes) -> Script:
    """Read the request and send just these bytes; the connection stays open."""

    async def play(conversation: Conversation) -> None:
        if await conversation.read_request():
            await conversation.send(*parts)

    return play


def raw_then_close(*parts: bytes) -> Script:
    """Read the request, send just these bytes, and end the connection."""

    async def play(conversation: Conversation) -> None:
        if await conversation.read_request():
            await conversation.send(*parts)
        conversation.close()

    return play


def raw_then_reset(*parts: bytes) -> Script:
    """Read the request, send just these bytes, and end the connection with an RST."""

    async def play(conversation: Conversation) -> None:
        if await conversation.read_request():
            await conversation.send(*parts)
        conversation.reset()

    return play


def close_unread() -> Script:
    """End the connection in order, without reading anything."""

    async def play(conversation: Conversation) -> None:
        conversation.close()

    return play


def reset_unread() -> Script:
    """End the connection with an RST, without reading anything."""

    async def play(conversation: Conversation) -> None:
        conversation.reset()

    return play


def answer_early(*parts: bytes) -> Script:
    """Send these bytes once the request's head is there, and end; the body stays unread."""

    async def play(conversation: Conversation) -> None:
        await conversation.reader.readuntil(b"\r\n\r\n")
        await conversation.send(*parts)
        await conversation.client_gone()

    return play


def hang(*parts: bytes) -> Script:
    """Read the request, send just these bytes, and say nothing more until the client goes."""

    async def play(conversation: Conversation) -> None:
        if await conversation.read_request():
            await conversation.send(*parts)
        await conversation.client_gone()

    return play


def hang_unread() -> Script:
    """Take the connection, and neither read nor say anything until the server is stopped."""

    async def play(conversation: Conversation) -> None:
        conversation.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await asyncio.Event().wait()

    return play


def drip(octets: bytes, *, every_s: float = 1.0) -> Script:
    """Read the request, then send one byte at a time."""

    async def play(conversation: Conversation) -> None:
        if await conversation.read_request():
            for octet in octets:
                await conversation.send(bytes((octet,)))
                await asyncio.sleep(every_s)

    return play


def huge_body(size: int = 64 * 1024 * 1024, *, named: bool = True, chunked: bool = False) -> Script:
    """Answer with so many bytes; their number named, in chunks, or neither."""
    if chunked:
        field, block = b"Transfer-Encoding: chunked", b"10000\r\n%b\r\n" % _BLOCK
    else:
        field, block = (b"Content-Length: %d" % size if named else b"X-Length: unsaid"), _BLOCK
    return raw(b"HTTP/1.1 200 OK\r\n%b\r\n\r\n" % field, *[block] * (size // len(_BLOCK)))


def huge_headers(size: int = 256 * 1024, *, fields: int = 1) -> Script:
    """Answer in good order but for so many bytes of header fields."""
    value = "x" * (size // fields)
    return answer(headers=tuple(f"X-Field-{number}: {value}" for number in range(fields)))


def gzip_bomb(size: int = 64 * 1024 * 1024) -> Script:
    """Answer with an ACK that is small only while compressed, though nobody asked for that."""
    packer = zlib.compressobj(9, wbits=31)  # gzip
    parts = [packer.compress(b'{"ack":true,"pad":"')]
    parts += [packer.compress(_BLOCK.replace(b"\0", b"0")) for _ in range(size // len(_BLOCK))]
    parts += [packer.compress(b'"}'), packer.flush()]
    return answer(b"".join(parts), headers=("Content-Encoding: gzip",))


def redirect(location: str, *, status: str = "307 Temporary Redirect") -> Script:
    """Send the client elsewhere."""
    return answer(b"", status=status, headers=(f"Location: {location}",))
