"""A source that was cut off at any byte (fault S1): a true prefix arrives, and the end is told.

What a cut file still holds is read by the standard library. Some cuts leave a whole
document, which no reader can tell from one that was never longer: NDJSON or CSV without
its last records, a CSV file whose last cell is shorter, its header alone, JSON without its
last line feed. Those complete, with what is there; all others are FAILED. A workbook
without its end has no table of contents: nothing of it is sent, and there is no place.

``ACKLINE_CHAOS_CUTS`` raises the number of cuts, ``ACKLINE_CHAOS_SEED`` repeats them.
"""

import csv
import io
import json
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.plain_readings import FILE_TYPES, decoded, in_source, received, sample
from tests.support.processes import Receiver, Service

SEED = int(os.environ.get("ACKLINE_CHAOS_SEED") or random.randrange(2**32))
CUTS = int(os.environ.get("ACKLINE_CHAOS_CUTS") or 12)
"""At random, for each format."""

CODES = {
    "json": {"TRUNCATED"},
    "ndjson": {"TRUNCATED"},
    "csv": {"TRUNCATED", "RAGGED_ROW", "ENCODING_INVALID"},
    "xlsx": {"TRUNCATED", "MALFORMED"},
}
BARE = "id,name\r\n1,Ökohaus\r\n2,Åkerström\r\n".encode()
"""CSV without quotes: its last cell has no end that could be missed."""

AMBIGUOUS = BARE.index("Ö".encode()) + 1
"""Half of the only character that is not ASCII is a whole one in Windows-1252."""


def cuts(whole: bytes, kind: str, plan: random.Random) -> set[int]:
    """Return lengths: those that look dangerous, and some at random."""
    found = {0, 1, len(whole) - 1, *plan.sample(range(len(whole)), CUTS)}
    if kind != "xlsx":
        signs = (b"\n", "ö".encode(), "東".encode(), b'"', b"\\" if kind != "csv" else b'""')
        ends = (whole.index(sign, len(whole) // 2) for sign in signs)
        found.update(end + more for end in ends for more in range(3))
    return found


def remains(kind: str, octets: bytes) -> tuple[list[Any], bool]:
    """Return the records that are there to their end, and whether nothing else is."""
    text = octets.decode(errors="ignore")
    torn = text.encode() != octets
    match kind:
        case "json":
            return list(_elements(text)), _is_json(text)
        case "ndjson":
            *lines, last = octets.split(b"\n")
            records = [decoded(line) for line in lines]
            return _with(records, last)
        case "csv":
            return _table(text, torn)
        case _:
            return [], False


def _elements(text: str) -> Iterator[Any]:
    """Yield the elements of an array of objects, up to one that has no end."""
    decoder = json.JSONDecoder(**decoded.keywords)
    at = text.find("{")
    while at >= 0:
        try:
            element, end = decoder.raw_decode(text, at)
        except ValueError:
            return
        yield element
        at = text.find("{", end)


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _with(records: list[Any], last: bytes) -> tuple[list[Any], bool]:
    """Add the last line, unless it has no end."""
    try:
        return [*records, decoded(last)] if last else records, True
    except ValueError:
        return records, False


def _table(text: str, torn: bool) -> tuple[list[Any], bool]:
    rows = []
    try:
        for row in csv.reader(io.StringIO(text, newline=""), strict=True):
            rows.append(row)  # noqa: PERF402 - those before an error count
    except csv.Error:
        return [dict(zip(rows[0], row, strict=True)) for row in rows[1:]], False
    names, *rest = rows or [[]]
    whole = not torn and all(len(row) == len(names) for row in rest)
    return [dict(zip(names, row, strict=True)) for row in (rest if whole else rest[:-1])], whole


def sources(folder: Path, plan: random.Random) -> Iterator[tuple[str, bytes, list[Any], int]]:
    """Yield formats, whole files, their records and where to cut them."""
    for kind in FILE_TYPES:
        file = sample(folder, kind, records=60, seed=plan.randrange(99))
        whole = file.read_bytes()
        for end in sorted(cuts(whole, kind, plan)):
            yield kind, whole, in_source(file), end
    truth = [{"id": "1", "name": "Ökohaus"}, {"id": "2", "name": "Åkerström"}]
    for end in range(len(BARE)):
        if end != AMBIGUOUS:
            yield "csv", BARE, truth, end


def assert_shorter_at_most_at_its_end(got: list[Any], truth: list[Any]) -> None:
    """The last cell is as long as the cut left it."""
    assert got[:-1] == truth[: len(got)][:-1]
    for part, full in zip(got[-1:], truth[len(got) - 1 :], strict=False):
        *_, (name, cell) = full.items()
        assert part | {name: cell} == full
        assert cell.startswith(part[name])


@pytest.mark.timeout(240 + 4 * CUTS)
def test_of_a_source_cut_off_at_any_byte_a_true_prefix_arrives_and_its_end_is_told(
    tmp_path: Path, receiver: Receiver, service: Service
) -> None:
    print(f"to repeat: ACKLINE_CHAOS_SEED={SEED} ACKLINE_CHAOS_CUTS={CUTS}")
    submitted = []
    for number, source in enumerate(sources(tmp_path, random.Random(SEED))):
        kind, whole, _, end = source
        file = tmp_path / f"cut-{number}.{kind}"
        file.write_bytes(whole[:end])
        members = {"chunk_size_by_records": 7}
        submitted.append((source, service.submit(file, FILE_TYPES[kind], receiver.url, **members)))
    for (kind, whole, truth, end), ingestion in submitted:
        print(f"{kind} of {len(whole)} bytes, cut at {end}: …{whole[:end][-20:]!r}")
        shown = service.ended(ingestion)
        with receiver.reading() as book:
            state, _, count = book.state(ingestion)
            got = list(received(book.records(ingestion)))
        left, is_whole = remains(kind, whole[:end])
        assert got == left
        assert count == shown["counts"]["delivered"] == len(left)
        if kind == "csv" and is_whole:
            assert_shorter_at_most_at_its_end(got, truth)
        else:
            assert got == truth[: len(got)]
        if is_whole:
            assert (shown["state"], shown["error"], state) == ("COMPLETED", None, "completed")
            continue
        assert (shown["state"], state) == ("FAILED", "open")
        error = shown["error"]
        assert error["code"] in CODES[kind]
        if kind != "xlsx":
            assert end - len(whole) // 10 <= error["place"]["byte"] <= end
            assert error["place"]["record"] == (len(left) if end else None)
    with receiver.reading() as book:
        assert book.anomalies() == []
    assert service.troubles() == []
