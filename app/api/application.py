"""All resources, limits and error answers as one ASGI application.

What serves the requests is ``app.state.ingestions``, set by whoever starts the application.
"""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from app import __version__
from app.api import docs, health, ingestions, problems
from app.api.authentication import RequireKey
from app.api.callbacks import declare_webhooks
from app.api.limits import LimitBody
from app.control.keys import Keyring

_DESCRIPTION = """\
Delivers big files to an HTTP receiver as ordered, checksummed chunks, each exactly once in
effect, and proves it.

Every error is an [RFC 9457](https://www.rfc-editor.org/rfc/rfc9457) problem document with one
of these codes. Codes are stable: clients may branch on them.

"""


def build(*, keyring: Keyring) -> FastAPI:
    """Return the application. Without a key in ``keyring`` it asks nobody for one."""
    app = FastAPI(
        title="ackline",
        summary="Ingestion that ends with an acknowledgement.",
        description=_DESCRIPTION + problems.as_table(),
        version=__version__,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.include_router(ingestions.router)
    app.include_router(health.router)
    app.include_router(docs.router)
    declare_webhooks(app)
    problems.install(app)
    # The one added last is met first. A body is read before its sender is refused: one who
    # still sends when the connection is closed never sees why.
    app.add_middleware(RequireKey, keyring=keyring)
    app.add_middleware(LimitBody)
    app.openapi = lambda: _document(app)  # type: ignore[method-assign]
    return app


def _document(app: FastAPI) -> dict[str, Any]:
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title,
            summary=app.summary,
            description=app.description,
            version=app.version,
            routes=app.routes,
            webhooks=app.webhooks.routes,
        )
        _describe_problems(document)
        app.openapi_schema = document
    return app.openapi_schema


def _describe_problems(document: dict[str, Any]) -> None:
    """Put our problem document in the place of the framework's own."""
    schemas = document["components"]["schemas"]
    problem = problems.Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas |= problem.pop("$defs")
    schemas["Problem"] = problem
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    _drop_framework_errors(document)


def _drop_framework_errors(part: object) -> None:
    if isinstance(part, list):
        for element in part:
            _drop_framework_errors(element)
    elif isinstance(part, dict):
        if "HTTPValidationError" in str(part.get("422")):
            del part["422"]
        for value in part.values():
            _drop_framework_errors(value)
