"""Errors as HTTP: the only place that pairs an error with a status (RFC 9457).

Every code the API can answer with is a row of ``PROBLEMS``, from which the handlers, the
documented responses and the list of codes in the OpenAPI description are made.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.responses import Response

from app.domain.errors import IngestError, LimitReached, OptionInvalid

MEDIA_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:ackline:problem:"
RETRY_AFTER_S = 5
"""Told to a client whose request failed for a reason that passes."""

_NAME_CHARS_MAX = 100
"""Of a member's name that a client made up, this much is repeated."""


@dataclass(frozen=True, slots=True)
class ProblemKind:
    """What a code means over HTTP."""

    status: int
    title: str


PROBLEMS: Mapping[str, ProblemKind] = {
    # The request itself.
    "REQUEST_MALFORMED": ProblemKind(400, "The body is not JSON"),
    "IDEMPOTENCY_KEY_INVALID": ProblemKind(400, "The Idempotency-Key cannot be read"),
    "UNAUTHENTICATED": ProblemKind(401, "A valid API key is needed"),
    "SCOPE_INSUFFICIENT": ProblemKind(403, "The API key is not for this"),
    "NOT_FOUND": ProblemKind(404, "There is nothing at this path"),
    "METHOD_NOT_ALLOWED": ProblemKind(405, "This path does not know this method"),
    "REQUEST_TIMEOUT": ProblemKind(408, "The body did not arrive in time"),
    "BODY_TOO_LARGE": ProblemKind(413, "The body is too large"),
    "MEDIA_TYPE_UNSUPPORTED": ProblemKind(415, "The body is not declared as plain JSON"),
    "HOST_REFUSED": ProblemKind(421, "Without API keys only this machine may ask"),
    "REQUEST_INVALID": ProblemKind(422, "A member or parameter is not as documented"),
    "CURSOR_INVALID": ProblemKind(422, "This is no cursor of a page"),
    "FILE_TYPE_UNKNOWN": ProblemKind(422, "No decoder has this name"),
    "OPTION_INVALID": ProblemKind(422, "An option or limit cannot work"),
    "IDEMPOTENCY_KEY_REUSED": ProblemKind(422, "The key came with another request before"),
    # What it names.
    "URL_BLOCKED": ProblemKind(422, "The service may not call this URL"),
    "SOURCE_FORBIDDEN": ProblemKind(403, "The source is outside the allowed folders"),
    "SOURCE_NOT_FOUND": ProblemKind(422, "The source does not exist"),
    "SOURCE_UNREADABLE": ProblemKind(422, "The source may not be read"),
    "SOURCE_NOT_A_FILE": ProblemKind(422, "The source is not a regular file"),
    "SOURCE_UNAVAILABLE": ProblemKind(503, "The source does not answer"),
    # The ingestion.
    "INGESTION_NOT_FOUND": ProblemKind(404, "No ingestion has this id"),
    "SOURCE_CHANGED": ProblemKind(409, "The source is not the one ingested before"),
    "INGESTION_ABORTED": ProblemKind(409, "The ingestion was cancelled"),
    "NOT_RESUMABLE": ProblemKind(409, "The ingestion cannot go on"),
    "ALREADY_FINISHED": ProblemKind(409, "The ingestion has ended"),
    # How much there is.
    "RATE_LIMIT": ProblemKind(429, "Too many submissions in a minute"),
    "CALLER_LIMIT": ProblemKind(429, "Too many live ingestions of one caller"),
    "ORIGIN_LIMIT": ProblemKind(429, "Too many live ingestions that call one receiver"),
    "DISK_LOW": ProblemKind(503, "Too little space is left to keep progress"),
    # The service.
    "NOT_READY": ProblemKind(503, "The service cannot take work just now"),
    "STORE_UNAVAILABLE": ProblemKind(503, "Progress cannot be stored just now"),
    "INTERNAL": ProblemKind(500, "The service met an error of its own"),
}
"""Code → status and title. Codes are stable and public."""

_BY_STATUS = {
    400: "REQUEST_MALFORMED",
    404: "NOT_FOUND",
    405: "METHOD_NOT_ALLOWED",
    413: "BODY_TOO_LARGE",
    415: "MEDIA_TYPE_UNSUPPORTED",
}
"""For the errors that the framework raises itself."""

_HEADERS = {
    401: ("WWW-Authenticate", "`Bearer`: how to send a key."),
    429: ("Retry-After", "Seconds."),
    503: ("Retry-After", "Seconds."),
}
"""What comes with a status."""

_MEMBER_CODES = (
    ("missing", "MISSING"),
    ("extra_forbidden", "UNKNOWN_MEMBER"),
    ("literal_error", "NOT_ALLOWED"),
    ("enum", "NOT_ALLOWED"),
    ("greater_than", "OUT_OF_RANGE"),
    ("less_than", "OUT_OF_RANGE"),
    ("too_long", "TOO_LONG"),
    ("too_short", "TOO_SHORT"),
    ("_type", "WRONG_TYPE"),
    ("_from_float", "WRONG_TYPE"),
    ("_parsing", "WRONG_TYPE"),
)
"""The validator's own codes, by a part of them, as stable ones; the first match counts."""


class MemberError(BaseModel):
    """What is wrong with one member of the request."""

    path: str = Field(description="The member, its steps joined by a dot.")
    message: str
    code: str = Field(description="Stable: MISSING, UNKNOWN_MEMBER, WRONG_TYPE, OUT_OF_RANGE …")


