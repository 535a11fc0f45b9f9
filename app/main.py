"""The application over its runtime, and how uvicorn serves it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from fastapi import FastAPI

from app.api import application
from app.bootstrap import start
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
        async with start(settings) as runtime:
            app.state.ingestions = runtime.ingestions
            yield

    return application.build(lifespan, keyring=settings.keyring())


def server_config(settings: Settings) -> uvicorn.Config:
    """Return how the application is served."""
    return uvicorn.Config(
        create_app(settings),
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
