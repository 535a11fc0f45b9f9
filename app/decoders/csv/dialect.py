"""How the bytes of a CSV file are lines, and its lines cells."""

import codecs
import csv
import io
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from app.domain.budget import RECORD_BYTES_MAX
from app.domain.errors import DecodeCode, DecodeError
from app.domain.ingestion import DecodeOptions

if TYPE_CHECKING:
    import _csv

# A row is bounded in bytes by the decoder, with its line number; the csv module's own
# limit of 131,072 characters a cell would come first and is process-wide.
csv.field_size_limit(2 * RECORD_BYTES_MAX)

_NOT_FROM_THE_MIDDLE = re.compile(r"utf-7|hz|iso2022.*|punycode|idna|.*unicode_escape|undefined")
"""Encodings whose bytes mean something only after those before them, or are no text."""

# Neither NUL nor what stands for bytes that are no text is a delimiter.
_HINT = re.compile(r'"?sep=([^"\'\r\n\0\ufffd])"?', re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Codec:
    """An encoding in which line ends can be found, and decoding can start after any."""

    name: str
    """Python's name, with the byte order: never one that looks for a BOM by itself."""

    bom: int
    """Bytes of the BOM at the start of this file, which is no part of the first name."""

    _feed: bytes = field(init=False)
    _return: bytes = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_feed", "\n".encode(self.name))
        object.__setattr__(self, "_return", "\r".encode(self.name))

    def lines_end(self, text: bytes, end: int) -> int:
        """Return where the last line that surely ends within ``text[:end]`` ends, or 0.

        A CR in the last place may be half of a CRLF, so it surely ends nothing.
        """
        unit = len(self._feed)
        at = self._last(self._feed, text, end)
        if at < 0:
            at = self._last(self._return, text, end - unit)
        return at + unit if at >= 0 else 0

    def part_end(self, text: bytes) -> int:
        """Return where ``text`` may be cut inside a line: not in a CRLF, nor in its halves."""
        unit = len(self._feed)
        end = len(text) - len(text) % unit
        return end - unit if text.endswith(self._return, 0, end) else end

    def lines(self, text: bytes) -> Iterator[bytes]:
        r"""Split after each ``\n``, ``\r`` and ``\r\n``, and nowhere else.

        One line at a time: 16 MiB of short lines would be 500 MB as a list.
        """
        unit, start, feed, carriage = len(self._feed), 0, -1, -1
        while start < len(text):
            if feed < start:
                feed = self._first(self._feed, text, start)
            if carriage < start:
                carriage = self._first(self._return, text, start)
            end = feed if carriage + unit == feed else min(feed, carriage)
            yield text[start : end + unit]
            start = end + unit

    def _first(self, mark: bytes, text: bytes, start: int) -> int:
        at = text.find(mark, start)
        while at >= 0 and at % len(mark):  # half of one character and half of the next
            at = text.find(mark, at + 1)
        return at if at >= 0 else len(text)

    def _last(self, mark: bytes, text: bytes, end: int) -> int:
        at = text.rfind(mark, 0, max(end, 0))
        while at >= 0 and at % len(mark):
            at = text.rfind(mark, 0, at + len(mark) - 1)
        return at


@dataclass(frozen=True, slots=True)
class Dialect:
    """What separates cells, and what encloses those that hold a separator."""

    delimiter: str
    quote: str
    """Empty: a quote is a character like any other."""

    def __post_init__(self) -> None:
        if self.delimiter == self.quote:
            raise _invalid(
                f"{self.quote!r} cannot be both the delimiter and the quote",
                "Give options.delimiter and options.quote different characters.",
            )

    def rows(self, text: str) -> tuple[list[list[str]], int]:
        """Read all rows of a text, strictly; return them and the number of lines.

        A blank line may or may not be given, as an empty row.
        """
        if self.quote and self.quote in text:
            reader = self.reader(text_lines(text))
            return list(reader), reader.line_num
        # Without quotes a row is a line and a cell is what stands between two delimiters:
        # splitting takes a third of the time.
        if "\r" in text:
            text = text.replace("\r\n", "\n").replace("\r", "\n")
        lines = text.split("\n")
        count = len(lines) if lines[-1] else len(lines) - 1
        return [line.split(self.delimiter) for line in lines if line], count

    def reader(self, lines: Iterable[str], *, strict: bool = True) -> "_csv.Reader":
        """Read rows from lines that keep their ends.

        Strict raises ``csv.Error`` for text after a closing quote, and for a quoted cell
        that is still open when the lines end; otherwise both are guessed at.
        """
        return csv.reader(
            lines,
            delimiter=self.delimiter,
            quotechar=self.quote or None,
            quoting=csv.QUOTE_MINIMAL if self.quote else csv.QUOTE_NONE,
            strict=strict,
        )


def text_lines(text: str) -> io.StringIO:
    r"""Iterate over lines with their ends; only ``\n``, ``\r`` and ``\r\n`` end one.

    ``str.splitlines`` also splits at U+2028, U+0085, form feeds and five others.
    """
    return io.StringIO(text, newline="")


def bom_encoding(start: bytes) -> str | None:
    """Return the encoding that a file's byte order mark names."""
    marks = {
        # UTF-32 first: its little-endian mark begins with that of UTF-16.
        codecs.BOM_UTF32_LE: "utf-32-le",
        codecs.BOM_UTF32_BE: "utf-32-be",
        codecs.BOM_UTF8: "utf-8",
        codecs.BOM_UTF16_LE: "utf-16-le",
        codecs.BOM_UTF16_BE: "utf-16-be",
    }
    return next((name for mark, name in marks.items() if start.startswith(mark)), None)


def codec_of(encoding: str, start: bytes) -> Codec:
    """Return the codec for ``options.encoding`` in a file that begins with ``start``.

    Raises
    ------
    DecodeError
        ``OPTION_INVALID``: there is no such encoding, or it cannot be read in parts.
    """
    name = _name_of(encoding)
    if name == "utf-8-sig":
        name = "utf-8"
    if name in {"utf-16", "utf-32"}:
        marked = bom_encoding(start) or ""
        name = marked if marked.startswith(name) else f"{name}-le"
    mark = "\ufeff".encode(name, "ignore")
    return Codec(name, len(mark) if start.startswith(mark) else 0)


def spreadsheet_hint(first_line: str) -> str | None:
    """Return the delimiter named by a first line such as ``sep=;``, which Excel writes.

    Such a line is never the header, whatever ``options.delimiter`` says.
    """
    match = _HINT.fullmatch(first_line.rstrip("\r\n"))
    return match[1] if match else None


def check_csv_options(options: DecodeOptions, *, tab: bool = False) -> None:
    """Refuse options that no CSV file can be read with, before any file is.

    Raises
    ------
    DecodeError
        ``OPTION_INVALID``.
    """
    delimiter = "\t" if tab and options.delimiter is None else options.delimiter
    quote = '"' if options.quote is None else options.quote
    if delimiter is not None:
        _check_character("delimiter", delimiter)
        Dialect(delimiter, quote)
    if quote:
        _check_character("quote", quote)
    if options.encoding is not None:
        _name_of(options.encoding)


def _check_character(option: str, text: str) -> None:
    if len(text) != 1:
        remedy = f"Give options.{option} one character; in JSON a tab is written \\t."
    elif text in "\r\n\0":
        remedy = f"Give options.{option} a character that can stand inside a line."
    else:
        return
    raise _invalid(f"options.{option} is {text[:20]!r}", remedy)


def _name_of(encoding: str) -> str:
    try:
        name = codecs.lookup(encoding).name
        line_end = "\n".encode(name)
    except (LookupError, ValueError) as error:  # UnicodeError is a ValueError
        raise _invalid(
            f"options.encoding is {encoding[:40]!r}, which is no text encoding",
            "Use a Python codec name such as utf-8, cp1252, utf-16-le or shift_jis.",
        ) from error
    stateless = name in {"utf-16", "utf-32", "utf-8-sig"} or line_end.strip(b"\0") == b"\n"
    if not stateless or _NOT_FROM_THE_MIDDLE.fullmatch(name):
        raise _invalid(
            f"options.encoding is {encoding[:40]!r}, whose line ends cannot be found "
            "without decoding everything before them",
            "Convert the file to UTF-8.",
        )
    return name


def _invalid(message: str, remedy: str) -> DecodeError:
    return DecodeError(DecodeCode.OPTION_INVALID, message, remedy=remedy)