class Problem(BaseModel):
    """An RFC 9457 problem document."""

    type: str = Field(description="`urn:ackline:problem:` and the code.")
    title: str = Field(description="What the code means.")
    status: int = Field(description="The HTTP status.")
    code: str = Field(description="Stable: it is never renamed.")
    detail: str = Field(description="What went wrong this time.")
    remedy: str | None = Field(None, description="What can be done about it.")
    instance: str | None = Field(None, description="The path that was asked for.")
    errors: list[MemberError] | None = Field(None, description="One entry for each bad member.")


class ApiError(IngestError):
    """An error that only HTTP knows."""

    def __init__(self, code: str, message: str, *, remedy: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.code = code


def problem_of(
    code: str,
    detail: str,
    *,
    remedy: str = "",
    instance: str | None = None,
    errors: Sequence[MemberError] = (),
) -> Problem:
    """Return the problem document for ``code``, which is a row of ``PROBLEMS``."""
    kind = PROBLEMS[code]
    return Problem(
        type=TYPE_PREFIX + code,
        title=kind.title,
        status=kind.status,
        code=code,
        detail=detail,
        remedy=remedy or None,
        instance=instance,
        errors=list(errors) or None,
    )


def response_of(problem: Problem, *, headers: Mapping[str, str] | None = None) -> Response:
    """Return the answer that carries ``problem``."""
    all_headers = dict(headers or {})
    if problem.status == 503:
        all_headers.setdefault("retry-after", str(RETRY_AFTER_S))
    return Response(
        json.dumps(problem.model_dump(exclude_none=True), ensure_ascii=True),
        status_code=problem.status,
        headers=all_headers,
        media_type=MEDIA_TYPE,
    )


def documented(*codes: str) -> dict[int | str, dict[str, Any]]:
    """Return ``responses=`` for a route that may answer with these codes."""
    by_status: dict[int | str, dict[str, Any]] = {}
    for code in codes:
        problem = problem_of(code, PROBLEMS[code].title + ".")
        row = by_status.setdefault(
            problem.status,
            {
                "description": "",
                **_documented_headers(problem.status),
                "content": {
                    MEDIA_TYPE: {
                        "schema": {"$ref": "#/components/schemas/Problem"},
                        "examples": {},
                    }
                },
            },
        )
        row["description"] = (row["description"] + f", `{code}`").removeprefix(", ")
        row["content"][MEDIA_TYPE]["examples"][code] = {
            "summary": PROBLEMS[code].title,
            "value": problem.model_dump(exclude_none=True),
        }
    return by_status


def _documented_headers(status: int) -> dict[str, Any]:
    named = _HEADERS.get(status)
    if named is None:
        return {}
    name, description = named
    return {"headers": {name: {"description": description, "schema": {"type": "string"}}}}


def as_table() -> str:
    """Return every code as a Markdown table."""
    rows = (f"| `{code}` | {kind.status} | {kind.title} |" for code, kind in PROBLEMS.items())
    return "\n".join(("| code | status | meaning |", "|---|---|---|", *rows))


def install(app: FastAPI) -> None:
    """Answer every error of ``app`` with a problem document."""
    app.add_exception_handler(IngestError, _on_ingest_error)
    app.add_exception_handler(RequestValidationError, _on_validation_error)
    app.add_exception_handler(HTTPException, _on_http_error)
    app.add_exception_handler(Exception, _on_unexpected)


async def _on_ingest_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, IngestError)
    if error.code not in PROBLEMS:
        # None of these is a caller's business; the server logs what is raised here.
        raise error
    errors = []
    if isinstance(error, OptionInvalid):
        errors.append(MemberError(path=error.member, message=error.message, code="NOT_ALLOWED"))
    problem = problem_of(
        error.code,
        error.message,
        remedy=error.remedy,
        instance=request.url.path,
        errors=errors,
    )
    headers = {}
    if isinstance(error, LimitReached):
        headers["retry-after"] = str(error.retry_after_s)
    return response_of(problem, headers=headers)


async def _on_validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    found = error.errors()
    broken = next((one for one in found if one["type"] == "json_invalid"), None)
    if broken is not None:
        place = broken["loc"][-1]
        problem = problem_of(
            "REQUEST_MALFORMED",
            f"the body is not JSON: {broken['ctx']['error']} at character {place}",
            instance=request.url.path,
        )
        return response_of(problem)
    errors = [_member_error(one["loc"], one["msg"], one["type"]) for one in found]
    names = ", ".join(one.path or "the body" for one in errors[:5])
    more = f" and {len(errors) - 5} more" if len(errors) > 5 else ""
    problem = problem_of(
        "REQUEST_INVALID",
        f"not as documented: {names}{more}",
        remedy="See errors; the document at /openapi.json describes every member.",
        instance=request.url.path,
        errors=errors,
    )
    return response_of(problem)


def _member_error(steps: Iterable[object], message: str, kind: str) -> MemberError:
    # The first step says where it was: body, query, header, path.
    path = ".".join(str(step) for step in list(steps)[1:])
    code = next((ours for part, ours in _MEMBER_CODES if part in kind), "INVALID")
    return MemberError(path=_printable(path)[:_NAME_CHARS_MAX], message=message, code=code)


def _printable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()


async def _on_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    problem = problem_of(
        _BY_STATUS.get(error.status_code, "INTERNAL"), error.detail, instance=request.url.path
    )
    return response_of(problem, headers=error.headers)


async def _on_unexpected(request: Request, _error: Exception) -> Response:
    # The server logs the error itself; a caller learns nothing about our insides.
    return response_of(
        problem_of(
            "INTERNAL",
            "an unexpected error; the service's log has it",
            instance=request.url.path,
        )
    )
