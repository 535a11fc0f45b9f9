"""HTTP/1.1 over asyncio: one exchange at a time on a connection. ADR 3 and 16.

Every call of the transport writes its request exactly once, to an address that was
checked for this connection. It follows nothing, repeats nothing, decompresses nothing and
reads no environment variable.
"""

import asyncio
import select
import ssl
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import TypeAlias, cast

from app.receiver.exchange import ConnectionLost, Endpoint, NotConnected, NotHttp, Received
from app.receiver.response import ResponseParser

CONNECT_S_MAX = 5.0
"""Per address: a black hole among several must not eat the deadline of all."""

IDLE_S_MAX = 4.0
"""How long an unused connection is kept. Below the 5 s of uvicorn and Node, so that we
rarely write into a connection that the receiver is just closing."""

Address: TypeAlias = str
"""A literal IPv4 or IPv6 address."""

Addresses: TypeAlias = Callable[[str, int], Awaitable[Sequence[Address]]]
"""From host and port to the addresses that may be called, best first; at least one.
Raises ``OSError`` when the name does not resolve."""


class LeanTransport:
    """A ``Transport``: bodies are in memory, and answers are handed over whole."""

    def __init__(self, *, addresses: Addresses, tls: ssl.SSLContext) -> None:
        self._addresses = addresses
        self._tls = tls
        self._idle: list[_Connection] = []
        self._open: set[_Connection] = set()

    async def exchange(
        self, endpoint: Endpoint, head: bytes, content: Sequence[bytes], *, until: float
    ) -> Received:
        connection = self._take_idle(endpoint)
        if connection is None:
            async with asyncio.timeout_at(until):
                connection = await self._connect(endpoint)
        answer = await connection.exchange(head, *content, until=until)
        if connection.reusable:
            connection.rest(IDLE_S_MAX)
            self._idle.append(connection)
        return Received(answer.status, answer.headers, bytes(answer.body))

    async def aclose(self) -> None:
        for connection in tuple(self._open):
            connection.abort()
        await asyncio.sleep(0)  # The loop closes an aborted socket in its next round.

    def _take_idle(self, endpoint: Endpoint) -> "_Connection | None":
        for connection in [one for one in reversed(self._idle) if one.endpoint == endpoint]:
            self._idle.remove(connection)
            if connection.is_fresh():
                return connection
            connection.abort()
        return None

    async def _connect(self, endpoint: Endpoint) -> "_Connection":
        try:
            addresses = await self._addresses(endpoint.host, endpoint.port)
        except OSError as error:
            raise NotConnected(f"{endpoint.host} does not resolve: {error}") from error
        failures = []
        for address in addresses:
            try:
                return await self._dial(address, endpoint)
            except OSError as error:  # TimeoutError and ssl.SSLError are OSErrors
                failures.append(f"{address} port {endpoint.port}: {error or type(error).__name__}")
        raise NotConnected("; ".join(failures))

    async def _dial(self, address: Address, endpoint: Endpoint) -> "_Connection":
        loop = asyncio.get_running_loop()
        secure = endpoint.scheme == "https"
        async with asyncio.timeout(CONNECT_S_MAX):
            _, connection = await loop.create_connection(
                lambda: _Connection(endpoint, self._forget),
                address,
                endpoint.port,
                ssl=self._tls if secure else None,
                server_hostname=endpoint.host if secure else None,
            )
        if not connection.is_closing():
            self._open.add(connection)
        return connection

    def _forget(self, connection: "_Connection") -> None:
        self._open.discard(connection)
        with suppress(ValueError):
            self._idle.remove(connection)


class _Connection(asyncio.Protocol):
    """One socket; at most one exchange at a time."""

    def __init__(self, endpoint: Endpoint, on_lost: Callable[["_Connection"], None]) -> None:
        self.endpoint = endpoint
        self.reusable = False
        self._on_lost = on_lost
        self._answer = ResponseParser()
        self._done: asyncio.Future[None] | None = None
        self._resting_until: float | None = None
        """Loop time; ``None`` during an exchange."""

        self._expiry: asyncio.TimerHandle | None = None
        self._incoming = select.poll()

    async def exchange(self, head: bytes, *content: bytes, until: float) -> ResponseParser:
        """Write the request, once, and return its answer, or raise ``TimeoutError`` at ``until``.

        The connection has ended afterwards unless it is ``reusable``.
        """
        self._resting_until = None
        self.reusable = False
        if self.is_closing():  # Its end may be told already; nobody would tell it again.
            raise ConnectionLost("the receiver closed the connection before the request")
        self._answer = answer = ResponseParser()
        loop = asyncio.get_running_loop()
        self._done = loop.create_future()
        # Not `asyncio.timeout`: it would cost as much as all else that is done here.
        deadline = loop.call_at(until, self._fail, TimeoutError())
        try:
            self._transport.writelines((head, *content))
            await self._done
        finally:
            deadline.cancel()
            self._done = None
            # An answer that came before the whole request was taken leaves half a request
            # on the wire; anything else that is not clean leaves half an answer.
            self.reusable = (
                answer.complete
                and answer.keep_alive
                and not self._transport.get_write_buffer_size()
                and not self.is_closing()
            )
            if not self.reusable:
                self.abort()
        return answer

    def rest(self, seconds: float) -> None:
        """Close after ``seconds`` without another exchange."""
        loop = asyncio.get_running_loop()
        self._resting_until = loop.time() + seconds
        if self._expiry is None:
            self._expiry = loop.call_later(seconds, self._expire)

    def _expire(self) -> None:
        """Close, or look again: one timer serves many exchanges, which all put it off."""
        self._expiry = None
        if self._resting_until is None:
            return  # Amid an exchange; the next rest begins anew.
        left = self._resting_until - asyncio.get_running_loop().time()
        if left > 0:
            self._expiry = asyncio.get_running_loop().call_later(left, self._expire)
        else:
            self.abort()

    def is_fresh(self) -> bool:
        """Tell whether nothing came in since the last exchange: no end, no stray bytes."""
        if self.is_closing():
            return False
        return not self._incoming.poll(0)

    def is_closing(self) -> bool:
        """Tell whether the connection has ended, or is about to."""
        return self._transport.is_closing()

    def abort(self) -> None:
        """Close at once, without waiting for what is still to be written."""
        if self._expiry is not None:
            self._expiry.cancel()
        self._transport.abort()

    # ---- called by asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)
        self._incoming.register(transport.get_extra_info("socket").fileno(), select.POLLIN)

    def data_received(self, data: bytes) -> None:
        """Give the bytes to the exchange that waits for them."""
        if self._done is None or self._done.done():
            self.reusable = False
            self.abort()  # Nobody asked: the next exchange would take it for its answer.
            return
        try:
            self._answer.feed(data)
        except NotHttp as error:
            self._fail(error)
            self.abort()
            return
        if self._answer.complete:
            self._done.set_result(None)

    def eof_received(self) -> None:
        """End an answer that lasts until the connection does; asyncio then closes."""
        self._answer.eof()
        if self._answer.complete and self._done is not None and not self._done.done():
            self._done.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the exchange that waits."""
        self._on_lost(self)
        self._fail(ConnectionLost(_how_lost(self._answer, exc)))

    def _fail(self, error: Exception) -> None:
        if self._done is not None and not self._done.done():
            self._done.set_exception(error)


def _how_lost(answer: ResponseParser, error: Exception | None) -> str:
    where = f"in the middle of an HTTP {answer.status} answer" if answer.status else "unanswered"
    return f"the receiver closed the connection {where}" + (f": {error}" if error else "")
