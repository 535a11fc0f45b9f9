"""``ackline cancel``: abort an ingestion."""

import typer

from app.cli.service import DEFAULT_URL, JsonOption, KeyOption, Service, UrlOption
from app.cli.status import IdArgument


def add_to(cli: typer.Typer) -> None:
    """Register the command."""
    cli.command("cancel", help="Abort an ingestion.")(cancel)


def cancel(
    ingestion_id: IdArgument,
    as_json: JsonOption = False,
    url: UrlOption = DEFAULT_URL,
    api_key: KeyOption = None,
) -> None:
    """Ask for it; the chunk in flight is given up, the receiver is told."""
    with Service(url, api_key=api_key) as service:
        view = service.cancel(service.whole_id(ingestion_id))
    typer.echo(
        view.model_dump_json(indent=2)
        if as_json
        else f"{view.state.value} {view.ingestion_id}"
        + (", abort requested" if view.cancel_requested else "")
    )
