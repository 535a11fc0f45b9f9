"""Decode one JSON value out of text, every digit kept: the exact path.

The standard library's scanner, because it hands over number tokens as they stand, says
where it stopped, and keeps unpaired surrogates visible. What it cannot say is whether
the text is wrong or only ends too early; that is found out here.
"""

import re
from dataclasses import dataclass
from json import JSONDecodeError

from app.domain.budget import RECORD_BYTES_MAX
from app.domain.canonical import Exact, canonical, too_deep
from app.domain.errors import DecodeCode, DecodeError, RecordError
from app.domain.ingestion import DecodeOptions

SPACE = re.compile(r"[ \t\n\r]*")

_CUT_TOKEN = re.compile(
    r"""
      \.? | [eE][+-]?                                     # of 1.5 or 1e+5, after the 1
    | - | -?I(?:n(?:f(?:i(?:n(?:it?)?)?)?)?)? | Na?       # refused, but not before it is seen
    | t(?:ru?)? | f(?:a(?:ls?)?)? | n(?:ul?)?
    """,
    re.VERBOSE,
)
_CUT_ESCAPE = re.compile(r"\\?u[0-9a-fA-F]{0,4}")

_CUT_NUMBER = re.compile(r"\.?|[eE][+-]?")
"""What may follow a whole number and still be a part of it."""


@dataclass(frozen=True, slots=True)
class Value:
    """A whole value."""

    record: bytes
    """Its canonical form, or its own bytes; empty when it is only skipped."""

    end: int
    """Index in the text after it."""

    unsafe: int
    """How many of its numbers are not safe (contract 6.4)."""


@dataclass(frozen=True, slots=True)
class Cut:
    """The text ends inside the value, as far as can be seen."""


@dataclass(frozen=True, slots=True)
class Fault:
    """The value is wrong, whatever follows."""

    error: DecodeError
    """Without a place."""

    at: int
    """Index in the text."""


class ExactText:
    """Read values one at a time."""

    def __init__(self, options: DecodeOptions, *, keep: bool = True) -> None:
        self._exact = Exact(
            numbers=options.numbers,
            duplicate_keys=options.duplicate_keys,
            verbatim=not options.canonical,
        )
        self._scan = self._exact.decoder().raw_decode
        self._keep = keep
        self._canonical = options.canonical

    def read(self, text: str, start: int) -> Value | Cut | Fault:
        """Read the value that begins at ``start``.

        A number that ends where the text does may be cut: a `Value` is only sure when
        something follows it.
        """
        self._exact.unsafe = 0
        try:
            value, end = self._scan(text, start)
            record = canonical(value) if self._keep else b""
            if self._keep and not self._canonical:
                record = text[start:end].encode()
        except JSONDecodeError as error:
            if _is_cut(text, error):
                return Cut()
            return Fault(malformed(error.msg), error.pos)
        except RecursionError:
            return Fault(too_deep(), start)
        except RecordError as error:
            return Fault(error, start)
        if len(record) > RECORD_BYTES_MAX:
            return Fault(too_large(), start)
        return Value(record, end, self._exact.unsafe)


def skip_space(text: str, index: int) -> int:
    """Return the index of the first character from ``index`` on that is not white space."""
    space = SPACE.match(text, index)
    return space.end() if space else index


def _is_cut(text: str, error: JSONDecodeError) -> bool:
    """Tell whether where the scanner stopped is nothing, or a token that is not complete."""
    if error.msg.startswith("Unterminated string"):
        return True
    in_string = error.msg.startswith("Invalid \\")
    return (_CUT_ESCAPE if in_string else _CUT_TOKEN).fullmatch(text, error.pos) is not None


def is_cut_number(text: str, end: int) -> bool:
    """Tell whether the number before ``end`` may go on after the end of the text."""
    return text[end - 1].isdigit() and _CUT_NUMBER.fullmatch(text, end) is not None


def bytes_before(text: str, index: int) -> int:
    """Return the length in UTF-8 of ``text[:index]``."""
    return index if text.isascii() else len(text[:index].encode())


def malformed(what: str) -> DecodeError:
    """Return the error for text that is not JSON."""
    return DecodeError(DecodeCode.MALFORMED, f"not JSON: {what[:1].lower()}{what[1:]}")


def too_large() -> RecordError:
    """Return the error for a record above ``RECORD_BYTES_MAX``."""
    return RecordError(
        DecodeCode.RECORD_TOO_LARGE, f"the record is more than {RECORD_BYTES_MAX} bytes long"
    )


def not_utf8() -> DecodeError:
    """Return the error for bytes that are no characters."""
    return DecodeError(
        DecodeCode.ENCODING_INVALID,
        "the text is not valid UTF-8",
        remedy="Convert the file to UTF-8.",
    )
