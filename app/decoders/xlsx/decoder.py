"""Excel workbooks (.xlsx, .xlsm): one worksheet, a record per row.

The header row names the columns; rows without any value are no records, wherever they are.
An empty cell is null. A value below a column without a name is ``RAGGED_ROW``: it could
only be dropped or invented a name for. A formula counts by the value that was last
calculated; one that never was is ``CELL_ERROR``, and so is an error value. Of merged cells
the first has the value. Dates, times and durations are ISO 8601 strings without a zone.

The sheet is decompressed from its start also on resume, since a ZIP part can be read no
other way; rows already delivered are passed over unconverted.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

from app.decoders.xlsx.package import Part, open_package
from app.decoders.xlsx.pending import Pending
from app.decoders.xlsx.records import Columns, Records, has_value
from app.decoders.xlsx.rows import Row, sheet_rows
from app.decoders.xlsx.strings import SharedStrings, open_strings
from app.decoders.xlsx.values import Meanings
from app.decoders.xlsx.workbook import Sheet, Workbook, read_workbook
from app.domain.canonical import Exact, Numbers
from app.domain.chunk import Batch, Cursor
from app.domain.errors import DecodeCode, DecodeError, IngestError, Place, SourceError
from app.domain.ingestion import DecodeOptions
from app.ports import Source


class _Opened:
    """A workbook whose sheet is being read."""

    def __init__(
        self, workbook: Workbook, sheet: Sheet, part: Part, strings: SharedStrings, size: int
    ) -> None:
        self.workbook = workbook
        self.sheet = sheet
        self.part = part
        self.strings = strings
        self.size = size
        """Bytes of the source."""
        self.in_header = Meanings(workbook, strings, Exact(numbers=Numbers.STRING))
        """A header is text, so its numbers are."""

    def position(self) -> int:
        """Return how many bytes of the source were consumed, about."""
        return int(self.part.progress * self.size)


class XlsxDecoder:
    """A `Decoder`. Its cursor counts records: ``offset`` is always 0."""

    def __init__(self, source: Source, options: DecodeOptions) -> None:
        self._source = source
        self._options = options

    def detect(self) -> Mapping[str, str]:
        """Find the first visible worksheet, and the first row that has any value.

        In a sheet without any value there is no header row to report.
        """
        found: dict[str, str] = {}
        with self._opened() as opened:
            if self._options.sheet is None:
                found["sheet"] = opened.sheet.name
            if self._options.header_row is None:
                header = self._header(sheet_rows(opened.part, opened.sheet.name), opened)
                if header:
                    found["header_row"] = str(header.number)
        return found

    def batches(self, cursor: Cursor, /) -> Iterator[Batch]:
        """Yield the records from ``cursor`` on. Rows above the header row are no records."""
        with self._opened() as opened:
            exact = Exact(numbers=self._options.numbers)
            meanings = Meanings(opened.workbook, opened.strings, exact)
            rows = sheet_rows(opened.part, opened.sheet.name)
            columns = Columns(opened.sheet.name, self._header(rows, opened), opened.in_header)
            records = Records(columns, meanings)
            yield from _batches(opened, rows, records, exact, cursor)

    @contextmanager
    def _opened(self) -> Iterator[_Opened]:
        size = self._source.fingerprint().size
        with self._source.open_seekable() as file, open_package(file) as package:
            workbook = read_workbook(package)
            sheet = workbook.sheet(self._options.sheet)
            with (
                package.part(sheet.part, small=False) as part,
                open_strings(package, workbook.strings) as strings,
            ):
                yield _Opened(workbook, sheet, part, strings, size)

    def _header(self, rows: Iterator[Row], opened: _Opened) -> Row | None:
        """Read up to the header row; ``None`` when no row of the sheet has a value.

        Raises
        ------
        DecodeError
            ``OPTION_INVALID``: the row that was asked for has no value.
        """
        wanted, seen = self._options.header_row, False
        for row in rows:
            if has_value(map(opened.in_header.of, row.attributes), row.texts):
                if wanted is None or row.number == wanted:
                    return row
                seen = True
            if wanted is not None and row.number > wanted:
                break
        if not seen:
            return None
        raise DecodeError(
            DecodeCode.OPTION_INVALID,
            f"row {wanted} of the sheet {opened.sheet.name!r} has no values to name the columns",
            place=Place(cell=f"{opened.sheet.name}!{wanted}"),
            remedy="Give the 1-based number of the header row in options.header_row.",
        )


def _batches(
    opened: _Opened, rows: Iterator[Row], records: Records, exact: Exact, cursor: Cursor
) -> Iterator[Batch]:
    """Yield what follows the header, the good records before an error included."""
    skip = cursor.skip
    pending = Pending(records, cursor)
    failure: IngestError | None = None
    try:
        for row in rows:
            if skip:
                skip -= records.is_record(row)
                continue
            exact.unsafe = 0
            record = records.record(row, pending.end)
            if record is not None and pending.add(
                record, row, unsafe=exact.unsafe, longest=opened.strings.longest
            ):
                yield from pending.batch(opened.position())
        opened.strings.finish()
    except DecodeError as error:
        failure = error
        if error.place is None or error.place.record is None:
            error.place = replace(error.place or Place(), record=pending.end)
    except SourceError as error:
        failure = error
    yield from pending.batch(opened.position())
    if failure:
        raise failure
