"""Rows become records: the header names the columns, a row gives the values."""

from collections.abc import Iterable, Sequence

from app.decoders.xlsx.rows import Row
from app.decoders.xlsx.values import Meaning, Meanings, shown
from app.domain.canonical import Json
from app.domain.errors import DecodeCode, DecodeError, Place, RecordError

_MEANINGS_MAX = 2_000
"""Combinations of types and styles that are remembered."""


def has_value(meanings: Iterable[Meaning], texts: Sequence[str]) -> bool:
    """Tell whether any cell has a value but the empty string; an error is one."""
    for meaning, text in zip(meanings, texts, strict=True):
        try:
            if text and meaning(text) not in (None, ""):
                return True
        except RecordError:
            return True
    return False


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
            for column, attributes, text in zip(*header[1:], strict=True):
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
        self.names = tuple(sorted(found))
        """In canonical order: by code point."""
        self.slots = {found[name]: slot for slot, name in enumerate(self.names)}
        """Column → index in ``names``."""


class Records:
    """Turns rows into records."""

    def __init__(self, columns: Columns, meanings: Meanings) -> None:
        self._columns = columns
        self._meanings = meanings
        self._known: dict[str, Meaning] = {}
        self._blank: list[Json] = [None] * (len(columns.names) + 1)
        self._usual: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())
        self._cells: list[tuple[int, Meaning]] = []
        """Per cell of rows like that: its index in the record, and what it means."""
        self.characters_min = sum(len(name) + len('"":null,') for name in columns.names)
        """Of a record in canonical form."""

    def is_record(self, row: Row) -> bool:
        """Tell whether `record` would return one, or raise. Looks no further than it must."""
        return has_value(map(self._meaning, row.attributes), row.texts)

    def record(self, row: Row, index: int) -> dict[str, Json] | None:
        """Return the record of a row; ``None`` when it holds nothing.

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
        # Rows that look alike share these tuples.
        if row.columns is not self._usual[0] or row.attributes is not self._usual[1]:
            self._look_at(row)
        values = self._blank.copy()
        try:
            for (slot, meaning), text in zip(self._cells, row.texts, strict=True):
                if text:
                    values[slot] = meaning(text)
        except DecodeError as error:
            raise _at(error, self._place_of(row, index)) from error
        values.pop()
        if not any(values) and all(value is None or value == "" for value in values):
            return None
        return dict(zip(self._columns.names, values, strict=True))

    def place(self, row: int, index: int) -> Place:
        """Return the place of a record in a row."""
        return Place(record=index, cell=f"{self._columns.sheet}!{row}")

    def _look_at(self, row: Row) -> None:
        slots, nowhere = self._columns.slots, len(self._columns.names)
        self._cells = [
            (slots[column], self._meaning(attributes))
            if column in slots
            else (nowhere, _unnamed(self._meaning(attributes)))
            for column, attributes in zip(row.columns, row.attributes, strict=True)
        ]
        self._usual = (row.columns, row.attributes)

    def _meaning(self, attributes: str) -> Meaning:
        known = self._known.get(attributes)
        if known is None:
            if len(self._known) >= _MEANINGS_MAX:
                self._known.clear()
            known = self._known[attributes] = self._meanings.of(attributes)
        return known

    def _place_of(self, row: Row, index: int) -> Place:
        """Return the place of the first cell that is refused."""
        for column, (_, meaning), text in zip(row.columns, self._cells, row.texts, strict=True):
            try:
                if text:
                    meaning(text)
            except DecodeError:
                return Place(record=index, cell=f"{self._columns.sheet}!{column}{row.number}")
        return self.place(row.number, index)


def _at(error: DecodeError, place: Place) -> DecodeError:
    return type(error)(DecodeCode(error.code), error.message, place=place, remedy=error.remedy)


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
