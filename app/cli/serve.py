"""``ackline serve``: the service itself."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from app.cli.listening import bind
from app.cli.listening import serve as serve_until_told
from app.main import server_config
from app.settings import Profile, load
from app.telemetry.logs import configure
from app.variables import SettingsInvalid


def add_to(cli: typer.Typer) -> None:
    """Register the command."""
    cli.command("serve", help="Run the service. Its settings are INGEST_ variables.")(serve)


def serve(
    profile: Annotated[
        Profile, typer.Option(help="dev allows receivers and samples on this machine.")
    ] = Profile.PRODUCTION,
    env_file: Annotated[Path | None, typer.Option(help="Read settings from this file too.")] = None,
    host: Annotated[str | None, typer.Option(help="INGEST_HOST")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="INGEST_PORT")] = None,
) -> None:
    """Serve until SIGTERM or SIGINT, then settle the chunks in flight and end."""
    asked = {"host": host, "port": port}
    explicit = {name: given for name, given in asked.items() if given is not None}
    try:
        settings = load(profile, env_file=env_file, **explicit)
    except SettingsInvalid as error:
        for fault in error.faults:
            sys.stderr.write(f"ackline: {fault}\n")
        raise typer.Exit(2) from error
    configure(settings.log_level, as_json=settings.log_format == "json")
    serve_until_told(server_config(settings), bind(settings.host, settings.port))
