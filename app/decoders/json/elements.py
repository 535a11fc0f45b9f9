"""The elements of a JSON array, as records.

Compiled path: `app.decoders.native` takes the elements one after the other.
Fast path, where nothing is compiled: cut the block at the last place that looks like a
boundary between records and parse what is before it, in brackets, in one go. A stretch that
starts at depth one and parses as the content of an array also ends at depth one, so a wrong
guess cannot pass.
Exact path, for a stretch that neither takes: record by record, every digit kept, every
mistake named.
"""

import codecs
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import orjson

from app.decoders.json.exact_text import (
    Cut,
    ExactText,
    Fault,
    Value,
    bytes_before,
    is_cut_number,
    malformed,
    not_utf8,
    skip_space,
    too_large,
)
from app.decoders.json.exactness import is_plain, is_shallow
from app.decoders.json.marks import Mark, learn
from app.decoders.json.window import Window
from app.decoders.native import Stop, json_scanner
from app.domain.budget import BLOCK_BYTES, RECORD_BYTES_MAX
from app.domain.canonical import DuplicateKeys, Encoded, Json
from app.domain.chunk import Batch, Cursor
from app.domain.errors import DecodeCode, DecodeError
from app.domain.ingestion import DecodeOptions

_COMMA: Final = ord(",")
_CLOSE: Final = ord("]")
_SEPARATORS: Final = (",", "]")

_LAST_OF_ITS_OWN: Final = '}]"'
"""What ends with one of these is complete, whatever follows. Numbers and words are not."""

_CHARACTER_BYTES_MAX: Final = 4

_REACH_FIRST: Final = 4 * 1024
"""Bytes of an array looked at first. Grows to a block; keeps short arrays cheap."""

_TRIES_MAX: Final = 4
"""Wrong boundaries stepped back from before a stretch goes the exact way."""

_LENGTH_SURE: Final = RECORD_BYTES_MAX // 4
"""Characters that are never more than ``RECORD_BYTES_MAX`` bytes."""

