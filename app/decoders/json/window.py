"""What a text decoder holds of its source at any moment: one block, or one large record."""

import re
from typing import Final

from app.decoders.json.exact_text import too_large
from app.domain.budget import BLOCK_BYTES, RECORD_BYTES_MAX
from app.domain.errors import DecodeCode, DecodeError, Place
from app.ports import ByteStream

END: Final = -1
"""What `Window.peek` gives at the end of the source; no byte has this value."""

_SPACE = re.compile(rb"[ \t\n\r]*")
_BOM = b"\xef\xbb\xbf"
_BOMS_16 = (b"\xff\xfe", b"\xfe\xff")
_HEAD_BYTES = 4


class Window:
    """The bytes read and not yet passed, and where in the source they are.

    ``data[at]`` is the next byte. `advance` passes bytes, `more` reads on. Indices into
    ``data`` hold until `more` or `peek` read on.
    """

    __slots__ = ("_base", "_block_bytes", "_stream", "at", "data", "ended", "line")

    def __init__(
        self,
        stream: ByteStream,
        *,
        offset: int = 0,
        line: int = 1,
        block_bytes: int = BLOCK_BYTES,
    ) -> None:
        self._stream = stream
        self._base = offset
        self._block_bytes = block_bytes
        self.data = b""
        self.at = 0
        self.line = line
        """1-based line of ``data[at]``."""
        self.ended = False
        """Nothing follows ``data``."""

    @property
    def offset(self) -> int:
        """Source offset of ``data[at]``."""
        return self._base + self.at

    @property
    def ahead(self) -> int:
        """How many bytes are held from ``at`` on."""
        return len(self.data) - self.at

    def more(self) -> bool:
        """Read as much again as is held ahead, at least a block; tell whether any came.

        Doubling keeps the cost of a large record linear. What was passed is dropped.

        Raises
        ------
        RecordError
            ``RECORD_TOO_LARGE``: more is held than one record may be.
        """
        if self.ended:
            return False
        if self.ahead > RECORD_BYTES_MAX:
            error = too_large()
            error.place = self.place(in_record=True)
            raise error
        parts = [self.data[self.at :]]
        beyond = RECORD_BYTES_MAX - self.ahead + 1  # enough to know that it is too large
        missing = max(self._block_bytes, min(self.ahead, beyond))
        while missing > 0 and (part := self._stream.read(missing)):
            parts.append(part)
            missing -= len(part)
        self.ended = missing > 0
        if len(parts) == 1:
            return False
        self._base += self.at
        self.at = 0
        self.data = b"".join(parts)
        return True

    def advance(self, to: int, *, lines: int | None = None) -> None:
        """Pass everything before index ``to``, with ``lines`` line feeds if they were counted."""
        if lines is not None:
            self.line += lines
            self.at = to
            return
        # Looking for one line feed costs a tenth of counting them, and many files have none.
        first = self.data.find(b"\n", self.at, to)
        if first >= 0:
            self.line += self.data.count(b"\n", first, to)
        self.at = to

    def peek(self) -> int:
        """Pass JSON white space; return the next byte, or `END`."""
        while True:
            space = _SPACE.match(self.data, self.at)
            if space is not None and space.end() > self.at:
                self.advance(space.end())
            if self.at < len(self.data):
                return self.data[self.at]
            if not self.more():
                return END

    def begin(self) -> None:
        """Pass a byte order mark; refuse what is plainly not UTF-8.

        Raises
        ------
        DecodeError
            ``ENCODING_INVALID``: UTF-16 or UTF-32.
        """
        while self.ahead < _HEAD_BYTES and self.more():
            pass
        head = self.data[:_HEAD_BYTES]
        # A text format has no NUL in its first characters, UTF-16 and UTF-32 have.
        if head.startswith(_BOMS_16) or b"\0" in head:
            raise DecodeError(
                DecodeCode.ENCODING_INVALID,
                "the file is not UTF-8; it looks like UTF-16 or UTF-32",
                place=self.place(),
                remedy="Convert the file to UTF-8.",
            )
        if head.startswith(_BOM):
            self.at = len(_BOM)

    def place(self, index: int | None = None, *, in_record: bool = False) -> Place:
        """Say where ``data[index]`` is; without ``index``, where ``data[at]`` is.

        ``in_record``: the place is inside the next record, whose number is filled in by
        `app.decoders.resume.from_cursor`.
        """
        index = self.at if index is None else index
        line = self.line + self.data.count(b"\n", self.at, index)
        return Place(byte=self._base + index, line=line, record=0 if in_record else None)
