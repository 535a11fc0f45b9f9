"""The canonical form of a record, exact to the byte (contract 6).

A receiver hashes the bytes that arrive, so the same record must always give the same
bytes, and no digit may be lost on the way. Numbers are what breaks elsewhere: a token
that a double cannot carry is therefore never turned into one, but copied.

`canonical` is the encoder for values that came through `Exact` or that hold no floats
of their own. The decoders' fast path gives the same bytes; a property test compares them.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias, overload

import orjson

from app.domain.budget import DEPTH_MAX, DIGITS_MAX
from app.domain.errors import DecodeCode, RecordError

Json: TypeAlias = "bool | int | float | str | orjson.Fragment | list[Json] | dict[str, Json] | None"

SAFE_INTEGER_MAX = 2**53 - 1
"""Largest integer that every JSON parser reads exactly. Contract 6.4."""

SAFE_DIGITS_MAX = 15
"""Significant decimal digits that survive a double and back. Contract 6.4."""

SHALLOW_LEVELS = 16
"""Levels that orjson is given at once. It reserves room in its buffer for every value but not
for closing brackets: 64 of them in a row, or 128 in 3.13, may be written past its end, which
corrupts the process. Source: https://github.com/ijl/orjson/issues/636"""

_LISTS = 254 - DEPTH_MAX
"""Lists around records that are encoded together: orjson refuses a 255th level."""

_AFTER = len("]") + (_LISTS - 1) * len(",0]")
"""Bytes of those lists behind the records."""


class Numbers(StrEnum):
    """What becomes of a number token that is not safe."""

    EXACT = "exact"
    """Copied verbatim from the source."""

    STRING = "string"
    """Written as a JSON string."""

    REJECT = "reject"
    """The record is refused."""


class DuplicateKeys(StrEnum):
    """What becomes of an object that names a key twice."""

    LAST = "last"
    """The last value wins."""

    REFUSE = "refuse"
    """The record is refused."""


def canonical(value: Json) -> bytes:
    """Encode one record: no white space, keys sorted by code point, UTF-8.

    Raises
    ------
    RecordError
        It holds an unpaired surrogate, or is nested too deeply.
    """
    try:
        if _is_shallow(value, SHALLOW_LEVELS):
            return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
        return _canonical_deep(value, DEPTH_MAX)
    except orjson.JSONEncodeError as error:
        raise RecordError(
            DecodeCode.RECORD_INVALID,
            "a string holds an unpaired surrogate, which is not a character",
            remedy="Repair the \\uD800–\\uDFFF escape in the source.",
        ) from error


def _is_shallow(value: Json, levels: int) -> bool:
    """Tell whether ``value`` is nested at most ``levels`` deep.

    Parsers give exactly `dict` and `list`: to ask for the type takes a fifth of the time
    that `isinstance` in a generator does, and this runs for every record by itself.
    """
    members: Iterable[Json]
    if type(value) is dict:
        members = value.values()
    elif type(value) is list:
        members = value
    else:
        return True
    if not levels:
        return False
    for member in members:
        kind = type(member)
        if (kind is dict or kind is list) and not _is_shallow(member, levels - 1):
            return False
    return True


def _canonical_deep(value: Json, levels: int) -> bytes:
    """Encode level by level what the encoder cannot take at once."""
    if not isinstance(value, dict | list):
        return orjson.dumps(value)
    if not levels:
        raise too_deep()
    if isinstance(value, list):
        return b"[%b]" % b",".join([_canonical_deep(member, levels - 1) for member in value])
    members = [
        orjson.dumps(key) + b":" + _canonical_deep(value[key], levels - 1) for key in sorted(value)
    ]
    return b"{%b}" % b",".join(members)


class Encoded(Sequence[bytes]):
    """Consecutive records in canonical form, encoded together.

    Together they cost a third less to encode than one by one, and there is one object to
    keep instead of hundreds. One that is asked for singly is encoded again.

    Only for what orjson decoded, and where no more than ``SHALLOW_LEVELS`` brackets close
    in a row. Raises ``orjson.JSONEncodeError`` for a record nested too deeply.
    """

    __slots__ = ("_run", "_values")

    def __init__(self, values: list[Json]) -> None:
        self._values = values
        self._run = _run(values)

    def __len__(self) -> int:
        return len(self._values)

    @overload
    def __getitem__(self, index: int) -> bytes: ...
    @overload
    def __getitem__(self, index: slice) -> "Sequence[bytes]": ...
    def __getitem__(self, index: int | slice) -> "bytes | Sequence[bytes]":
        if isinstance(index, slice):
            return Encoded(self._values[index])
        return _run([self._values[index]])

    def joined(self, start: int, end: int) -> bytes:
        """Return the records of a half-open range, joined by commas."""
        if start == 0 and end == len(self._values):
            return self._run
        return _run(self._values[start:end])


def _run(values: list[Json]) -> bytes:
    nest = values
    # So the limit on depth costs nothing. For each 0 orjson makes sure of room again.
    for _ in range(_LISTS - 1):
        nest = [nest, 0]
    return orjson.dumps(nest, option=orjson.OPT_SORT_KEYS)[_LISTS:-_AFTER]


