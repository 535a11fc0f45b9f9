"""Pass over JSON tokens and values that are not records, in bounded memory.

What lies around the records is not delivered, but it must be JSON: a document that is
broken after its last record is broken.
"""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from app.decoders.json.elements import Elements
from app.decoders.json.exact_text import malformed, not_utf8
from app.decoders.json.window import END, Window
from app.domain.budget import BLOCK_BYTES, DEPTH_MAX
from app.domain.canonical import too_deep
from app.domain.errors import DecodeCode, DecodeError
from app.domain.ingestion import DecodeOptions

OPEN_OBJECT: Final = ord("{")
CLOSE_OBJECT: Final = ord("}")
OPEN_ARRAY: Final = ord("[")
CLOSE_ARRAY: Final = ord("]")
COMMA: Final = ord(",")
COLON: Final = ord(":")
QUOTE: Final = ord('"')

_TEXT = rb'"[^"\\\x00-\x1f]*+(?:\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})[^"\\\x00-\x1f]*+)*'
_STRING = re.compile(_TEXT + b'"')
_STRING_SO_FAR = re.compile(_TEXT)
_ESCAPE_CUT = re.compile(rb"\\(?:u[0-9a-fA-F]{0,3})?")
_SCALAR = re.compile(rb"true|false|null|-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?(?:[eE][+-]?[0-9]++)?")
_SCALAR_CUT = re.compile(
    rb"-|t(?:ru?)?|f(?:a(?:ls?)?)?|n(?:ul?)?"  # at the start of a scalar
    rb"|\.|[eE][+-]?"  # after its whole part
)
_SCALAR_TAIL_BYTES: Final = 8
"""Bytes in sight after a scalar that make sure it does not go on, or that it is not cut."""


class Tokens:
    """Pass tokens and whole values; the window is always at the next one afterwards."""

    def __init__(self, window: Window, *, block_bytes: int = BLOCK_BYTES) -> None:
        self._window = window
        self._block_bytes = block_bytes

    def peek(self) -> int:
        """Return the first byte of the next token, or `END`."""
        return self._window.peek()

    def take(self) -> None:
        """Pass a token of one byte."""
        self._window.advance(self._window.at + 1)

    def take_if(self, byte: int) -> bool:
        """Pass the next token if it is ``byte``."""
        if self.peek() != byte:
            return False
        self.take()
        return True

    def key(self) -> str:
        """Pass a member's key and colon; return the key.

        Raises
        ------
        DecodeError
            Something else is there. So do all methods below.
        """
        if self.peek() != QUOTE:
            raise self.unexpected("a member name in double quotes")
        key: str = json.loads(self._string())
        if not self.take_if(COLON):
            raise self.unexpected("':'")
        return key

    def separator(self, close: int) -> bool:
        """Pass a ``,`` or the closing byte; tell whether it was the ``,``."""
        if self.take_if(COMMA):
            return True
        if self.take_if(close):
            return False
        raise self.unexpected(f"',' or {chr(close)!r}")

    def scalar(self) -> None:
        """Pass a string, number, ``true``, ``false`` or ``null``."""
        window = self._window
        if self.peek() == QUOTE:
            self._string()
            return
        token = _SCALAR.match(window.data, window.at)
        while self._tail(token) < _SCALAR_TAIL_BYTES and window.more():
            token = _SCALAR.match(window.data, window.at)
        if token is None:
            raise self.unexpected("a value")
        window.advance(token.end())

    def value(
        self, members: list[str], found: Callable[[list[str]], None] | None, *, depth: int
    ) -> None:
        """Pass a whole value.

        Parameters
        ----------
        members
            Where the value stands.
        found
            Called with the members of every array of objects in the value that is
            reached through objects alone, before that array is passed.
        depth
            How many arrays and objects are open around the value.
        """
        opened = 0  # Objects open in the value; their keys are at the end of ``members``.
        while True:
            first = self.peek()
            if first == OPEN_OBJECT:
                self.check_depth(depth + opened + 1)
                self.take()
                if not self.take_if(CLOSE_OBJECT):
                    opened += 1
                    members.append(self.key())
                    continue
            elif first == OPEN_ARRAY:
                self.take()
                if found is not None and self.peek() == OPEN_OBJECT:
                    found(members)
                self._array()
            else:
                self.scalar()
            while opened and not self.separator(CLOSE_OBJECT):
                opened -= 1
                members.pop()
            if not opened:
                return
            members[-1] = self.key()

    def end(self) -> None:
        """Make sure that nothing follows."""
        if self.peek() != END:
            raise self.unexpected("the end of the file")

    def check_depth(self, depth: int) -> None:
        """Refuse a document nested too deeply around its records."""
        if depth > DEPTH_MAX:
            error = too_deep()
            error.place = self._window.place()
            raise error

    def unexpected(self, expected: str) -> DecodeError:
        """Return the error for a next token that is not the expected one."""
        window = self._window
        while window.ahead < _SCALAR_TAIL_BYTES and window.more():
            pass
        rest = window.data[window.at :]
        if not rest or _SCALAR_CUT.fullmatch(rest):
            error = DecodeError(DecodeCode.TRUNCATED, "the file ends before the document does")
            error.place = window.place(len(window.data))
            return error
        error = malformed(f"expecting {expected}")
        error.place = window.place()
        return error

    def _array(self) -> None:
        elements = Elements(DecodeOptions(), block_bytes=self._block_bytes, keep=False)
        try:
            for _ in elements.read(self._window):
                pass
        except DecodeError as error:
            # Not one of the records: its place has no number.
            if error.place is not None:
                error.place = replace(error.place, record=None)
            raise

    def _string(self) -> bytes:
        window = self._window
        while (token := _STRING.match(window.data, window.at)) is None:
            so_far = _STRING_SO_FAR.match(window.data, window.at)
            stop = so_far.end() if so_far else window.at
            rest = window.data[stop : stop + 6]
            if rest and not _ESCAPE_CUT.fullmatch(rest):
                error = malformed("invalid control character or escape in a string")
                error.place = window.place(stop)
                raise error
            if not window.more():
                error = DecodeError(DecodeCode.TRUNCATED, "the file ends inside a string")
                error.place = window.place(len(window.data))
                raise error
        try:
            token[0].decode()
        except UnicodeDecodeError as failure:
            error = not_utf8()
            error.place = window.place(token.start() + failure.start)
            raise error from failure
        window.advance(token.end())
        return token[0]

    def _tail(self, token: re.Match[bytes] | None) -> int:
        end = self._window.at if token is None else token.end()
        return len(self._window.data) - end
