"""The sink counts what arrives, whole, and says who it is."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from benchmarks.audit import Report
from benchmarks.receiving import NotOurs, RunningSink
from benchmarks.sink import ACK, TOKEN_HEADER, Connection, Sink, answer

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def listening(sink: Sink) -> AsyncIterator[Streams]:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(sink), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.close()
        await writer.wait_closed()
        server.close()
        await server.wait_closed()


def request(body: bytes, *, length: int | None = None) -> bytes:
    said = len(body) if length is None else length
    return b"POST /callback HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % said + body


async def answered(reader: asyncio.StreamReader) -> bytes:
    async with asyncio.timeout(60):
        return await reader.readuntil(ACK)


def report(sink: Sink) -> Report:
    return sink.audit.report(0)


@pytest.mark.parametrize("piece", [1, 7, 40, 10_000_000])
async def test_requests_are_counted_however_they_are_cut(piece: int) -> None:
    sink = Sink(token="T")
    async with listening(sink) as (reader, writer):
        for body in (b"x" * 300, b"", b"y" * 7):
            sent = request(body)
            for at in range(0, len(sent), piece):
                writer.write(sent[at : at + piece])
                await writer.drain()
                await asyncio.sleep(0)
            assert await answered(reader) == answer(ACK, "T")
    assert (report(sink).requests, report(sink).body_bytes) == (3, 307)


async def test_a_body_larger_than_the_buffer_is_counted_whole() -> None:
    sink = Sink()
    async with listening(sink) as (reader, writer):
        writer.write(request(b"z" * 3_000_000))
        await answered(reader)
    assert report(sink).body_bytes == 3_000_000


async def test_half_a_request_is_neither_counted_nor_acknowledged() -> None:
    sink = Sink()
    async with listening(sink) as (reader, writer):
        writer.write(request(b"x" * 10, length=11))
        await writer.drain()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await reader.read(1)
    assert report(sink).requests == 0


async def test_records_are_looked_at_only_when_asked_for() -> None:
    body = b'{"records":[{"sku":"SKU-000000001"}]}'
    deep, shallow = Sink(depth="records"), Sink()
    for sink in (deep, shallow):
        async with listening(sink) as (reader, writer):
            writer.write(request(body))
            await answered(reader)
    assert deep.audit.report(2).records_missing == 1
    assert shallow.audit.records is None


async def test_an_ack_may_take_its_time() -> None:
    sink = Sink(delay_s=0.05)
    async with listening(sink) as (reader, writer):
        began = time.monotonic()
        writer.write(request(b"x"))
        await answered(reader)
        assert time.monotonic() - began >= 0.045


async def test_who_waits_is_told_when_enough_arrived() -> None:
    sink = Sink(token="T")
    async with listening(sink) as (asker, question), listening(sink) as (reader, writer):
        question.write(b"GET /wait?requests=2 HTTP/1.1\r\n\r\n")
        for _ in range(2):
            assert asker._buffer == b""  # type: ignore[attr-defined]
            writer.write(request(b"x"))
            await answered(reader)
        async with asyncio.timeout(60):
            assert await asker.readuntil(b"{}") == answer(b"{}", "T")


async def test_a_listener_that_is_not_ours_is_noticed() -> None:
    sink = Sink(token="another")
    async with listening(sink) as (_, writer):
        port = writer.get_extra_info("peername")[1]
        ours = RunningSink(0, port, "ours")
        with pytest.raises(NotOurs):
            await asyncio.to_thread(ours.report)
        ours.close()
        theirs = RunningSink(0, port, "another")
        assert (await asyncio.to_thread(theirs.report)).requests == 0
        theirs.close()


def test_the_token_is_a_header_of_every_answer() -> None:
    assert f"\r\n{TOKEN_HEADER}: T\r\n".encode() in answer(ACK, "T")
