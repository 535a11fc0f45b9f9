"""The ZIP container of a workbook: its parts, decompressed a block at a time, within limits.

Whatever zlib and zipfile raise leaves here as one of our errors.
"""

import errno
import os
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, BinaryIO, cast

from app.domain.budget import BLOCK_BYTES
from app.domain.errors import DecodeCode, DecodeError, SourceCode, SourceError

ENTRIES_MAX = 10_000
"""Parts in one container. A workbook has some ten, one with many pictures some thousand."""

DIRECTORY_BYTES_MAX = 4 * 1024 * 1024
"""Size of the list of parts, which zipfile holds in memory as a whole."""

RATIO_MAX = 200
"""Decompressed bytes per compressed byte. Rows of one repeated value reach about 50."""

RATIO_FREE_BYTES = 1024 * 1024
"""Decompressed bytes that are never too many."""

SMALL_PART_BYTES_MAX = 32 * 1024 * 1024
"""Decompressed bytes of a part that is held in memory. Styles reach some megabytes."""

_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_LOCAL_ENTRY = b"PK\x03\x04"
_ENCRYPTED = 0x1


class Part:
    """One part of a container, decompressed as it is read."""

    def __init__(self, stream: IO[bytes], entry: zipfile.ZipInfo, *, small: bool) -> None:
        self.name = entry.filename
        self._stream = stream
        self._size = entry.file_size
        limit = max(RATIO_FREE_BYTES, entry.compress_size * RATIO_MAX)
        self._limit = min(limit, SMALL_PART_BYTES_MAX) if small else limit
        self._read = 0

    @property
    def progress(self) -> float:
        """How much of the part was read, 0 … 1."""
        return min(1.0, self._read / self._size) if self._size else 1.0

    def read(self) -> bytes:
        """Return the next block, about 64 KiB; ``b""`` at the end.

        The end is what proves the part: zipfile compares its CRC there.

        Raises
        ------
        DecodeError
            ``MALFORMED``, ``TRUNCATED``, or ``DECOMPRESSION_LIMIT``.
        """
        with _translated(self.name):
            block = self._stream.read(BLOCK_BYTES)
        self._read += len(block)
        if self._read > self._limit:
            raise DecodeError(
                DecodeCode.DECOMPRESSION_LIMIT,
                f"{self.name} decompresses to more than {self._limit} bytes",
                remedy="Check where the file comes from: this is how a ZIP bomb looks.",
            )
        return block


class Package:
    """A container that was opened."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        self._entries: dict[str, zipfile.ZipInfo] = {}
        entries = archive.infolist()
        if len(entries) > ENTRIES_MAX:
            raise _too_many()
        for entry in entries:
            name = _normal(entry.filename)
            if name in self._entries:
                raise DecodeError(
                    DecodeCode.MALFORMED, f"the container holds {entry.filename[:200]!r} twice"
                )
            self._entries[name] = entry

    def __contains__(self, name: str) -> bool:
        return _normal(name) in self._entries

    @contextmanager
    def part(self, name: str, *, small: bool = True) -> Iterator[Part]:
        """Open the part called ``name``; case does not matter (Source: ECMA-376-2 §6.2.2.3).

        ``small``: what it says is held in memory, so that it may not be large.

        Raises
        ------
        DecodeError
            There is no such part, or it is encrypted or damaged.
        """
        entry = self._entries.get(_normal(name))
        if entry is None:
            raise DecodeError(DecodeCode.MALFORMED, f"the container lacks the part {name[:200]!r}")
        if entry.flag_bits & _ENCRYPTED:
            raise DecodeError(
                DecodeCode.MALFORMED,
                f"{name} is encrypted",
                remedy="Save the workbook without a password.",
            )
        with _translated(name):
            stream = self._archive.open(entry)
        with stream:
            yield Part(stream, entry, small=small)


@contextmanager
def open_package(file: BinaryIO) -> Iterator[Package]:
    """Open the container in ``file``.

    Raises
    ------
    DecodeError
        It is no ZIP file, or a truncated, damaged, or hostile one.
    """
    start = file.read(8)
    if start == _OLE:
        raise DecodeError(
            DecodeCode.MALFORMED,
            "this is an OLE file: a legacy .xls workbook, or one protected by a password",
            remedy="Save it as .xlsx without a password.",
        )
    bounded = cast("BinaryIO", _BoundedFile(file))
    with _translated("the container"):
        if not zipfile.is_zipfile(bounded):
            raise _no_container(start)
        archive = zipfile.ZipFile(bounded)
    with archive:
        yield Package(archive)


def _no_container(start: bytes) -> DecodeError:
    if start.startswith(_LOCAL_ENTRY):
        return DecodeError(
            DecodeCode.TRUNCATED,
            "the file starts as a workbook, but its end is missing",
            remedy="Copy or download it again.",
        )
    return DecodeError(
        DecodeCode.MALFORMED,
        "the file is empty" if not start else "the file is not a workbook: no ZIP container",
        remedy="Name the file's real type in file_type, or save it as .xlsx.",
    )


def _normal(name: str) -> str:
    return name.replace("\\", "/").lstrip("/").casefold()


def _too_many() -> DecodeError:
    return DecodeError(
        DecodeCode.DECOMPRESSION_LIMIT, f"the container holds more than {ENTRIES_MAX} parts"
    )


class _BoundedFile:
    """A file that refuses to be read in one piece: zipfile does so with the list of parts."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.tell = file.tell
        self.seekable = file.seekable

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        try:
            return self._file.seek(offset, whence)
        except OSError as error:
            if whence == os.SEEK_SET and error.errno == errno.EINVAL:
                # The disk is well: the list of parts names a place that no file has.
                raise zipfile.BadZipFile(f"it names byte {offset}") from error
            raise

    def read(self, size: int = -1, /) -> bytes:
        limit = DIRECTORY_BYTES_MAX + 1
        block = self._file.read(limit if size < 0 else min(size, limit))
        if len(block) > DIRECTORY_BYTES_MAX:
            raise _too_many()
        return block


@contextmanager
def _translated(name: str) -> Iterator[None]:
    """Turn what zipfile and zlib raise over ``name`` into our errors."""
    try:
        yield
    except EOFError as error:
        raise DecodeError(
            DecodeCode.TRUNCATED, f"{name} ends too early", remedy="Copy or download it again."
        ) from error
    except NotImplementedError as error:
        raise DecodeError(
            DecodeCode.MALFORMED,
            f"{name} cannot be decompressed: {error}",
            remedy="Open the workbook in a spreadsheet program and save it again.",
        ) from error
    except OSError as error:
        raise SourceError(
            SourceCode.SOURCE_UNAVAILABLE, f"the source could not be read: {error}"
        ) from error
    except (
        zipfile.BadZipFile,
        zlib.error,
        struct.error,
        ValueError,
        OverflowError,
        RuntimeError,
        LookupError,
    ) as error:
        raise DecodeError(
            DecodeCode.MALFORMED,
            f"{name} is damaged: {error}",
            remedy="Copy or download the file again, or save it again where it was made.",
        ) from error
