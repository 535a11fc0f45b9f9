"""How the peers in Python read a file: csv.DictReader, or ijson with doubles."""

import csv
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import ijson

Record = dict[str, object]


def records(path: Path) -> Iterator[Record]:
    """Yield the records of a CSV file or a JSON array."""
    if path.suffix == ".csv":
        with path.open(newline="", encoding="utf-8") as file:
            yield from csv.DictReader(file)
    else:
        with path.open("rb") as file:
            yield from ijson.items(file, "item", use_float=True)


def chunks(path: Path, chunk_records: int) -> Iterator[list[Record]]:
    """Yield lists of records."""
    source = records(path)
    while chunk := list(islice(source, chunk_records)):
        yield chunk


def asked() -> tuple[Path, str, int, Path]:
    """Return file, URL, records in a chunk, and folder; say that the start is over."""
    _, file, url, chunk_records, folder = sys.argv
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    return Path(file), url, int(chunk_records), Path(folder)
