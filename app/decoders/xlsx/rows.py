"""The rows of a sheet, as they are written: what the cells mean comes later.

Rows in the shape that spreadsheet programs write are read by a regular expression, which
accounts for every character; any other row, however odd, by expat (`xml.py`).
"""

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

from app.decoders.xlsx.package import Part
from app.decoders.xlsx.references import COLUMNS_MAX, ROWS_MAX, resolved
from app.decoders.xlsx.usual_row import UsualRow
from app.decoders.xlsx.xml import Markup, unescape_text, unescaped, whole_elements
from app.domain.budget import RECORD_BYTES_MAX
from app.domain.errors import DecodeCode, DecodeError, Place

UNCACHED = "\0 formula without a cached value"
"""Stands in for the attributes of such a cell. No document can contain it: NUL is not XML."""

EMPTY_TEXT = "\0 empty string"
"""Stands in for the attributes of a cell whose value is the empty string."""


class Row(NamedTuple):
    """One row; the three sequences are parallel."""

    number: int
    """1-based, strictly ascending."""

    columns: tuple[str, ...]
    """``A`` … ``XFD``. In no order; among those with a text, none comes twice."""

    attributes: tuple[str, ...]
    """Attributes as written but for ``r``, such as `` s="3" t="s"``; `UNCACHED`, `EMPTY_TEXT`."""

    texts: tuple[str, ...]
    """The text of the value, all escapes resolved; ``""`` for none."""


_Cell = tuple[str, str, str, str]
"""Column, row number, attributes, text."""

_REFERENCE = re.compile("([A-Z]{1,3})([0-9]{1,7})")
_ATTRIBUTES = re.compile(r"(?:\s+[A-Za-z_][\w:.-]*=(?:\"[^\"<>&]*\"|'[^'<>&]*'))*\s*")
_NAME = re.compile(r"\s([A-Za-z_][\w:.-]*)=(?:\"[^\"]*\"|'[^']*')")
_ROW_DEPTH = 3
"""Elements open in a row: ``worksheet``, ``sheetData``, ``row``. Deeper it is no row of the
sheet, as in an ``mc:AlternateContent``: which of the alternatives counts is not ours to guess."""

_ONCE = frozenset({"f", "v", "is"})
_R = re.compile(r"\sr\s*=")
_ROW = re.compile("[0-9]{1,7}")
_KNOWN_MAX = 10_000
_KNOWN_LENGTH_MAX = 200
_WORD = re.compile(r"\w{1,20}")


@lru_cache(maxsize=8)
def _patterns(prefix: str) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """Return what reads the start tag of a row, and what reads its cells.

    Between them cells leave white space; from what is no plain cell on, the last group has
    all the rest.
    """
    p = re.escape(prefix)
    row = rf'\s*<{p}row(?: r="([0-9]{{1,7}})")?((?:\s[^<>/]*)?)(/?)>'
    cell = (
        rf'<{p}c(?: r="([A-Z]{{1,3}})([0-9]{{1,7}})")?((?:\s[^<>/]*)?)(?:/>|>(?:'
        rf"(?:<{p}f(?:\s[^<>/]*)?(?:/>|>[^<]*</{p}f>))?"
        rf'(?:<{p}v>|(<{p}is>)<{p}t(?:\sxml:space="preserve")?>)'
        rf"([^<]+)(?(4)</{p}t></{p}is>|</{p}v>)"
        rf")?</{p}c>)|(\S[\s\S]*)"
    )
    return re.compile(row), re.compile(cell)


def sheet_rows(part: Part, sheet: str) -> Iterator[Row]:
    """Yield the rows of a sheet that have cells, in order, and read the part to its end.

    The dimension that the sheet claims is not looked at. ``sheet`` is its name, for places.

    Raises
    ------
    DecodeError
        The part is damaged, its rows are out of order, or it is no worksheet.
    """
    return _SheetRows(part, sheet).rows()


