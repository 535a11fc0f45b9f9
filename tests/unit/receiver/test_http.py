"""From what a transport raises to what the domain calls it; settings of an origin."""

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import ClassVar

import pytest

from app.domain.delivery import Answer, NoAnswer, Silence
from app.domain.errors import CallbackRefused
from app.receiver.egress import EgressPolicy
from app.receiver.exchange import (
    AnswerTooLarge,
    ConnectionLost,
    Endpoint,
    NotConnected,
    NotHttp,
    Received,
)
from app.receiver.http import SIGNED_INLINE_BYTES_MAX, HttpReceiver, OriginSettings
from app.wire.headers import content_digest
from tests.support.clocks import ManualClock
from tests.support.posting import a_message, a_receiver
from tests.support.servers import Conversation, ScriptedServer


@dataclass(frozen=True)
class Sent:
    """What a transport was given."""

    endpoint: Endpoint
    head: bytes
    body: bytes


Respond = Callable[[Sent], Received]
ACKNOWLEDGED = Received(200, [], b'{"ack":true}')


class Scripted:
    """A ``Transport`` that only calls a function."""

    def __init__(self, respond: Respond) -> None:
        self._respond = respond

    async def exchange(
        self, endpoint: Endpoint, head: bytes, content: Sequence[bytes], *, until: float
    ) -> Received:
        return self._respond(Sent(endpoint, head, b"".join(content)))

    async def aclose(self) -> None: ...


def _receiver(respond: Respond, **settings: OriginSettings) -> HttpReceiver:
    return HttpReceiver(
        egress=EgressPolicy(),
        clock=ManualClock(),
        origins={f"http://{name}.example": given for name, given in settings.items()},
        transport=Scripted(respond),
    )


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (NotConnected("refused"), Silence.CONNECTION_FAILED),
        (ConnectionLost("reset"), Silence.CONNECTION_LOST),
        (NotHttp("garbage"), Silence.PROTOCOL_ERROR),
        (AnswerTooLarge("2 MiB"), Silence.ANSWER_TOO_LARGE),
        (CallbackRefused("loopback"), Silence.URL_BLOCKED),
        (TimeoutError(), Silence.TIMEOUT),
    ],
)
async def test_every_failure_is_a_reply(error: Exception, reason: Silence) -> None:
    def respond(sent: Sent) -> Received:
        raise error

    reply = await _receiver(respond).post(a_message("http://receiver.example/"), attempt=1)
    assert isinstance(reply, NoAnswer)
    assert reply.reason is reason
    assert reply.detail


@pytest.mark.parametrize("drips", [True, False])
async def test_one_deadline_is_for_the_whole_exchange(*, drips: bool) -> None:
    """A receiver that sends a byte now and then would pass any limit for one read."""
    ended = asyncio.Event()

    async def answer(conversation: Conversation) -> None:
        await conversation.read_request()
        await conversation.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        with suppress(ConnectionError):
            while drips:
                await asyncio.sleep(0.01)
                await conversation.send(b" ")
            await conversation.client_gone()
        ended.set()

    async with (
        asyncio.timeout(30),
        ScriptedServer(answer) as server,
        a_receiver(deadline_s=0.1) as receiver,
    ):
        reply = await receiver.post(a_message(server.url), attempt=1)
        assert reply == NoAnswer(Silence.TIMEOUT, "no complete answer within 0.1 s")
        await ended.wait()  # Invariant 3: it is not under way any more when it is sent again


async def test_cancellation_goes_through() -> None:
    def respond(sent: Sent) -> Received:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await _receiver(respond).post(a_message("http://receiver.example/"), attempt=1)


async def test_a_url_that_was_never_checked_is_blocked_before_anything_is_sent() -> None:
    def respond(sent: Sent) -> Received:
        raise AssertionError("sent")

    for url in ("http://user@receiver.example/", "ftp://receiver.example/", "", "http://[::1/"):
        reply = await _receiver(respond).post(a_message(url), attempt=1)
        assert isinstance(reply, NoAnswer)
        assert reply.reason is Silence.URL_BLOCKED


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X-Key", "a\r\nX-Forged: b"),
        ("X-Key", "a\nb"),
        ("X-Key", "a\0b"),
        ("X-Key", "schlüssel"),
        ("X-Key", ""),
        ("X-Key", " padded"),
        ("X Key", "a"),
        ("X-Key:", "a"),
        ("", "a"),
        ("Host", "elsewhere.example"),
        ("content-LENGTH", "0"),
        ("Transfer-Encoding", "chunked"),
        ("webhook-signature", "v1,forged"),
    ],
)
def test_a_header_that_could_change_the_request_is_refused_at_the_start(
    name: str, value: str
) -> None:
    with pytest.raises(ValueError, match="header"):
        OriginSettings(headers={name: value})


