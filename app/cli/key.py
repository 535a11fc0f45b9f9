"""``ackline key``: make an API key, and what the service is told of it."""

import json
import shlex
from typing import Annotated

import typer
from pydantic import TypeAdapter, ValidationError

from app.cli.service import JsonOption
from app.control.keys import digest_of, new_key
from app.domain.access import Scope
from app.settings import ApiKeys


def add_to(cli: typer.Typer) -> None:
    """Register the command."""
    cli.command("key", help="Make an API key.")(key)


def key(
    name: Annotated[str, typer.Argument(help="Who will ask with it, such as nightly-import.")],
    scope: Annotated[
        Scope, typer.Option(help="read: look; ingest: submit too; admin: cancel everything too.")
    ] = Scope.INGEST,
    as_json: JsonOption = False,
) -> None:
    """Print the key, which is kept nowhere, and the setting that lets it in."""
    made = new_key()
    setting = {name: {"scope": scope.value, "sha256": [digest_of(made)]}}
    try:
        TypeAdapter(ApiKeys).validate_python(setting)
    except ValidationError:
        raise typer.BadParameter(
            "a name has lower-case letters, digits, '.', '_' and '-', at most 63"
        ) from None
    if as_json:
        typer.echo(json.dumps({"key": made, "INGEST_API_KEYS": setting}))
        return
    typer.echo(f"ACKLINE_API_KEY={made}")
    typer.echo(f"INGEST_API_KEYS={shlex.quote(json.dumps(setting))}")
    typer.echo(
        "The first line is for who asks, and is not shown again. The second is for the service.\n"
        "To replace a key, add the digest of the new one to sha256, and later take out the old.",
        err=True,
    )
