"""The rows of a sheet, as they are written: what the cells mean comes later.

Rows in the shape that spreadsheet programs write are read by a regular expression, which
accounts for every character; any other row, however odd, by expat (`xlsx_xml`).
"""

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from app.decoders.xlsx_package import Part
from app.decoders.xlsx_xml import Markup, unescape_text, unescaped, whole_elements
from app.domain.budget import RECORD_BYTES_MAX
from app.domain.errors import DecodeCode, DecodeError

ROWS_MAX = 1_048_576
"""Source: the limits of Excel; so is the next."""

COLUMNS_MAX = 16_384

UNCACHED = "\0 formula without a cached value"
"""Stands in for the attributes of such a cell. No document can contain it: NUL is not XML."""

EMPTY_TEXT = "\0 empty string"
"""Stands in for the attributes of a cell whose value is the empty string."""


class Row(NamedTuple):
    """One row; the three sequences are parallel, one member per cell as written."""

    number: int
    """1-based, strictly ascending."""

    columns: tuple[str, ...]
    """``A`` … ``XFD``; ``""``: the one after the cell before."""

    attributes: tuple[str, ...]
    """Attributes as written but for ``r``, such as `` s="3" t="s"``; `UNCACHED`, `EMPTY_TEXT`."""

    texts: tuple[str, ...]
    """The text of the value, all escapes resolved; ``""`` for none."""


_Cell = tuple[str, str, str, str]
"""Column, row number, attributes, text."""

_REFERENCE = re.compile("([A-Z]{1,3})([0-9]{1,7})")
_ATTRIBUTES = re.compile(r"(?:\s+[A-Za-z_][\w:.-]*=(?:\"[^\"<>&]*\"|'[^'<>&]*'))*\s*")
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
        rf"|<{p}v\s?/>|<{p}v></{p}v>"
        rf")?</{p}c>)|(\S[\s\S]*)"
    )
    return re.compile(row), re.compile(cell)


def sheet_rows(part: Part) -> Iterator[Row]:
    """Yield the rows of a sheet that have cells, in order, and read the part to its end.

    The dimension that the sheet claims is not looked at.

    Raises
    ------
    DecodeError
        The part is damaged, its rows are out of order, or it is no worksheet.
    """
    return _SheetRows(part).rows()


class _SheetRows:
    def __init__(self, part: Part) -> None:
        self._part = part
        self._markup = _SheetMarkup(part.name)
        self._shapes = _Shapes(self._markup)
        self._last = 0
        self._known: set[str] = set()
        """Attributes of cells and rows, known to be well-formed and without ``r``."""

    def rows(self) -> Iterator[Row]:
        markup = self._markup
        try:
            for block in whole_elements(self._part, markup, parent="sheetData", child="row"):
                if markup.rows:
                    yield from self._taken()
                if block:
                    yield from self._plain_rows(block)
        except DecodeError:
            yield from self._taken()  # the good ones before the bad place
            raise
        if not markup.sheet_seen:
            raise markup.malformed("it is not a worksheet: it has no rows element")

    def _taken(self) -> Iterator[Row]:
        """Yield what expat read."""
        taken, self._markup.rows = self._markup.rows, []
        for named, cells in taken:
            columns, numbers, attributes, texts = zip(*cells, strict=True) if cells else ((),) * 4
            number = self._agreed(named, numbers, self._last)
            if not self._last < number <= ROWS_MAX:
                raise self._misplaced(number)
            self._last = number
            if cells:
                yield Row(number, columns, attributes, tuple(map(unescape_text, texts)))

    def _plain_rows(self, block: str) -> Iterator[Row]:
        """Read a block from `whole_elements`, leaving to expat what is not plain."""
        markup, shapes = self._markup, self._shapes
        close = f"</{markup.prefix}row>"
        escaped = "&" in block or "_x" in block
        pieces = block.split(close)
        pieces.pop()  # what follows the last end tag: nothing
        for piece in pieces:
            row = shapes.row(piece, self._last) or self._plain_row(piece)
            if row and escaped:
                row = _without_escapes(row)
            if row is None:
                markup.feed(piece + close)
                yield from self._taken()
                continue
            number = row.number
            if not self._last < number <= ROWS_MAX:
                raise self._misplaced(number)
            self._last = number
            if row.columns:
                yield row

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
        columns, numbers, attributes, inlines, texts, odd = zip(*cells, strict=True)
        if any(odd) or not self._knows(attributes):
            return None
        named = found[1] or ""
        if numbers.count(named) == len(numbers):
            self._shapes.learn(
                named=named,
                row=found[2],
                columns=columns,
                attributes=attributes,
                inlines=inlines,
                texts=texts,
            )
        return Row(self._agreed(named, numbers, last), columns, attributes, texts)

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
        self._known.update(attributes)
        return True

    def _agreed(self, named: str, numbers: Sequence[str], last: int) -> int:
        """Return the number of a row from what it and its cells are called."""
        claimed = {int(text) for text in (named, *numbers) if text} or {last + 1}
        number = claimed.pop()
        if claimed:
            raise self._markup.malformed(f"a row after row {last} has cells of different rows")
        return number

    def _misplaced(self, number: int) -> DecodeError:
        return self._markup.malformed(
            f"row {number} follows row {self._last}; rows must ascend up to {ROWS_MAX}"
        )


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


