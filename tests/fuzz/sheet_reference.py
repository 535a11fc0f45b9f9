"""The records of a workbook by zipfile and ElementTree, for `xlsx_judge`."""

import io
import posixpath
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from xml.etree import ElementTree as ET

from app.domain.ingestion import DecodeOptions

MAIN = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
STRICT = "{http://purl.oclc.org/ooxml/spreadsheetml/main}"
RELATION_ID = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}id"

PLAIN_FORMATS = frozenset({0, 1, 2, 3, 4, 9, 10, 11, 12, 13, 49})
DATES, MOMENTS = frozenset({14, 15, 16, 17}), frozenset({22})
NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
ESCAPE = re.compile("_x([0-9A-Fa-f]{4})_")


class UnsureError(Exception):
    """This reference does not know; the ways of reading still have to agree."""


class RefusedError(Exception):
    """The cell has no value that could be delivered."""


@dataclass(frozen=True, slots=True)
class Numeric:
    """The number of a cell as its text."""

    text: str


Value = str | bool | Numeric | None


@dataclass(slots=True)
class Sheet:
    """Records up to the first that must be refused, or that nothing is known of."""

    records: list[dict[str, Value]] = field(default_factory=list)
    ends: str = "whole"
    """``whole``, ``refused``, ``damaged`` or ``unsure``."""


def local(element: ET.Element) -> str:
    """Return the name of an element of a workbook, without its name space."""
    name = element.tag
    for namespace in (MAIN, STRICT):
        if name.startswith(namespace):
            return name.removeprefix(namespace)
    return ""


class Book:
    """The parts of a workbook that are small."""

    def __init__(self, content: bytes) -> None:
        try:
            with zipfile.ZipFile(io.BytesIO(content)) as package:
                names = package.namelist()
                if len({name.casefold() for name in names}) < len(names):
                    raise UnsureError
                self.parts = {name: package.read(name) for name in names}
        except UnsureError:
            raise
        except Exception as error:  # whatever zipfile says of a damaged container
            raise UnsureError from error
        relations = self._relations("_rels/.rels", "")
        main = [target for kind, target in relations.values() if kind == "officeDocument"]
        if main != ["xl/workbook.xml"]:
            raise UnsureError
        self._related = self._relations("xl/_rels/workbook.xml.rels", "xl")
        self._workbook = self._tree("xl/workbook.xml")
        if local(self._workbook) != "workbook":
            raise UnsureError
        self.since_1904 = any(
            each.get("date1904") in {"1", "true", "on"}
            for each in self._workbook
            if local(each) == "workbookPr"
        )
        self.strings = self._strings()
        self.formats = self._formats()

    def sheet(self, wanted: str | int | None) -> bytes:
        """Return the part of a worksheet."""
        found: list[tuple[str, str, bool]] = []
        for group in (each for each in self._workbook if local(each) == "sheets"):
            for tab in group:
                kind, target = self._related.get(tab.get(RELATION_ID, ""), ("", ""))
                if local(tab) != "sheet" or not kind or kind not in {"worksheet", "chartsheet"}:
                    raise UnsureError
                if kind == "worksheet":
                    shown = tab.get("state", "visible") == "visible"
                    found.append((tab.get("name", ""), target, shown))
        match wanted:
            case None:
                chosen = [each for each in found if each[2]] or found
            case int():
                chosen = found[wanted : wanted + 1]
            case str():
                chosen = [each for each in found if each[0] == wanted]
        if not chosen or chosen[0][1] not in self.parts:
            raise UnsureError
        return self.parts[chosen[0][1]]

    def _tree(self, name: str) -> ET.Element:
        try:
            return ET.fromstring(self.parts[name])
        except (KeyError, ET.ParseError, ValueError, LookupError) as error:
            raise UnsureError from error

    def _relations(self, name: str, folder: str) -> dict[str, tuple[str, str]]:
        found: dict[str, tuple[str, str]] = {}
        for each in self._tree(name):
            id_, target = each.get("Id", ""), each.get("Target", "")
            if id_ in found or each.get("TargetMode") or "\\" in target or len(each):
                raise UnsureError
            path = posixpath.normpath(posixpath.join("/", folder, target)).lstrip("/")
            found[id_] = (each.get("Type", "").rpartition("/")[2], path)
        return found

    def _only(self, kind: str) -> str | None:
        found = [target for each, target in self._related.values() if each == kind]
        if len(found) > 1:
            raise UnsureError
        return found[0] if found and found[0] in self.parts else None

    def _strings(self) -> list[str]:
        name = self._only("sharedStrings")
        if name is None:
            return []
        table = self._tree(name)
        if local(table) != "sst":
            raise UnsureError
        strings = []
        for each in table.iter():
            if local(each) == "si":
                if any(local(inner) == "si" for inner in list(each.iter())[1:]):
                    raise UnsureError
                strings.append(unescaped("".join(texts(each))))
        return strings

    def _formats(self) -> list[int] | None:
        name = self._only("styles")
        if name is None:
            return None
        groups = [each for each in self._tree(name) if each.tag.endswith("cellXfs")]
        custom = {
            inner.get("numFmtId")
            for inner in self._tree(name).iter()
            if inner.get("formatCode") is not None
        }
        if len(groups) != 1:
            raise UnsureError
        numbers = [each.get("numFmtId", "0") for each in groups[0]]
        if not all(number.isascii() and number.isdigit() for number in numbers):
            raise UnsureError
        return [-1 if number in custom else int(number) for number in numbers]


