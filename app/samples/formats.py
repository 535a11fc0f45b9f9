"""Products as files: JSON, NDJSON, CSV and XLSX, written as a stream."""

import csv
import io
import json
import zipfile
from collections.abc import Callable, Iterable, Iterator
from enum import StrEnum
from typing import BinaryIO, Protocol, TypeAlias
from xml.sax.saxutils import escape

from app.samples.products import Product, product


class SampleFormat(StrEnum):
    """What `write` can write."""

    JSON = "json"
    NDJSON = "ndjson"
    CSV = "csv"
    XLSX = "xlsx"


class Sink(Protocol):
    """Where a sample goes."""

    def write(self, data: bytes, /) -> object: ...


Progress: TypeAlias = Callable[[int], None]
"""Called now and then with the number of records written so far."""

_AT_ONCE = 1_000
"""Records formatted between two writes."""

CSV_HEADER = (
    "sku", "ean", "name", "brand", "price", "currency", "vat", "stock", "weight_kg", "active",
    "created_at", "category_id", "category", "colour", "material", "sizes", "tag", "supplier",
    "description",
)  # fmt: skip
"""What a record of the JSON form holds, without its nesting."""

_DECIMALS = frozenset({"price", "vat", "weight_kg"})
"""Numbers, but not ours to round: kept as text."""


def write(
    target: BinaryIO, kind: SampleFormat, *, records: int, seed: int = 0, progress: Progress
) -> None:
    """Write ``records`` products; memory does not grow with them."""
    match kind:
        case SampleFormat.JSON:
            _write_joined(
                target,
                _json_texts(records, seed),
                progress,
                head=b"[\n",
                glue=b",\n",
                tail=b"\n]\n",
            )
        case SampleFormat.NDJSON:
            _write_joined(target, _json_texts(records, seed), progress, glue=b"\n", tail=b"\n")
        case SampleFormat.CSV:
            _write_joined(target, _csv_texts(records, seed), progress, head=_csv_line(CSV_HEADER))
        case SampleFormat.XLSX:
            _write_xlsx(target, records, seed, progress)


def json_text(made: Product) -> str:
    """Return a product as one line of JSON, its decimals as a shop writes them."""
    return (
        f'{{"sku":"{made.sku}","ean":{made.ean},"name":{_quoted(made.name)},'
        f'"brand":{_quoted(made.brand)},"price":{made.price},"currency":"EUR","vat":19.0,'
        f'"stock":{made.stock},"weight_kg":{made.weight_kg},"active":{str(made.active).lower()},'
        f'"created_at":"{made.created_at}","categories":[{{"id":{made.category},"name":'
        f'"category {made.category}"}},{{"id":{made.category % 20},"name":"all"}}],'
        f'"attributes":{{"colour":{_quoted(made.colour)},"material":"{made.material}",'
        f'"sizes":["S","M","L"]}},"tags":[{_quoted(made.tag)}],"supplier":null,'
        f'"description":{{"en":{_quoted(made.text)}}}}}'
    )


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _json_texts(records: int, seed: int) -> Iterator[bytes]:
    return (json_text(product(number, seed=seed)).encode() for number in range(records))


def _csv_texts(records: int, seed: int) -> Iterator[bytes]:
    return (_csv_line(_cells(product(number, seed=seed))) for number in range(records))


def _cells(made: Product) -> Iterator[str]:
    return (
        str(cell).lower() if isinstance(cell, bool) else str(cell) for cell in _flat(made).values()
    )


def _flat(made: Product) -> dict[str, str | int | bool]:
    cells: tuple[str | int | bool, ...] = (
        *(made.sku, made.ean, made.name, made.brand, made.price, "EUR", "19.0", made.stock),
        *(made.weight_kg, made.active, made.created_at, made.category, f"category {made.category}"),
        *(made.colour, made.material, "S/M/L", made.tag, "", made.text),
    )
    return dict(zip(CSV_HEADER, cells, strict=True))


def _csv_line(cells: Iterable[str]) -> bytes:
    line = io.StringIO()
    csv.writer(line).writerow(cells)
    return line.getvalue().encode()


def _write_joined(
    target: Sink,
    texts: Iterator[bytes],
    progress: Progress,
    *,
    head: bytes = b"",
    glue: bytes = b"",
    tail: bytes = b"",
) -> None:
    target.write(head)
    written = 0
    while some := [text for _, text in zip(range(_AT_ONCE), texts, strict=False)]:
        target.write((glue if written else b"") + glue.join(some))
        written += len(some)
        progress(written)
    target.write(tail if written or head else b"")


_SHEET_HEAD = (
    '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
    '<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><sheetData>'
)
_PARTS = {
    "[Content_Types].xml": '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
    '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
    '<Default Extension="rels" '
    'ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
    '<Default Extension="xml" ContentType="application/xml"/>'
    '<Override PartName="/xl/workbook.xml" ContentType="application/'
    'vnd.openxmlformats-officedocument.spreadsheetml.sheet.main+xml"/>'
    '<Override PartName="/xl/worksheets/sheet1.xml" ContentType="application/'
    'vnd.openxmlformats-officedocument.spreadsheetml.worksheet+xml"/></Types>',
    "_rels/.rels": '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
    '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
    '<Relationship Id="rId1" Type="http://schemas.openxmlformats.org/officeDocument/2006/'
    'relationships/officeDocument" Target="xl/workbook.xml"/></Relationships>',
    "xl/workbook.xml": '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
    '<workbook xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main" '
    'xmlns:r="http://schemas.openxmlformats.org/officeDocument/2006/relationships">'
    '<sheets><sheet name="Products" sheetId="1" r:id="rId1"/></sheets></workbook>',
    "xl/_rels/workbook.xml.rels": '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
    '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
    '<Relationship Id="rId1" Type="http://schemas.openxmlformats.org/officeDocument/2006/'
    'relationships/worksheet" Target="worksheets/sheet1.xml"/></Relationships>',
}


def _write_xlsx(target: BinaryIO, records: int, seed: int, progress: Progress) -> None:
    # Strings stand in their cells, not in a table: a table would have to be held in memory.
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as package:
        for name, text in _PARTS.items():
            package.writestr(name, text)
        with package.open("xl/worksheets/sheet1.xml", "w", force_zip64=True) as sheet:
            header = "".join(_text_cell(name) for name in CSV_HEADER)
            rows = (
                f"<row>{_xlsx_cells(product(number, seed=seed))}</row>".encode()
                for number in range(records)
            )
            head = f"{_SHEET_HEAD}<row>{header}</row>".encode()
            _write_joined(sheet, rows, progress, head=head, tail=b"</sheetData></worksheet>")


def _xlsx_cells(made: Product) -> str:
    cells = []
    for name, cell in _flat(made).items():
        match cell:
            case bool():
                cells.append(f'<c t="b"><v>{int(cell)}</v></c>')
            case int():
                cells.append(f"<c><v>{cell}</v></c>")
            case str() if name in _DECIMALS:
                cells.append(f"<c><v>{cell}</v></c>")
            case "":
                cells.append("<c/>")
            case _:
                cells.append(_text_cell(cell))
    return "".join(cells)


def _text_cell(text: str) -> str:
    return f'<c t="inlineStr"><is><t>{escape(text)}</t></is></c>'
