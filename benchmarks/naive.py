"""The straightforward pipeline, as one would write it in an afternoon.

``python -m benchmarks.naive FILE URL CHUNK_RECORDS DATABASE``: ijson.items → list → orjson with
sorted keys for the checksum → ``httpx.post(json=…)`` → aiosqlite commit, one after the
other. CSV comes from ``csv.DictReader`` instead, NDJSON from a parse of each line. It
checks the ACK and commits durably, like ackline; it cannot resume.
"""

import asyncio
import csv
import json
import sys
from collections.abc import Iterator
from decimal import Decimal
from hashlib import sha256
from itertools import islice
from pathlib import Path

import aiosqlite
import httpx
import ijson
import orjson


def read(path: Path) -> Iterator[dict[str, object]]:
    """Yield the records of a JSON array, an NDJSON or a CSV file."""
    match path.suffix:
        case ".json":
            with path.open("rb") as file:
                yield from ijson.items(file, "item", use_float=True)
        case ".ndjson":
            with path.open("rb") as file:
                for line in file:
                    yield json.loads(line)
        case _:
            with path.open(newline="", encoding="utf-8") as file:
                yield from csv.DictReader(file)


def _plain(value: object) -> object:
    if isinstance(value, Decimal):
        return float(value)
    raise TypeError


async def deliver(path: Path, url: str, chunk_records: int, database: Path) -> int:
    """Deliver a file; return the number of records."""
    records = read(path)
    total = number = 0
    async with aiosqlite.connect(database) as db, httpx.AsyncClient() as client:
        await db.execute("PRAGMA journal_mode = WAL")
        await db.execute("PRAGMA synchronous = FULL")
        await db.execute("CREATE TABLE IF NOT EXISTS progress (chunk INTEGER, records INTEGER)")
        while chunk := list(islice(records, chunk_records)):
            encoded = orjson.dumps(chunk, default=_plain, option=orjson.OPT_SORT_KEYS)
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


if __name__ == "__main__":
    asyncio.run(deliver(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), Path(sys.argv[4])))
