"""CSV and TSV: a header row, then one record a row, every value a string as it stands.

What is read, where programs differ:

- The first row that is not blank names the columns, exactly as written. One name may be
  empty; two equal ones are an error.
- A blank line is no row, also in a file of one column; there, ``""`` is an empty value.
- A quote that does not begin a cell is a character like any other. A quoted cell must end
  before a delimiter or a line end, and must end at all.
- Lines end with LF, CRLF or CR. Inside quotes they are kept as they are.
- A first line ``sep=;`` is Excel's hint about the delimiter, not the header.

A file cut short inside its last row is noticed when a cell is missing or a quote is open.
When it is cut inside the last cell, nothing in the file tells.
"""

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from app.decoders.csv.columns import Columns
from app.decoders.csv.detect import SAMPLE_BYTES, detect_csv
from app.decoders.csv.dialect import (
    Codec,
    Dialect,
    check_csv_options,
    codec_of,
    spreadsheet_hint,
)
from app.decoders.csv.long_row import read_long_row
from app.decoders.csv.refusals import (
    HEADER_BYTES_MAX,
    header_too_large,
    malformed,
    no_text,
    truncated,
)
from app.decoders.native import CsvScanner, Stop
from app.decoders.resume import from_cursor
from app.domain.budget import BLOCK_BYTES
from app.domain.chunk import Batch, Cursor
from app.domain.errors import DecodeError, Place
from app.domain.ingestion import DecodeOptions
from app.ports import ByteStream, Source

_WINDOW_BLOCKS = 8
"""A row that is longer than so many blocks is read by itself, in pieces."""

_BATCH_BYTES = 1024 * 1024
"""Of records, after which a batch ends: long names are in each of them."""


@dataclass(frozen=True, slots=True)
class _Region:
    """Source bytes that begin with a row."""

    text: bytes
    byte: int
    line: int
    last: bool
    """They reach to the end of the source."""


@dataclass(slots=True)
class _Parsed:
    """What a region gave."""

    records: Sequence[bytes]
    byte: int
    """Where the next region starts."""
    line: int
    error: DecodeError | None = None
    """What is wrong with the row after ``records``."""


@dataclass(frozen=True, slots=True)
class _Head:
    """What stands before the records. ``columns`` is ``None`` when there is no header."""

    columns: Columns | None
    byte: int
    line: int


class CsvDecoder:
    """A ``Decoder``; a cursor's offset is the byte where a row starts.

    The header is read again whenever records are: it is rarely more than one block, and in
    the cursor it would be stored with every chunk.
    """

    def __init__(
        self,
        source: Source,
        options: DecodeOptions,
        *,
        tab: bool = False,
        block_bytes: int = BLOCK_BYTES,
    ) -> None:
        check_csv_options(options, tab=tab)
        self._source = source
        self._options = options
        self._tab = tab
        self._block_bytes = block_bytes

    def detect(self) -> Mapping[str, str]:
        with self._source.open() as stream:
            sample = _take(stream, SAMPLE_BYTES)
        whole = len(sample) < SAMPLE_BYTES
        return detect_csv(sample, self._options, tab=self._tab, whole=whole)

    def batches(self, cursor: Cursor, /) -> Iterator[Batch]:
        return from_cursor(self._batches(cursor), cursor.skip)

    def _batches(self, cursor: Cursor) -> Iterator[Batch]:
        parser, head = self._begin()
        if head.columns is None:
            return
        byte, line = max((cursor.offset, cursor.line), (head.byte, head.line))
        parser.prepare(head.columns)
        for region, parsed in self._regions(parser, head.columns, byte, line):
            if parsed.records:
                start = Cursor(offset=region.byte, line=region.line)
                yield Batch(parsed.records, start, parsed.byte)
            if parsed.error is not None:
                parsed.error.place = replace(parsed.error.place or Place(), record=0)
                raise parsed.error

    def _begin(self) -> "tuple[_Parser, _Head]":
        options = self._options
        if options.encoding is None or options.delimiter is None or options.quote is None:
            options = replace(options, **dict(self.detect()))  # type: ignore[arg-type]
        with self._source.open() as stream:
            start = _take(stream, max(4, self._block_bytes))  # a BOM has up to 4 bytes
            codec = codec_of(options.encoding or "", start)
            dialect = Dialect(options.delimiter or "", options.quote or "")
            parser = _Parser(codec, dialect, self._block_bytes)
            return parser, parser.head(start, stream)

    def _regions(
        self, parser: "_Parser", columns: Columns, byte: int, line: int
    ) -> Iterator[tuple[_Region, _Parsed]]:
        held, at, ended, window = b"", 0, False, self._block_bytes
        with self._source.open(offset=byte) as stream:
            while True:
                missing = at + window - len(held)
                if missing > 0 and not ended:
                    more = _take(stream, missing)
                    ended = len(more) < missing
                    held, at = held[at:] + more, 0
                last = ended and at + window >= len(held)
                region = _Region(held[at : at + window], byte, line, last)
                parsed = parser.parse(region, columns)
                if parsed.byte > byte or parsed.error is not None or last:
                    at, window = at + parsed.byte - byte, self._block_bytes
                elif window < _WINDOW_BLOCKS * self._block_bytes:
                    window *= 2
                    continue
                else:
                    region = _Region(b"", byte, line, last)
                    parsed, held = parser.long_row(region, held[at:], stream, columns)
                    at, window = 0, self._block_bytes
                yield region, parsed
                if last and parsed.byte == byte + len(region.text):
                    return
                byte, line = parsed.byte, parsed.line


