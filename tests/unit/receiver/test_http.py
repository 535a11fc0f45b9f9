"""From what httpx raises to what the domain calls it; settings of an origin."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from typing import ClassVar

import httpx
import pytest

from app.domain.delivery import Answer, NoAnswer, Silence
from app.domain.errors import CallbackRefused
from app.receiver.egress import EgressPolicy
from app.receiver.http import SIGNED_INLINE_BYTES_MAX, HttpReceiver, OriginSettings
from app.receiver.response import AnswerTooLarge
from app.wire.headers import content_digest
from tests.support.clocks import ManualClock
from tests.support.posting import a_message

Respond = Callable[[httpx.Request], httpx.Response]


def _receiver(respond: Respond) -> HttpReceiver:
    return HttpReceiver(
        egress=EgressPolicy(), clock=ManualClock(), transport=httpx.MockTransport(respond)
    )


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (httpx.ConnectError("refused"), Silence.CONNECTION_FAILED),
        (httpx.ReadError("reset"), Silence.CONNECTION_LOST),
        (httpx.WriteError("reset"), Silence.CONNECTION_LOST),
        (httpx.RemoteProtocolError("garbage"), Silence.PROTOCOL_ERROR),
        (httpx.LocalProtocolError("line break"), Silence.PROTOCOL_ERROR),
        (AnswerTooLarge("2 MiB"), Silence.ANSWER_TOO_LARGE),
        (CallbackRefused("loopback"), Silence.URL_BLOCKED),
        (TimeoutError(), Silence.TIMEOUT),
    ],
)
async def test_every_failure_is_a_reply(error: Exception, reason: Silence) -> None:
    def respond(request: httpx.Request) -> httpx.Response:
        raise error

    reply = await _receiver(respond).post(a_message("http://receiver.example/"), attempt=1)
    assert isinstance(reply, NoAnswer)
    assert reply.reason is reason
    assert reply.detail


async def test_one_deadline_is_for_the_whole_exchange() -> None:
    """A receiver that sends a byte now and then would pass any limit for one read."""

    class Drip(httpx.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            try:
                while True:
                    await asyncio.sleep(0.01)
                    yield b" "
            finally:
                ended.set()

    ended = asyncio.Event()
    receiver = HttpReceiver(
        egress=EgressPolicy(),
        clock=ManualClock(),
        deadline_s=0.1,
        transport=httpx.MockTransport(lambda _: httpx.Response(200, stream=Drip())),
    )
    async with asyncio.timeout(60):
        reply = await receiver.post(a_message("http://receiver.example/"), attempt=1)
    assert reply == NoAnswer(Silence.TIMEOUT, "no complete answer within 0.1 s")
    assert ended.is_set()  # Invariant 3: it is not under way any more when it is sent again


async def test_cancellation_goes_through() -> None:
    def respond(request: httpx.Request) -> httpx.Response:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await _receiver(respond).post(a_message("http://receiver.example/"), attempt=1)


async def test_a_url_that_was_never_checked_is_blocked_before_anything_is_sent() -> None:
    def respond(request: httpx.Request) -> httpx.Response:
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
    digests: list[str] = []

    def respond(request: httpx.Request) -> httpx.Response:
        digests.append(request.headers["content-digest"])
        return httpx.Response(200, json={"ack": True})

    secrets = _Noticing((b"k" * 32,))
    receiver = HttpReceiver(
        egress=EgressPolicy(),
        clock=ManualClock(),
        origins={"http://receiver.example": OriginSettings(secrets=secrets)},
        transport=httpx.MockTransport(respond),
    )
    reply = await receiver.post(a_message("http://receiver.example/", bytes(body_bytes)), attempt=1)

    assert isinstance(reply, Answer)
    assert digests == [content_digest(bytes(body_bytes))]
    beside = [thread != threading.get_ident() for thread in _Noticing.threads]
    assert beside == [body_bytes > SIGNED_INLINE_BYTES_MAX]


async def test_a_body_in_pieces_arrives_as_one() -> None:
    arrived: list[bytes] = []

    def respond(request: httpx.Request) -> httpx.Response:
        arrived.append(request.content)
        return httpx.Response(200, json={"ack": True})

    message = replace(a_message("http://receiver.example/"), content=(b"[", b"", b"1", b"]"))
    await _receiver(respond).post(message, attempt=1)

    assert arrived == [message.body] == [b"[1]"]


def test_settings_for_something_that_is_no_origin_are_refused_at_the_start() -> None:
    with pytest.raises(CallbackRefused):
        HttpReceiver(
            egress=EgressPolicy(),
            clock=ManualClock(),
            origins={"receiver.example": OriginSettings()},
        )