class Run(Sequence[bytes]):
    """Consecutive records in canonical form, joined by commas already."""

    __slots__ = ("_ends", "_run")

    def __init__(self, run: bytes, ends: Sequence[int]) -> None:
        """``ends``: where each record ends in ``run``."""
        self._run = run
        self._ends = ends

    def __len__(self) -> int:
        return len(self._ends)

    @overload
    def __getitem__(self, index: int) -> bytes: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[bytes]: ...
    def __getitem__(self, index: int | slice) -> bytes | Sequence[bytes]:
        span = range(len(self._ends))[index]
        if isinstance(span, range):
            return [self.joined(i, i + 1) for i in span]
        return self.joined(span, span + 1)

    def joined(self, start: int, end: int) -> bytes:
        """Return the records of a half-open range, joined by commas."""
        if start >= end:
            return b""
        first = self._ends[start - 1] + len(",") if start else 0
        return self._run[first : self._ends[end - 1]]


def joined(records: Sequence[bytes], start: int, end: int) -> bytes:
    """Return some of the records, joined by commas, as cheaply as they allow."""
    if isinstance(records, Encoded | Run):
        return records.joined(start, end)
    return b",".join(records[start:end])


def too_deep() -> RecordError:
    """Return the error for a record nested more than ``DEPTH_MAX`` levels."""
    return RecordError(
        DecodeCode.RECORD_TOO_DEEP, f"the record is nested more than {DEPTH_MAX} levels deep"
    )


def is_safe_integer(token: str) -> bool:
    """Tell whether every JSON parser reads this integer token exactly. Contract 6.4."""
    return len(token) <= SAFE_DIGITS_MAX or (
        len(token) <= SAFE_DIGITS_MAX + 2 and abs(int(token)) <= SAFE_INTEGER_MAX
    )


def is_safe_fraction(token: str) -> bool:
    """Tell whether a token with a fraction or exponent survives a double and back.

    Safe: no exponent, at most 15 significant digits, and 0 or 10⁻⁴ ≤ |x| < 10¹⁵.
    Contract 6.4.
    """
    if "e" in token or "E" in token:
        return False
    if len(token) <= SAFE_DIGITS_MAX + 1 and ".0000" not in token:
        return True  # The most frequent case: too short to be anything else.
    whole, _, fraction = token.lstrip("-").partition(".")
    significant = (whole + fraction).strip("0")
    if not significant:
        return True
    # Zeros on the right of the fraction carry no value; those of the whole part do.
    digits = len((whole + fraction.rstrip("0")).lstrip("0"))
    if digits > SAFE_DIGITS_MAX or len(whole) > SAFE_DIGITS_MAX:
        return False
    return whole != "0" or len(fraction) - len(fraction.lstrip("0")) < 4


@dataclass(slots=True)
class Exact:
    """Decode JSON text so that `canonical` gives back every digit.

    One instance serves many records; ``unsafe`` counts since it was last reset.
    """

    numbers: Numbers = Numbers.EXACT
    duplicate_keys: DuplicateKeys = DuplicateKeys.LAST
    verbatim: bool = False
    """Is the text itself delivered? Then a value that a later one replaces is checked too."""

    unsafe: int = 0

    def decoder(self) -> json.JSONDecoder:
        """Return a decoder whose values `canonical` can encode.

        Its ``raw_decode(text, i)`` reads the value at ``i``. It raises ``JSONDecodeError``,
        ``RecursionError``, or a `RecordError`.
        """
        replaced = _all if self.verbatim else None
        return json.JSONDecoder(
            parse_int=self.integer,
            parse_float=self.fraction,
            parse_constant=_no_constant,
            object_pairs_hook=_unique if self.duplicate_keys is DuplicateKeys.REFUSE else replaced,
        )

    def integer(self, token: str) -> Json:
        """Return the value of an integer token, all its digits kept."""
        return int(token) if is_safe_integer(token) else self._verbatim(token)

    def fraction(self, token: str) -> Json:
        """Return the value of a token with a fraction or exponent, all its digits kept."""
        if len(token) <= DIGITS_MAX and is_safe_fraction(token):
            return float(token)
        return self._verbatim(token)

    def _verbatim(self, token: str) -> Json:
        if len(token) > DIGITS_MAX:
            raise RecordError(
                DecodeCode.NUMBER_TOO_LONG,
                f"a number has more than {DIGITS_MAX} characters",
            )
        self.unsafe += 1
        match self.numbers:
            case Numbers.EXACT:
                return orjson.Fragment(token)
            case Numbers.STRING:
                return token
            case Numbers.REJECT:
                raise RecordError(
                    DecodeCode.NUMBER_UNSAFE,
                    f"the number {token[:40]} does not survive a double",
                    remedy="Set options.numbers to 'exact' or 'string'.",
                )


def _no_constant(name: str) -> Json:
    raise RecordError(DecodeCode.RECORD_INVALID, f"{name} is not a JSON number")


def _all(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    """Return every member, under another key where one comes twice: they are only checked."""
    members = dict(pairs)
    if len(members) == len(pairs):
        return members
    return {f"{number} {key}": value for number, (key, value) in enumerate(pairs)}


def _unique(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    unique = dict(pairs)
    if len(unique) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise RecordError(
            DecodeCode.DUPLICATE_KEY,
            f"an object names the key {twice[:80]!r} twice",
            remedy="Set options.duplicate_keys to 'last' to keep the last value.",
        )
    return unique
