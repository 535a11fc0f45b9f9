"""What a request may weigh and how long it may take, before anything else looks at it."""

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.problems import problem_of, response_of

BODY_BYTES_MAX = 64 * 1024
"""A submission with every option and 32 long metadata entries needs half of it."""

DISCARD_BYTES_MAX = 1024 * 1024
"""Of a body that is too large, this much is read and thrown away: a connection that is closed
on a client that still sends is reset, and the client never sees why."""

BODY_S_MAX = 30.0
"""Time for the whole body to arrive; a byte a second is an attack."""


class LimitBody:
    """Read the whole body within its limits, then let the application have it.

    Counts what arrives, so it holds for bodies without a ``Content-Length`` too.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        size = _size_of(headers.get(b"content-length", b""))
        if size > DISCARD_BYTES_MAX or (size > BODY_BYTES_MAX and b"expect" in headers):
            # It waits to be asked for its body, or would send for too long.
            await _refuse("BODY_TOO_LARGE", scope, receive, send)
            return
        try:
            async with asyncio.timeout(BODY_S_MAX):
                body = await _body(receive)
        except TimeoutError:
            await _refuse("REQUEST_TIMEOUT", scope, receive, send)
            return
        if body is None:
            return
        if len(body) > BODY_BYTES_MAX:
            await _refuse("BODY_TOO_LARGE", scope, receive, send)
            return
        await self._app(scope, _Replay(body, receive), send)


def _size_of(content_length: bytes) -> int:
    # Twenty digits are more bytes than there are; more of them would take long to read.
    return int(content_length[:20]) if content_length.isdigit() else 0


async def _body(receive: Receive) -> bytes | None:
    """Return the body, or just more than the limit of it; ``None`` when the client has gone."""
    body, seen, more = bytearray(), 0, True
    while more and seen <= DISCARD_BYTES_MAX:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        part: bytes = message.get("body", b"")
        seen += len(part)
        if len(body) <= BODY_BYTES_MAX:
            body += part
        more = message.get("more_body", False)
    return bytes(body)


class _Replay:
    """A ``receive`` that gives a body that was read before, then what the server gives."""

    def __init__(self, body: bytes, receive: Receive) -> None:
        self._body: bytes | None = body
        self._receive = receive

    async def __call__(self) -> Message:
        if self._body is None:
            return await self._receive()
        body, self._body = self._body, None
        return {"type": "http.request", "body": body, "more_body": False}


async def _refuse(code: str, scope: Scope, receive: Receive, send: Send) -> None:
    detail = {
        "BODY_TOO_LARGE": f"a request body has at most {BODY_BYTES_MAX} bytes",
        "REQUEST_TIMEOUT": f"a request body has to arrive within {BODY_S_MAX:.0f} s",
    }[code]
    # The rest of the body is not read, so the connection cannot be used again.
    response = response_of(
        problem_of(code, detail, instance=scope["path"]), headers={"connection": "close"}
    )
    await response(scope, receive, send)
