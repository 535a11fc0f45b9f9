"""``ackline status``: one ingestion in full."""

from typing import Annotated

import typer
from rich.console import Console

from app.cli.display import details, follow
from app.cli.service import DEFAULT_URL, JsonOption, KeyOption, Service, UrlOption
from app.domain.ingestion import LIVE, State

IdArgument = Annotated[str, typer.Argument(help="The ingestion's id, or its beginning.")]


def add_to(cli: typer.Typer) -> None:
    """Register the command."""
    cli.command("status", help="Show one ingestion.")(status)


def status(
    ingestion_id: IdArgument,
    wait: Annotated[bool, typer.Option("--follow", help="Stay until it stops.")] = False,
    as_json: JsonOption = False,
    url: UrlOption = DEFAULT_URL,
    api_key: KeyOption = None,
) -> None:
    """Print where an ingestion stands. Exit 1 when it stopped before it was complete."""
    with Service(url, api_key=api_key) as service:
        whole_id = service.whole_id(ingestion_id)
        view = service.show(whole_id)
        if wait:
            view = follow(lambda: service.show(whole_id), quiet=as_json)
    if as_json:
        typer.echo(view.model_dump_json(indent=2))
    else:
        Console(soft_wrap=True).print(details(view))
    if view.state not in LIVE | {State.COMPLETED}:
        raise typer.Exit(1)
