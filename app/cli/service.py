"""The running service, as the commands see it."""

from collections.abc import Iterator
from types import TracebackType
from typing import Annotated, Self
from uuid import uuid4

import httpx
import typer
from pydantic import BaseModel

from app.api.models import IngestBody
from app.api.views import (
    DeadLetterList,
    DeadLetterView,
    IngestAnswer,
    IngestionList,
    IngestionView,
)
from app.cli.display import printable
from app.cli.failures import Refused, Unreachable

DEFAULT_URL = "http://127.0.0.1:8080"

ID_CHARACTERS = 64

TIMEOUT_S = 30.0
"""Every answer of the service comes within milliseconds; this is for a machine in trouble."""

UrlOption = Annotated[
    str, typer.Option("--url", envvar="ACKLINE_URL", help="Where the service listens.")
]
KeyOption = Annotated[
    str | None,
    typer.Option(
        "--api-key",
        envvar="ACKLINE_API_KEY",
        show_default=False,
        help="API key. Better in the environment: arguments are seen by others.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


class _Problem(BaseModel):
    code: str = ""
    title: str = ""
    detail: str = ""
    remedy: str = ""


class Service:
    """A client of the HTTP API."""

    def __init__(self, url: str, *, api_key: str | None = None) -> None:
        headers = {}
        if api_key:
            if not (api_key.isascii() and api_key.isprintable()):
                raise typer.BadParameter("the API key holds a character that no key has")
            headers["Authorization"] = f"Bearer {api_key}"
        # Proxy variables are for the outside; the service is ours.
        self._http = httpx.Client(base_url=url, timeout=TIMEOUT_S, trust_env=False, headers=headers)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._http.close()

    def submit(self, body: IngestBody) -> IngestAnswer:
        """Ask for an ingestion. Safe to repeat when the connection breaks: it has a key."""
        answer = self._ask(
            "POST",
            "/api/ingest",
            content=body.model_dump_json(exclude_defaults=True),
            headers={"Content-Type": "application/json", "Idempotency-Key": str(uuid4())},
        )
        return IngestAnswer.model_validate_json(answer)

    def show(self, ingestion_id: str) -> IngestionView:
        """Look at an ingestion."""
        return IngestionView.model_validate_json(
            self._ask("GET", f"/api/ingestions/{ingestion_id}")
        )

    def whole_id(self, beginning: str) -> str:
        """Complete an id of which only the beginning was typed, if it is among the newest."""
        if len(beginning) == ID_CHARACTERS:
            return beginning
        ids = [view.ingestion_id for view in self.page("/api/ingestions?limit=200").ingestions]
        match [found for found in ids if found.startswith(beginning)]:
            case [only]:
                return only
            case []:
                return beginning
            case several:
                raise Refused(f"{beginning} is the beginning of {len(several)} ingestions' ids")

    def page(self, path: str) -> IngestionList:
        """Look at a slice of the list: the first, or the one a list named as its next."""
        return IngestionList.model_validate_json(self._ask("GET", path))

    def dead_letters(self, ingestion_id: str) -> Iterator[DeadLetterView]:
        """Yield the records of an ingestion that its receiver refused."""
        following: str | None = f"/api/ingestions/{ingestion_id}/dead-letters?limit=200"
        while following is not None:
            page = DeadLetterList.model_validate_json(self._ask("GET", following))
            yield from page.dead_letters
            following = page.next

    def cancel(self, ingestion_id: str) -> IngestionView:
        """Ask for an ingestion to be aborted."""
        return IngestionView.model_validate_json(
            self._ask("POST", f"/api/ingestions/{ingestion_id}/cancel")
        )

    def _ask(
        self,
        method: str,
        path: str,
        *,
        content: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> bytes:
        try:
            response = self._http.request(method, path, content=content, headers=headers)
        except httpx.HTTPError as error:
            raise Unreachable(
                f"no answer from {self._http.base_url}: {error}. "
                "Is it running (ackline serve)? Name it with --url or ACKLINE_URL."
            ) from error
        if response.is_success:
            return response.content
        raise Refused(_told(response))


def _told(response: httpx.Response) -> str:
    try:
        problem = _Problem.model_validate_json(response.content)
    except ValueError:
        return printable(f"HTTP {response.status_code}: {response.text[:300]}")
    code = problem.code or problem.title or f"HTTP {response.status_code}"
    told = printable(f"{code}: {problem.detail or problem.title}")
    return f"{told}\n  {printable(problem.remedy)}" if problem.remedy else told
