"""``ackline demo``: the whole path on this machine, proved at the receiver's end."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Annotated

import httpx
import typer

from app.api.models import IngestBody
from app.api.views import IngestionView
from app.cli.display import ending, follow, size
from app.cli.generate import generate
from app.cli.listening import LISTENING
from app.cli.service import Service
from app.domain.ingestion import State
from app.samples.formats import json_text
from app.samples.products import product

STOP_S = 30.0
"""How long a server may take to stop after SIGTERM."""


def add_to(cli: typer.Typer) -> None:
    """Register the command."""
    cli.command("demo", help="Deliver a sample on this machine, and prove that it arrived.")(demo)


def demo(
    records: Annotated[int, typer.Option(min=1, help="Products in the sample.")] = 100_000,
) -> None:
    """Generate, serve, ingest, verify, print a receipt, stop everything."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ackline-demo-")))
        sample = folder / "products.json"
        generate(sample, records=records)
        receiver = stack.enter_context(
            _server("receiver", "--port", "0", "--database", str(folder / "receiver.db"))
        )
        url = stack.enter_context(
            _server(
                *("serve", "--host", "127.0.0.1", "--port", "0"),
                INGEST_API_KEYS="",
                INGEST_API_KEYS_FILE="",
                INGEST_LOG_LEVEL="warning",
                INGEST_DATABASE_PATH=str(folder / "ackline.db"),
                INGEST_SOURCE_ROOTS=json.dumps([str(folder)]),
                INGEST_CALLBACK_ALLOW=json.dumps([receiver.removeprefix("http://")]),
            )
        )
        typer.echo(f"service {url}, receiver {receiver}")
        service = stack.enter_context(Service(url))
        began = time.monotonic()
        answer = service.submit(
            IngestBody(file_path=str(sample), file_type="json", callback_url=f"{receiver}/callback")
        )
        view = follow(lambda: service.show(answer.ingestion_id))
        seconds = time.monotonic() - began
        if view.state is not State.COMPLETED:
            typer.echo(ending(view), err=True)
            raise typer.Exit(1)
        typer.echo("verifying every record at the receiver …")
        _verify(f"{receiver}/ingestions/{view.ingestion_id}/records", records)
        _receipt(view, sample, seconds)


@contextmanager
def _server(*command: str, **settings: str) -> Iterator[str]:
    """Run a command of ours that serves; give the URL it says it listens on."""
    process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
        [sys.executable, "-m", "app.cli", *command],
        stdout=subprocess.PIPE,
        env=os.environ | settings,
        text=True,
    )
    try:
        line = process.stdout.readline() if process.stdout else ""
        if not line.startswith(LISTENING):
            raise RuntimeError(f"{command[0]} did not start: {line!r}")
        yield line.removeprefix(LISTENING).strip()
    finally:
        process.terminate()
        status = process.wait(STOP_S)
    if status != 0:
        raise RuntimeError(f"{command[0]} stopped with status {status}")


def _verify(url: str, records: int) -> None:
    """Compare what the receiver holds with what was generated: each once, and in order."""
    arrived = 0
    with httpx.stream("GET", url, timeout=60.0, trust_env=False) as response:
        response.raise_for_status()
        for arrived, line in enumerate(response.iter_lines(), start=1):
            if _exact(line) != _exact(json_text(product(arrived - 1))):
                raise RuntimeError(f"record {arrived - 1} is not the one that was sent: {line}")
    if arrived != records:
        raise RuntimeError(f"{arrived} records arrived, {records} were sent")


def _exact(text: str) -> object:
    decoded: object = json.loads(text, parse_float=Decimal)
    return decoded


def _receipt(view: IngestionView, sample: Path, seconds: float) -> None:
    length = sample.stat().st_size
    rows = (
        ("file", f"{sample.name}, {size(length)}"),
        ("ingestion", view.ingestion_id),
        ("delivered", f"{view.counts.delivered:,} records in {view.chunks_acked:,} chunks"),
        ("verified", f"{view.counts.delivered:,} records at the receiver: each once, in order"),
        ("time", f"{seconds:.1f} s, {size(length / seconds)}/s"),
        ("chain", view.chain),
    )
    for name, text in rows:
        typer.echo(f"{name:>10}  {text}")
