"""The shared strings of a workbook: read as far as they are needed, in bounded memory.

A cell names its text by an index into this table, in any order, so the table cannot be
forgotten; but it may be larger than memory. What exceeds a bound is kept in a temporary
file, which has no name and vanishes with the process.
"""

import os
import re
import struct
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import lru_cache
from sys import getsizeof
from typing import IO

from app.decoders.xlsx.package import Package, Part
from app.decoders.xlsx.xml import Markup, unescape_text, unescaped, whole_elements
from app.domain.budget import RECORD_BYTES_MAX
from app.domain.errors import DecodeCode, DecodeError, SourceCode, SourceError

KEPT_BYTES_MAX = 24 * 1024 * 1024
"""Memory for strings. 24 MiB hold some 200,000 product texts."""

SPILLED_BYTES_MAX = 4 * 1024 * 1024 * 1024
"""Disk for strings."""

_CACHED_BYTES_MAX = 4 * 1024 * 1024
_REFERENCE_BYTES = 8
"""A place in a list."""

_END = struct.Struct("<Q")


@contextmanager
def open_strings(package: Package, part: str | None) -> Iterator["SharedStrings"]:
    """Open the table in ``part``; ``None``: a workbook without one."""
    with ExitStack() as stack:
        opened = stack.enter_context(package.part(part, small=False)) if part is not None else None
        strings = SharedStrings(opened)
        stack.callback(strings.close)
        yield strings


class SharedStrings:
    """The table: ``strings[i]``."""

    def __init__(self, part: Part | None) -> None:
        self._blocks = _string_blocks(part) if part else iter(())
        self.kept: list[str] = []
        """Those from the first on that are in memory."""
        self._kept_bytes = 0
        self._spill: _Spill | None = None
        self.longest = 0
        """Characters of the longest string read so far."""

    def __getitem__(self, index: int) -> str:
        """Return string ``index``, 0-based.

        Raises
        ------
        DecodeError
            There are fewer, or the table is damaged.
        """
        kept = self.kept
        if 0 <= index < len(kept):
            return kept[index]
        while index >= len(self) and self._read_block():
            pass
        if not 0 <= index < len(self):
            raise DecodeError(
                DecodeCode.MALFORMED,
                f"a cell names shared string {index}, but there are {len(self)}",
                remedy="Open the workbook in a spreadsheet program and save it again.",
            )
        if index < len(kept):
            return kept[index]
        assert self._spill is not None
        return self._spill[index - len(kept)]

    def __len__(self) -> int:
        """Return how many were read so far."""
        return len(self.kept) + (0 if self._spill is None else len(self._spill))

    def finish(self) -> None:
        """Read what no cell asked for, to know that the table is whole. Raises `DecodeError`."""
        while self._read_block():
            pass

    def close(self) -> None:
        """Give the disk back."""
        if self._spill is not None:
            self._spill.close()

    def _read_block(self) -> bool:
        block = next(self._blocks, None)
        if block is None:
            return False
        self.longest = max(self.longest, max(map(len, block), default=0))
        if self._spill is None:
            self.kept += block
            self._kept_bytes += sum(map(getsizeof, block)) + len(block) * _REFERENCE_BYTES
            if self._kept_bytes > KEPT_BYTES_MAX:
                self._spill = _Spill()
        else:
            self._spill.extend(block)
        return True


