"""The mock receiver in this process, and a client that speaks the contract to it."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from time import time

import httpx

from app.domain.chunk import Chunk
from app.domain.delivery import Message
from app.wire import chunk_message, completed_message
from app.wire.headers import request_headers
from mock_receiver.main import Settings, create_app
from tests.support.builders import INGESTION, an_ingestion
from tests.support.chunks import all_delivered

KEY = b"a key of at least 24 bytes"


class Sender:
    """Signs with `KEY`, and does nothing on its own."""

    def __init__(self, client: httpx.AsyncClient, path: str = "/callback") -> None:
        self.client = client
        self._path = path

    async def post(
        self,
        message: Message,
        *,
        attempt: int = 1,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        query: str = "",
    ) -> httpx.Response:
        """Send a message, or another ``body`` under its name."""
        sent = message if body is None else replace(message, content=(body,))
        made = request_headers(sent, attempt=attempt, timestamp_s=int(time()), secrets=[KEY])
        url = f"{self._path}?{query}"
        return await self.client.post(url, content=sent.body, headers={**made, **(headers or {})})

    async def chunk(self, chunk: Chunk, *, attempt: int = 1, query: str = "") -> httpx.Response:
        """Send a chunk."""
        message = chunk_message(an_ingestion(), chunk)
        return await self.post(message, attempt=attempt, query=query)

    async def all(self, sent: list[Chunk]) -> None:
        """Send chunks, each of which has to be acknowledged."""
        for chunk in sent:
            assert (await self.chunk(chunk)).json()["ack"] is True

    async def completed(self, sent: list[Chunk]) -> httpx.Response:
        """Say that these were all."""
        return await self.post(completed_message(all_delivered(an_ingestion(), sent)))

    async def holding(self) -> dict[str, object]:
        """Return what the receiver says it holds."""
        response = await self.client.get(f"/ingestions/{INGESTION}")
        held: dict[str, object] = response.json()
        return held

    async def download(self) -> bytes:
        """Return all records, as NDJSON."""
        response = await self.client.get(f"/ingestions/{INGESTION}/records")
        assert response.headers["content-type"] == "application/x-ndjson"
        return response.content


@asynccontextmanager
async def receiver(settings: Settings) -> AsyncIterator[Sender]:
    """Start the receiver; stop it afterwards."""
    app = create_app(settings)
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://receiver.test") as client,
    ):
        yield Sender(client)
