"""What a fuzzing process is at, in a file that outlives it."""

import mmap
import struct
from pathlib import Path

HANG_S = 10.0
"""CPU seconds for one case, in all its ways of reading. The usual one takes milliseconds."""

_HEAD = struct.Struct("<QQQ")
_ROOM = 1 << 20


class Watched:
    """Counts, and the case that is judged now. Writing to it is no system call."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            path.write_bytes(bytes(_ROOM))
        with path.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), _ROOM)

    def begins(self, raw: bytes) -> None:
        """Note the case that is judged next."""
        runs, findings, _ = _HEAD.unpack_from(self._memory)
        raw = raw[: _ROOM - _HEAD.size]
        self._memory[_HEAD.size : _HEAD.size + len(raw)] = raw
        _HEAD.pack_into(self._memory, 0, runs + 1, findings, len(raw))

    def found(self) -> None:
        """Count a finding."""
        runs, findings, length = _HEAD.unpack_from(self._memory)
        _HEAD.pack_into(self._memory, 0, runs, findings + 1, length)

    def counts(self) -> tuple[int, int]:
        """Return how many cases were judged, and how many broke the rule."""
        runs, findings, _ = _HEAD.unpack_from(self._memory)
        return runs, findings

    def case(self) -> bytes:
        """Return the last case that was begun."""
        _, _, length = _HEAD.unpack_from(self._memory)
        return self._memory[_HEAD.size : _HEAD.size + length]

    def close(self) -> None:
        self._memory.close()