class _Spill:
    """Strings on disk: one file of text, one of where each ends."""

    def __init__(self) -> None:
        with _disk(), ExitStack() as files:
            self._texts: IO[bytes] = files.enter_context(tempfile.TemporaryFile(buffering=0))
            self._ends: IO[bytes] = files.enter_context(tempfile.TemporaryFile(buffering=0))
            _write(self._ends, _END.pack(0))
            self._files = files.pop_all()
        self._count = 0
        self._bytes = 0
        self._cache: dict[int, str] = {}
        self._cache_bytes = 0

    def __len__(self) -> int:
        return self._count

    def extend(self, block: list[str]) -> None:
        """Add strings."""
        texts = [text.encode("utf-8", "surrogatepass") for text in block]
        ends = bytearray()
        for text in texts:
            self._bytes += len(text)
            ends += _END.pack(self._bytes)
        if self._bytes > SPILLED_BYTES_MAX:
            raise DecodeError(
                DecodeCode.DECOMPRESSION_LIMIT,
                f"the shared strings are larger than {SPILLED_BYTES_MAX} bytes",
            )
        with _disk():
            _write(self._texts, b"".join(texts))
            _write(self._ends, bytes(ends))
        self._count += len(block)

    def __getitem__(self, index: int) -> str:
        cached = self._cache.get(index)
        if cached is not None:
            return cached
        with _disk():
            bounds = os.pread(self._ends.fileno(), 2 * _END.size, index * _END.size)
            start, end = struct.unpack("<QQ", bounds)
            text = os.pread(self._texts.fileno(), end - start, start)
        string = text.decode("utf-8", "surrogatepass")
        self._cache_bytes += getsizeof(string) + 12 * _REFERENCE_BYTES
        if self._cache_bytes > _CACHED_BYTES_MAX:
            self._cache.clear()
            self._cache_bytes = getsizeof(string)
        self._cache[index] = string
        return string

    def close(self) -> None:
        """Close the files, which deletes them."""
        self._files.close()


def _write(file: IO[bytes], content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[file.write(view) :]


@contextmanager
def _disk() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SourceError(
            SourceCode.SOURCE_UNAVAILABLE,
            f"the workbook's strings could not be put aside on disk: {error.strerror}",
            remedy="Free space in the directory for temporary files (TMPDIR).",
        ) from error


@lru_cache(maxsize=8)
def _pattern(prefix: str) -> re.Pattern[str]:
    p = re.escape(prefix)
    return re.compile(
        rf'<{p}si>(?:<{p}t(?:\sxml:space="preserve")?>([^<]*)</{p}t>|<{p}t\s?/>)</{p}si>|(\S[\s\S]*)'
    )


def _string_blocks(part: Part) -> Iterator[list[str]]:
    """Yield the strings of a table in order, some at a time."""
    markup = _StringMarkup(part.name)
    try:
        for block in whole_elements(part, markup, parent="sst", child="si"):
            if markup.strings:
                yield markup.taken()
            if block:
                strings = _plain_strings(block, markup.prefix)
                if strings is None:
                    markup.feed(block)
                    strings = markup.taken()
                yield strings
    except DecodeError:
        yield markup.taken()  # the good ones before the bad place
        raise


def _plain_strings(block: str, prefix: str) -> list[str] | None:
    """Read a block from `whole_elements`; ``None`` when it is not plain."""
    found = _pattern(prefix).findall(block)
    if any(odd for _, odd in found):
        return None
    strings: list[str] = []
    for text, _ in found:
        plain = unescaped(text) if "&" in text else text
        if plain is None:
            return None
        strings.append(unescape_text(plain) if "_x" in plain else plain)
    return strings


class _StringMarkup(Markup):
    """The exact way to read strings: runs of rich text are joined, their phonetics left out."""

    def __init__(self, part: str) -> None:
        super().__init__(part)
        self.strings: list[str] = []
        """Those read since the last look."""
        self._runs: list[str] = []
        self._characters = 0
        self._inside = self._phonetic = self._collecting = False

    def taken(self) -> list[str]:
        """Return the strings read since the last look."""
        taken, self.strings = self.strings, []
        return taken

    def start(self, name: str, attributes: dict[str, str]) -> None:
        if name == "si":
            self._inside, self._runs, self._characters = True, [], 0
        elif name == "rPh":
            self._phonetic = True
        elif name == "t":
            self._collecting = self._inside and not self._phonetic

    def text(self, text: str) -> None:
        if self._collecting:
            self._runs.append(text)
            self._characters += len(text)
            if self._characters > RECORD_BYTES_MAX:
                raise DecodeError(
                    DecodeCode.RECORD_TOO_LARGE,
                    f"{self._part}: a string has more than {RECORD_BYTES_MAX} characters",
                )

    def end(self, name: str) -> None:
        if name == "t":
            self._collecting = False
        elif name == "rPh":
            self._phonetic = False
        elif name == "si":
            self.strings.append(unescape_text("".join(self._runs)))
            self._inside = False
