"""Prove, without decoding, that a double carries every number in a piece of JSON.

The fast path may only be taken where this holds. Looking at every number costs as much
as decoding does, so the bytes are first reduced to classes, in which whatever could be
unsafe leaves one of three marks; only around a mark is the token itself looked at.

Why no unsafe number (contract 6.4) is without a mark: an exponent follows a digit and is
followed by a digit or a sign; more than 15 significant digits, or 15 of them before the
point, are a run of at least 16 characters out of digits and the point; and what is below
10⁻⁴ begins with ``0.0000``.
"""

import re
from typing import Final

from app.domain.budget import DIGITS_MAX
from app.domain.canonical import SHALLOW_LEVELS, is_safe_fraction, is_safe_integer

_CLASSES: Final = bytes(
    ord("0") if byte in b"0123456789.+-" else ord("e") if byte in b"eE" else ord(" ")
    for byte in range(256)
)  # fmt: skip
_RUN = re.compile(rb"[0e]*")

_LONG: Final = b"0" * 16
_EXPONENT: Final = b"0e0"
_TINY: Final = b"0.0000"

_NUMBER = re.compile(rb"-?(?:0|[1-9][0-9]*+)(\.[0-9]++)?([eE][+-]?[0-9]++)?")
_BEFORE_NUMBER: Final = frozenset(b" \t\n\r:,[")
_AFTER_NUMBER: Final = frozenset(b" \t\n\r,]}")

_PARENTHESES: Final = bytes.maketrans(b"{[]}", b"(())")
_NOT_BRACKETS: Final = bytes(byte for byte in range(256) if byte not in b"{[]}")

_TOKEN_BYTES: Final = 64
"""How far to look to the left for the start of a token before looking all the way."""


def is_plain(raw: bytes) -> bool:
    """Tell whether every number in ``raw`` survives a double and back.

    ``raw`` is JSON text that does not begin or end inside a token. Never wrongly true for
    valid JSON; wrongly false only where a string holds, between blanks or commas, what
    would be an unsafe number outside of it.
    """
    classes = raw.translate(_CLASSES)
    return not (
        _is_unsafe_at(classes, _LONG, raw, classes)
        or _is_unsafe_at(classes, _EXPONENT, raw, classes)
        or _is_unsafe_at(raw, _TINY, raw, classes)
    )


def is_shallow(raw: bytes) -> bool:
    """Tell whether nowhere in ``raw`` more than ``SHALLOW_LEVELS`` brackets close in a row.

    True for whatever is nested no deeper than that, unless strings hold brackets: they are
    taken for brackets, which can make it false. They cannot make it wrongly true, because
    nothing stands between brackets that close in a row; but they can hide that a record is
    nested deeply, so this is no check of the depth.
    """
    brackets = raw.translate(_PARENTHESES, _NOT_BRACKETS)
    for _ in range(SHALLOW_LEVELS):
        if not brackets:
            break
        brackets = brackets.replace(b"()", b"")  # takes off the innermost level
    return not brackets


def _is_unsafe_at(text: bytes, mark: bytes, raw: bytes, classes: bytes) -> bool:
    """Tell whether a number that bears ``mark`` in ``text`` is unsafe.

    From right to left: `bytes.rfind` is twice as fast as `bytes.find`.
    """
    hit = text.rfind(mark)
    while hit >= 0:
        before = classes.rfind(b" ", max(0, hit - _TOKEN_BYTES), hit)
        if before < 0 and hit > _TOKEN_BYTES:
            before = classes.rfind(b" ", 0, hit)
        if before < 0 or raw[before] in _BEFORE_NUMBER:
            run = _RUN.match(classes, hit)
            end = run.end() if run else hit
            if (end == len(raw) or raw[end] in _AFTER_NUMBER) and not _is_safe(
                raw[before + 1 : end]
            ):
                return True
        else:
            # A digest, a UUID, an escape: in a string, and so is all from its quote on.
            before = raw.rfind(b'"', 0, before + 1)
        hit = text.rfind(mark, 0, before) if before > 0 else -1
    return False


def _is_safe(token: bytes) -> bool:
    number = _NUMBER.fullmatch(token)
    if number is None:
        return True  # Not a number at all: inside a string, or orjson refuses it.
    if len(token) > DIGITS_MAX:
        return False
    text = token.decode("ascii")
    return is_safe_integer(text) if number.lastindex is None else is_safe_fraction(text)
