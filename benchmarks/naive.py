"""The straightforward pipeline, as one would write it in an afternoon.

``python -m benchmarks.naive FILE URL CHUNK_RECORDS DATABASE``: ijson.items → list → orjson with
sorted keys for the checksum → ``httpx.post(json=…)`` → aiosqlite commit, one after the
other, in one process. NDJSON goes through ijson as well (``multiple_values``), CSV through
``csv.DictReader``, XLSX through openpyxl's read-only mode. It checks the ACK and commits
durably, like ackline, and it is given what costs nothing to know: one kept connection, WAL,
doubles instead of ``Decimal``. It cannot resume.

``--by-line`` reads NDJSON with ``json.loads`` for each line, which is faster than ijson.

It prints one JSON line: seconds and CPU seconds, both without the start of Python.
"""

import argparse
import asyncio
import csv
import json
import time
from collections.abc import Iterator
from hashlib import sha256
from itertools import islice
from pathlib import Path

import aiosqlite
import httpx
import ijson
import openpyxl
import orjson


def read(path: Path, *, by_line: bool = False) -> Iterator[dict[str, object]]:
    """Yield the records of a JSON array, an NDJSON, a CSV or an XLSX file."""
    match path.suffix:
        case ".json":
            with path.open("rb") as file:
                yield from ijson.items(file, "item", use_float=True)
        case ".ndjson" if by_line:
            with path.open("rb") as file:
                for line in file:
                    yield json.loads(line)
        case ".ndjson":
            with path.open("rb") as file:
                yield from ijson.items(file, "", multiple_values=True, use_float=True)
        case ".csv":
            with path.open(newline="", encoding="utf-8") as file:
                yield from csv.DictReader(file)
        case ".xlsx":
            book = openpyxl.load_workbook(path, read_only=True)
            rows = book.worksheets[0].iter_rows(values_only=True)
            names = [str(name) for name in next(rows)]
            for row in rows:
                yield dict(zip(names, row, strict=True))
        case other:
            raise ValueError(f"no reader for {other}")


async def deliver(
    records: Iterator[dict[str, object]], url: str, chunk_records: int, database: Path
) -> int:
    """Deliver records; return their number."""
    total = number = 0
    async with aiosqlite.connect(database) as db, httpx.AsyncClient(trust_env=False) as client:
        await db.execute("PRAGMA journal_mode = WAL")
        await db.execute("PRAGMA synchronous = FULL")
        await db.execute("CREATE TABLE IF NOT EXISTS progress (chunk INTEGER, records INTEGER)")
        while chunk := list(islice(records, chunk_records)):
            encoded = orjson.dumps(chunk, option=orjson.OPT_SORT_KEYS)
            checksum = sha256(encoded).hexdigest()
            body = {"chunk_number": number, "checksum": checksum, "records": chunk}
            response = await client.post(url, json=body)
            if response.json()["ack"] is not True:
                raise RuntimeError("not acknowledged")
            total += len(chunk)
            await db.execute("INSERT INTO progress VALUES (?, ?)", (number, total))
            await db.commit()
            number += 1
    return total


def main() -> None:
    """Deliver, and tell what it took."""
    options = argparse.ArgumentParser(prog="python -m benchmarks.naive", description=__doc__)
    options.add_argument("file", type=Path)
    options.add_argument("url")
    options.add_argument("chunk_records", type=int)
    options.add_argument("database", type=Path)
    options.add_argument("--by-line", action="store_true")
    asked = options.parse_args()
    began, cpu = time.monotonic(), time.process_time()
    records = read(asked.file, by_line=asked.by_line)
    asyncio.run(deliver(records, asked.url, asked.chunk_records, asked.database))
    took = {"seconds": time.monotonic() - began, "cpu_seconds": time.process_time() - cpu}
    print(json.dumps(took))


if __name__ == "__main__":
    main()
