"""``ackline dead-letters``: the records that the receiver refused."""

from typing import Annotated

import typer
from rich.console import Console

from app.cli.display import refusals
from app.cli.service import DEFAULT_URL, JsonOption, KeyOption, Service, UrlOption
from app.cli.status import IdArgument


def add_to(cli: typer.Typer) -> None:
    """Register the command."""
    cli.command("dead-letters", help="List the records that the receiver refused.")(dead_letters)


def dead_letters(
    ingestion_id: IdArgument,
    records: Annotated[
        bool, typer.Option("--records", help="The records alone, as NDJSON, to be ingested again.")
    ] = False,
    as_json: JsonOption = False,
    url: UrlOption = DEFAULT_URL,
    api_key: KeyOption = None,
) -> None:
    """Print what an ACK named as refused, in the order of the source."""
    with Service(url, api_key=api_key) as service:
        letters = service.dead_letters(service.whole_id(ingestion_id))
        if records:
            for letter in letters:
                # No string holds a line break as it is, so one in JSON is white space.
                typer.echo(letter.content.replace("\n", " ").replace("\r", " "))
        elif as_json:
            for letter in letters:
                typer.echo(letter.model_dump_json())
        # Their bytes are not shown, and may be a thousand times what is.
        elif shown := [letter.model_copy(update={"content": ""}) for letter in letters]:
            Console().print(refusals(shown))
        else:
            typer.echo("no dead letters")