def texts(element: ET.Element) -> Iterator[str]:
    """Yield the texts of a string, phonetics left out."""
    for each in element:
        match local(each):
            case "rPh":
                continue
            case "t":
                if len(each):
                    raise UnsureError
                yield each.text or ""
            case _:
                yield from texts(each)


def unescaped(text: str) -> str:
    """Decode what Excel writes for what XML cannot carry."""
    found = ESCAPE.sub(lambda match: chr(int(match[1], 16)), text)
    if any("\ud800" <= character <= "\udfff" for character in found):
        raise UnsureError
    return found


def read(content: bytes, options: DecodeOptions) -> Sheet:
    """Read a sheet. Raises `UnsureError`."""
    book = Book(content)
    part = book.sheet(options.sheet)
    parser: Any = ET.XMLPullParser(["start", "end"])
    found = Sheet()
    reader = _Reader(book, options, found)
    try:
        parser.feed(part)
        parser.close()
    except ET.ParseError as error:
        found.ends = _fault(error)
    except (ValueError, LookupError):
        found.ends = "damaged"
    try:
        for event, element in parser.read_events():
            reader.take(event, element)
    except ET.ParseError as error:
        found.ends = _fault(error)
    except UnsureError:
        found.ends = "unsure"
    except RefusedError:
        found.ends = "refused"
    return found


def _fault(error: ET.ParseError) -> str:
    # A prefix that was never declared changes no value, and is let pass by the decoder.
    return "unsure" if "unbound prefix" in str(error) else "damaged"