_MARK_WITHIN: Final = 1024 * 1024
"""How far to read on for a boundary before decoding a large record the exact way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stretch:
    """Some elements, and where they end."""

    records: Sequence[bytes] = ()
    unsafe: Mapping[int, int] = field(default_factory=dict)
    end: int
    """Index in the window after the elements and, unless ``bare``, the ``,`` or ``]`` behind."""

    lines: int | None = None
    """Line feeds up to ``end``, if they were counted."""

    closed: bool = False
    """That was the ``]``."""

    bare: bool = False
    """The last element is complete; what is behind it has yet to be looked at."""

    error: DecodeError | None = None
    """What is wrong after them."""


class Elements:
    """Read arrays whose elements look alike; what was learnt in one serves in the next."""

    def __init__(
        self, options: DecodeOptions, *, block_bytes: int = BLOCK_BYTES, keep: bool = True
    ) -> None:
        self._scanner = json_scanner(options)
        self._may_be_fast = (
            self._scanner is None
            and options.canonical
            and options.duplicate_keys is DuplicateKeys.LAST
        )
        self._exact = ExactText(options, keep=keep)
        self._keep = keep
        self._block_bytes = block_bytes
        self._mark: Mark | None = None
        self._mark_failed = False

    def read(self, window: Window, *, context: str = "", opened: bool = True) -> Iterator[Batch]:
        """Yield the elements; afterwards the window is just after the closing ``]``.

        Parameters
        ----------
        window
            At the start of an element, or, if ``opened``, just after the ``[``.
        context
            For the cursors of the batches.

        Raises
        ------
        DecodeError
            After everything before the bad place was yielded.
        """
        reach = _REACH_FIRST
        while True:
            if window.ahead < self._block_bytes:
                window.more()
            if window.peek() == _CLOSE and opened:
                window.advance(window.at + 1)
                return
            start = Cursor(offset=window.offset, line=window.line, context=context)
            stretch = (
                self._scanned_stretch(window)
                or self._fast_stretch(window, reach)
                or self._exact_stretch(window, reach)
            )
            window.advance(stretch.end, lines=stretch.lines)
            if stretch.records:
                yield Batch(stretch.records, start, window.offset, stretch.unsafe)
            if stretch.error is not None:
                raise stretch.error
            if stretch.closed or (stretch.bare and self._is_closed(window)):
                return
            opened = False
            if self._scanner is None:
                reach = min(reach * 4, max(self._block_bytes, _REACH_FIRST))

    def _is_closed(self, window: Window) -> bool:
        """Pass the ``,`` or the ``]`` behind a record; tell whether it was the ``]``.

        Only here, so that the record is delivered whatever follows it.
        """
        behind = window.peek()
        if behind in (_COMMA, _CLOSE):
            window.advance(window.at + 1)
            return behind == _CLOSE
        while window.ahead < _CHARACTER_BYTES_MAX and window.more():
            pass
        text, invalid = _decoded(window.data[window.at : window.at + _CHARACTER_BYTES_MAX])
        error, at = malformed("expecting ',' or ']' after the record"), window.at
        if not text and invalid is None:
            error = DecodeError(DecodeCode.TRUNCATED, "the file ends before the array does")
            at = len(window.data)
        elif not text:
            error = not_utf8()
        error.place = window.place(at, in_record=True)
        raise error

    # ---- the compiled path

    def _scanned_stretch(self, window: Window) -> _Stretch | None:
        """Take the elements that are held, reading on for the first one if need be.

        Nothing when that one is for the exact path, or the source ends in it.
        """
        if self._scanner is None:
            return None
        reach = self._block_bytes
        while True:
            large = reach > self._block_bytes
            scanned = self._scanner.scan(
                window.data, window.at, window.at + reach, records_max=1 if large else 0
            )
            if scanned.records:
                return _Stretch(
                    records=scanned.records if self._keep else (),
                    unsafe=scanned.unsafe,
                    end=scanned.end,
                    lines=scanned.lines,
                    closed=scanned.stop is Stop.CLOSED,
                    bare=scanned.stop is Stop.BARE,
                )
            if scanned.stop is not Stop.MORE or (reach >= window.ahead and not window.more()):
                return None
            reach *= 2

    # ---- the fast path

    def _fast_stretch(self, window: Window, reach: int) -> _Stretch | None:
        """Take as many elements as ``reach`` holds, or nothing when any doubt is left."""
        hit = self._last_mark(window, reach)
        for _ in range(_TRIES_MAX):
            if self._mark is None or hit < 0:
                break
            raw = window.data[window.at : hit + self._mark.comma]
            if not is_plain(raw):
                return None
            parsed = _parsed(raw)
            if parsed is not None:
                values, length, closed = parsed
                # Only now: a stretch that ends in another array is not balanced.
                if not values or not is_shallow(raw[:length]):
                    return None
                return self._encoded(values, end=window.at + length + 1, closed=closed)
            hit = window.data.rfind(self._mark.pattern, window.at, hit)
        self._mark_failed = True
        return None

    def _last_mark(self, window: Window, reach: int) -> int:
        """Return the index of the last mark in reach, or else of the next one; or -1."""
        if self._mark is None or not self._may_be_fast or len(window.data) > RECORD_BYTES_MAX:
            return -1
        pattern = self._mark.pattern
        hit = window.data.rfind(pattern, window.at, window.at + reach)
        if hit < 0:
            hit = window.data.find(pattern, window.at)
        while hit < 0 and window.ahead < _MARK_WITHIN and window.more():
            hit = window.data.find(pattern, window.at)
        return hit

    def _encoded(self, values: list[Json], *, end: int, closed: bool = False) -> _Stretch | None:
        """Encode parsed elements; nothing when one of them needs a closer look."""
        if not self._keep:
            return _Stretch(end=end, closed=closed)
        try:
            return _Stretch(records=Encoded(values), end=end, closed=closed)
        except orjson.JSONEncodeError:  # One of them is nested too deeply.
            return None

    # ---- the exact path

    def _exact_stretch(self, window: Window, reach: int) -> _Stretch:
        """Take the elements that are complete within ``reach``, and at least one."""
        while True:
            stretch, invalid = self._exact_run(window, window.data[window.at : window.at + reach])
            if stretch.records or stretch.error is not None or stretch.end > window.at:
                return stretch
            if invalid is not None:
                return self._failed(window, not_utf8(), window.at + invalid)
            if reach >= window.ahead and not window.more():
                error = DecodeError(DecodeCode.TRUNCATED, "the file ends before the array does")
                return self._failed(window, error, len(window.data))
            reach *= 2

    def _failed(self, window: Window, error: DecodeError, index: int) -> _Stretch:
        error.place = window.place(index, in_record=True)
        return _Stretch(end=window.at, error=error)

    def _exact_run(self, window: Window, raw: bytes) -> tuple[_Stretch, int | None]:
        """Take the elements that are complete in ``raw``.

        Also returns the index of the first byte in ``raw`` that is not UTF-8, if any.
        """
        text, invalid = _decoded(raw)
        del raw  # Of a large record one copy less.
        records: list[bytes] = []
        unsafe: dict[int, int] = {}
        spans: list[tuple[int, int]] = []
        done, closed, bare = 0, False, False
        error: DecodeError | None = None
        while not closed and not bare:
            start = skip_space(text, done)
            match self._element(text, start):
                case Cut():
                    break
                case Fault(error=error, at=at):
                    index = window.at + bytes_before(text, at)
                    error.place = window.place(index, in_record=True)
                    break
                case Value(record=record, end=end, unsafe=count):
                    if count:
                        unsafe[len(records)] = count
                    records.append(record)
                    spans.append((start, end))
                    behind = skip_space(text, end)
                    bare = text[behind : behind + 1] not in _SEPARATORS
                    done = end if bare else behind + 1
                    closed = text[done - 1] == "]" and not bare
        if self._may_be_fast and (self._mark is None or self._mark_failed):
            self._mark = learn(text, spans[:-1] if closed or bare else spans) or self._mark
            self._mark_failed = False
        stretch = _Stretch(
            records=records if self._keep else (),
            unsafe=unsafe,
            end=window.at + bytes_before(text, done),
            closed=closed,
            bare=bare,
            error=error,
        )
        return stretch, invalid

    def _element(self, text: str, start: int) -> Value | Cut | Fault:
        """Read an element; a number or a word is no `Value` before its separator is in sight."""
        value = self._exact.read(text, start)
        if not isinstance(value, Value):
            return value
        if text[value.end - 1] not in _LAST_OF_ITS_OWN:
            behind = skip_space(text, value.end)
            if behind == len(text) or is_cut_number(text, value.end):
                return Cut()
            if text[behind] not in _SEPARATORS:
                return Fault(malformed("expecting ',' or ']' after the record"), behind)
        if value.end - start > _LENGTH_SURE and bytes_before(text[start:], value.end - start) > (
            RECORD_BYTES_MAX
        ):
            return Fault(too_large(), start)
        return value


def _parsed(raw: bytes) -> tuple[list[Json], int, bool] | None:
    """Parse the content of an array, or what is before its end if it ends within ``raw``.

    Returns the elements, how many bytes of ``raw`` they are, and whether a ``]`` follows.
    """
    try:
        return orjson.loads(b"[%b]" % raw), len(raw), False
    except orjson.JSONDecodeError as error:
        # Where the array ends before ``raw`` does, what follows it is what is refused.
        array = error.doc[: error.pos].rstrip(" \t\n\r")
    if not array.endswith("]"):
        return None
    length = len(array[1:-1].encode())
    try:
        return orjson.loads(b"[%b]" % raw[:length]), length, True
    except orjson.JSONDecodeError:
        return None


def _decoded(raw: bytes) -> tuple[str, int | None]:
    """Decode as far as it goes; also return the index of the first invalid byte, if any."""
    try:
        # A character cut at the end is left out, not refused.
        return codecs.utf_8_decode(raw)[0], None
    except UnicodeDecodeError as error:
        return raw[: error.start].decode(), error.start
