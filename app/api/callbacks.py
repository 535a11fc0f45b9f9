"""What the service sends, declared in the API document. None of these is ever called here.

The same four events appear twice: as ``callbacks`` of ``/api/ingest``, next to the request
that names the URL, and as ``webhooks``, for tools that know only those.
"""

from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, FastAPI

from app.wire.models import AckBody, ChunkBody, CompletedBody, StoppedBody

_TARGET = "{$request.body#/callback_url}"

_ANSWER: dict[int | str, dict[str, Any]] = {
    200: {
        "model": AckBody,
        "description": "Only `ack: true` acknowledges. HTTP success alone means nothing.",
    }
}

router = APIRouter()


def _chunk(body: ChunkBody) -> AckBody:  # type: ignore[empty-body]
    """Some consecutive records. The next chunk is not sent before this one is acknowledged."""


def _completed(body: CompletedBody) -> AckBody:  # type: ignore[empty-body]
    """Every record was delivered. COMPLETED here only once this too is acknowledged."""


def _failed(body: StoppedBody) -> AckBody:  # type: ignore[empty-body]
    """It stopped on an error. Sent once; the answer is not looked at."""


def _aborted(body: StoppedBody) -> AckBody:  # type: ignore[empty-body]
    """It was cancelled. Sent once; the answer is not looked at."""


_EVENTS: dict[str, tuple[str, Callable[..., AckBody]]] = {
    "ingestion.chunk": ("A chunk of records", _chunk),
    "ingestion.completed": ("The end, proven", _completed),
    "ingestion.failed": ("It stopped", _failed),
    "ingestion.aborted": ("It was cancelled", _aborted),
}


def _operation_id(kind: str, name: str) -> str:
    """Return a name of its own for each, without the signs that API pages cannot link to."""
    return kind + name.rpartition(".")[2].capitalize()


for _name, (_summary, _body) in _EVENTS.items():
    router.post(
        _TARGET,
        name=_name,
        operation_id=_operation_id("callback", _name),
        summary=_summary,
        responses=_ANSWER,
    )(_body)


def declare_webhooks(app: FastAPI) -> None:
    """Add the events to ``app.webhooks``."""
    for name, (summary, body) in _EVENTS.items():
        app.webhooks.post(
            name,
            operation_id=_operation_id("webhook", name),
            summary=summary,
            responses=_ANSWER,
        )(body)
