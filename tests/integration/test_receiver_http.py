"""The real receiver client against scripted servers on loopback (R1, R2, R6–R10)."""

import asyncio
import tracemalloc

import pytest
import uvloop

from app.domain.delivery import Answer, NoAnswer, Silence
from tests.support import servers
from tests.support.posting import a_message, a_receiver
from tests.support.servers import ACK, Script, ScriptedServer, http

SOON_S = 0.4
"""A deadline that is to pass; perhaps before anything was sent, if the machine stands still."""


@pytest.fixture(autouse=True)
def _connections_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep what is not used for longer than any machine stands still."""
    monkeypatch.setattr("app.receiver.transport.IDLE_S_MAX", 3600.0)


# ---- R1, R2, R8: no answer, whatever the receiver does

_CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
_NO_ANSWER: dict[str, tuple[Silence, Script]] = {
    # R1
    "hangs": (Silence.TIMEOUT, servers.hang()),
    "hangs in the status line": (Silence.TIMEOUT, servers.hang(b"HTTP/1.1 20")),
    "hangs in the headers": (Silence.TIMEOUT, servers.hang(b"HTTP/1.1 200 OK\r\nDate: ")),
    "hangs in the body": (Silence.TIMEOUT, servers.hang(http()[:-1])),
    "hangs in a chunk": (Silence.TIMEOUT, servers.hang(_CHUNKED + b"c\r\n" + ACK + b"\r\n")),
    "says 100 and hangs": (Silence.TIMEOUT, servers.hang(b"HTTP/1.1 100 Continue\r\n\r\n")),
    "drips a byte at a time": (Silence.TIMEOUT, servers.drip(http(), every_s=0.1)),
    # R2
    "closes at once": (Silence.CONNECTION_LOST, servers.close_unread()),
    "resets at once": (Silence.CONNECTION_LOST, servers.reset_unread()),
    "closes after the request": (Silence.CONNECTION_LOST, servers.raw_then_close()),
    "resets after the request": (Silence.CONNECTION_LOST, servers.raw_then_reset()),
    "closes in the headers": (Silence.CONNECTION_LOST, servers.raw_then_close(http()[:20])),
    "closes in the body": (Silence.CONNECTION_LOST, servers.raw_then_close(http()[:-1])),
    "resets in the body": (Silence.CONNECTION_LOST, servers.raw_then_reset(http()[:-1])),
    "closes before the last chunk": (
        Silence.CONNECTION_LOST,
        servers.raw_then_close(_CHUNKED + b"c\r\n" + ACK + b"\r\n"),
    ),
    "closes within an unknown transfer coding": (
        Silence.CONNECTION_LOST,
        servers.raw_then_close(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n" + ACK),
    ),
    "says 100 and closes": (
        Silence.CONNECTION_LOST,
        servers.raw_then_close(b"HTTP/1.1 100 Continue\r\n\r\n"),
    ),
    "garbage": (Silence.PROTOCOL_ERROR, servers.raw(bytes(range(256)))),
    "another protocol": (Silence.PROTOCOL_ERROR, servers.raw(b"SSH-2.0-OpenSSH_9.6\r\n")),
    "HTTP/2 frames": (Silence.PROTOCOL_ERROR, servers.raw(b"\0\0\x12\4\0\0\0\0\0")),
    "HTTP/2 in words": (Silence.PROTOCOL_ERROR, servers.raw(http().replace(b"1.1", b"2.0"))),
    "no status": (Silence.PROTOCOL_ERROR, servers.raw(b"HTTP/1.1 OK\r\n\r\n")),
    "two lengths": (
        Silence.PROTOCOL_ERROR,
        servers.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\nContent-Length: 13\r\n\r\n" + ACK),
    ),
    "a length and chunks": (
        Silence.PROTOCOL_ERROR,
        servers.raw(_CHUNKED[:-2] + b"Content-Length: 12\r\n\r\n" + ACK),
    ),
    "a negative length": (
        Silence.PROTOCOL_ERROR,
        servers.raw(b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n"),
    ),
    "a length beyond 64 bits": (
        Silence.PROTOCOL_ERROR,
        servers.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n"),
    ),
    "a bad chunk size": (Silence.PROTOCOL_ERROR, servers.raw(_CHUNKED + b"zz\r\n")),
    "a folded header": (
        Silence.PROTOCOL_ERROR,
        servers.raw(b"HTTP/1.1 200 OK\r\n Content-Length: 12\r\n\r\n" + ACK),
    ),
    "switches protocols": (
        Silence.PROTOCOL_ERROR,
        servers.raw(b"HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n" + http()),
    ),
    "switches protocols without saying to which": (
        Silence.PROTOCOL_ERROR,
        servers.raw(b"HTTP/1.1 101 X\r\n\r\n" + http()),
    ),
    # R8
    "64 MB": (Silence.ANSWER_TOO_LARGE, servers.huge_body()),
    "64 MB without a length": (Silence.ANSWER_TOO_LARGE, servers.huge_body(named=False)),
    "64 MB in chunks": (Silence.ANSWER_TOO_LARGE, servers.huge_body(chunked=True)),
    "chunks of a byte with extensions": (
        Silence.ANSWER_TOO_LARGE,
        servers.raw(_CHUNKED, *[b"1;" + b"x" * 10_000 + b"\r\n0\r\n"] * 1000),
    ),
    "256 KB in one header": (Silence.ANSWER_TOO_LARGE, servers.huge_headers()),
    "256 KB in many headers": (Silence.ANSWER_TOO_LARGE, servers.huge_headers(fields=4096)),
    "informational answers without end": (
        Silence.ANSWER_TOO_LARGE,
        servers.raw(*[b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" * 100] * 100),
    ),
    "trailers without end": (
        Silence.ANSWER_TOO_LARGE,
        servers.raw(_CHUNKED + b"c\r\n" + ACK + b"\r\n0\r\n", *[b"X-T: y\r\n" * 100] * 500),
    ),
}
_LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.mark.parametrize("loop", _LOOPS)
@pytest.mark.parametrize("fault", _NO_ANSWER)
def test_a_receiver_at_fault_gives_no_answer_and_is_sent_to_once(fault: str, loop: str) -> None:
    reason, script = _NO_ANSWER[fault]
    in_time = reason is not Silence.TIMEOUT

    async def scenario() -> None:
        async with (
            ScriptedServer(script) as server,
            a_receiver(deadline_s=60 if in_time else SOON_S) as receiver,
        ):
            reply = await receiver.post(a_message(server.url), attempt=1)
            assert isinstance(reply, NoAnswer)
            assert reply.reason is reason, reply
            assert reply.detail
            await server.connections_closed()  # nothing of a bad exchange is kept
            assert server.connections in ((1,) if in_time else (0, 1))
            assert len(server.requests) <= 1
            assert server.bytes_sent < 16 * 1024 * 1024  # what socket buffers swallow

    with asyncio.Runner(loop_factory=_LOOPS[loop]) as runner:
        runner.run(scenario())


@pytest.mark.parametrize("loop", _LOOPS)
def test_a_receiver_that_reads_nothing_cannot_hold_us_beyond_the_deadline(loop: str) -> None:
    async def scenario() -> None:
        async with (
            ScriptedServer(servers.hang_unread()) as server,
            a_receiver(deadline_s=SOON_S) as receiver,
        ):
            reply = await receiver.post(a_message(server.url, bytes(32 * 1024 * 1024)), attempt=1)
            assert isinstance(reply, NoAnswer)
            assert reply.reason is Silence.TIMEOUT

    with asyncio.Runner(loop_factory=_LOOPS[loop]) as runner:
        runner.run(scenario())


@pytest.mark.parametrize(
    "script",
    [servers.huge_body(), servers.huge_body(chunked=True), servers.gzip_bomb()],
    ids=["64 MB", "64 MB in chunks", "gzip bomb"],
)
async def test_memory_stays_flat_whatever_is_answered(script: Script) -> None:
    async with ScriptedServer(script) as server, a_receiver() as receiver:
        tracemalloc.start()
        try:
            reply = await receiver.post(a_message(server.url), attempt=1)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert not isinstance(reply, Answer) or reply.ack is None
        assert peak < 6 * 1024 * 1024


# ---- R6, R7, R9: answers, read as they are

_ANSWERS: dict[str, tuple[int, bool | None, Script]] = {
    "an ACK": (200, True, servers.answer()),
    "an ACK in chunks": (200, True, servers.raw(_CHUNKED + b"c\r\n" + ACK + b"\r\n0\r\n\r\n")),
    "an ACK byte by byte": (200, True, servers.drip(http(), every_s=0.001)),
    "an ACK that ends with the connection": (
        200,
        True,
        servers.raw_then_close(b"HTTP/1.0 200 OK\r\n\r\n" + ACK),
    ),
    "an ACK after informational answers": (
        201,
        True,
        servers.raw(
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n",
            http(status="201 Created"),
        ),
    ),
    "an ACK, then garbage": (200, True, servers.raw(http() + b"garbage")),
    "an ACK that asks to close": (200, True, servers.answer(headers=("Connection: close",))),
    "an ACK of just 1 MiB": (
        200,
        True,
        servers.answer(b'{"ack":true,"pad":"' + b"x" * (1024 * 1024 - 21) + b'"}'),
    ),
    "compressed, though not asked": (200, None, servers.gzip_bomb(1024 * 1024)),
    "false": (200, False, servers.answer(b'{"ack":false,"error":"BUSY"}')),
    "the string true": (200, None, servers.answer(b'{"ack":"true"}')),
    "the number 1": (200, None, servers.answer(b'{"ack":1}')),
    "HTML": (200, None, servers.answer(b"<html>ack</html>")),
    "nothing": (200, None, servers.answer(b"")),
    "204": (204, None, servers.raw(b"HTTP/1.1 204 No Content\r\n\r\n")),
    "JSON 100,000 levels deep": (200, None, servers.answer(b"[" * 100_000)),
    "500 with an ACK": (500, True, servers.answer(status="500 Internal Server Error")),
    "413 before the body was read": (
        413,
        None,
        servers.answer_early(http(b"", status="413 Content Too Large")),
    ),
    "a redirect": (307, None, servers.redirect("http://127.0.0.1:1/elsewhere")),
    "a status nobody knows": (799, True, servers.answer(status="799 Odd")),
}


@pytest.mark.parametrize("loop", _LOOPS)
@pytest.mark.parametrize("form", _ANSWERS)
def test_an_answer_is_handed_over_as_it_came(form: str, loop: str) -> None:
    status, ack, script = _ANSWERS[form]

    async def scenario() -> None:
        async with ScriptedServer(script) as server, a_receiver() as receiver:
            # Larger than the socket buffers, so that an early answer finds us still sending.
            reply = await receiver.post(a_message(server.url, bytes(8 * 1024 * 1024)), attempt=1)
            assert isinstance(reply, Answer), reply
            assert (reply.status, reply.ack) == (status, ack)
            assert server.connections == 1

    with asyncio.Runner(loop_factory=_LOOPS[loop]) as runner:
        runner.run(scenario())


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See Other", "308 Permanent"])
async def test_a_redirect_is_never_followed(status: str) -> None:
    async with ScriptedServer(servers.answer()) as elsewhere:
        script = servers.redirect(elsewhere.url, status=status)
        async with ScriptedServer(script) as server, a_receiver() as receiver:
            reply = await receiver.post(a_message(server.url), attempt=1)
        assert isinstance(reply, Answer)
        assert reply.status == int(status[:3])
        assert elsewhere.connections == 0


# ---- one connection, many exchanges


async def test_a_connection_is_kept_for_the_nexta_message() -> None:
    async with ScriptedServer(servers.answer()) as server, a_receiver() as receiver:
        for attempt in range(1, 6):
            await receiver.post(a_message(server.url), attempt=attempt)
        assert [one.connection for one in server.requests] == [1] * 5
        assert [one.headers["ingest-attempt"] for one in server.requests] == list("12345")


async def test_messages_at_the_same_time_never_share_a_connection() -> None:
    async with ScriptedServer(servers.answer()) as server, a_receiver() as receiver:
        posts = (receiver.post(a_message(server.url), attempt=1) for _ in range(10))
        replies = await asyncio.gather(*posts)
        assert all(isinstance(reply, Answer) and reply.ack for reply in replies)
        assert sorted(one.connection for one in server.requests) == list(range(1, 11))


@pytest.mark.parametrize("end", [servers.raw_then_close(), servers.raw_then_reset()])
async def test_a_request_lost_on_a_kept_connection_is_not_sent_again(end: Script) -> None:
    async with (
        ScriptedServer(servers.answer(), end, servers.answer()) as server,
        a_receiver() as receiver,
    ):
        await receiver.post(a_message(server.url), attempt=1)
        reply = await receiver.post(a_message(server.url), attempt=2)
        assert isinstance(reply, NoAnswer)
        assert reply.reason is Silence.CONNECTION_LOST
        assert [one.connection for one in server.requests] == [1, 1]


async def test_a_kept_connection_that_the_receiver_closed_is_not_written_to() -> None:
    async with (
        ScriptedServer(servers.raw_then_close(http()), servers.answer()) as server,
        a_receiver() as receiver,
    ):
        await receiver.post(a_message(server.url), attempt=1)
        await server.connections_closed()
        reply = await receiver.post(a_message(server.url), attempt=2)
        assert isinstance(reply, Answer)
        assert reply.ack
        assert [one.connection for one in server.requests] == [1, 2]


async def test_a_stray_answer_is_never_taken_for_that_of_the_nexta_message() -> None:
    stray = http(b'{"ack":true,"chunk_id":"stray"}')
    sent = asyncio.Event()

    async def answer_then_stray(conversation: servers.Conversation) -> None:
        await conversation.read_request()
        await conversation.send(http())
        await sent.wait()
        await conversation.send(stray)
        sent.clear()
        await conversation.client_gone()

    async with (
        ScriptedServer(servers.raw(http() + stray), answer_then_stray, servers.answer()) as server,
        a_receiver() as receiver,
    ):
        for attempt in (1, 2):
            reply = await receiver.post(a_message(server.url), attempt=attempt)
            assert reply == Answer(status=200, ack=True, excerpt=ACK.decode())
        sent.set()
        while sent.is_set():
            await asyncio.sleep(0)
        reply = await receiver.post(a_message(server.url), attempt=3)
        assert reply == Answer(status=200, ack=True, excerpt=ACK.decode())
        assert [one.connection for one in server.requests] == [1, 2, 3]


async def test_a_stray_answer_between_two_messages_ends_the_connection() -> None:
    asked = asyncio.Event()

    async def stray_when_asked(conversation: servers.Conversation) -> None:
        await conversation.read_request()
        await conversation.send(http())
        await asked.wait()
        await conversation.send(http())
        await conversation.client_gone()

    async with ScriptedServer(stray_when_asked) as server, a_receiver() as receiver:
        await receiver.post(a_message(server.url), attempt=1)
        asked.set()
        async with asyncio.timeout(60):  # far below the time that it would be kept
            await server.connections_closed()


async def test_a_connection_that_holds_half_a_request_is_not_used_again() -> None:
    early = servers.answer_early(http(b"", status="413 Content Too Large"))
    async with ScriptedServer(early, servers.answer()) as server, a_receiver() as receiver:
        refused = await receiver.post(a_message(server.url, bytes(8 * 1024 * 1024)), attempt=1)
        assert isinstance(refused, Answer)
        assert refused.status == 413
        reply = await receiver.post(a_message(server.url), attempt=1)
        assert isinstance(reply, Answer)
        assert reply.ack
        assert server.connections == 2


async def test_a_cancelled_post_ends_its_connection() -> None:
    async with ScriptedServer(servers.hang()) as server, a_receiver() as receiver:
        post = asyncio.create_task(receiver.post(a_message(server.url), attempt=1))
        while not server.requests:
            await asyncio.sleep(0)
        post.cancel()
        with pytest.raises(asyncio.CancelledError):
            await post
        await server.connections_closed()


async def test_closing_ends_the_connections_that_were_kept() -> None:
    async with ScriptedServer(servers.answer()) as server:
        async with a_receiver() as receiver:
            await receiver.post(a_message(server.url), attempt=1)
        await server.connections_closed()
        assert server.connections == 1


async def test_a_connection_that_nobody_uses_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.receiver.transport.IDLE_S_MAX", 0.01)
    async with ScriptedServer(servers.answer()) as server, a_receiver() as receiver:
        await receiver.post(a_message(server.url), attempt=1)
        await server.connections_closed()