class _SheetRows:
    def __init__(self, part: Part, sheet: str) -> None:
        self._part = part
        self._sheet = sheet
        self._markup = _SheetMarkup(part.name, sheet)
        self._usual = UsualRow()
        self._last = 0
        self._known: set[str] = set()
        """Attributes of cells and rows, known to be well-formed, each named once, without ``r``."""

    def rows(self) -> Iterator[Row]:
        markup = self._markup
        try:
            for block in whole_elements(self._part, markup, parent="sheetData", child="row"):
                if markup.rows:
                    yield from self._taken()
                if block:
                    yield from self._plain_rows(block)
        except DecodeError as error:
            yield from self._taken()  # the good ones before the bad place
            error.place = error.place or self._place()
            raise
        if not markup.sheet_seen:
            raise markup.malformed("it is not a worksheet: it has no rows element")

    def _taken(self) -> Iterator[Row]:
        """Yield what expat read."""
        taken, self._markup.rows = self._markup.rows, []
        for named, cells in taken:
            columns, numbers, attributes, texts = zip(*cells, strict=True) if cells else ((),) * 4
            number = self._agreed(named, numbers, self._last)
            plain = tuple(map(unescape_text, texts))
            row = Row(number, self._resolved(columns, number), attributes, plain)
            yield from self._next(row)

    def _plain_rows(self, block: str) -> Iterator[Row]:
        """Read a block from `whole_elements`, leaving to expat what is not plain."""
        markup, usual, known = self._markup, self._usual, self._known
        close = f"</{markup.prefix}row>"
        escaped = "&" in block or "_x" in block
        pieces = block.split(close)
        pieces.pop()  # what follows the last end tag: nothing
        for piece in pieces:
            fits = usual.read(piece)
            if fits and (fits[1] in known or self._knows(fits[1:2])):
                number = int(fits[0] or self._last + 1)
                row: Row | None = Row(number, usual.columns, usual.attributes, fits[2])
            else:
                row = self._plain_row(piece)
            if row and escaped:
                row = _without_escapes(row)
            if row is None:
                markup.feed(piece + close)
                yield from self._taken()
            elif self._last < row.number <= ROWS_MAX and row.columns:
                self._last = row.number
                yield row
            else:
                yield from self._next(row)

    def _plain_row(self, piece: str) -> Row | None:
        """Read a row that may have any shape; ``None`` when it is not plain."""
        head, cell = _patterns(self._markup.prefix)
        found, last = head.match(piece), self._last
        while found and found[3]:
            # A formatted row without cells, which has no end tag to divide it from the next.
            if not self._knows((found[2],)):
                return None
            last = int(found[1] or last + 1)
            found = head.match(piece, found.end())
        if not found or not self._knows((found[2],)):
            return None
        cells = cell.findall(piece, found.end())
        if not cells:
            return Row(int(found[1] or last + 1), (), (), ())
        letters, numbers, attributes, inlines, texts, odd = zip(*cells, strict=True)
        if any(odd) or not self._knows(attributes):
            return None
        named = found[1] or ""
        agree = numbers.count(named) == len(numbers)
        number = int(named) if agree and named else self._agreed(named, numbers, last)
        columns = self._resolved(letters, number)
        if agree:
            self._usual.learn(
                prefix=self._markup.prefix,
                named=bool(named),
                columns=columns,
                attributes=attributes,
                inlines=inlines,
                texts=texts,
            )
        return Row(number, columns, attributes, texts)

    def _next(self, row: Row) -> Iterator[Row]:
        """Yield a row, unless it has no cells. Raises `DecodeError` when it is not the next."""
        if not self._last < row.number <= ROWS_MAX:
            raise self._malformed(
                f"row {row.number} follows row {self._last}; rows must ascend up to {ROWS_MAX}"
            )
        self._last = row.number
        if row.columns:
            yield row

    def _knows(self, attributes: Sequence[str]) -> bool:
        """Tell whether all of these are well-formed and without ``r``, and remember it."""
        if self._known.issuperset(attributes):
            return True
        if len(self._known) > _KNOWN_MAX:
            self._known.clear()
        for text in attributes:
            # An r that is not the first attribute is not where the patterns look for it.
            if len(text) > _KNOWN_LENGTH_MAX or _R.search(text) or not _ATTRIBUTES.fullmatch(text):
                return False
            names = _NAME.findall(text)
            if len(set(names)) < len(names):
                return False
        self._known.update(attributes)
        return True

    def _agreed(self, named: str, numbers: Sequence[str], last: int) -> int:
        """Return the number of a row from what it and its cells are called."""
        claimed = {int(text) for text in (named, *numbers) if text} or {last + 1}
        number = claimed.pop()
        if claimed:
            raise self._malformed(f"a row after row {last} has cells of different rows")
        return number

    def _malformed(self, why: str) -> DecodeError:
        error = self._markup.malformed(why)
        error.place = self._place()
        return error

    def _place(self) -> Place:
        return Place(cell=f"{self._sheet}!{self._last + 1}")

    def _resolved(self, columns: tuple[str, ...], number: int) -> tuple[str, ...]:
        found = resolved(columns) if columns else ()
        if found is None:
            raise self._malformed(f"row {number} holds a cell twice, or one beyond column XFD")
        return found


