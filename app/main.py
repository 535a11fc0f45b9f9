"""The application over its runtime, and how uvicorn serves it."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import uvicorn
from fastapi import FastAPI
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api import application
from app.bootstrap import start
from app.domain.errors import IngestError
from app.settings import Settings

HEADER_BYTES_MAX = 16 * 1024
"""Of a request line and headers that are not complete yet; what one read of the socket brings
whole is let through. uvicorn's httptools server has no limit at all, and the API has a few
requests a second, so its speed would buy nothing."""

CONNECTIONS_MAX = 512
"""Above it a client is told 503 at once, instead of everyone waiting."""

KEEP_ALIVE_S = 15
REQUESTS_DRAIN_S = 5
"""After SIGTERM, time for requests in flight; the chunks in flight have their own."""


def create_app(settings: Settings) -> FastAPI:
    """Return the application. Everything is opened when it starts, and closed when it ends."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            try:
                runtime = await stack.enter_async_context(start(settings))
            except IngestError as error:
                app.state.start_failure = f"{error.code}: {error.message}. {error.remedy}".rstrip()
                raise
            app.state.ingestions = runtime.ingestions
            yield

    return application.build(lifespan, keyring=settings.keyring())


def saying_why(app: FastAPI) -> ASGIApp:
    """Have the server log why the application did not start, instead of where in the code."""

    async def asgi(scope: Scope, receive: Receive, send: Send) -> None:
        async def told(message: Message) -> None:
            why = getattr(app.state, "start_failure", "")
            if why and message["type"] == "lifespan.startup.failed":
                message = {**message, "message": why}
            await send(message)

        await app(scope, receive, told if scope["type"] == "lifespan" else send)

    return asgi


def server_config(settings: Settings) -> uvicorn.Config:
    """Return how the application is served."""
    return uvicorn.Config(
        saying_why(create_app(settings)),
        loop="uvloop",
        http="h11",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        h11_max_incomplete_event_size=HEADER_BYTES_MAX,
        limit_concurrency=CONNECTIONS_MAX,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=REQUESTS_DRAIN_S,
    )