class _Shapes:
    """The shapes that rows had lately: most rows repeat one.

    A pattern for one shape, with columns, types and styles in it, reads a row three times
    as fast as the pattern for any cell.
    """

    _KEPT = 4
    _SEEN_BEFORE = 3
    _MADE_MAX = 64
    """Making a pattern costs as much as reading some hundred rows: only for what recurs."""
    _CELLS_MAX = 200

    def __init__(self, markup: Markup) -> None:
        self._markup = markup
        self._kept: list[_Shape] = []
        self._seen: dict[tuple[object, ...], int] = {}
        self._made = 0

    def row(self, piece: str, last: int) -> Row | None:
        """Read the row after row ``last``; ``None`` when it has no known shape."""
        for at, shape in enumerate(self._kept):
            found = shape.pattern.fullmatch(piece)
            if found:
                if at:
                    self._kept.insert(0, self._kept.pop(at))
                groups = found.groups()
                number = int(groups[0] or last + 1)
                return Row(number, shape.columns, shape.attributes, groups[1:])
        return None

    def learn(
        self,
        *,
        named: str,
        row: str,
        columns: tuple[str, ...],
        attributes: tuple[str, ...],
        inlines: tuple[str, ...],
        texts: tuple[str, ...],
    ) -> None:
        """Take the shape of a row that was read otherwise.

        Either it and its cells all say their number, ``named``, or none does.
        """
        if self._made >= self._MADE_MAX or len(columns) > self._CELLS_MAX:
            return
        valued = tuple(map(bool, texts))
        key = (bool(named), row, columns, attributes, inlines, valued)
        if len(self._seen) > 200:
            self._seen.clear()
        self._seen[key] = seen = self._seen.get(key, 0) + 1
        # Cells that do not say their column count, so none of them can be left out.
        enough = any(valued) if named else all(valued)
        if seen % self._SEEN_BEFORE or not enough:
            return
        self._made += 1
        p = re.escape(self._markup.prefix)
        formula = rf"(?:<{p}f(?:\s[^<>/]*)?(?:/>|>[^<]*</{p}f>))?"
        own = r' r="([0-9]{1,7})"' if named else "()"
        parts = [rf"\s*<{p}row{own}{re.escape(row)}>"]
        for column, attribute, inline, value in zip(
            columns, attributes, inlines, valued, strict=True
        ):
            own = rf' r="{column}\1"' if named else ""
            parts.append(rf"<{p}c{own}{re.escape(attribute)}")
            if not value:
                parts.append("/>")
            elif inline:
                tag = rf'<{p}is><{p}t(?:\sxml:space="preserve")?>'
                parts.append(rf">{tag}([^<]+)</{p}t></{p}is></{p}c>")
            else:
                parts.append(rf">{formula}<{p}v>([^<]+)</{p}v></{p}c>")
        self._kept.insert(
            0,
            _Shape(
                re.compile("".join(parts)),
                tuple(itertools.compress(columns, valued)),
                tuple(itertools.compress(attributes, valued)),
            ),
        )
        del self._kept[self._KEPT :]


