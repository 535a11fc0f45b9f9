"""Rows become records: the header names the columns, a row gives the values."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from operator import itemgetter

from app.decoders.xlsx_rows import COLUMNS_MAX, Row
from app.decoders.xlsx_strings import SharedStrings
from app.decoders.xlsx_values import Meaning, Meanings, shown
from app.domain.budget import RECORD_BYTES_MAX
from app.domain.canonical import Json, canonical
from app.domain.errors import DecodeCode, DecodeError, Place, RecordError

_LAYOUT_CELLS_MAX = 100_000
"""Cells in the layouts that are remembered."""

_MEANINGS_MAX = 2_000
"""Combinations of types and styles that are remembered."""


def column_number(letters: str) -> int:
    """Return the 1-based number of a column: ``A`` → 1, ``XFD`` → 16384."""
    number = 0
    for letter in letters:
        number = number * 26 + ord(letter) - 64
    return number


def column_letters(number: int) -> str:
    """Return the letters of a column: 1 → ``A``."""
    letters = ""
    while number:
        number, letter = divmod(number - 1, 26)
        letters = chr(65 + letter) + letters
    return letters


def has_value(meanings: Iterable[Meaning], texts: Sequence[str]) -> bool:
    """Tell whether any cell has a value but the empty string; an error is one."""
    for meaning, text in zip(meanings, texts, strict=True):
        try:
            if text and meaning(text) not in (None, ""):
                return True
        except RecordError:
            return True
    return False


@dataclass(frozen=True, slots=True)
class _Layout:
    """What rows with the same columns, types and styles have in common."""

    columns: tuple[str, ...]
    meanings: tuple[Meaning, ...]
    """Per cell."""

    names: tuple[str, ...]
    """Of the record, in canonical order."""

    named: tuple[Meaning, ...]
    """Per name, and after them per column without a name."""

    take: Callable[[Sequence[str]], Sequence[str]]
    """Gives the texts in the order of ``named`` from those of the cells and ``""``."""


class Columns:
    """The columns that the header names.

    Parameters
    ----------
    sheet
        Its name, for places.
    header
        The row that names them, ``None`` in an empty sheet.
    meanings
        With unsafe numbers as strings.
    """

    def __init__(self, sheet: str, header: Row | None, meanings: Meanings) -> None:
        self.sheet = sheet
        found: dict[str, str] = {}
        if header:
            for column, attributes, text in zip(self.resolved(header), *header[2:], strict=True):
                place = Place(cell=f"{sheet}!{column}{header.number}")
                try:
                    name = shown(meanings.of(attributes)(text)) if text else ""
                except DecodeError as error:
                    raise DecodeError(
                        DecodeCode(error.code),
                        f"in the header, {error.message}",
                        place=place,
                        remedy=error.remedy,
                    ) from error
                if name in found:
                    raise DecodeError(
                        DecodeCode.DUPLICATE_HEADER,
                        f"columns {found[name]} and {column} are both called {name[:80]!r}",
                        place=place,
                        remedy="Give every column a name of its own.",
                    )
                if name:
                    found[name] = column
        self.by_name = {name: found[name] for name in sorted(found)}
        """Name → column, in canonical order: by code point."""

    def resolved(self, row: Row) -> tuple[str, ...]:
        """Return the column of every cell.

        Raises
        ------
        DecodeError
            Two cells are in one column, or one is beyond the last.
        """
        numbers: list[int] = []
        for column in row.columns:
            after = numbers[-1] + 1 if numbers else 1
            numbers.append(column_number(column) if column else after)
        columns = tuple(map(column_letters, numbers))
        if len(set(columns)) != len(columns) or max(numbers, default=0) > COLUMNS_MAX:
            raise DecodeError(
                DecodeCode.MALFORMED,
                f"row {row.number} holds a cell twice, or one beyond column XFD",
                place=Place(cell=f"{self.sheet}!{row.number}"),
            )
        return columns


class Records:
    """Turns rows into records."""

    def __init__(self, columns: Columns, meanings: Meanings, strings: SharedStrings) -> None:
        self._columns = columns
        self._meanings = meanings
        self._strings = strings
        self._layouts: dict[tuple[tuple[str, ...], tuple[str, ...]], _Layout] = {}
        self._layout_cells = 0
        self._known: dict[str, Meaning] = {}

    def is_record(self, row: Row) -> bool:
        """Tell whether `record` would return one, or raise. Looks no further than it must."""
        return has_value(self._layout(row).meanings, row.texts)

    def record(self, row: Row, index: int) -> bytes | None:
        """Return the canonical bytes of a row; ``None`` when it holds nothing.

        Empty strings alone are nothing: formulas prepared for rows to come give them.

        Parameters
        ----------
        row
            Not the header.
        index
            Of the record, for places.

        Raises
        ------
        RecordError
            A cell has no value that could be delivered.
        DecodeError
            A cell refers to what the workbook does not have.
        """
        layout = self._layout(row)
        texts = layout.take((*row.texts, ""))
        try:
            values = [
                meaning(text) if text else None
                for meaning, text in zip(layout.named, texts, strict=True)
            ]
        except DecodeError as error:
            raise self._placed(error, row, layout, index) from error
        if not any(values) and all(value is None or value == "" for value in values):
            return None
        if self._strings.longest * len(values) > RECORD_BYTES_MAX:
            self._check_size(sum(len(v) for v in values if isinstance(v, str)), row, index)
        try:
            encoded = canonical(dict(zip(layout.names, values)))  # noqa: B905 - the rest are null
        except RecordError as error:
            raise _at(error, self._place(str(row.number), index)) from error
        self._check_size(len(encoded), row, index)
        return encoded

    def _layout(self, row: Row) -> _Layout:
        key = (row.columns, row.attributes)
        layout = self._layouts.get(key)
        if layout is None:
            self._layout_cells += len(row.columns) + len(self._columns.by_name)
            if self._layout_cells > _LAYOUT_CELLS_MAX:
                self._layouts.clear()
                self._layout_cells = 0
            layout = self._layouts[key] = self._new_layout(row)
        return layout

    def _new_layout(self, row: Row) -> _Layout:
        columns = self._columns.resolved(row)
        by_name = self._columns.by_name
        named = set(by_name.values())
        meanings = tuple(
            self._meaning(attributes) if column in named else _unnamed(self._meaning(attributes))
            for column, attributes in zip(columns, row.attributes, strict=True)
        )
        order = [*by_name.values(), *(column for column in columns if column not in named)]
        places = [columns.index(c) if c in columns else len(columns) for c in order]
        return _Layout(
            columns=columns,
            meanings=meanings,
            names=tuple(by_name),
            named=tuple((*meanings, _nothing)[place] for place in (*places, -1, -1)),
            # With one index, itemgetter gives no sequence.
            take=itemgetter(*places, len(columns), len(columns)),
        )

    def _meaning(self, attributes: str) -> Meaning:
        known = self._known.get(attributes)
        if known is None:
            if len(self._known) >= _MEANINGS_MAX:
                self._known.clear()
            known = self._known[attributes] = self._meanings.of(attributes)
        return known

    def _place(self, cell: str, index: int) -> Place:
        return Place(record=index, cell=f"{self._columns.sheet}!{cell}")

    def _placed(self, error: DecodeError, row: Row, layout: _Layout, index: int) -> DecodeError:
        """Return ``error`` with the cell that raises it."""
        for column, meaning, text in zip(layout.columns, layout.meanings, row.texts, strict=True):
            try:
                if text:
                    meaning(text)
            except DecodeError:
                return _at(error, self._place(f"{column}{row.number}", index))
        return error

    def _check_size(self, size: int, row: Row, index: int) -> None:
        if size > RECORD_BYTES_MAX:
            raise RecordError(
                DecodeCode.RECORD_TOO_LARGE,
                f"the record has more than {RECORD_BYTES_MAX} bytes",
                place=self._place(str(row.number), index),
            )


def _at(error: DecodeError, place: Place) -> DecodeError:
    return type(error)(DecodeCode(error.code), error.message, place=place, remedy=error.remedy)


def _nothing(_: str) -> Json:
    return None


def _unnamed(meaning: Meaning) -> Meaning:
    def nothing(text: str) -> Json:
        if meaning(text) == "":
            return None
        raise RecordError(
            DecodeCode.RAGGED_ROW,
            "a value stands in a column that the header does not name",
            remedy="Name the column in the header row, or clear it.",
        )

    return nothing
