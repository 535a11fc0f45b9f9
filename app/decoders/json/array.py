"""JSON documents: the records are the elements of an array, at the top or at a path."""

from collections.abc import Iterator, Mapping
from typing import assert_never

from app.decoders.json.detect import detect
from app.decoders.json.elements import Elements
from app.decoders.json.exact_text import Cut, Fault, Value
from app.decoders.json.exactness import is_plain
from app.decoders.json.lone_value import LoneValue
from app.decoders.json.walk import Walk
from app.decoders.json.window import Window
from app.decoders.resume import from_cursor
from app.domain.budget import BLOCK_BYTES
from app.domain.chunk import Batch, Cursor
from app.domain.errors import DecodeCode, DecodeError
from app.domain.ingestion import DecodeOptions
from app.domain.record_path import RecordPath, parse_path, sole_path_text
from app.ports import Source


class JsonDecoder:
    """Read records out of one JSON document.

    A cursor's offset is the first byte of a record; its context holds the brackets open
    there, so that the document around the records is checked after a resume too.
    """

    def __init__(
        self, source: Source, options: DecodeOptions, *, block_bytes: int = BLOCK_BYTES
    ) -> None:
        self._source = source
        self._options = options
        self._block_bytes = block_bytes

    def detect(self) -> Mapping[str, str]:
        """Find the record path if none was given; nothing for a top-level array."""
        if self._options.record_path:
            parse_path(self._options.record_path)
            return {}
        with self._source.open() as stream:
            members = detect(stream, block_bytes=self._block_bytes)
        return {} if members is None else {"record_path": sole_path_text(members)}

    def batches(self, cursor: Cursor, /) -> Iterator[Batch]:
        """Yield the records from ``cursor`` on, then check the rest of the document."""
        path = self._path()
        with self._source.open(offset=cursor.offset) as stream:
            window = Window(
                stream, offset=cursor.offset, line=cursor.line, block_bytes=self._block_bytes
            )
            if not cursor.offset:
                window.begin()
            batches = self._whole(window) if path.whole else self._arrays(window, path, cursor)
            yield from from_cursor(batches, cursor.skip)

    def _path(self) -> RecordPath:
        text = self._options.record_path or self.detect().get("record_path")
        return parse_path(text) if text else RecordPath()

    def _arrays(self, window: Window, path: RecordPath, cursor: Cursor) -> Iterator[Batch]:
        elements = Elements(self._options, block_bytes=self._block_bytes)
        walk = Walk(window, path, block_bytes=self._block_bytes)
        opened = not cursor.context
        for context in walk.arrays(cursor.context):
            yield from elements.read(window, context=context, opened=opened)
            opened = True

    def _whole(self, window: Window) -> Iterator[Batch]:
        """Yield the document as one record."""
        window.peek()
        start = Cursor(offset=window.offset, line=window.line)
        while window.more():
            pass
        raw = window.data[window.at :].rstrip(b" \t\n\r")
        value = LoneValue(self._options).read(raw, plain=is_plain(raw))
        match value:
            case Value(record=record, unsafe=unsafe):
                window.advance(len(window.data))
                yield Batch([record], start, window.offset, {0: unsafe} if unsafe else {})
            case Cut():
                raise DecodeError(
                    DecodeCode.TRUNCATED,
                    "the file ends before the document does",
                    place=window.place(len(window.data), in_record=True),
                )
            case Fault(error=error, at=at):
                error.place = window.place(window.at + at, in_record=True)
                raise error
            case _:
                assert_never(value)