class _Parser:
    """Cells out of bytes, for one file."""

    def __init__(self, codec: Codec, dialect: Dialect, block_bytes: int) -> None:
        self._codec = codec
        self._dialect = dialect
        self._block_bytes = block_bytes
        self._scanner: CsvScanner | None = None

    def prepare(self, columns: Columns) -> None:
        """Use the compiled scanner for these columns, where there is one."""
        self._scanner = columns.scanner(self._dialect)

    def head(self, text: bytes, stream: ByteStream) -> _Head:
        """Read up to and including the header row, of which ``text`` is the beginning."""
        while (head := self._head_in(text, last=False)) is None:
            if len(text) > HEADER_BYTES_MAX:
                raise header_too_large()
            more = _take(stream, max(1, min(len(text), HEADER_BYTES_MAX + 1 - len(text))))
            if not more:
                return self._head_in(text, last=True) or _Head(None, len(text), 1)
            text += more
        return head

    def long_row(
        self, region: _Region, held: bytes, stream: ByteStream, columns: Columns
    ) -> tuple[_Parsed, bytes]:
        """Read the row where the region starts; give back what was read behind it, too."""
        place = Place(byte=region.byte, line=region.line)
        try:
            row = read_long_row(
                held,
                stream,
                place=place,
                codec=self._codec,
                dialect=self._dialect,
                columns=columns,
                block_bytes=self._block_bytes,
            )
        except DecodeError as error:
            error.place = error.place or place
            return _Parsed([], region.byte, region.line, error), b""
        records = [] if row.record is None else [row.record]
        return _Parsed(records, row.byte, row.line), row.held

    def parse(self, region: _Region, columns: Columns) -> _Parsed:
        """Read rows that are surely complete: all of one block, or some of more."""
        end = len(region.text)
        if not region.last:
            end = self._codec.lines_end(region.text, end)
        if not end:
            return _Parsed([], region.byte, region.line)
        return (
            self._scanned(region, end)
            or self._at_once(region, end, columns)
            or self._row_by_row(region, end, columns)
        )

    def _head_in(self, text: bytes, *, last: bool) -> _Head | None:
        end = len(text) if last else self._codec.lines_end(text, len(text))
        start, line = self._codec.bom, 1
        first = next(self._codec.lines(text[start:end]), b"")
        if spreadsheet_hint(first.decode(self._codec.name, "replace")) is not None:
            start, line = start + len(first), 2
        region = _Region(text, start, line, last)
        rows = _Rows(text[start:end], region, self._codec, self._dialect)
        for cells in rows:
            if cells:
                return _Head(Columns(cells, rows.place), rows.next_byte, rows.next_line)
        return None

    def _scanned(self, region: _Region, end: int) -> _Parsed | None:
        """Let the compiled scanner take what it can; ``None`` when that is nothing.

        It reads UTF-8. Text in another encoding is converted, and then must be taken as a
        whole, because only then is it known how far that is in the file.
        """
        if self._scanner is None:
            return None
        text, length = region.text, end
        converted = self._codec.name != "utf-8"
        if converted:
            try:
                text = text[:end].decode(self._codec.name).encode()
            except UnicodeError:
                return None
            length = len(text)
        large = len(region.text) > self._block_bytes
        scanned = self._scanner.scan(text, 0, length, records_max=1 if large else 0)
        if scanned.end == length or (scanned.end and not converted):
            taken = end if converted else scanned.end
            return _Parsed(scanned.records, region.byte + taken, region.line + scanned.lines)
        if scanned.stop is Stop.MORE and not scanned.end and not region.last:
            return _Parsed([], region.byte, region.line)  # The row goes on in the next block.
        return None

    def _at_once(self, region: _Region, end: int, columns: Columns) -> _Parsed | None:
        """Read the region in one go; ``None`` when any row of it needs a closer look.

        The csv module goes through the text from the start of a row and, being strict,
        raises unless it is between two rows at the end of it. So where the text is cut may
        be guessed: a wrong guess is never taken for a row.
        """
        if len(region.text) > self._block_bytes:
            return None
        try:
            text = region.text[:end].decode(self._codec.name)
            quote = self._dialect.quote
            if quote and text.count(quote) % 2:
                shorter = None if region.last else self._before_quote(region.text, text, end)
                if shorter is None:
                    return None
                text, end = shorter
            rows, lines = self._dialect.rows(text)
        except (UnicodeDecodeError, csv.Error):
            return None
        records = columns.records(rows)
        if records is None:
            return None
        return _Parsed(records, region.byte + end, region.line + lines)

    def _before_quote(self, source: bytes, text: str, end: int) -> tuple[str, int] | None:
        """Drop lines from the end until the quotes are even; at most half of the text."""
        least, dropped, odd = end // 2, 0, 1
        while odd:
            start = self._codec.lines_end(source, end - 1)
            if start <= least:
                return None
            line = source[start:end].decode(self._codec.name)
            odd ^= line.count(self._dialect.quote) % 2
            dropped, end = dropped + len(line), start
        return text[:-dropped], end

    def _row_by_row(self, region: _Region, end: int, columns: Columns) -> _Parsed:
        """Read the region so that a bad row is told from the good ones before it."""
        rows = _Rows(region.text[:end], region, self._codec, self._dialect)
        records: list[bytes] = []
        size, error = 0, None
        try:
            for cells in rows:
                if cells:
                    records.append(columns.record(cells))
                    size += len(records[-1])
                # Short rows after a long one, or under long names, would be too many at once.
                if rows.next_byte - region.byte >= self._block_bytes or size > _BATCH_BYTES:
                    break
        except DecodeError as raised:
            error = raised
            error.place = error.place or rows.place
        return _Parsed(records, rows.next_byte, rows.next_line, error)


