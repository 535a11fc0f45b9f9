"""Decode a value that has some bytes to itself: a line of NDJSON, or a whole document."""

import codecs

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
)
from app.domain.canonical import DuplicateKeys, canonical
from app.domain.errors import RecordError
from app.domain.ingestion import DecodeOptions


class LoneValue:
    """Read one value after the other, each from its own bytes."""

    def __init__(self, options: DecodeOptions) -> None:
        self.may_be_fast = options.duplicate_keys is DuplicateKeys.LAST and options.canonical
        """May a value be decoded by orjson, where its numbers are plain?"""
        self._exact = ExactText(options)

    def read(self, raw: bytes, *, plain: bool) -> Value | Cut | Fault:
        """Read the value in ``raw``; ``end`` and ``at`` in the answer are byte indices.

        ``plain``: every number in it is known to survive a double.
        """
        if plain and self.may_be_fast:
            try:
                return Value(canonical(orjson.loads(raw)), len(raw), 0)
            except (orjson.JSONDecodeError, RecordError):
                pass  # The exact path says what is wrong, and where.
        try:
            text, length = codecs.utf_8_decode(raw)
        except UnicodeDecodeError as error:
            return Fault(not_utf8(), error.start)
        if length < len(raw):
            return Cut()
        value = self._alone(text)
        if isinstance(value, Fault):
            return Fault(value.error, bytes_before(text, value.at))
        return value

    def _alone(self, text: str) -> Value | Cut | Fault:
        value = self._exact.read(text, skip_space(text, 0))
        if not isinstance(value, Value):
            return value
        if is_cut_number(text, value.end) and value.end < len(text):
            return Cut()
        rest = skip_space(text, value.end)
        if rest < len(text):
            return Fault(malformed("something follows the value"), rest)
        return value
