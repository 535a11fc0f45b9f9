"""Odd files end as COMPLETED with all values, or FAILED with a code and a place.

One service takes them all, and lives.
"""

import csv
import io
import json
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import openpyxl
import pytest

from app.samples.formats import SampleFormat, write
from tests.support.plain_readings import received
from tests.support.processes import Receiver, Service, wait_until_gone


def products(kind: SampleFormat, records: int = 500) -> bytes:
    target = io.BytesIO()
    write(target, kind, records=records, progress=lambda _: None)
    return target.getvalue()


def workbook(*rows: tuple[object, ...]) -> bytes:
    book, target = openpyxl.Workbook(), io.BytesIO()
    for row in rows:
        book.active.append(row)
    book.save(target)
    return target.getvalue()


def with_part(package: bytes, name: str, text: bytes) -> bytes:
    """Return a copy of a workbook in which one part is another."""
    target = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(package)) as old,
        zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for one in old.namelist():
            new.writestr(one, text if one == name else old.read(one))
    return target.getvalue()


def damaged(package: bytes) -> bytes:
    """Return a workbook, not compressed, in which one digit is another: its CRC tells."""
    target = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(package)) as old,
        zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as new,
    ):
        for one in old.namelist():
            new.writestr(one, old.read(one))
    return target.getvalue().replace(b"SKU-000000499", b"SKU-000000498")


JSON, NDJSON = products(SampleFormat.JSON), products(SampleFormat.NDJSON)
CSV, XLSX = products(SampleFormat.CSV), products(SampleFormat.XLSX)
SHEET = "xl/worksheets/sheet1.xml"


@dataclass(frozen=True, kw_only=True)
class Fails:
    """Ends FAILED with a code, after so many good records."""

    code: str
    records: int | None = 0
    place: dict[str, object] = field(default_factory=dict)
    """What the place holds, at least."""


@dataclass(frozen=True)
class Arrives:
    """Ends COMPLETED with just these records."""

    records: list[Any]


