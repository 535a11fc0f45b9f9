"""What the text of a cell means, given the cell's type and style.

Numbers are IEEE doubles by the file format: ``19.989999999999998`` is how Excel writes the
double 19.99. What a double cannot carry is copied digit by digit (contract 6.4).
"""

import math
import re
from collections.abc import Callable
from datetime import date, datetime, time
from functools import lru_cache, partial
from typing import TypeAlias

from app.decoders.xlsx.formats import Kind
from app.decoders.xlsx.rows import EMPTY_TEXT, UNCACHED
from app.decoders.xlsx.strings import SharedStrings
from app.decoders.xlsx.workbook import Workbook
from app.domain.canonical import SAFE_INTEGER_MAX, Exact, Json
from app.domain.errors import DecodeCode, RecordError

Meaning: TypeAlias = Callable[[str], Json]
"""Text of a cell → its value. Raises `RecordError`, without a place."""

_ATTRIBUTE = re.compile(r"\s([A-Za-z_][\w:.-]*)=[\"']([^\"']*)[\"']")
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_FRACTION = re.compile(r"-?[0-9]+\.[0-9]+")
_INTEGER = re.compile(r"([+-]?)0*([0-9]+)")
_ISO = re.compile(
    r"\d{4}-\d\d-\d\d(?:T\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:\d\d)?)?"
    r"|\d\d:\d\d(?::\d\d(?:\.\d+)?)?",
    re.ASCII,
)

_TWO_DIGITS = [f"{number:02}" for number in range(60)]
_DAY_MS = 86_400_000
_LAST_DAY = date.max.toordinal()
_DAY_0_IN_1900 = date(1899, 12, 30).toordinal()
_DAY_0_IN_1904 = date(1904, 1, 1).toordinal()
_PHANTOM = 60
"""29 February 1900, which Excel counts though it never was."""


class Meanings:
    """Finds the meaning of cells by their attributes."""

    def __init__(self, workbook: Workbook, strings: SharedStrings, exact: Exact) -> None:
        self._kinds = workbook.kinds
        self._since_1904 = workbook.since_1904
        self._strings = strings
        self._exact = exact

    def of(self, attributes: str) -> Meaning:
        """Return what cells with these attributes mean. A row's attributes recur: keep it."""
        if attributes == UNCACHED:
            return _uncached
        if attributes == EMPTY_TEXT:
            return _empty
        named = dict(_ATTRIBUTE.findall(attributes))
        match named.get("t") or "n":
            case "n":
                return self._numeric(named.get("s") or "0")
            case "s":
                return self._shared
            case "str" | "inlineStr":
                return str
            case "b":
                return _boolean
            case "d":
                return _iso
            case "e":
                return _error
            case unknown:
                return _refused(f"a cell has the unknown type {unknown[:40]!r}")

    def _numeric(self, style: str) -> Meaning:
        if self._kinds is None:
            return self._number
        if not (style.isascii() and style.isdigit() and int(style) < len(self._kinds)):
            if style == "0":
                return self._number
            return _refused(f"a cell has the style {style[:40]!r}, which is not defined")
        kind = self._kinds[int(style)]
        if kind is Kind.NUMBER:
            return self._number
        if kind is Kind.DURATION:
            return _duration
        since_1904 = self._since_1904
        moment = partial(_moment, kind=kind, since_1904=since_1904)
        # Days recur, moments do not.
        return lru_cache(maxsize=4096)(moment) if kind is Kind.DATE else moment

    def _shared(self, text: str) -> Json:
        if not (text.isdigit() and len(text) < 16 and text.isascii()):
            raise _invalid(f"{text[:40]!r} is not the index of a shared string")
        index = int(text)
        kept = self._strings.kept
        return kept[index] if index < len(kept) else self._strings[index]

    def _number(self, text: str) -> Json:
        if len(text) < 16:
            if text.isdigit() and text.isascii():
                return int(text)
            if _FRACTION.fullmatch(text):
                value = float(text)
                # At most 14 digits; what is as small as to be unsafe goes on.
                if abs(value) > 0.001 and not value.is_integer():
                    return value
        return self._unusual(_double(text), text)

    def _unusual(self, value: float, text: str) -> Json:
        if not value.is_integer():
            shortest = repr(value)
            # At most 15 digits and the point: safe too, and most of what Excel writes.
            if len(shortest) <= 16 and abs(value) > 0.001:
                return value
            return self._exact.fraction(shortest)
        if -SAFE_INTEGER_MAX <= value <= SAFE_INTEGER_MAX:
            return int(value)
        if digits := _INTEGER.fullmatch(text.strip()):
            return self._exact.integer(digits[1].replace("+", "") + digits[2])
        return self._exact.fraction(repr(value))


