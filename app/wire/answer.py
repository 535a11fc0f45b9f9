"""Read a receiver's answer as far as the contract gives it a meaning (contract 5 and 7).

Nothing in here raises: whatever a receiver sends becomes an `Answer`, and what is not an
ACK is simply not one.
"""

import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TypeAlias

import orjson

from app.domain.delivery import Answer, Rejection

EXCERPT_BYTES = 2048
"""How much of an answer is kept for a person. Contract 7.1."""

_CODE_CHARS_MAX = 100
_MESSAGE_CHARS_MAX = 2000
_BOM = b"\xef\xbb\xbf"
_PROBLEM = "application/problem+json"
_READ = frozenset({b"content-type", b"date", b"retry-after"})
_DELTA_SECONDS = re.compile(r"[0-9]+")
"""However many: too long a time is cut, not passed over (contract 7.1)."""

_Json: TypeAlias = "bool | int | float | str | list[_Json] | dict[str, _Json] | None"


def read_answer(
    status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes, *, now: datetime
) -> Answer:
    """Read one complete HTTP response.

    Parameters
    ----------
    status
        As it came, redirects and errors included.
    headers
        Names and values as they came, in any case.
    body
        At most 1 MiB, not decompressed: more is the transport's to refuse (contract 5.1).
    now
        Aware UTC; for a ``Retry-After`` date when the answer has no ``Date``.
    """
    named = _named(headers)
    members = _members(body)
    problem = status >= 400 or named.get(b"content-type", "").startswith(_PROBLEM)
    error, message = _refusal(members, problem=problem)
    evidence = _Evidence(members)
    ack = members.get("ack")
    return Answer(
        status=status,
        ack=ack if isinstance(ack, bool) else None,
        error=error,
        message=message,
        expected_chunk=evidence.count("expected_chunk"),
        chunk_id=evidence.text("chunk_id"),
        chunk_number=evidence.count("chunk_number"),
        checksum=evidence.text("checksum"),
        next_chunk=evidence.count("next_chunk"),
        accepted=evidence.count("accepted"),
        rejected=evidence.rejected(),
        duplicate=evidence.flag("duplicate"),
        chain=evidence.text("chain"),
        retry_after_s=_retry_after_s(named, now),
        date=named.get(b"date"),
        excerpt=body[:EXCERPT_BYTES].decode("utf-8", "replace"),
        malformed=", ".join(evidence.faults),
    )


def _named(headers: Sequence[tuple[bytes, bytes]]) -> Mapping[bytes, str]:
    """Return the headers of `_READ` by their names; the values of one that repeats are a list."""
    named: dict[bytes, str] = {}
    for raw_name, raw_value in headers:
        name = raw_name.lower()
        if name in _READ:
            value = raw_value.decode("latin-1")
            named[name] = f"{named[name]}, {value}" if name in named else value
    return named


def _members(body: bytes) -> Mapping[str, _Json]:
    """Return the members of a JSON object; none for anything else."""
    try:
        # RFC 8259 §8.1: a reader may ignore a byte order mark, and PHP files often have one.
        value: _Json = orjson.loads(body.removeprefix(_BOM))
    except ValueError:
        return {}
    if not isinstance(value, dict) or (body.count(b'"ack"') > 1 and _is_named_twice(body, "ack")):
        return {}
    return value


def _is_named_twice(body: bytes, name: str) -> bool:
    """Tell whether the object, which is known to be one, has two members of this name.

    RFC 8259 §4: readers differ in which of them counts, so it says nothing.
    """
    times: list[int] = []

    def count(members: list[tuple[str, object]]) -> None:
        times.append(sum(known == name for known, _ in members))

    try:
        # Integers stay text: Python refuses those of more than 4,300 digits.
        json.loads(body.removeprefix(_BOM), object_pairs_hook=count, parse_int=str)
    except RecursionError:
        return True  # nested as deep as this, it is no answer anybody wrote
    return times[-1] > 1  # the outermost is closed last


def _refusal(members: Mapping[str, _Json], *, problem: bool) -> tuple[str | None, str]:
    """Return the code and the text of a refusal, in any of the three forms. Contract 5.5."""
    error = members.get("error")
    said: Mapping[str, _Json] = members
    if isinstance(error, dict):
        said, error = error, error.get("code")
    elif error is None and problem:
        error = members.get("code")
    code = error.strip()[:_CODE_CHARS_MAX] if isinstance(error, str) else ""
    for name in ("message", "detail", "title"):
        text = said.get(name)
        if isinstance(text, str) and text:
            return code or None, text[:_MESSAGE_CHARS_MAX]
    return code or None, ""


class _Evidence:
    """Members that must have the right kind, because progress is believed because of them.

    JSON ``null`` counts as absent.
    """

    def __init__(self, members: Mapping[str, _Json]) -> None:
        self._members = members
        self.faults: list[str] = []
        """What is wrong, in words. Contract 5.4."""

    def count(self, name: str) -> int | None:
        value = self._members.get(name)
        if value is None:
            return None
        # `True` is an int to Python, and 1.0 equals 1: neither is a whole number in JSON.
        if type(value) is int and value >= 0:
            return value
        self.faults.append(f"{name} is not a whole number from 0 on")
        return None

    def text(self, name: str) -> str | None:
        value = self._members.get(name)
        if value is None or isinstance(value, str):
            return value
        self.faults.append(f"{name} is not a string")
        return None

    def flag(self, name: str) -> bool:
        value = self._members.get(name)
        if value is not None and not isinstance(value, bool):
            self.faults.append(f"{name} is not true or false")
        return value is True

    def rejected(self) -> tuple[Rejection, ...]:
        """Return which records were refused, by their index in the chunk. Contract 5.3."""
        value = self._members.get("rejected")
        if value is None:
            return ()
        if not isinstance(value, list):
            self.faults.append("rejected is not an array")
            return ()
        named: dict[int, Rejection] = {}
        for one in value:
            index = one.get("index") if isinstance(one, dict) else None
            if isinstance(one, dict) and type(index) is int and index >= 0:
                named[index] = Rejection(
                    index=index,
                    code=_said(one, "code", _CODE_CHARS_MAX),
                    message=_said(one, "message", _MESSAGE_CHARS_MAX),
                    path=_said(one, "path", _MESSAGE_CHARS_MAX),
                    retryable=one.get("retryable") is True,
                )
        if len(named) != len(value):
            self.faults.append("rejected does not name each record once by its index")
        return tuple(named[index] for index in sorted(named))


def _said(members: Mapping[str, _Json], name: str, characters_max: int) -> str:
    """Return what is for a person to read; empty when it is no text."""
    value = members.get(name)
    return value[:characters_max] if isinstance(value, str) else ""


def _retry_after_s(headers: Mapping[bytes, str], now: datetime) -> float | None:
    """Return the seconds the receiver asks for; ``None`` when it makes no sense."""
    text = headers.get(b"retry-after", "").strip()
    if not text:
        return None
    if _DELTA_SECONDS.fullmatch(text):
        return float(text)
    until = _http_date(text)
    if until is None:
        return None
    # Measured by the receiver's own clock where it tells: ours may be wrong by hours.
    start = _http_date(headers.get(b"date", "")) or now
    seconds = (until - start).total_seconds()
    return seconds if seconds >= 0 else None


def _http_date(text: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
