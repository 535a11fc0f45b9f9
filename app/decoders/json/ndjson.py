"""NDJSON, also called JSON Lines: one record a line."""

from collections.abc import Iterator, Mapping
from typing import assert_never

import orjson

from app.decoders.json.exact_text import Cut, Fault, Value, malformed, too_large
from app.decoders.json.exactness import is_plain, is_shallow
from app.decoders.json.lone_value import LoneValue
from app.decoders.json.window import Window
from app.decoders.native import Stop, json_scanner
from app.decoders.resume import from_cursor
from app.domain.budget import BLOCK_BYTES, RECORD_BYTES_MAX
from app.domain.canonical import Encoded
from app.domain.chunk import Batch, Cursor
from app.domain.errors import DecodeCode, DecodeError
from app.domain.ingestion import DecodeOptions
from app.ports import Source


class NdjsonDecoder:
    """Read a record from every line that is not blank.

    A cursor's offset is the start of a line; blank lines are not counted in its ``skip``.
    """

    def __init__(
        self, source: Source, options: DecodeOptions, *, block_bytes: int = BLOCK_BYTES
    ) -> None:
        self._source = source
        self._scanner = json_scanner(options, lines=True)
        self._line = LoneValue(options)
        self._block_bytes = block_bytes

    def detect(self) -> Mapping[str, str]:
        """Find nothing: there is nothing to be found out."""
        return {}

    def batches(self, cursor: Cursor, /) -> Iterator[Batch]:
        """Yield the records from ``cursor`` on."""
        with self._source.open(offset=cursor.offset) as stream:
            window = Window(
                stream, offset=cursor.offset, line=cursor.line, block_bytes=self._block_bytes
            )
            if not cursor.offset:
                window.begin()
            yield from from_cursor(self._blocks(window), cursor.skip)

    def _blocks(self, window: Window) -> Iterator[Batch]:
        while end := self._lines_end(window):
            start = Cursor(offset=window.offset, line=window.line)
            if self._scanner is not None:
                scanned = self._scanner.scan(window.data, window.at, end)
                window.advance(scanned.end, lines=scanned.lines)
                if scanned.records:
                    yield Batch(scanned.records, start, window.offset, scanned.unsafe)
                if window.at < end and scanned.stop is not Stop.FULL:
                    # One line that needs a closer look; then the scanner goes on.
                    behind = window.data.find(b"\n", window.at, end) + 1 or end
                    start = Cursor(offset=window.offset, line=window.line)
                    yield from self._one_by_one(window, behind, start)
                continue
            raw = window.data[window.at : end]
            records = self._fast(raw)
            if records is not None:
                window.advance(end)
                yield Batch(records, start, window.offset)
            else:
                yield from self._one_by_one(window, end, start)

    def _lines_end(self, window: Window) -> int:
        """Return the index after the last whole line within a block; 0 at the end."""
        if window.ahead < self._block_bytes:
            window.more()
        while True:
            data, at = window.data, window.at
            end = data.rfind(b"\n", at, at + self._block_bytes) + 1
            end = end or data.find(b"\n", at) + 1
            if end or (window.ended and window.ahead == 0):
                return end
            if not window.more():
                return len(window.data)  # The last line, without a line feed.

    def _fast(self, raw: bytes) -> Encoded | None:
        """Decode lines whose numbers are plain; nothing when one needs a closer look.

        Each line by itself: joined together, two values on a line would go unnoticed.
        """
        if not self._line.may_be_fast or len(raw) > RECORD_BYTES_MAX:
            return None
        # Of JSON: where a line is none, nothing is known of the others either.
        if not (is_plain(raw) and is_shallow(raw)):
            return None
        lines = raw.removesuffix(b"\n").split(b"\n")
        try:
            return Encoded(list(map(orjson.loads, lines)))
        except (orjson.JSONDecodeError, orjson.JSONEncodeError):
            return None

    def _one_by_one(self, window: Window, end: int, start: Cursor) -> Iterator[Batch]:
        """Decode the lines before ``end``; yield the good ones before raising."""
        records: list[bytes] = []
        unsafe: dict[int, int] = {}
        error: DecodeError | None = None
        while window.at < end and error is None:
            stop = window.data.find(b"\n", window.at, end)
            line = window.data[window.at : stop if stop >= 0 else end]
            if line.strip(b" \t\r"):
                value = self._read(line)
                match value:
                    case Value(record=record, unsafe=count):
                        if count:
                            unsafe[len(records)] = count
                        records.append(record)
                    case Cut() if stop < 0:
                        error = DecodeError(
                            DecodeCode.TRUNCATED, "the file ends in the middle of a record"
                        )
                        error.place = window.place(end, in_record=True)
                    case Cut():
                        error = malformed("the line ends in the middle of a value")
                        error.place = window.place(stop, in_record=True)
                    case Fault(error=error, at=at):
                        error.place = window.place(window.at + at, in_record=True)
                    case _:
                        assert_never(value)
            if error is None:
                window.advance(stop + 1 if stop >= 0 else end)
        if records:
            yield Batch(records, start, window.offset, unsafe)
        if error is not None:
            raise error

    def _read(self, line: bytes) -> Value | Cut | Fault:
        if len(line) > RECORD_BYTES_MAX:
            return Fault(too_large(), 0)
        return self._line.read(line, plain=is_plain(line))
