"""The body's limits, driven message by message."""

import asyncio
import json
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from app.api import limits
from app.api.limits import BODY_BYTES_MAX, LimitBody


class Inner:
    """An application that reads its body, then waits for the client to leave."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.after: Message | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        message = await receive()
        assert message["more_body"] is False
        self.bodies.append(message["body"])
        self.after = await receive()


async def exchange(
    inner: Inner, *messages: Message, headers: list[tuple[bytes, bytes]] | None = None
) -> tuple[int | None, dict[str, Any]]:
    given, sent = list(messages), []

    async def receive() -> Message:
        if not given:
            await asyncio.Event().wait()
        return given.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "http", "path": "/api/ingest", "headers": headers or []}
    await LimitBody(inner)(scope, receive, send)
    if not sent:
        return None, {}
    return sent[0]["status"], json.loads(sent[1]["body"])


def part(body: bytes, *, more: bool = False) -> Message:
    return {"type": "http.request", "body": body, "more_body": more}


GONE: Message = {"type": "http.disconnect"}


async def test_a_body_in_parts_arrives_whole_and_then_what_the_server_says() -> None:
    inner = Inner()
    await exchange(inner, part(b"ab", more=True), part(b"", more=True), part(b"c"), GONE)

    assert inner.bodies == [b"abc"]
    assert inner.after == GONE


async def test_a_body_of_exactly_the_limit_is_let_through() -> None:
    inner = Inner()
    await exchange(inner, part(b"x" * BODY_BYTES_MAX), GONE)

    assert inner.bodies == [b"x" * BODY_BYTES_MAX]


async def test_one_byte_more_is_not() -> None:
    inner = Inner()
    answer = await exchange(inner, part(b"x" * BODY_BYTES_MAX, more=True), part(b"x"))

    assert (answer[0], answer[1]["code"]) == (413, "BODY_TOO_LARGE")
    assert inner.bodies == []


async def test_what_is_too_large_is_read_to_its_end_so_that_the_client_sees_the_answer() -> None:
    parts = [part(b"x" * 8192, more=True) for _ in range(20)]
    parts.append(part(b""))
    answer = await exchange(Inner(), *parts, headers=[(b"content-length", b"163840")])

    assert answer[0] == 413


async def test_what_never_ends_is_not() -> None:
    parts = [part(b"x" * 65536, more=True) for _ in range(18)]
    answer = await exchange(Inner(), *parts)

    assert answer[0] == 413


@pytest.mark.parametrize(
    "headers",
    [
        [(b"content-length", b"1048577")],
        [(b"content-length", b"9" * 5000)],
        [(b"content-length", b"65537"), (b"expect", b"100-continue")],
    ],
)
async def test_a_body_that_need_not_be_read_is_not(headers: list[tuple[bytes, bytes]]) -> None:
    answer = await exchange(Inner(), headers=headers)

    assert answer[0] == 413


async def test_a_body_that_does_not_come_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "BODY_S_MAX", 0.01)
    answer = await exchange(Inner(), part(b"x", more=True))

    assert (answer[0], answer[1]["code"]) == (408, "REQUEST_TIMEOUT")


async def test_a_client_that_leaves_in_between_is_no_error() -> None:
    inner = Inner()
    answer = await exchange(inner, part(b"x", more=True), GONE)

    assert (answer, inner.bodies) == ((None, {}), [])
