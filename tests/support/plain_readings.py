"""Sources read by other programs than ours, and records as a receiver would understand them.

A number becomes its kind and its value, so that neither can change unseen.
"""

import csv
import json
from collections.abc import Iterable, Iterator
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import openpyxl

from app.samples.formats import SampleFormat, write

FILE_TYPES = {"json": "json", "ndjson": "ndjson", "csv": "csv", "xlsx": "excel"}

decoded = partial(
    json.loads,
    parse_int=lambda text: ("whole", int(text)),
    parse_float=lambda text: ("fraction", Decimal(text)),
)


def sample(folder: Path, kind: str, *, records: int, seed: int = 0) -> Path:
    """Write a file of products."""
    file = folder / f"products-{seed}.{kind}"
    with file.open("wb") as target:
        write(target, SampleFormat(kind), records=records, seed=seed, progress=lambda _: None)
    return file


def received(arrays: Iterable[bytes]) -> Iterator[Any]:
    """Yield the records of the chunks."""
    for array in arrays:
        yield from decoded(array)


def in_source(file: Path) -> list[Any]:
    """Return the records of a sample, by the standard library or by openpyxl."""
    match SampleFormat(file.suffix.removeprefix(".")):
        case SampleFormat.JSON:
            records: list[Any] = decoded(file.read_bytes())
            return records
        case SampleFormat.NDJSON:
            return [decoded(line) for line in file.read_bytes().splitlines()]
        case SampleFormat.CSV:
            with file.open(encoding="utf-8", newline="") as lines:
                return list(csv.DictReader(lines))
        case SampleFormat.XLSX:
            return _sheet(file)


def _sheet(file: Path) -> list[Any]:
    workbook = openpyxl.load_workbook(file, read_only=True)
    try:
        names, *rows = workbook.worksheets[0].iter_rows(values_only=True)
        return [dict(zip(names, map(_cell, row), strict=True)) for row in rows]
    finally:
        workbook.close()


def _cell(value: object) -> object:
    match value:
        case bool():
            return value
        case int() | float() if value == int(value):
            return ("whole", int(value))  # a workbook has one kind of numbers
        case float():
            return ("fraction", Decimal(repr(value)))
        case _:
            return value
