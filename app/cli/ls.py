"""``ackline ls``: the ingestions, newest first."""

from typing import Annotated
from urllib.parse import urlencode

import typer
from rich.console import Console

from app.cli.display import listing
from app.cli.service import DEFAULT_URL, JsonOption, KeyOption, Service, UrlOption
from app.domain.ingestion import State


def add_to(cli: typer.Typer) -> None:
    """Register the command."""
    cli.command("ls", help="List ingestions.")(ls)


def ls(
    state: Annotated[list[State] | None, typer.Option(help="Only these; may be repeated.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=200, help="At most so many.")] = 20,
    as_json: JsonOption = False,
    url: UrlOption = DEFAULT_URL,
    api_key: KeyOption = None,
) -> None:
    """Print the newest ingestions."""
    asked = [("limit", str(limit)), *(("state", wanted.value) for wanted in state or ())]
    with Service(url, api_key=api_key) as service:
        page = service.page(f"/api/ingestions?{urlencode(asked)}")
    if as_json:
        typer.echo(page.model_dump_json(indent=2))
    elif page.ingestions:
        Console().print(listing(page.ingestions))
    else:
        typer.echo("no ingestions")
