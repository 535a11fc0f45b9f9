"""The reference receiver over HTTP.

RECEIVER_DATABASE=data/receiver.db uvicorn --factory mock_receiver.main:create_app
"""

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import time
from typing import Annotated

from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request, Response
from fastapi.responses import StreamingResponse
from starlette.types import Receive

from app.wire.models import AckBody
from app.wire.protocol import PROTOCOL
from app.wire.receiving import read_secret
from mock_receiver.faults import Plan, PlanInvalid, read_plan
from mock_receiver.ledger import Holding, Ledger
from mock_receiver.openapi import CALLBACK_BODY, document
from mock_receiver.reception import Reaction, Reception, refusal
from mock_receiver.splitting import ndjson

_DATABASE = "data/receiver.db"
_BODY_BYTES_MAX = 64 * 1024 * 1024
_RETRY_AFTER_S = 5
"""How long a sender waits when the database cannot be written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How to run it."""

    database: Path = Path(_DATABASE)
    """``RECEIVER_DATABASE``. Its folder is created."""

    secrets: tuple[bytes, ...] = ()
    """``RECEIVER_SECRETS``: ``whsec_…``, several separated by commas while one is being
    replaced. Without any, signatures are not looked at."""

    faults: Plan = field(default_factory=Plan)
    """``RECEIVER_FAULTS``: a plan as in `mock_receiver.faults`, until another one is set."""

    body_bytes_max: int = _BODY_BYTES_MAX
    """``RECEIVER_BODY_BYTES_MAX``. A larger body is ``CHUNK_TOO_LARGE``."""

    @classmethod
    def read(cls, environ: Mapping[str, str]) -> "Settings":
        """Read the environment. Raises `ValueError` for what makes no sense."""
        secrets = environ.get("RECEIVER_SECRETS", "").split(",")
        return cls(
            database=Path(environ.get("RECEIVER_DATABASE", _DATABASE)),
            secrets=tuple(read_secret(text) for text in secrets if text.strip()),
            faults=read_plan(environ.get("RECEIVER_FAULTS", "")),
            body_bytes_max=int(environ.get("RECEIVER_BODY_BYTES_MAX", _BODY_BYTES_MAX)),
        )


class BodyTooLarge(Exception):
    """More bytes came than are taken."""


class ConnectionDropped(ConnectionError):
    """The fault asks for a dropped connection, and the server gives no way to drop it."""


