"""Source files in memory that are replaced, rewritten or gone when the schedule says so."""

import asyncio
import io
import json
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, aclosing, closing, contextmanager
from functools import partial
from hashlib import sha256
from random import Random
from typing import BinaryIO

from app.decoders.csv.rows import CsvDecoder
from app.decoders.json.array import JsonDecoder
from app.decoders.json.ndjson import NdjsonDecoder
from app.decoders.xlsx.decoder import XlsxDecoder
from app.domain.errors import ReaderDied, SourceCode, SourceError
from app.domain.identity import Checksum
from app.domain.ingestion import FileType, Fingerprint
from app.ports import Reader, Reading, ReadJob, Source
from app.readers.cutting import Formats, MakeDecoder

BLOCK_BYTES = 48
"""So that a file of ten records has several batches, and cursors in the middle of them."""

_CANONICAL = json.JSONEncoder(separators=(",", ":"), sort_keys=True, ensure_ascii=False)

WORDS = ("", "Café", "a/b", 'say "hi"', "日本", "tab\there", "\u2028", "x" * 30)


class SourceFile:
    """One file: its bytes now, and what must arrive."""

    def __init__(
        self, path: str, file_type: FileType, content: bytes, truth: list[bytes], *, poison: bool
    ) -> None:
        self.path = path
        self.file_type = file_type
        self.truth = truth
        """Each record in canonical form. Made here, not by the service."""
        self.poison = poison
        """Ends in something that is no record; ``truth`` stops before it."""
        self.missing = False
        self.vanished = False
        """Was missing once."""
        self.changed = False
        """Nobody who has not read it yet may complete it any more."""
        self._inode = [content]
        self._stamp(1)

    def fingerprint(self) -> Fingerprint:
        self._look()
        return self._fingerprint

    @contextmanager
    def open(self, *, offset: int = 0) -> Iterator["_Stream"]:
        self._look()
        yield _Stream(self._inode, offset)

    def open_seekable(self) -> AbstractContextManager[BinaryIO]:
        return closing(io.BytesIO(self._inode[0]))

    def replace(self) -> None:
        """Put another file in its place; who has it open goes on reading the old one."""
        self.changed = True
        self._inode = [self._other()]
        self._stamp(self._fingerprint.modified_ns + 1)

    def rewrite(self) -> None:
        """Change the bytes under the hands of who has it open."""
        self.changed = True
        self._inode[0] = self._other()
        self._stamp(self._fingerprint.modified_ns + 1)

    def swap(self) -> None:
        """Put another file in its place that looks the same: size, time, head and tail.

        Every record differs.
        """
        self.changed = True
        is_csv = self.file_type is FileType.CSV
        before, after = (b"w", b"v") if is_csv else (b'"w":', b'"v":')
        self._inode = [self._inode[0].replace(before, after)]

    def _other(self) -> bytes:
        return self._inode[0].replace(b"1", b"7") + b"\n"

    def _look(self) -> None:
        if self.missing:
            raise SourceError(SourceCode.SOURCE_NOT_FOUND, f"{self.path} is gone")

    def _stamp(self, modified_ns: int) -> None:
        (content,) = self._inode
        sample = Checksum(sha256(content).hexdigest())
        self._fingerprint = Fingerprint(size=len(content), modified_ns=modified_ns, sample=sample)


class _Stream:
    def __init__(self, inode: list[bytes], offset: int) -> None:
        self._inode = inode
        self._offset = offset

    def read(self, size: int, /) -> bytes:
        part = self._inode[0][self._offset : self._offset + size]
        self._offset += len(part)
        return part


def a_file(random: Random, name: str) -> SourceFile:
    """Make up a file."""
    count = random.choice((0, 1, 2, 3, 4, 5, 6, 8, 12))
    file_type = random.choice((FileType.NDJSON, FileType.NDJSON, FileType.JSON, FileType.CSV))
    poison = random.random() < 0.04
    if file_type is FileType.CSV:
        rows = [{"n": f"n{n}", "w": f"w{random.randrange(100)}"} for n in range(count)]
        content = "".join(f"{row['n']},{row['w']}\n" for row in ({"n": "n", "w": "w"}, *rows))
        if poison := poison and count > 2:
            content += "too,many,cells,here\n"
        return SourceFile(name, file_type, content.encode(), canonical_records(rows), poison=poison)
    records = [{"w": random.choice(WORDS), "n": n, "a": [None, {}]} for n in range(count)]
    spaced = random.random() < 0.5
    encode = json.JSONEncoder(separators=None if spaced else (",", ":")).encode
    texts = [encode(record) for record in records]
    if file_type is FileType.NDJSON:
        content = "".join(f"{text}\n" for text in texts) + ('{"n":' if poison else "")
    else:
        content = "[" + ",\n".join(texts) + ("" if poison else "]")
    return SourceFile(name, file_type, content.encode(), canonical_records(records), poison=poison)


def canonical_records(records: Sequence[object]) -> list[bytes]:
    return [_CANONICAL.encode(record).encode() for record in records]


def decoder_of(file_type: FileType) -> MakeDecoder:
    match file_type:
        case FileType.NDJSON:
            return partial(NdjsonDecoder, block_bytes=BLOCK_BYTES)
        case FileType.JSON:
            return partial(JsonDecoder, block_bytes=BLOCK_BYTES)
        case FileType.EXCEL:
            return XlsxDecoder
        case _:
            return partial(CsvDecoder, block_bytes=BLOCK_BYTES)


class Files(dict[str, SourceFile]):
    """``Sources``: path → file."""

    def locate(self, file_path: str) -> Source:
        return self[file_path]

    def formats(self) -> Formats:
        return Formats(sources=self, decoder_of=decoder_of)


class MortalReader:
    """A ``Reader`` that takes its time, and may die at any reading (K6)."""

    def __init__(
        self, reader: Reader, *, pause: Callable[[], float], dies: Callable[[], bool]
    ) -> None:
        self._reader = reader
        self._pause = pause
        self._dies = dies

    def spare(self) -> bool:
        return self._reader.spare()

    async def read(self, job: ReadJob, /) -> AsyncGenerator[Reading, None]:
        async with aclosing(self._reader.read(job)) as readings:
            async for reading in readings:
                await asyncio.sleep(self._pause())
                if self._dies():
                    raise ReaderDied("killed by the schedule")
                yield reading
