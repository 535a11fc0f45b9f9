"""A source in memory."""

import io
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from hashlib import sha256
from typing import BinaryIO

from app.domain.errors import SourceCode, SourceError
from app.domain.identity import Checksum
from app.domain.ingestion import Fingerprint

_SAMPLE_BYTES = 64 * 1024


class BytesSource:
    """A source whose bytes are given.

    Parameters
    ----------
    data
        The whole file.
    block
        Most bytes one ``read`` gives, however many are asked for: sources may give less
        than was asked. ``None``: as many as asked for.
    fails_at
        Reading beyond this byte raises `SourceError`.
    """

    def __init__(
        self, data: bytes, block: int | None = None, *, fails_at: int | None = None
    ) -> None:
        self._data = data
        self._block = block
        self._fails_at = fails_at
        self.opened_at: list[int] = []
        """The offset of every ``open``, in order."""
        self.bytes_read = 0
        """Bytes that every ``read`` together gave; resume must not read the file again."""

    def fingerprint(self) -> Fingerprint:
        """Identify the bytes; they have no time of modification."""
        sample = sha256(self._data[:_SAMPLE_BYTES] + self._data[-_SAMPLE_BYTES:])
        return Fingerprint(size=len(self._data), modified_ns=0, sample=Checksum(sample.hexdigest()))

    @contextmanager
    def open(self, *, offset: int = 0) -> Iterator["_Stream"]:
        """Read from ``offset`` on."""
        self.opened_at.append(offset)
        yield _Stream(self, offset)

    def open_seekable(self) -> AbstractContextManager[BinaryIO]:
        """Give the whole as a seekable file."""
        return closing(io.BytesIO(self._data))

    def part(self, start: int, size: int) -> bytes:
        """Return what one ``read`` of ``size`` bytes at ``start`` gives."""
        if self._fails_at is not None and start >= self._fails_at:
            raise SourceError(SourceCode.SOURCE_UNAVAILABLE, f"the source broke at byte {start}")
        size = size if self._block is None else min(size, self._block)
        part = self._data[start : start + size]
        self.bytes_read += len(part)
        return part


class _Stream:
    def __init__(self, source: BytesSource, offset: int) -> None:
        self._source = source
        self._offset = offset

    def read(self, size: int, /) -> bytes:
        """Return 1 … ``size`` bytes, or ``b""`` at the end."""
        part = self._source.part(self._offset, size)
        self._offset += len(part)
        return part