@dataclass(frozen=True, slots=True)
class _Shape:
    pattern: re.Pattern[str]
    """Matches a row but for its end tag. Groups: its number, and the text of each value."""

    columns: tuple[str, ...]
    """Of the cells with a value; so are the attributes."""

    attributes: tuple[str, ...]


class _SheetMarkup(Markup):
    """The exact way to read rows: whatever XML allows."""

    def __init__(self, part: str) -> None:
        super().__init__(part)
        self.rows: list[tuple[str, list[_Cell]]] = []
        """Row number as written, and cells, of the rows read since the last look."""
        self.sheet_seen = False
        self._row: str | None = None
        self._cells: list[_Cell] = []
        self._cell: dict[str, str] | None = None
        self._value: list[str] = []
        self._characters = 0
        self._collecting = self._formula = self._valued = self._phonetic = False

    def start(self, name: str, attributes: dict[str, str]) -> None:
        if name == "row":
            if self._row is not None or not self.sheet_seen:
                raise self.malformed("a row is not where rows belong")
            self._row, self._cells, self._characters = attributes.get("r", ""), [], 0
            if self._row and not _ROW.fullmatch(self._row):
                raise self.malformed(f"{self._row[:40]!r} is not a row number")
        elif name == "c" and self._row is not None:
            if self._cell is not None or len(self._cells) >= COLUMNS_MAX:
                raise self.malformed(f"row {self._row} has nested cells, or too many")
            self._cell, self._value = attributes, []
            self._formula = self._valued = False
        elif self._cell is not None:
            self._formula |= name == "f"
            self._phonetic |= name == "rPh"
            if name in {"v", "t"} and not self._phonetic:
                self._collecting = self._valued = True
        elif name == "sheetData":
            self.sheet_seen = True

    def text(self, text: str) -> None:
        if self._collecting:
            self._value.append(text)
            self._characters += len(text)
            if self._characters > RECORD_BYTES_MAX:
                raise DecodeError(
                    DecodeCode.RECORD_TOO_LARGE,
                    f"{self._part}: row {self._row} has more than {RECORD_BYTES_MAX} characters",
                )

    def end(self, name: str) -> None:
        if name in {"v", "t"}:
            self._collecting = False
        elif name == "rPh":
            self._phonetic = False
        elif name == "c" and self._cell is not None:
            self._cells.append(self._finished(self._cell))
            self._cell = None
        elif name == "row" and self._row is not None:
            self.rows.append((self._row, self._cells))
            self._row = None

    def _finished(self, cell: dict[str, str]) -> _Cell:
        column = number = ""
        if reference := cell.get("r"):
            found = _REFERENCE.fullmatch(reference)
            if not found:
                raise self.malformed(f"{reference[:40]!r} is not a cell")
            column, number = found[1], found[2]
        style, kind = cell.get("s", "0"), cell.get("t", "n")
        if not (_WORD.fullmatch(style) and _WORD.fullmatch(kind)):
            raise self.malformed(f"cell {column}{number} has an unknown type or style")
        value = "".join(self._value)
        if value:
            return column, number, f' s="{style}" t="{kind}"', value
        if self._formula and not (self._valued and kind == "str"):
            return column, number, UNCACHED, "-"
        if self._valued and kind in {"str", "inlineStr"}:
            return column, number, EMPTY_TEXT, "-"
        return column, number, "", ""