def _double(text: str) -> float:
    # float() also takes what is no number here: inf, 1_000, other alphabets' digits.
    if not _NUMBER.fullmatch(text) and not _NUMBER.fullmatch(text.strip(" \t\n")):
        raise _invalid(f"{text[:40]!r} is not a number a cell can hold")
    value = float(text)
    if not math.isfinite(value):
        raise _invalid(f"{text[:40]!r} is more than a cell can hold")
    return value


def _boolean(text: str) -> Json:
    match text.strip():
        case "1" | "true":
            return True
        case "0" | "false":
            return False
        case _:
            raise _invalid(f"{text[:40]!r} is not a truth value")


def _iso(text: str) -> Json:
    if not _ISO.fullmatch(text):
        raise _invalid(f"{text[:40]!r} is not an ISO 8601 date or time")
    try:
        # Only looked at: what is delivered is the cell's own text.
        (datetime if "-" in text else time).fromisoformat(text)
    except ValueError as error:
        raise RecordError(
            DecodeCode.CELL_ERROR, f"a cell holds {text[:40]!r}: there is no such date or time"
        ) from error
    return text


def _error(text: str) -> Json:
    raise RecordError(
        DecodeCode.CELL_ERROR,
        f"a cell holds the error {text[:40]}",
        remedy="Correct the cell or its formula, and save the workbook.",
    )


def _uncached(_: str) -> Json:
    raise RecordError(
        DecodeCode.CELL_ERROR,
        "a cell has a formula but no value: the program that wrote it did not calculate",
        remedy="Open the workbook in a spreadsheet program and save it.",
    )


def _empty(_: str) -> Json:
    return ""


def _refused(why: str) -> Meaning:
    def refuse(_: str) -> Json:
        raise _invalid(why)

    return refuse


def _invalid(why: str) -> RecordError:
    return RecordError(DecodeCode.RECORD_INVALID, why)


def _moment(text: str, kind: Kind, *, since_1904: bool) -> Json:
    """Turn a serial number into ISO 8601, without a zone: a cell has none.

    What is shown of it does not matter, nothing is lost: a time of day under a date format
    is given. Day 0 of the 1900 system is no date; times of day lie there.

    Source: ECMA-376-1 §18.17.4.
    """
    value = _double(text)
    days = math.floor(value)
    ms = round((value - days) * _DAY_MS)
    if ms == _DAY_MS:
        days, ms = days + 1, 0
    if days == 0 and (kind is Kind.TIME or not since_1904):
        return _clock(ms)
    day_0 = _DAY_0_IN_1904 if since_1904 else _DAY_0_IN_1900 + (days < _PHANTOM)
    if not 0 <= days <= _LAST_DAY - day_0 or (days == _PHANTOM and not since_1904):
        raise RecordError(
            DecodeCode.CELL_ERROR,
            f"the number {text[:40]} is formatted as a date, but there is no such date",
            remedy="Correct the cell, or format it as a number.",
        )
    day = _day(day_0 + days)
    return day if kind is Kind.DATE and not ms else f"{day}T{_clock(ms)}"


@lru_cache(maxsize=4096)
def _day(ordinal: int) -> str:
    return date.fromordinal(ordinal).isoformat()


def _clock(ms: int) -> str:
    seconds, ms = divmod(ms, 1000)
    hour, minute, second = seconds // 3600, seconds // 60 % 60, seconds % 60
    clock = f"{_TWO_DIGITS[hour]}:{_TWO_DIGITS[minute]}:{_TWO_DIGITS[second]}"
    return f"{clock}.{ms:03}" if ms else clock


def _duration(text: str) -> Json:
    """Turn days into an ISO 8601 duration in hours, minutes and seconds, as Excel shows them."""
    total = round(_double(text) * _DAY_MS)
    seconds, ms = divmod(abs(total), 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    parts = [f"{hours}H"] if hours else []
    if minutes:
        parts.append(f"{minutes}M")
    if seconds or ms or not parts:
        parts.append(f"{seconds}.{ms:03}S" if ms else f"{seconds}S")
    return f"{'-' if total < 0 else ''}PT{''.join(parts)}"


def shown(value: Json) -> str:
    """Return a value as a spreadsheet program shows it; used for headers."""
    match value:
        case bool():
            return "TRUE" if value else "FALSE"
        case None:
            return ""
        case _:
            return str(value)
