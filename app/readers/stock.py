"""What was read before anybody asked for it: all of it together is bounded, and shared fairly."""

from collections import deque
from typing import TypeAlias

from app.domain.chunk import Chunk
from app.domain.errors import ReaderDied, ReadFailed
from app.ports import Reading

STOCK_BYTES_MAX = 64 << 20
"""Bytes in stock, all reads together."""

AROUND_BYTES = 1024
"""What a chunk takes besides its records."""

SHARE_BYTES_MAX = 512 << 10
"""Bytes in stock for one read: half of what its pipe holds."""

SHARES_LEFT = 64
"""Into so many shares is divided what is left of all. While there is plenty, a place that is given
out brings much; when it gets scarce, there is still some for everyone."""

Stocked: TypeAlias = Reading | ReadFailed | ReaderDied


class Stock:
    """What all reads hold together."""

    def __init__(self) -> None:
        self.bytes = 0

    def shelf(self) -> "Shelf":
        """Return the place of one more read. It is to be closed."""
        return Shelf(self)


class Shelf:
    """What one read holds: first in, first out."""

    def __init__(self, stock: Stock) -> None:
        self._stock = stock
        self._held: deque[Stocked] = deque()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._held)

    def put(self, stocked: Stocked) -> None:
        """Add something, whether or not there is room: only its reader knew how big it would be."""
        self._held.append(stocked)
        self._count(stocked, 1)

    def take(self) -> Stocked:
        """Return what was put first."""
        stocked = self._held.popleft()
        self._count(stocked, -1)
        return stocked

    def room(self, chunk_bytes: int) -> int:
        """Return how many chunks of such a size may be added."""
        left = STOCK_BYTES_MAX - self._stock.bytes
        room = min(SHARE_BYTES_MAX - self._bytes, left // SHARES_LEFT)
        return max(0, room // (chunk_bytes + AROUND_BYTES))

    def close(self) -> None:
        """Let go of everything."""
        while self._held:
            self.take()

    def _count(self, stocked: Stocked, sign: int) -> None:
        if isinstance(stocked, Chunk):
            change = sign * (len(stocked.records) + AROUND_BYTES)
            self._bytes += change
            self._stock.bytes += change
