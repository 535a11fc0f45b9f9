"""Workbooks written by hand, so that a test says exactly what is in the file."""

import io
import zipfile
from collections.abc import Mapping, Sequence
from xml.sax.saxutils import quoteattr

MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
STRICT = "http://purl.oclc.org/ooxml/spreadsheetml/main"
OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
PACKAGE = "http://schemas.openxmlformats.org/package/2006/relationships"
SHEET = "xl/worksheets/sheet1.xml"
STRINGS = "xl/sharedStrings.xml"

Part = str | bytes


# Ours goes by relations alone; other readers ask for this.
_CONTENT_TYPES = (
    '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
    '<Default Extension="rels" '
    'ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
    + "".join(
        f'<Override PartName="/xl/{part}.xml" ContentType="application/'
        f'vnd.openxmlformats-officedocument.spreadsheetml.{kind}+xml"/>'
        for part, kind in (
            ("workbook", "sheet.main"),
            ("worksheets/sheet1", "worksheet"),
            ("sharedStrings", "sharedStrings"),
            ("styles", "styles"),
        )
    )
    + "</Types>"
)


def archive(
    parts: Mapping[str, Part] | Sequence[tuple[str, Part]], *, compressed: bool = True
) -> bytes:
    """Zip ``parts``; given as pairs, a name may come twice."""
    file = io.BytesIO()
    method = zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED
    with zipfile.ZipFile(file, "w", method) as package:
        for name, content in parts.items() if isinstance(parts, Mapping) else parts:
            package.writestr(name, content)
    return file.getvalue()


def worksheet(rows: str, *, namespace: str = MAIN, before: str = "", after: str = "") -> str:
    """Return a sheet with ``rows`` in it, XML as it stands."""
    return (
        '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
        f'<worksheet xmlns="{namespace}">{before}<sheetData>{rows}</sheetData>{after}</worksheet>'
    )


def relations(*targets: tuple[str, str]) -> str:
    """Return a part of relations ``rId1`` …, each from a kind and a target."""
    entries = "".join(
        f'<Relationship Id="rId{number}" Type="{OFFICE}/{kind}" Target={quoteattr(target)}/>'
        for number, (kind, target) in enumerate(targets, 1)
    )
    return f'<Relationships xmlns="{PACKAGE}">{entries}</Relationships>'


def parts_of(
    rows: str = "",
    *,
    sheets: Mapping[str, str] | None = None,
    hidden: Sequence[str] = (),
    charts: Sequence[str] = (),
    strings: str | None = None,
    formats: Sequence[str | int] = (),
    since_1904: bool = False,
) -> dict[str, Part]:
    """Return the parts of a workbook.

    Parameters
    ----------
    rows
        XML of the rows of the only sheet, ``Products``.
    sheets
        Instead, the rows of each sheet by its name, in order.
    hidden, charts
        Which of these are hidden; which are chart sheets.
    strings
        XML of the ``si`` elements.
    formats
        Number format of style 1, 2, …: a code, or the number of one that is built in.
    """
    sheets = sheets if sheets is not None else {"Products": rows}
    targets: list[tuple[str, str]] = []
    tabs = ""
    parts: dict[str, Part] = {
        "[Content_Types].xml": _CONTENT_TYPES,
        "_rels/.rels": relations(("officeDocument", "xl/workbook.xml")),
    }
    for number, (name, content) in enumerate(sheets.items(), 1):
        kind = "chartsheet" if name in charts else "worksheet"
        targets.append((kind, f"{kind}s/sheet{number}.xml"))
        parts[f"xl/{kind}s/sheet{number}.xml"] = worksheet(content)
        state = ' state="hidden"' if name in hidden else ""
        tabs += f'<sheet name={quoteattr(name)} sheetId="{number}"{state} r:id="rId{number}"/>'
    if strings is not None:
        targets.append(("sharedStrings", "sharedStrings.xml"))
        parts[STRINGS] = f'<sst xmlns="{MAIN}">{strings}</sst>'
    if formats:
        targets.append(("styles", "styles.xml"))
        parts["xl/styles.xml"] = _styles(formats)
    dates = '<workbookPr date1904="1"/>' if since_1904 else ""
    parts["xl/workbook.xml"] = (
        f'<workbook xmlns="{MAIN}" xmlns:r="{OFFICE}">{dates}<sheets>{tabs}</sheets>'
        '<extLst><ext><x:workbookPr xmlns:x="urn:x" date1904="'
        f'{int(not since_1904)}"/></ext></extLst></workbook>'
    )
    parts["xl/_rels/workbook.xml.rels"] = relations(*targets)
    return parts


def _styles(formats: Sequence[str | int]) -> str:
    own = "".join(
        f'<numFmt numFmtId="{200 + at}" formatCode={quoteattr(code)}/>'
        for at, code in enumerate(formats)
        if isinstance(code, str)
    )
    styles = "".join(
        f'<xf numFmtId="{200 + at if isinstance(code, str) else code}"/>'
        for at, code in enumerate(formats)
    )
    return (
        f'<styleSheet xmlns="{MAIN}"><numFmts>{own}</numFmts>'
        '<cellStyleXfs><xf numFmtId="14"/></cellStyleXfs>'
        f'<cellXfs><xf numFmtId="0"/>{styles}</cellXfs>'
        '<dxfs><dxf><numFmt numFmtId="200" formatCode="yyyy"/></dxf></dxfs></styleSheet>'
    )


def text(reference: str, content: str) -> str:
    """Return a cell with text in it."""
    return f'<c r="{reference}" t="inlineStr"><is><t>{content}</t></is></c>'


def number(reference: str, content: str, *, style: int | None = None) -> str:
    """Return a cell with a number in it."""
    styled = "" if style is None else f' s="{style}"'
    return f'<c r="{reference}"{styled}><v>{content}</v></c>'


def row(at: int, *cells: str) -> str:
    """Return a row of cells."""
    return f'<row r="{at}">{"".join(cells)}</row>'


def column(*cells: str) -> str:
    """Return rows: ``A`` as the header in row 1, and below it a cell per row.

    ``{r}`` in a cell stands for its reference.
    """
    below = (row(at, cell.replace("{r}", f'r="A{at}"')) for at, cell in enumerate(cells, 2))
    return row(1, text("A1", "A")) + "".join(below)