CUT, MIDDLE = len(JSON) // 2, JSON.index(b'"sku"', len(JSON) // 2)
ODD: dict[str, tuple[bytes, Arrives | Fails]] = {
    "nothing.json": (b"", Fails(code="TRUNCATED", place={"byte": 0})),
    "an empty array.json": (b" [ ] ", Arrives([])),
    "a number.json": (b"1", Fails(code="NO_RECORDS_AT_PATH")),
    "no array.json": (b'{"a":{}}', Fails(code="NO_RECORDS_AT_PATH")),
    "a bom.json": (b'\xef\xbb\xbf[{"a":1}]', Arrives([{"a": ("whole", 1)}])),
    "scalars.json": (b'[null,true,"x",[],{}]', Arrives([None, True, "x", [], {}])),
    "truncated.json": (JSON[:CUT], Fails(code="TRUNCATED", records=None, place={"byte": CUT})),
    "malformed in the middle.json": (
        JSON[:MIDDLE] + b"@" + JSON[MIDDLE:],
        Fails(code="MALFORMED", records=None, place={"byte": MIDDLE}),
    ),
    "zeros in the middle.json": (
        JSON[:CUT] + bytes(4096) + JSON[CUT + 4096 :],
        Fails(code="MALFORMED", records=None),
    ),
    "something after.json": (
        JSON + b"x",
        Fails(code="MALFORMED", records=500, place={"byte": len(JSON)}),
    ),
    "a comma too much.json": (b'[{"a":1},]', Fails(code="MALFORMED", records=1)),
    "utf-16.json": ("[1]".encode("utf-16"), Fails(code="ENCODING_INVALID", place={"byte": 0})),
    "not utf-8.json": (b'["\xff"]', Fails(code="ENCODING_INVALID", place={"byte": 2})),
    "a lone surrogate.json": (
        rb'[{"a":1},{"a":"\ud800"}]',
        Fails(code="RECORD_INVALID", records=1, place={"record": 1}),
    ),
    "a pair of surrogates.json": (rb'["\ud83d\ude00"]', Arrives(["😀"])),
    "an integer of 5,000 digits.json": (
        b"[1,%b]" % (b"9" * 5_000),
        Fails(code="NUMBER_TOO_LONG", records=1, place={"record": 1}),
    ),
    "an integer of 3,900 digits.json": (
        b"[%b]" % (b"9" * 3_900),
        Arrives([("whole", 10**3_900 - 1)]),
    ),
    "numbers no double can carry.json": (
        b"[18446744073709551616,1e400,-0.10,0.1234567890123456789,1E5]",
        Arrives(
            [
                ("whole", 2**64),
                *(
                    ("fraction", Decimal(text))
                    for text in ("1e400", "-0.1", "0.1234567890123456789", "1E5")
                ),
            ]
        ),
    ),
    "not a number.json": (b'[{"a":NaN}]', Fails(code="RECORD_INVALID", place={"record": 0})),
    "nested 100,000 deep.json": (
        b"[0," + b"[" * 100_000 + b"]" * 100_000 + b"]",
        Fails(code="RECORD_TOO_DEEP", records=1, place={"record": 1}),
    ),
    "nested 150 deep.json": (b"[%b1%b]" % (b"[" * 150, b"]" * 150), Arrives([[...]])),
    "a record of 2 MB.json": (
        b'["%b",1]' % (b"x" * 2_000_000),
        Arrives(["x" * 2_000_000, ("whole", 1)]),
    ),
    "a record of 20 MB.json": (
        b'[0,"%b"]' % (b"x" * 20_000_000),
        Fails(code="RECORD_TOO_LARGE", records=1, place={"record": 1}),
    ),
    "text of the wire.json": (
        rb'[{"x":",\"records\":[1]","records":[2]}]',
        Arrives([{"x": ',"records":[1]', "records": [("whole", 2)]}]),
    ),
    "nothing.ndjson": (b"", Arrives([])),
    "blank lines.ndjson": (b"\n1\r\n\n2", Arrives([("whole", 1), ("whole", 2)])),
    "truncated.ndjson": (
        NDJSON[: len(NDJSON) // 2],
        Fails(code="TRUNCATED", records=None),
    ),
    "a bad line.ndjson": (b"1\n2\n{]\n4\n", Fails(code="MALFORMED", records=2, place={"line": 3})),
    "two on a line.ndjson": (b"1\n2 3\n", Fails(code="MALFORMED", records=1, place={"line": 2})),
    "zeros at the end.ndjson": (NDJSON + bytes(512), Fails(code="MALFORMED", records=500)),
    "nothing.csv": (b"", Arrives([])),
    "a header alone.csv": (b"a,b\n", Arrives([])),
    "a ragged row.csv": (
        b"a,b\n1,2\n3\n",
        Fails(code="RAGGED_ROW", records=1, place={"line": 3}),
    ),
    "one header twice.csv": (b"a,a\n1,2\n", Fails(code="DUPLICATE_HEADER", place={"line": 1})),
    "a quote that stays open.csv": (
        CSV[: CSV.index(b',"The', len(CSV) // 2) + 9],
        Fails(code="TRUNCATED", records=None),
    ),
    "leading zeros, line ends, quotes.csv": (
        b'a;b\r\n00042;"x\n""y"""\r\n',
        Arrives([{"a": "00042", "b": 'x\n"y"'}]),
    ),
    "a field of 20 MB.csv": (
        b"a,b\n1,2\n%b,3\n" % (b"x" * 20_000_000),
        Fails(code="RECORD_TOO_LARGE", records=1, place={"line": 3}),
    ),
    "nothing.xlsx": (b"", Fails(code="MALFORMED")),
    "no workbook.xlsx": (b"PK, but no", Fails(code="MALFORMED")),
    "truncated.xlsx": (XLSX[: len(XLSX) // 2], Fails(code="TRUNCATED")),
    "a changed digit.xlsx": (damaged(XLSX), Fails(code="MALFORMED", records=None)),
    "numbers and gaps.xlsx": (
        workbook(("ean", "x"), (4006381333931, None), (None, None), (0.1, True)),
        Arrives(
            [
                {"ean": ("whole", 4006381333931), "x": None},
                {"ean": ("fraction", Decimal("0.1")), "x": True},
            ]
        ),
    ),
    "an error in a cell.xlsx": (
        workbook(("a",), (1,), ("#DIV/0!",)),
        Fails(code="CELL_ERROR", records=1, place={"cell": "Sheet!A3"}),
    ),
    "a bomb.xlsx": (
        with_part(XLSX, SHEET, b"<worksheet>" + b" " * 200_000_000),
        Fails(code="DECOMPRESSION_LIMIT"),
    ),
    "a doctype.xlsx": (
        with_part(XLSX, SHEET, b'<!DOCTYPE a [<!ENTITY b "c">]><worksheet/>'),
        Fails(code="MALFORMED"),
    ),
}
ODD["nested 150 deep.json"] = (
    ODD["nested 150 deep.json"][0],
    Arrives([json.loads("[" * 150 + '["whole",1]' + "]" * 150)]),
)


@dataclass(frozen=True)
class Town:
    folder: Path
    receiver: Receiver
    service: Service


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    folder = tmp_path_factory.mktemp("odd")
    with ExitStack() as stack:
        receiver = stack.enter_context(Receiver(folder))
        service = stack.enter_context(Service(folder, receiver.address))
        yield Town(folder, receiver, service)
        assert service.troubles() == []
        assert service.get("/readyz").status_code == 200
        wait_until_gone(*service.readers())
        with receiver.reading() as book:
            assert book.anomalies() == []


@pytest.mark.parametrize("name", ODD)
def test_an_odd_file_arrives_whole_or_fails_and_says_where(town: Town, name: str) -> None:
    octets, expected = ODD[name]
    file = town.folder / name
    file.write_bytes(octets)
    kind = file.suffix.removeprefix(".").replace("xlsx", "excel")
    ingestion = town.service.submit(file, kind, town.receiver.url, chunk_size_by_records=7)

    shown = town.service.ended(ingestion)

    file.unlink()
    with town.receiver.reading() as book:
        state, _, _ = book.state(ingestion)
        held = list(received(book.records(ingestion)))
    assert len(held) == shown["counts"]["delivered"]
    match expected:
        case Arrives(records):
            assert (shown["state"], state) == ("COMPLETED", "completed")
            assert _lists(held) == _lists(records)
        case Fails(code=code, records=records, place=place):
            error = shown["error"]
            assert (shown["state"], state) == ("FAILED", "open")
            assert (error["code"], error["resumable"]) == (code, False)
            assert len(error["message"]) > 10
            assert (error["place"] or {}) | place == (error["place"] or {})
            assert _is_prefix(held, kind, records)


def _lists(value: Any) -> Any:
    """Return a value with its tagged numbers as lists, as JSON would give them."""
    if isinstance(value, dict):
        return {name: _lists(one) for name, one in value.items()}
    return [_lists(one) for one in value] if isinstance(value, list | tuple) else value


def _is_prefix(held: list[Any], kind: str, records: int | None) -> bool:
    """Tell whether the good records before the bad place are just what arrived."""
    if records is not None:
        return len(held) == records
    skus = [one["sku"] for one in held]
    rows = csv.DictReader(io.StringIO(CSV.decode(), newline=""))
    return skus == [row["sku"] for row in rows][: len(skus)] and (
        len(skus) > 100 or kind == "excel"
    )
