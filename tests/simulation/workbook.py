"""Source files that are Excel workbooks: made of XML parts, so changed as a whole."""

import io
import zipfile
from collections.abc import Sequence
from random import Random

from app.domain.ingestion import FileType
from tests.simulation.files import SourceFile, canonical_records

_SHEET_XML = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_OFFICE_XML = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE_XML = "http://schemas.openxmlformats.org/package/2006/relationships"


def _relation(kind: str, target: str) -> str:
    return (
        f'<Relationships xmlns="{_PACKAGE_XML}"><Relationship Id="r1" '
        f'Type="{_OFFICE_XML}/{kind}" Target="{target}"/></Relationships>'
    )


_PARTS = {
    "_rels/.rels": _relation("officeDocument", "xl/workbook.xml"),
    "xl/workbook.xml": f'<workbook xmlns="{_SHEET_XML}" xmlns:r="{_OFFICE_XML}"><sheets>'
    '<sheet name="One" sheetId="1" r:id="r1"/></sheets></workbook>',
    "xl/_rels/workbook.xml.rels": _relation("worksheet", "worksheets/sheet1.xml"),
}


class Workbook(SourceFile):
    """A sheet of two columns."""

    def __init__(self, path: str, rows: Sequence[tuple[str, str]]) -> None:
        self._rows = rows
        records = [{"n": n, "w": w} for n, w in rows]
        content, truth = _packed((("n", "w"), *rows)), canonical_records(records)
        super().__init__(path, FileType.EXCEL, content, truth, poison=False)

    def swap(self) -> None:
        self.changed = True
        self._inode = [_packed((("n", "v"), *self._rows))]

    def _other(self) -> bytes:
        changed = [(n.replace("1", "7"), w) for n, w in self._rows]
        return _packed((("n", "w"), *changed, ("one", "more")))


def a_workbook(random: Random, path: str) -> Workbook:
    """Make one up."""
    count = random.choice((1, 3, 5, 8))
    return Workbook(path, [(f"n{n}", f"w{random.randrange(100)}") for n in range(count)])


def _packed(rows: Sequence[tuple[str, str]]) -> bytes:
    """Return the package; uncompressed, so that its size does not tell what is in it."""
    lines = ["".join(f'<c t="inlineStr"><is><t>{cell}</t></is></c>' for cell in r) for r in rows]
    data = "".join(f"<row>{line}</row>" for line in lines)
    sheet = f'<worksheet xmlns="{_SHEET_XML}"><sheetData>{data}</sheetData></worksheet>'
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as package:
        for name, text in {**_PARTS, "xl/worksheets/sheet1.xml": sheet}.items():
            # With the date that it has by itself: the same bytes every time.
            package.writestr(zipfile.ZipInfo(name), text)
    return packed.getvalue()
