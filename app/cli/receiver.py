"""``ackline receiver``: the reference receiver, for trials."""

import os
from pathlib import Path
from typing import Annotated

import typer
import uvicorn

from app.cli.listening import bind, serve


def add_to(cli: typer.Typer) -> None:
    """Register the command."""
    cli.command("receiver", help="Run the reference receiver.")(receiver)


def receiver(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0 takes a free one.", min=0, max=65535)] = 9000,
    database: Annotated[
        Path, typer.Option(envvar="RECEIVER_DATABASE", help="Its SQLite file.")
    ] = Path("data/receiver.db"),
) -> None:
    """Accept chunks on ``/callback``, keep them in SQLite, give them back as NDJSON."""
    os.environ["RECEIVER_DATABASE"] = str(database)
    config = uvicorn.Config(
        # By name: the receiver is a program of its own that happens to travel with us.
        "mock_receiver.main:create_app",
        factory=True,
        loop="uvloop",
        http="httptools",
        log_level="warning",
        access_log=False,
    )
    serve(config, bind(host, port))