class _Rows:
    """The rows of a text one by one, with where each starts.

    A row whose quote is still open at the end of the text is left for the next region; at
    the end of the source it is an error.
    """

    def __init__(self, text: bytes, region: _Region, codec: Codec, dialect: Dialect) -> None:
        self._lines = codec.lines(text)
        self._encoding = codec.name
        self._last = region.last
        self._exhausted = False
        self._reader = dialect.reader(self._texts())
        self.byte = self.next_byte = region.byte
        self.line = self.next_line = region.line

    @property
    def place(self) -> Place:
        """Where the present row starts."""
        return Place(byte=self.byte, line=self.line)

    def __iter__(self) -> Iterator[list[str]]:
        while True:
            self.byte, self.line = self.next_byte, self.next_line
            try:
                cells = next(self._reader)
            except StopIteration:
                return
            except csv.Error as error:
                if not self._exhausted:
                    raise malformed(self.place, self.next_line - 1) from error
                if self._last:
                    raise truncated(self.place) from error
                self.next_byte, self.next_line = self.byte, self.line
                return
            yield cells

    def _texts(self) -> Iterator[str]:
        for line in self._lines:
            try:
                text = line.decode(self._encoding)
            except UnicodeDecodeError as error:
                raise no_text(
                    error, self._encoding, byte=self.next_byte, line=self.next_line
                ) from error
            self.next_byte += len(line)
            self.next_line += 1
            yield text
        self._exhausted = True


def _take(stream: ByteStream, size: int) -> bytes:
    """Read ``size`` bytes; fewer only at the end."""
    block = stream.read(size)
    if not block or len(block) == size:
        return block
    parts = [block]
    left = size - len(block)
    while left and (block := stream.read(left)):
        parts.append(block)
        left -= len(block)
    return b"".join(parts)
