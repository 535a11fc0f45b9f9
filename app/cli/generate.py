"""``ackline generate``: synthetic product data of any size."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress

from app.cli.display import size
from app.samples.formats import SampleFormat, write


def add_to(cli: typer.Typer) -> None:
    """Register the command."""
    cli.command("generate", help="Write synthetic product data: JSON, NDJSON, CSV or XLSX.")(
        generate
    )


def generate(
    file: Annotated[Path, typer.Argument(help="Where to; its name tells the format.")],
    records: Annotated[int, typer.Option(min=0, help="How many products.")] = 100_000,
    kind: Annotated[
        SampleFormat | None, typer.Option("--format", help="If the name does not tell it.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Another seed, other products.")] = 0,
) -> None:
    """Stream the products into the file; memory does not grow with their number."""
    chosen = kind or _format_of(file)
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(f".{file.name}.part")
    with Progress(disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task(f"{records:,} products", total=records)
        with part.open("wb") as target:
            write(
                target,
                chosen,
                records=records,
                seed=seed,
                progress=lambda done: progress.update(task, completed=done),
            )
    # Whoever watches for the file never sees half of it.
    os.replace(part, file)  # noqa: PTH105 - the atomic one, by its known name
    typer.echo(f"{file}: {records:,} records, {size(file.stat().st_size)}")


def _format_of(file: Path) -> SampleFormat:
    try:
        return SampleFormat(file.suffix.lower().lstrip(".").replace("jsonl", "ndjson"))
    except ValueError:
        raise typer.BadParameter(
            f"the name {file.name} does not tell the format: add --format"
        ) from None