class _Noticing(tuple[bytes, ...]):
    """Secrets that notice in which thread somebody signs with them."""

    __slots__ = ()

    threads: ClassVar[list[int]] = []

    def __iter__(self) -> Iterator[bytes]:
        self.threads.append(threading.get_ident())
        return super().__iter__()


@pytest.mark.parametrize("body_bytes", [1, SIGNED_INLINE_BYTES_MAX, SIGNED_INLINE_BYTES_MAX + 1])
async def test_a_large_body_is_signed_beside_the_event_loop(body_bytes: int) -> None:
    _Noticing.threads.clear()
    heads: list[str] = []

    def respond(sent: Sent) -> Received:
        heads.append(sent.head.decode())
        return ACKNOWLEDGED

    secrets = _Noticing((b"k" * 32,))
    receiver = _receiver(respond, receiver=OriginSettings(secrets=secrets))
    reply = await receiver.post(a_message("http://receiver.example/", bytes(body_bytes)), attempt=1)

    assert isinstance(reply, Answer)
    assert f"Content-Digest: {content_digest(bytes(body_bytes))}\r\n" in heads[0]
    beside = [thread != threading.get_ident() for thread in _Noticing.threads]
    assert beside == [body_bytes > SIGNED_INLINE_BYTES_MAX]


async def test_a_body_in_pieces_arrives_as_one() -> None:
    arrived: list[bytes] = []

    def respond(sent: Sent) -> Received:
        arrived.append(sent.body)
        return ACKNOWLEDGED

    message = replace(a_message("http://receiver.example/"), content=(b"[", b"", b"1", b"]"))
    await _receiver(respond).post(message, attempt=1)

    assert arrived == [message.body] == [b"[1]"]


@pytest.mark.parametrize(
    ("url", "endpoint", "line", "host"),
    [
        ("http://a.example", Endpoint("http", "a.example", 80), "/", "a.example"),
        ("HTTPS://A.example/", Endpoint("https", "a.example", 443), "/", "a.example"),
        ("https://a.example:443/b", Endpoint("https", "a.example", 443), "/b", "a.example"),
        ("http://a.example:443/b", Endpoint("http", "a.example", 443), "/b", "a.example:443"),
        ("http://a.example?x=/../y", Endpoint("http", "a.example", 80), "/?x=/../y", "a.example"),
        (
            "http://a.example/%2e%2E/a//b?",
            Endpoint("http", "a.example", 80),
            "/%2e%2E/a//b?",
            "a.example",
        ),
        (
            "http://[2606:4700::0]:8080/",
            Endpoint("http", "2606:4700::", 8080),
            "/",
            "[2606:4700::]:8080",
        ),
        ("http://[2606:4700::1]/", Endpoint("http", "2606:4700::1", 80), "/", "[2606:4700::1]"),
    ],
)
async def test_a_request_goes_where_the_checked_url_says_as_it_is_written(
    url: str, endpoint: Endpoint, line: str, host: str
) -> None:
    sent: list[Sent] = []

    def respond(one: Sent) -> Received:
        sent.append(one)
        return ACKNOWLEDGED

    await _receiver(respond).post(a_message(url), attempt=1)

    first, second, *_ = sent[0].head.decode().split("\r\n")
    assert (sent[0].endpoint, first, second) == (endpoint, f"POST {line} HTTP/1.1", f"Host: {host}")


async def test_a_value_that_would_forge_a_header_is_never_sent() -> None:
    def respond(sent: Sent) -> Received:
        raise AssertionError("sent")

    for forged in ("a\r\nX: b", "a\nb", "a\0b", "a\r"):
        message = replace(a_message("http://receiver.example/"), idempotency_key=forged)
        reply = await _receiver(respond).post(message, attempt=1)
        assert isinstance(reply, NoAnswer)
        assert reply.reason is Silence.PROTOCOL_ERROR


def test_settings_for_something_that_is_no_origin_are_refused_at_the_start() -> None:
    with pytest.raises(CallbackRefused):
        HttpReceiver(
            egress=EgressPolicy(),
            clock=ManualClock(),
            origins={"receiver.example": OriginSettings()},
        )