def _without_escapes(row: Row) -> Row | None:
    """Resolve XML's references and Excel's escapes; ``None`` when expat must judge them."""
    joined = "\0".join(row.texts)
    if "&" in joined:
        plain = unescaped(joined)
        if plain is None:
            return None
        row = Row(row.number, row.columns, row.attributes, tuple(plain.split("\0")))
    if "_x" in joined:
        row = row._replace(texts=tuple(map(unescape_text, row.texts)))
    return row


class _SheetMarkup(Markup):
    """The exact way to read rows: whatever XML allows."""

    def __init__(self, part: str, sheet: str) -> None:
        super().__init__(part)
        self._sheet = sheet
        self.rows: list[tuple[str, list[_Cell]]] = []
        """Row number as written, and cells, of the rows read since the last look."""
        self.sheet_seen = False
        self._in_sheet = False
        self._row: str | None = None
        self._cells: list[_Cell] = []
        self._cell: dict[str, str] | None = None
        self._values: list[str] = []
        self._inlines: list[str] = []
        self._into: list[str] | None = None
        """Where the text that comes now belongs."""
        self._characters = 0
        self._formula = self._valued = self._phonetic = False
        self._once: set[str] = set()
        """Which of the children that a cell has at most once this one has had."""

    def start(self, name: str, attributes: dict[str, str]) -> None:
        if self._into is not None:
            raise self._odd_cell("there is an element inside the text of a value")
        if name == "row":
            if self._row is not None or not self._in_sheet or self.depth != _ROW_DEPTH:
                raise self.malformed("a row is not where rows belong")
            self._row, self._cells, self._characters = attributes.get("r", ""), [], 0
            if self._row and not _ROW.fullmatch(self._row):
                raise self.malformed(f"{self._row[:40]!r} is not a row number")
        elif name == "c" and self._row is not None:
            if self.depth != _ROW_DEPTH + 1 or len(self._cells) >= COLUMNS_MAX:
                raise self.malformed(f"row {self._row} has nested cells, or too many")
            self._cell, self._values, self._inlines = attributes, [], []
            self._formula = self._valued = False
            self._once.clear()
        elif self._cell is not None:
            if name in _ONCE:
                if name in self._once or self.depth != _ROW_DEPTH + 2:
                    raise self._odd_cell(f"a cell has one {name} at most, directly inside of it")
                self._once.add(name)
            self._formula |= name == "f"
            self._phonetic |= name == "rPh"
            if name in {"v", "t"} and not self._phonetic:
                self._into = self._values if name == "v" else self._inlines
                self._valued = True
        elif name == "sheetData":
            if self.depth != _ROW_DEPTH - 1:
                raise self.malformed("the rows are not where they belong")
            self.sheet_seen = self._in_sheet = True

    def text(self, text: str) -> None:
        if self._into is not None:
            self._into.append(text)
            self._characters += len(text)
            if self._characters > RECORD_BYTES_MAX:
                raise DecodeError(
                    DecodeCode.RECORD_TOO_LARGE,
                    f"{self._part}: row {self._row} has more than {RECORD_BYTES_MAX} characters",
                )

    def end(self, name: str) -> None:
        if name in {"v", "t"}:
            self._into = None
        elif name == "rPh":
            self._phonetic = False
        elif name == "c" and self._cell is not None:
            self._cells.append(self._finished(self._cell))
            self._cell = None
        elif name == "row" and self._row is not None:
            self.rows.append((self._row, self._cells))
            self._row = None
        elif name == "sheetData":
            self._in_sheet = False

    def _odd_cell(self, why: str) -> DecodeError:
        error = self.malformed(why)
        if reference := (self._cell or {}).get("r"):
            error.place = Place(cell=f"{self._sheet}!{reference[:40]}")
        return error

    def _finished(self, cell: dict[str, str]) -> _Cell:
        column = number = ""
        if reference := cell.get("r"):
            found = _REFERENCE.fullmatch(reference)
            if not found:
                raise self.malformed(f"{reference[:40]!r} is not a cell")
            column, number = found[1], found[2]
        style, kind = cell.get("s") or "0", cell.get("t") or "n"
        inline = kind == "inlineStr"
        texts = (self._inlines, self._values) if inline else (self._values, self._inlines)
        value = "".join(texts[0] or texts[1])
        if value:
            # What is not even a word is no style and no type either way.
            words = (text if _WORD.fullmatch(text) else "unknown" for text in (style, kind))
            attributes = ' s="{}" t="{}"'.format(*words)
            return column, number, attributes, value
        if self._valued and kind in {"str", "inlineStr"}:
            return column, number, EMPTY_TEXT, "-"
        if self._formula:
            return column, number, UNCACHED, "-"
        return column, number, "", ""
