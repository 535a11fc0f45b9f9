"""Delivery and the API as one application, and how uvicorn serves it."""

import asyncio
import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import uvicorn
from pydantic import BaseModel
from starlette.types import ASGIApp, Receive, Scope, Send

from app.bootstrap import start
from app.control.keys import Keyring
from app.domain.errors import IngestError
from app.settings import Settings

if TYPE_CHECKING:
    from fastapi import FastAPI

HEADER_BYTES_MAX = 16 * 1024
"""Of a request line and headers that are not complete yet; what one read of the socket brings
whole is let through. uvicorn's httptools server has no limit at all, and the API has a few
requests a second, so its speed would buy nothing."""

CONNECTIONS_MAX = 512
"""Above it a client is told 503 at once, instead of everyone waiting."""

KEEP_ALIVE_S = 15
REQUESTS_DRAIN_S = 5
"""After SIGTERM, time for requests in flight; the chunks in flight have their own."""


class Application:
    """Everything is opened when the server starts it, and closed when the server ends it.

    Delivery begins at once. The API is loaded meanwhile, and half of a start is its framework:
    an ingestion that goes on need not wait for it.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._api: ASGIApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Be an ASGI application."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        else:
            assert self._api  # the server takes no request before it was told that all is there
            await self._api(scope, receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()  # lifespan.startup
        try:
            async with start(self._settings) as runtime:
                api = await asyncio.to_thread(load_api, self._settings.keyring())
                api.state.ingestions = runtime.ingestions
                self._api = api
                await send({"type": "lifespan.startup.complete"})
                await receive()  # lifespan.shutdown
        except IngestError as error:
            # The server logs why, instead of where in the code.
            why = f"{error.code}: {error.message}. {error.remedy}".rstrip()
            phase = "shutdown" if self._api else "startup"
            await send({"type": f"lifespan.{phase}.failed", "message": why})
        else:
            await send({"type": "lifespan.shutdown.complete"})


def load_api(keyring: Keyring) -> "FastAPI":
    """Import the API and the framework that it is written in, and return it."""
    gc.disable()  # as in the command line: what is imported stays
    try:
        with _models_built_when_used():
            import fastapi  # noqa: F401, PLC0415 - while delivery is already at work
        from app.api import application  # noqa: PLC0415 - likewise

        return application.build(keyring=keyring)
    finally:
        gc.freeze()
        gc.enable()


@contextmanager
def _models_built_when_used() -> Iterator[None]:
    """Spare FastAPI's models of an API document, until somebody asks for the document.

    They are a tenth of the start. What is defined in here keeps the setting, nothing else does.
    """
    BaseModel.model_config["defer_build"] = True
    try:
        yield
    finally:
        del BaseModel.model_config["defer_build"]


def server_config(settings: Settings) -> uvicorn.Config:
    """Return how the application is served."""
    return uvicorn.Config(
        Application(settings),
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