class _Reader:
    def __init__(self, book: Book, options: DecodeOptions, sheet: Sheet) -> None:
        self._book = book
        self._wanted = options.header_row
        self._sheet = sheet
        self._path: list[str] = []
        self._last = 0
        self._names: dict[int, str] | None = None

    def take(self, event: str, element: ET.Element) -> None:
        """Take an event of the parser."""
        if event == "start":
            self._path.append(local(element))
            return
        path = tuple(self._path)
        self._path.pop()
        if path == ("worksheet", "sheetData", "row"):
            self._row(element)
        elif path[:2] == ("worksheet", "sheetData") and path[-1] == "row":
            raise RefusedError
        elif path[-1:] in {("row",), ("sheetData",)} and path != ("worksheet", "sheetData"):
            raise UnsureError

    def _row(self, row: ET.Element) -> None:
        cells = [each for each in row if local(each) == "c"]
        if sum(local(each) == "c" for each in row.iter()) != len(cells):
            raise UnsureError
        named = row.get("r") or str(self._last + 1)
        if not (named.isascii() and named.isdigit()):
            raise UnsureError
        number = int(named)
        column, values = 0, dict[int, Value]()
        refused = False
        for cell in cells:
            column += 1
            if reference := cell.get("r"):
                match = re.fullmatch("([A-Z]{1,3})([0-9]{1,7})", reference)
                if match is None or (row.get("r") and int(match[2]) != number):
                    raise UnsureError
                number = int(match[2])
                column = 0
                for letter in match[1]:
                    column = column * 26 + ord(letter) - 64
            if column in values:
                raise UnsureError
            try:
                values[column] = self._value(cell)
            except RefusedError:
                refused = True
                values[column] = "?"
        if number <= self._last:
            raise UnsureError
        self._last = number
        self._meant(number, values, refused=refused)

    def _meant(self, number: int, values: dict[int, Value], *, refused: bool) -> None:
        if all(value in (None, "") for value in values.values()):
            return
        if self._names is None:
            if self._wanted is None or self._wanted == number:
                if refused:
                    raise RefusedError
                self._header(values)
            return
        if refused:
            raise RefusedError
        if any(column not in self._names and values[column] not in (None, "") for column in values):
            raise RefusedError
        self._sheet.records.append(
            {name: values.get(column) for column, name in self._names.items()}
        )

    def _header(self, values: dict[int, Value]) -> None:
        names: dict[int, str] = {}
        for column, value in values.items():
            match value:
                case bool():
                    name = str(value).upper()
                case Numeric() if value.text.isdigit() and len(value.text) < 15:
                    name = str(int(value.text))
                case Numeric():
                    raise UnsureError
                case _:
                    name = value or ""
            if name in names.values():
                raise RefusedError
            if name:
                names[column] = name
        self._names = names

    def _value(self, cell: ET.Element) -> Value:
        kind, style = cell.get("t") or "n", cell.get("s") or "0"
        values = [each for each in cell if local(each) == "v"]
        inlines = [each for each in cell if local(each) == "is"]
        if len(values) > 1 or len(inlines) > 1 or any(len(each) for each in values):
            raise RefusedError
        if {local(each) for each in cell} - {"v", "is", "f", ""} or (values and inlines):
            raise UnsureError
        if any(len(each) for each in cell if local(each) in {"f", ""}):
            raise UnsureError
        text = unescaped("".join(each.text or "" for each in values))
        if inlines:
            text = unescaped("".join(texts(inlines[0])))
        if not text:
            if any(local(each) == "f" for each in cell) and kind not in {"str", "inlineStr"}:
                raise RefusedError
            if any(local(each) == "f" for each in cell) or values or inlines:
                # What an empty text is depends on finer things than this reference has.
                raise UnsureError
            return None
        match kind:
            case "str" | "inlineStr":
                return text
            case "s":
                if text.isascii() and text.isdigit() and int(text) < len(self._book.strings):
                    return self._book.strings[int(text)]
                raise RefusedError
            case "b" if text.strip() in {"0", "1", "true", "false"}:
                return text.strip() in {"1", "true"}
            case "n":
                return self._number(text.strip(" \t\n"), style)
            case "d":
                raise UnsureError
            case _:
                raise RefusedError

    def _number(self, text: str, style: str) -> Value:
        if not NUMBER.fullmatch(text) or abs(float(text)) == float("inf"):
            raise RefusedError
        formats = self._book.formats
        if formats is None:
            return Numeric(text)
        if not (style.isascii() and style.isdigit()) or int(style) >= len(formats):
            raise UnsureError
        number = formats[int(style)]
        if number in PLAIN_FORMATS:
            return Numeric(text)
        serial = float(text)
        if number not in DATES | MOMENTS or not 61 <= serial < 2_900_000:
            raise UnsureError
        day_0 = (
            datetime(1904, 1, 1, tzinfo=UTC)
            if self._book.since_1904
            else datetime(1899, 12, 30, tzinfo=UTC)
        )
        moment = day_0 + timedelta(days=int(serial))
        fraction = Decimal(serial) - int(serial)
        if fraction and (fraction * 86_400_000) % 1:
            raise UnsureError  # between two milliseconds
        moment += timedelta(milliseconds=int(fraction * 86_400_000))
        if number in DATES and not fraction:
            return moment.date().isoformat()
        return moment.replace(tzinfo=None).isoformat(
            timespec="milliseconds" if moment.microsecond else "seconds"
        )
