"""A row too long to be looked at as a whole, by the rules of ``rows.py``, in little memory.

The csv module keeps four bytes for each character of a cell, and all cells of a row; this
keeps nothing but what the record will hold, and not even that when there will be none. The
row is still read to its end: what is wrong with it must not depend on where blocks end.
"""

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto
from itertools import islice

import orjson

from app.decoders.csv.columns import Columns
from app.decoders.csv.dialect import Codec, Dialect
from app.decoders.csv.refusals import malformed, no_text, too_large, truncated
from app.domain.budget import RECORD_BYTES_MAX
from app.domain.errors import Place
from app.ports import ByteStream

_LINE_END = re.compile(r"\r\n?|\n")

_AT_ONCE = "{0,1000}"
"""Repetitions in a pattern: for each, the matcher keeps some hundred bytes."""


@dataclass(frozen=True, slots=True)
class LongRow:
    """What was read of a row."""

    record: bytes | None
    """``None``: the row is blank."""

    byte: int
    """Where the next row starts."""

    line: int

    held: bytes
    """What was read of the source behind the row."""


def read_long_row(
    held: bytes,
    stream: ByteStream,
    *,
    place: Place,
    codec: Codec,
    dialect: Dialect,
    columns: Columns,
    block_bytes: int,
) -> LongRow:
    """Read the row that begins with ``held`` and goes on in ``stream``.

    Raises
    ------
    DecodeError
        What is wrong with it.
    """
    byte = place.byte or 0
    pieces = _Pieces(held, stream, codec, block_bytes)
    row = _Row(dialect, columns, place)
    decoder = codecs.getincrementaldecoder(codec.name)()
    for piece in pieces:
        for part, text in _texts(piece, decoder, codec, row, byte):
            end = row.feed(text)
            if end is not None:
                ended = islice(codec.lines(part.source), _lines(text[:end]))
                taken = part.start + sum(map(len, ended))
                left = piece.source[taken - piece.start :] + pieces.held
                return LongRow(row.record(), byte + taken, row.line, left)
    if pieces.is_cut_off:
        raise too_large(place)
    row.end()
    return LongRow(row.record(), byte + pieces.start, row.line, b"")


@dataclass(frozen=True, slots=True)
class _Piece:
    source: bytes
    start: int
    """In the row."""
    final: bool
    """It ends with a line, or with the source: no character goes on in the next."""


class _Pieces:
    """The source from the start of a row on, as far as a row may reach."""

    def __init__(self, held: bytes, stream: ByteStream, codec: Codec, block_bytes: int) -> None:
        self.held = held
        """Read, and not yet part of a piece."""
        self.start = 0
        """Where that begins in the row."""
        self.is_cut_off = False
        """The row may have no more bytes, and the source has."""
        self._stream = stream
        self._codec = codec
        self._block_bytes = block_bytes

    def __iter__(self) -> Iterator[_Piece]:
        while True:
            end = self._codec.lines_end(self.held, len(self.held))
            final = end > 0
            end = end or self._codec.part_end(self.held)
            if end:
                yield self._next(end, final=final)
            room = RECORD_BYTES_MAX - self.start - len(self.held)
            more = self._stream.read(min(self._block_bytes, room)) if room else b""
            if not more:
                break
            self.held += more
        self.is_cut_off = not room
        if room:
            yield self._next(len(self.held), final=True)

    def _next(self, end: int, *, final: bool) -> _Piece:
        piece = _Piece(self.held[:end], self.start, final)
        self.held = self.held[end:]
        self.start += end
        return piece


def _texts(
    piece: _Piece, decoder: codecs.IncrementalDecoder, codec: Codec, row: "_Row", byte: int
) -> Iterator[tuple[_Piece, str]]:
    """Decode a piece as a whole, or, where it is no text, line by line.

    So of two errors the one in the earlier line is told. ``byte``: where the row starts.
    """
    state = decoder.getstate()
    try:
        text = decoder.decode(piece.source, final=piece.final)
    except UnicodeDecodeError:
        decoder.setstate(state)
    else:
        yield piece, text
        return
    start, end = piece.start, piece.start + len(piece.source)
    for line in codec.lines(piece.source) if piece.source else [b""]:
        part = _Piece(line, start, piece.final or start + len(line) < end)
        pending = len(decoder.getstate()[0])
        try:
            text = decoder.decode(line, final=part.final)
        except UnicodeDecodeError as error:
            raise no_text(error, codec.name, byte=byte + start - pending, line=row.line) from error
        yield part, text
        start += len(line)


class _At(Enum):
    """Where in a row its text has come to."""

    START = auto()
    """Before a cell."""

    PLAIN = auto()
    """In a cell without quotes."""

    QUOTED = auto()

    QUOTE = auto()
    """Behind a quote in a quoted cell: its end, or half of one that is doubled."""

    WRONG = auto()
    """Behind what must not follow a closing quote. Bytes that are no text in the same line
    are told before it."""

    END = auto()


