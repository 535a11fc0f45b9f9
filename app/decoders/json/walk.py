"""Walk a document to the arrays at a record path, and check the rest of it."""

from collections.abc import Iterator, Sequence
from typing import Final

from app.decoders.json.tokens import (
    CLOSE_ARRAY,
    CLOSE_OBJECT,
    OPEN_ARRAY,
    OPEN_OBJECT,
    QUOTE,
    Tokens,
)
from app.decoders.json.window import END, Window
from app.domain.budget import BLOCK_BYTES
from app.domain.errors import DecodeCode, DecodeError
from app.domain.record_path import RecordPath, ambiguous, path_text

WHOLE_REMEDY: Final = "To ingest the whole document as one record, set it to '$'."


class Walk:
    """Stop at the start of every array at the path, in document order.

    The open brackets from the top down to the records, such as ``{{[``, are all there is
    to know in order to go on from inside an array: they are a cursor's context.
    """

    def __init__(self, window: Window, path: RecordPath, *, block_bytes: int = BLOCK_BYTES) -> None:
        self._window = window
        self._tokens = Tokens(window, block_bytes=block_bytes)
        self._path = path
        self._open = ""
        self._met: list[bool] = []
        """For each open object: was its member on the path met?"""

    def arrays(self, context: str = "") -> Iterator[str]:
        """Yield the context of each array, with the window just after its ``[``.

        Whoever iterates passes the array, ``]`` included. With ``context``, the window is
        in the middle of an array, which comes first.

        Raises
        ------
        DecodeError
            ``NO_RECORDS_AT_PATH``; ``AMBIGUOUS_RECORDS``; or the document is not JSON.
        """
        matched = False
        at_value = not context
        if context:
            self._open = context[:-1]
            self._met = [True] * self._open.count("{")
            matched = True
            yield context
        while at_value or self._open:
            if not at_value:
                at_value = self._go_on()
            elif self._enter_records():
                matched = True
                yield self._open + "["
                at_value = False
            else:
                at_value = self._enter()
        self._tokens.end()
        if not matched:
            raise self._nothing(f"nothing is at the record path {self._shown!r}")

    @property
    def _shown(self) -> str:
        return path_text(self._path.members)[:200]

    def _enter_records(self) -> bool:
        """At a value: if the path ends here, pass the ``[`` of the records."""
        if len(self._met) < len(self._path.members):
            return False
        first = self._tokens.peek()
        if first == OPEN_ARRAY:
            self._tokens.take()
            return True
        kind = _kind(first)
        if kind is None:
            raise self._tokens.unexpected("a value")
        what = f"at the record path {self._shown!r} is" if self._shown else "the document is"
        raise self._nothing(f"{what} {kind}, not an array")

    def _enter(self) -> bool:
        """At a value on the way: go in. Tell whether the window is at such a value again."""
        tokens = self._tokens
        first = tokens.peek()
        tokens.check_depth(len(self._open) + 1)
        if first == OPEN_OBJECT:
            tokens.take()
            if tokens.take_if(CLOSE_OBJECT):
                return False
            self._open += "{"
            self._met.append(False)
            return self._member()
        if first == OPEN_ARRAY:
            tokens.take()
            if tokens.take_if(CLOSE_ARRAY):
                return False
            self._open += "["
            return True
        tokens.scalar()
        return False

    def _go_on(self) -> bool:
        """After a value: pass what follows, as `_enter` does."""
        in_object = self._open[-1] == "{"
        if self._tokens.separator(CLOSE_OBJECT if in_object else CLOSE_ARRAY):
            return self._member() if in_object else True
        self._open = self._open[:-1]
        if in_object:
            self._met.pop()
        return False

    def _member(self) -> bool:
        """At a key: pass it, and its value too unless it is on the path."""
        names = self._path.members
        level = len(self._met) - 1
        key = self._tokens.key()
        if key == names[level]:
            if self._met[level]:
                error = ambiguous([path_text(names[: level + 1])] * 2)
                error.place = self._window.place()
                raise error
            self._met[level] = True
            return True
        found = self._another if self._path.sole else None
        self._tokens.value([*names[:level], key], found, depth=len(self._open))
        return False

    def _another(self, members: Sequence[str]) -> None:
        error = ambiguous([path_text(self._path.members), path_text(members)])
        error.place = self._window.place()
        raise error

    def _nothing(self, message: str) -> DecodeError:
        return DecodeError(
            DecodeCode.NO_RECORDS_AT_PATH,
            message,
            place=self._window.place(),
            remedy=f"Set options.record_path to the array of records. {WHOLE_REMEDY}",
        )


def _kind(first: int) -> str | None:
    """Name the kind of value that begins with this byte, if any does."""
    if first == OPEN_OBJECT:
        return "an object"
    if first == QUOTE:
        return "a string"
    if first != END and first in b"-0123456789":
        return "a number"
    return {ord("t"): "true", ord("f"): "false", ord("n"): "null"}.get(first)
