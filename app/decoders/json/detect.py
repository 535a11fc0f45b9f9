"""Find the records of a JSON document nobody said a path for."""

from collections.abc import Sequence
from typing import Final

from app.decoders.json.tokens import OPEN_ARRAY, OPEN_OBJECT, Tokens
from app.decoders.json.walk import WHOLE_REMEDY
from app.decoders.json.window import Window
from app.domain.budget import BLOCK_BYTES
from app.domain.errors import DecodeCode, DecodeError, Place
from app.domain.record_path import ambiguous, path_text
from app.ports import ByteStream

_BYTES_MAX: Final = 1024 * 1024
"""How far to look for a second array of objects. The rest is checked while reading."""


def detect(stream: ByteStream, *, block_bytes: int = BLOCK_BYTES) -> tuple[str, ...] | None:
    """Return the members that lead to the only array of objects; ``None`` at the top.

    An array of objects is one whose first element is an object; it is looked for through
    objects alone, not inside arrays. Reads to the first one, and ``_BYTES_MAX`` at least.

    Raises
    ------
    DecodeError
        ``NO_RECORDS_AT_PATH``; ``AMBIGUOUS_RECORDS``; or what is before the first array is
        not JSON. What is broken after it is left to whoever reads the records before.
    """
    found: list[tuple[tuple[str, ...], Place]] = []
    window = Window(_Enough(stream, found), block_bytes=block_bytes)
    window.begin()
    tokens = Tokens(window, block_bytes=block_bytes)
    first = tokens.peek()
    if first == OPEN_ARRAY:
        return None

    def met(members: list[str]) -> None:
        found.append((tuple(members), window.place()))

    try:
        tokens.value([], met, depth=0)
    except _EnoughError:
        pass
    except DecodeError:
        if not found:
            raise
    if len(found) > 1:
        error = ambiguous([path_text(members) for members, _ in found])
        error.place = found[1][1]
        raise error
    if not found:
        what = "an object without an array of objects" if first == OPEN_OBJECT else "a scalar"
        raise DecodeError(
            DecodeCode.NO_RECORDS_AT_PATH,
            f"the document is {what}",
            place=window.place(),
            remedy=f"Set options.record_path to the array of records. {WHOLE_REMEDY}",
        )
    return found[0][0]


class _EnoughError(Exception):
    """Detection has seen what it needs."""


class _Enough:
    """A stream that stops detection once something was found and enough was read."""

    def __init__(self, stream: ByteStream, found: Sequence[object]) -> None:
        self._stream = stream
        self._found = found
        self._bytes = 0

    def read(self, size: int, /) -> bytes:
        if self._found and self._bytes >= _BYTES_MAX:
            raise _EnoughError
        part = self._stream.read(size)
        self._bytes += len(part)
        return part