class _Row:
    """Takes the text of a row, and keeps its cells as JSON."""

    def __init__(self, dialect: Dialect, columns: Columns, place: Place) -> None:
        quote = re.escape(dialect.quote or '"')
        quoted = f"[^{quote}]*(?:{quote}{quote}[^{quote}]*)"
        self._quoted = re.compile(f"{quoted}{_AT_ONCE}")
        delimiter = re.escape(dialect.delimiter)
        plain = rf"[^{quote}{delimiter}\r\n][^{delimiter}\r\n]*"
        self._cell = re.compile(f"(?:{quote}{quoted}*{quote}|{plain}|){delimiter}")
        self._run_of_cells = re.compile(f"(?:{self._cell.pattern}){_AT_ONCE}")
        self._delimiter = dialect.delimiter
        self._quote = dialect.quote
        self._columns = columns
        self._place = place
        self._at = _At.START
        self._cells = 0
        """That have ended."""
        self._kept = bytearray()
        self._ends: list[int] = []
        """Of the cells, in ``_kept``."""
        self._size = columns.frame_bytes
        """Of the record, also when it is not kept."""
        self._is_blank = False
        self._wrong_line = 0
        self._line_end: re.Match[str] | None = None
        self.line = place.line or 1
        """Of what comes next."""

    def feed(self, text: str) -> int | None:
        """Take the text up to the end of the row, and return where that is in it."""
        at, self._line_end = 0, _LINE_END.search(text)
        while at < len(text) and self._at is not _At.END:
            at = self._step(text, at)
        self.line += _lines(text[:at])
        return at if self._at is _At.END else None

    def end(self) -> None:
        """Say that the source ends."""
        match self._at:
            case _At.QUOTED:
                raise truncated(self._place)
            case _At.WRONG:
                raise malformed(self._place, self._wrong_line)
            case _At.START if not self._cells:
                self._is_blank = True
            case _:
                self._close()

    def record(self) -> bytes | None:
        """Encode the row when it has ended.

        Raises
        ------
        RecordError
            It has more or fewer cells than the header, or is too large.
        """
        if self._is_blank:
            return None
        self._columns.check(cells=self._cells, size=self._size)
        return self._columns.framed(self._kept, self._ends)

    def _step(self, text: str, at: int) -> int:
        match self._at:
            case _At.START if text[at] == self._quote:
                if self._cells >= self._columns.width:  # only their number is asked for
                    run = self._run_of_cells.match(text, at)
                    if run is not None and run.end() > at:
                        self._cells += len(self._cell.findall(text, at, run.end()))
                        return run.end()
                self._at = _At.QUOTED
                return at + 1
            case _At.QUOTED:
                end = self._end_of_quoted(text, at)
                self._take(text[at:end].replace(2 * self._quote, self._quote))
                if end < len(text):
                    self._at = _At.QUOTE
                return end + 1
            case _At.QUOTE:
                return self._behind_quote(text, at)
            case _At.WRONG:
                if self._next_line_end(text, at) is None:
                    return len(text)
                raise malformed(self._place, self._wrong_line)
            case _:
                return self._plain(text, at)

    def _end_of_quoted(self, text: str, at: int) -> int:
        end, doubled = at, 2 * self._quote
        while match := self._quoted.match(text, end):
            end = match.end()
            if not text.startswith(doubled, end):
                break
        return end

    def _behind_quote(self, text: str, at: int) -> int:
        if text[at] == self._quote:
            self._take(self._quote)
            self._at = _At.QUOTED
        elif text[at] == self._delimiter:
            self._close()
            self._at = _At.START
        elif text[at] in "\r\n":
            return self._end_row(text, at)
        else:
            self._wrong_line = self.line + _lines(text[:at])
            self._at = _At.WRONG
        return at + 1

    def _plain(self, text: str, at: int) -> int:
        """Take cells up to the line end, or to a quote that begins one."""
        line_end = self._next_line_end(text, at)
        end = line_end.start() if line_end else len(text)
        opening = text.find(self._delimiter + self._quote, at, end) if self._quote else -1
        if opening >= 0:
            end = opening + 1
        if at == end and self._at is _At.START and not self._cells:
            self._is_blank = True
        delimiters = text.count(self._delimiter, at, end)
        if self._cells + delimiters >= self._columns.width:  # there will be no record
            self._cells += delimiters
            self._drop()
        else:
            first, *others = text[at:end].split(self._delimiter)
            self._take(first)
            for cell in others:
                self._close()
                self._take(cell)
        self._at = _At.START if text.endswith(self._delimiter, at, end) else _At.PLAIN
        return self._end_row(text, end) if line_end and opening < 0 else end

    def _end_row(self, text: str, at: int) -> int:
        self._close()
        self._at = _At.END
        line_end = self._next_line_end(text, at)
        return line_end.end() if line_end else at + 1

    def _next_line_end(self, text: str, at: int) -> "re.Match[str] | None":
        if self._line_end is not None and self._line_end.start() < at:
            self._line_end = _LINE_END.search(text, at)
        return self._line_end

    def _take(self, text: str) -> None:
        if not text or self._cells >= self._columns.width:
            return
        escaped = orjson.dumps(text)[1:-1]
        self._size += len(escaped)
        if self._size <= RECORD_BYTES_MAX:
            self._kept += escaped
        else:
            self._drop()

    def _close(self) -> None:
        self._cells += 1
        if self._cells <= self._columns.width:
            self._ends.append(len(self._kept))
        else:
            self._drop()

    def _drop(self) -> None:
        self._kept.clear()


def _lines(text: str) -> int:
    return text.count("\n") + text.count("\r") - text.count("\r\n")
