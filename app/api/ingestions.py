"""``/api/ingest`` and ``/api/ingestions``: submit a file, look at it, list, cancel."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Body, Depends, Query, Response
from pydantic import JsonValue

from app.api import callbacks, examples
from app.api.authentication import CallerDep, needs
from app.api.deps import IdempotencyKeyDep, IngestionIdDep, IngestionsDep, require_json
from app.api.models import DeadLettersQuery, IngestBody, ListQuery
from app.api.problems import documented
from app.api.views import (
    DeadLetterList,
    IngestAnswer,
    IngestionList,
    IngestionView,
    dead_letters_path,
    ingestion_path,
)
from app.domain.access import Scope
from app.ports import SubmitStatus

router = APIRouter(prefix="/api", tags=["ingestions"])

_ALWAYS: Sequence[str] = (
    "UNAUTHENTICATED",
    "SCOPE_INSUFFICIENT",
    "HOST_REFUSED",
    "STORE_UNAVAILABLE",
    "INTERNAL",
)
"""What any of these routes may answer with."""

_LINK: dict[str, JsonValue] = {
    "Link": {
        "description": "RFC 8288: `first`, and `next` where there is more.",
        "schema": {"type": "string"},
    }
}

_READ = [Depends(needs(Scope.READ))]
_INGEST = [Depends(needs(Scope.INGEST))]


@router.post(
    "/ingest",
    operation_id="ingest",
    status_code=202,
    summary="Ingest a file",
    response_description="The file is queued, or being worked on already.",
    dependencies=[*_INGEST, Depends(require_json)],
    callbacks=callbacks.router.routes,
    responses={
        200: {
            "model": IngestAnswer,
            "description": "These very bytes were delivered before; nothing is done.",
            "content": {"application/json": {"examples": examples.ALREADY_COMPLETED}},
        },
        202: {
            "content": {"application/json": {"examples": examples.ACCEPTED}},
            "headers": {
                "Location": {
                    "description": "Where the ingestion can be looked at.",
                    "schema": {"type": "string"},
                }
            },
        },
        **documented(
            "REQUEST_MALFORMED",
            "IDEMPOTENCY_KEY_INVALID",
            "SOURCE_FORBIDDEN",
            "REQUEST_TIMEOUT",
            "SOURCE_CHANGED",
            "INGESTION_ABORTED",
            "NOT_RESUMABLE",
            "BODY_TOO_LARGE",
            "MEDIA_TYPE_UNSUPPORTED",
            "REQUEST_INVALID",
            "FILE_TYPE_UNKNOWN",
            "OPTION_INVALID",
            "URL_BLOCKED",
            "SOURCE_NOT_FOUND",
            "SOURCE_UNREADABLE",
            "SOURCE_NOT_A_FILE",
            "IDEMPOTENCY_KEY_REUSED",
            "SOURCE_UNAVAILABLE",
            "RATE_LIMIT",
            "CALLER_LIMIT",
            "ORIGIN_LIMIT",
            "DISK_LOW",
            *_ALWAYS,
        ),
    },
)
async def ingest(
    body: Annotated[IngestBody, Body(openapi_examples=examples.REQUESTS)],
    key: IdempotencyKeyDep,
    caller: CallerDep,
    ingestions: IngestionsDep,
    response: Response,
) -> IngestAnswer:
    """Deliver a file to `callback_url` in ordered, checksummed chunks.

    Answers as soon as the file is queued. Submitting the same file again resumes what had
    stopped; `re_ingestion: true` makes a new version instead. What cannot work is refused
    at once: a missing file, a forbidden callback, an unknown member.
    """
    submitted = await ingestions.submit(body.request(key), caller=caller)
    if submitted.status is SubmitStatus.ALREADY_COMPLETED:
        response.status_code = 200
    response.headers["location"] = ingestion_path(submitted.ingestion.id)
    return IngestAnswer.of(submitted)


@router.get(
    "/ingestions",
    operation_id="list_ingestions",
    summary="List ingestions",
    dependencies=_READ,
    response_description="A slice, newest first.",
    responses={
        200: {
            "content": {"application/json": {"examples": examples.LISTS}},
            "headers": _LINK,
        },
        **documented("REQUEST_INVALID", "CURSOR_INVALID", "FILE_TYPE_UNKNOWN", *_ALWAYS),
    },
)
async def list_ingestions(
    query: Annotated[ListQuery, Query()], ingestions: IngestionsDep, response: Response
) -> IngestionList:
    """List ingestions, newest first. Follow `next` until it is null."""
    page = await ingestions.page(
        states=query.state, file=query.file(), limit=query.limit, cursor=query.cursor
    )
    following = None if page.next_cursor is None else query.link(page.next_cursor)
    response.headers["link"] = _links(query.link(None), following)
    return IngestionList.of(page, following=following)


@router.get(
    "/ingestions/{ingestion_id}",
    operation_id="show_ingestion",
    summary="Show an ingestion",
    dependencies=_READ,
    response_description="The ingestion as it stands.",
    responses={
        200: {"content": {"application/json": {"examples": examples.INGESTIONS}}},
        **documented("INGESTION_NOT_FOUND", *_ALWAYS),
    },
)
async def show(ingestion_id: IngestionIdDep, ingestions: IngestionsDep) -> IngestionView:
    """Show the state, balancing counts, progress, rate and why it waits or stopped."""
    return IngestionView.of(await ingestions.get(ingestion_id))


@router.get(
    "/ingestions/{ingestion_id}/dead-letters",
    operation_id="list_dead_letters",
    summary="List the records that the receiver refused",
    dependencies=_INGEST,
    response_description="A slice, in the order of the source.",
    responses={
        200: {
            "content": {"application/json": {"examples": examples.DEAD_LETTERS}},
            "headers": _LINK,
        },
        **documented("INGESTION_NOT_FOUND", "REQUEST_INVALID", "CURSOR_INVALID", *_ALWAYS),
    },
)
async def list_dead_letters(
    ingestion_id: IngestionIdDep,
    query: Annotated[DeadLettersQuery, Query()],
    caller: CallerDep,
    ingestions: IngestionsDep,
    response: Response,
) -> DeadLetterList:
    """List the records that an ACK named in `rejected`, with their bytes and the reason.

    Follow `next` until it is null. They are what the file holds: a key of scope `ingest` sees
    those of what was submitted under its name, one of scope `admin` all.
    """
    page = await ingestions.dead_letters(
        ingestion_id, caller=caller, limit=query.limit, cursor=query.cursor
    )
    path = f"{dead_letters_path(ingestion_id)}?limit={query.limit}"
    following = None if page.next_cursor is None else f"{path}&cursor={page.next_cursor}"
    response.headers["link"] = _links(path, following)
    return DeadLetterList.of(page, following=following)


@router.post(
    "/ingestions/{ingestion_id}/cancel",
    operation_id="cancel_ingestion",
    status_code=202,
    summary="Cancel an ingestion",
    dependencies=_INGEST,
    response_description="It is asked to stop; the state is ABORTED as soon as it has.",
    responses={
        202: {"content": {"application/json": {"examples": examples.CANCELLED}}},
        **documented("INGESTION_NOT_FOUND", "ALREADY_FINISHED", *_ALWAYS),
    },
)
async def cancel(
    ingestion_id: IngestionIdDep, caller: CallerDep, ingestions: IngestionsDep
) -> IngestionView:
    """Abort an ingestion for good. The receiver is told once with `ingestion.aborted`.

    A key of scope `ingest` cancels what was submitted under its name, one of scope `admin`
    everything.
    """
    return IngestionView.of(await ingestions.cancel(ingestion_id, caller=caller))


def _links(first: str, following: str | None) -> str:
    links = f'<{first}>; rel="first"'
    return links if following is None else f'{links}, <{following}>; rel="next"'