class MockReceiver:
    """The ledger, the one thread that writes to it, and the faults in force."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="ledger")
        self.ledger = Ledger(settings.database)
        self.plan = settings.faults
        self._reception = Reception(self.ledger, secrets=settings.secrets)

    def close(self) -> None:
        """Finish what is being stored, then close the file."""
        self._thread.shutdown(wait=True)
        self.ledger.close()

    async def receive(self, request: Request) -> Reaction:
        """Take one request, whatever becomes of it."""
        try:
            plan = read_plan(request.url.query, strict=False)
            body = await _read_body(request, at_most=self._settings.body_bytes_max)
        except PlanInvalid as error:
            return refusal(400, "FAULTS_INVALID", str(error))
        except BodyTooLarge as error:
            return refusal(413, "CHUNK_TOO_LARGE", str(error))
        # Not cancelled with the request: a transaction, once begun, ends.
        work = asyncio.get_running_loop().run_in_executor(
            self._thread,
            lambda: self._reception.receive(
                body, request.headers, plan if plan.faults else self.plan, now_s=time()
            ),
        )
        try:
            return await work
        except sqlite3.OperationalError as error:
            return refusal(503, "BUSY", f"cannot store it: {error}", retry_after_s=_RETRY_AFTER_S)

    async def forget(self, ingestion_id: str) -> bool:
        """Lose an ingestion."""
        return await asyncio.get_running_loop().run_in_executor(
            self._thread, self.ledger.forget, ingestion_id
        )


def create_app(settings: Settings | None = None) -> FastAPI:
    """Build the application; without ``settings``, from the environment."""
    settings = settings or Settings.read(os.environ)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.receiver = receiver = MockReceiver(settings)
        try:
            yield
        finally:
            receiver.close()

    app = FastAPI(title="ackline mock receiver", version=PROTOCOL, lifespan=lifespan)
    app.include_router(_routes)
    app.openapi = lambda: document(app)  # type: ignore[method-assign]
    return app


_routes = APIRouter()


def _receiver(request: Request) -> MockReceiver:
    receiver: MockReceiver = request.app.state.receiver
    return receiver


Receiver = Annotated[MockReceiver, Depends(_receiver)]


@_routes.post(
    "/callback",
    openapi_extra=CALLBACK_BODY,
    responses={200: {"model": AckBody, "description": "Only `ack: true` moves the sender on."}},
)
@_routes.post("/callback/{name:path}", include_in_schema=False)
async def callback(request: Request) -> Response:
    """Take a chunk, a completion, or the news that an ingestion stopped."""
    reaction = await _receiver(request).receive(request)
    if reaction.delay_s:
        await asyncio.sleep(reaction.delay_s)
    if reaction.drop:
        await _drop(request.receive)
    return Response(reaction.body, reaction.status, headers=dict(reaction.headers))


@_routes.get("/ingestions")
def ingestions(receiver: Receiver) -> list[Holding]:
    """List what is held, in the order in which it first came."""
    return receiver.ledger.holdings()


@_routes.get("/ingestions/{ingestion_id}")
def ingestion(receiver: Receiver, ingestion_id: str) -> Holding:
    """Show what is held of one ingestion."""
    holding = receiver.ledger.holding(ingestion_id)
    if holding is None:
        raise HTTPException(404, f"nothing is held of {ingestion_id}")
    return holding


@_routes.get("/ingestions/{ingestion_id}/records", response_class=StreamingResponse)
def records(receiver: Receiver, ingestion_id: str) -> StreamingResponse:
    """Download every record in order, one per line, byte for byte as it came."""
    ingestion(receiver, ingestion_id)
    lines = map(ndjson, receiver.ledger.chunks(ingestion_id))
    return StreamingResponse(lines, media_type="application/x-ndjson")


@_routes.post("/admin/forget/{ingestion_id}")
async def forget(receiver: Receiver, ingestion_id: str) -> dict[str, bool]:
    """Lose everything about an ingestion, as after a restored backup."""
    return {"forgotten": await receiver.forget(ingestion_id)}


@_routes.get("/admin/faults")
async def faults(receiver: Receiver) -> dict[str, str]:
    """Show the plan in force for callback URLs that bring none."""
    return {"faults": receiver.plan.text}


@_routes.post("/admin/faults")
async def set_faults(receiver: Receiver, request: Request) -> dict[str, str]:
    """Set the plan, written as the query string: `?seed=7&drop_after=0.1`."""
    try:
        receiver.plan = read_plan(request.url.query)
    except PlanInvalid as error:
        raise HTTPException(422, str(error)) from error
    return {"faults": receiver.plan.text}


@_routes.delete("/admin/faults")
async def clear_faults(receiver: Receiver) -> dict[str, str]:
    """Behave."""
    receiver.plan = Plan()
    return {"faults": receiver.plan.text}


@_routes.get("/healthz")
async def healthz() -> dict[str, str]:
    """Tell that the process lives."""
    return {"status": "ok"}


async def _read_body(request: Request, *, at_most: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > at_most:
            raise BodyTooLarge(f"a body has at most {at_most} bytes here")
        parts.append(part)
    return b"".join(parts)


async def _drop(receive: Receive) -> None:
    """Close the connection without an answer.

    ASGI has no word for this. Under uvicorn ``receive`` is a method of the object that
    owns the connection, so the connection can be aborted there; then it waits until the
    server has noticed, or it would complain that no answer came. Under any other server
    the request fails instead, and the sender gets that server's error page.
    """
    transport = getattr(getattr(receive, "__self__", None), "transport", None)
    if not isinstance(transport, asyncio.Transport):
        raise ConnectionDropped("fault: the connection is dropped")
    transport.abort()
    while (await receive())["type"] != "http.disconnect":
        pass
