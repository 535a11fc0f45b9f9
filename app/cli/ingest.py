"""``ackline ingest``: submit a file, and stay with it if asked."""

import os
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError

from app.api.models import IngestBody
from app.cli.display import ending, follow
from app.cli.service import DEFAULT_URL, JsonOption, KeyOption, Service, UrlOption
from app.domain.ingestion import State

_TYPES = {
    ".json": "json",
    ".ndjson": "ndjson",
    ".jsonl": "ndjson",
    ".csv": "csv",
    ".tsv": "tsv",
    ".xlsx": "excel",
    ".xlsm": "excel",
}


def add_to(cli: typer.Typer) -> None:
    """Register the command."""
    cli.command("ingest", help="Deliver a file to a callback.")(ingest)


def ingest(  # noqa: PLR0917 - one parameter for each option of the command
    file: Annotated[Path, typer.Argument(help="The file, on the machine of the service.")],
    callback: Annotated[str, typer.Option(help="URL that the chunks are POSTed to.")],
    file_type: Annotated[
        str | None, typer.Option("--type", help="json, ndjson, csv, tsv or excel; else by name.")
    ] = None,
    records: Annotated[int, typer.Option(help="Most records in a chunk.", min=0)] = 0,
    memory: Annotated[int, typer.Option(help="Most bytes of records in a chunk.", min=0)] = 0,
    record_path: Annotated[
        str | None, typer.Option(help="JSON: members down to the array of records, by dots.")
    ] = None,
    delimiter: Annotated[str | None, typer.Option(help="CSV: one character.")] = None,
    encoding: Annotated[str | None, typer.Option(help="CSV: such as windows-1252.")] = None,
    sheet: Annotated[str | None, typer.Option(help="Excel: name, or 0-based index.")] = None,
    new_version: Annotated[
        bool, typer.Option("--new-version", help="Ingest again what was ingested before.")
    ] = False,
    wait: Annotated[
        bool, typer.Option("--follow", help="Show progress until it is done; exit 0 if complete.")
    ] = False,
    as_json: JsonOption = False,
    url: UrlOption = DEFAULT_URL,
    api_key: KeyOption = None,
) -> None:
    """Submit, print the ingestion's id, follow."""
    body = _body(
        file_path=os.path.abspath(file),  # noqa: PTH100 - the service takes no '..'
        file_type=file_type or _type_of(file),
        callback_url=callback,
        chunk_size_by_records=records,
        chunk_size_by_memory=memory,
        re_ingestion=new_version,
        options={
            "record_path": record_path,
            "delimiter": delimiter,
            "encoding": encoding,
            "sheet": int(sheet) if sheet is not None and sheet.isdigit() else sheet,
        },
    )
    with Service(url, api_key=api_key) as service:
        answer = service.submit(body)
        if not wait:
            said = f"{answer.status.value} {answer.ingestion_id}"
            typer.echo(answer.model_dump_json(indent=2) if as_json else said)
            return
        if not as_json:
            typer.echo(f"{answer.status.value} {answer.ingestion_id}", err=True)
        view = follow(lambda: service.show(answer.ingestion_id), quiet=as_json)
    typer.echo(view.model_dump_json(indent=2) if as_json else ending(view))
    if view.state is not State.COMPLETED:
        raise typer.Exit(1)


def _body(**members: object) -> IngestBody:
    try:
        return IngestBody.model_validate(members)
    except ValidationError as error:
        faults = (f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        raise typer.BadParameter("; ".join(faults)) from None


def _type_of(file: Path) -> str:
    try:
        return _TYPES[file.suffix.lower()]
    except KeyError:
        kinds = "|".join(dict.fromkeys(_TYPES.values()))
        raise typer.BadParameter(
            f"the name {file.name!r} does not tell the type of the file: add --type {kinds}"
        ) from None
