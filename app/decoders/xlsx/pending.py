"""Records on their way into a batch, encoded together: that costs a third less."""

from collections.abc import Iterator
from dataclasses import replace

from app.decoders.xlsx.records import Records
from app.decoders.xlsx.rows import Row
from app.domain.budget import RECORD_BYTES_MAX
from app.domain.canonical import Encoded, Json, canonical
from app.domain.chunk import Batch, Cursor
from app.domain.errors import DecodeCode, RecordError

_BATCH_RECORDS_MAX = 250
_BATCH_CHARACTERS_MAX = 256 * 1024
"""A row of a few bytes can become a record of many thousand nulls, or of one long shared
string many times."""

_SURELY_SHORT = 64 * 1024
"""Characters of strings in a record that are not worth counting."""


class Pending:
    """The records since the last batch."""

    def __init__(self, records: Records, cursor: Cursor) -> None:
        self._records = records
        self._cursor = cursor
        self._values: list[Json] = []
        self._rows: list[int] = []
        self._unsafe: dict[int, int] = {}
        self._characters = 0
        self.end = 0
        """Records taken so far, counted from the cursor."""

    def add(self, record: dict[str, Json], row: Row, *, unsafe: int, longest: int) -> bool:
        """Take a record; tell whether that is enough for a batch.

        Parameters
        ----------
        record
            What ``row`` became.
        row
            Where it is from.
        unsafe
            Unsafe numbers in it.
        longest
            Characters of the longest text that a cell can refer to.

        Raises
        ------
        RecordError
            It is too large.
        """
        characters = self._records.characters_min + sum(map(len, row.texts))
        if longest * len(record) > _SURELY_SHORT:
            characters += sum(len(v) for v in record.values() if isinstance(v, str))
            if characters > 2 * RECORD_BYTES_MAX:
                raise self._too_large(row.number, self.end)
        if unsafe:
            self._unsafe[len(self._values)] = unsafe
        self._values.append(record)
        self._rows.append(row.number)
        self._characters += characters
        self.end += 1
        return len(self._values) >= _BATCH_RECORDS_MAX or self._characters >= _BATCH_CHARACTERS_MAX

    def batch(self, position: int) -> Iterator[Batch]:
        """Yield the records since the last batch, if there are any.

        Raises
        ------
        RecordError
            One of them cannot be encoded, or is too large. Those before it come first.
        """
        if not self._values:
            return
        values, rows, unsafe = self._values, self._rows, self._unsafe
        first = self.end - len(values)
        start = replace(self._cursor, skip=self._cursor.skip + first)
        self._values, self._rows, self._unsafe, self._characters = [], [], {}, 0
        encoded = _encoded(values)
        if encoded is not None:
            yield Batch(encoded, start, position, unsafe)
            return
        good: list[bytes] = []
        failure: RecordError | None = None
        for value, row in zip(values, rows, strict=True):
            index = first + len(good)
            try:
                record = canonical(value)
            except RecordError as error:
                failure = error
                error.place = self._records.place(row, index)
                break
            if len(record) > RECORD_BYTES_MAX:
                failure = self._too_large(row, index)
                break
            good.append(record)
        if good:
            kept = {at: count for at, count in unsafe.items() if at < len(good)}
            yield Batch(good, start, position, kept)
        if failure:
            raise failure

    def _too_large(self, row: int, index: int) -> RecordError:
        return RecordError(
            DecodeCode.RECORD_TOO_LARGE,
            f"the record has more than {RECORD_BYTES_MAX} bytes",
            place=self._records.place(row, index),
        )


def _encoded(values: list[Json]) -> Encoded | None:
    """Encode all at once; ``None`` when one of them may have to be refused."""
    try:
        encoded = Encoded(values)
    except TypeError:  # orjson.JSONEncodeError is a TypeError; it does not say which one
        return None
    return encoded if len(encoded.joined(0, len(values))) <= RECORD_BYTES_MAX else None
