"""Files on this machine, below the roots that the operator allows and nowhere else.

The path is checked as text first, so that nothing outside the roots is ever looked at and
the answer cannot tell whether it exists. Below a root it is opened one name at a time, each
relative to the folder already open and never through a symbolic link, so that nobody can
swap a folder for a link between the check and the use.
"""

import errno
import io
import os
import stat
from collections.abc import Sequence
from contextlib import AbstractContextManager
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import BinaryIO
from urllib.parse import unquote, urlsplit

from app.domain.errors import SourceCode, SourceError
from app.domain.identity import Checksum
from app.domain.ingestion import Fingerprint
from app.ports import ByteStream

SAMPLE_BYTES = 64 * 1024
"""Bytes at each end of a file that its fingerprint covers."""

# O_PATH asks for the right to pass through a folder, not to list it.
_FOLDER = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# O_NONBLOCK: opening a FIFO would otherwise wait for its writer, for ever.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class LocalSources:
    """A ``Sources``.

    Parameters
    ----------
    roots
        Folders that files may lie below. A root may itself be a symbolic link: it is
        followed once, here.
    """

    def __init__(self, roots: Sequence[Path]) -> None:
        names = [(PurePosixPath(root.absolute()), root.resolve()) for root in roots]
        names += [(PurePosixPath(root), root) for _, root in names]
        # The innermost first: below a root that is a link, its own rule counts.
        self._roots = sorted(names, key=lambda pair: len(pair[0].parts), reverse=True)

    def locate(self, file_path: str) -> "LocalSource":
        path = _path_of(file_path)
        if path is not None and ".." not in path.parts:
            for name, root in self._roots:
                if name in path.parents:
                    return LocalSource(root, path.relative_to(name))
        raise SourceError(
            SourceCode.SOURCE_FORBIDDEN,
            "the path is not below a folder that this service may read",
            remedy="Give an absolute path, without '..', below one of INGEST_SOURCE_ROOTS.",
        )


class LocalSource:
    """A ``Source``: the file named ``path`` below ``root``."""

    def __init__(self, root: Path, path: PurePosixPath) -> None:
        self._root = root
        self._path = path

    def fingerprint(self) -> Fingerprint:
        with self._open() as file:
            facts = os.fstat(file.fileno())
            sample = sha256(_read_fully(file, SAMPLE_BYTES))
            file.seek(max(0, facts.st_size - SAMPLE_BYTES))
            sample.update(_read_fully(file, SAMPLE_BYTES))
        return Fingerprint(
            size=facts.st_size,
            modified_ns=facts.st_mtime_ns,
            sample=Checksum(sample.hexdigest()),
            changed_ns=facts.st_ctime_ns,
        )

    def open(self, *, offset: int = 0) -> AbstractContextManager[ByteStream]:
        file = self._open()
        file.seek(offset)
        return file

    def open_seekable(self) -> AbstractContextManager[BinaryIO]:
        return io.BufferedReader(self._open())

    def _open(self) -> "_LocalFile":
        *folders, name = self._path.parts
        folder = self._descend(folders)
        try:
            self._check_kind(os.stat(name, dir_fd=folder, follow_symlinks=False))
            opened = os.open(name, _FILE, dir_fd=folder)
        except OSError as error:
            raise _translated(error) from error
        finally:
            os.close(folder)
        file = _LocalFile(opened)
        try:
            # Again, now that it can no longer be swapped for something else.
            self._check_kind(os.fstat(opened))
            os.set_blocking(opened, True)
        except BaseException:
            file.close()
            raise
        return file

    def _descend(self, folders: Sequence[str]) -> int:
        try:
            here = os.open(self._root, _FOLDER)
            for name in folders:
                outer = here
                try:
                    here = os.open(name, _FOLDER, dir_fd=outer)
                except NotADirectoryError:
                    self._check_kind(
                        os.stat(name, dir_fd=outer, follow_symlinks=False), folder=True
                    )
                    raise
                finally:
                    os.close(outer)
        except OSError as error:
            raise _translated(error) from error
        return here

    def _check_kind(self, facts: os.stat_result, *, folder: bool = False) -> None:
        if stat.S_ISLNK(facts.st_mode):
            raise _through_a_link()
        if not folder and not stat.S_ISREG(facts.st_mode):
            raise SourceError(
                SourceCode.SOURCE_NOT_A_FILE,
                f"the path names {_kind(facts.st_mode)}, not a file",
                remedy="Give the path of a regular file.",
            )


class _LocalFile(io.FileIO):
    """An open file that fails with our errors."""

    def read(self, size: int | None = -1, /) -> bytes:
        try:
            return super().read(size) or b""  # None only where reading does not block
        except OSError as error:
            raise _translated(error) from error

    def readinto(self, buffer: "bytearray | memoryview", /) -> int | None:  # type: ignore[override]
        try:
            return super().readinto(buffer)
        except OSError as error:
            raise _translated(error) from error


def _path_of(file_path: str) -> PurePosixPath | None:
    """Return the absolute path that a request names, or ``None`` when it names none."""
    if file_path[:5].lower() == "file:":
        try:
            url = urlsplit(file_path)
        except ValueError:
            return None
        if url.netloc not in {"", "localhost"} or url.query or url.fragment:
            return None
        file_path = unquote(url.path, errors="surrogateescape")
    try:
        os.fsencode(file_path)
    except UnicodeEncodeError:
        return None
    path = PurePosixPath(file_path)
    return path if path.is_absolute() and "\0" not in file_path else None


def _read_fully(file: io.FileIO, size: int) -> bytes:
    parts = []
    while size and (part := file.read(size)):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def _kind(mode: int) -> str:
    kinds = (
        (stat.S_ISDIR, "a folder"),
        (stat.S_ISFIFO, "a FIFO"),
        (stat.S_ISSOCK, "a socket"),
    )
    return next((name for is_kind, name in kinds if is_kind(mode)), "a device")


def _through_a_link() -> SourceError:
    return SourceError(
        SourceCode.SOURCE_FORBIDDEN,
        "the path leads through a symbolic link",
        remedy="Give the path that the link points to, if it lies below an allowed folder.",
    )


def _translated(error: OSError) -> SourceError:
    why = os.strerror(error.errno) if error.errno else str(error)
    match error.errno:
        case errno.ENOENT | errno.ENOTDIR | errno.ENAMETOOLONG:
            return SourceError(
                SourceCode.SOURCE_NOT_FOUND,
                "there is no such file",
                remedy="Check the path; the service must see the file under the same name.",
            )
        case errno.EACCES | errno.EPERM:
            return SourceError(
                SourceCode.SOURCE_UNREADABLE,
                f"the file cannot be opened: {why}",
                remedy="Let the user that the service runs as read the file.",
            )
        case errno.ELOOP:
            return _through_a_link()
        case errno.ENXIO | errno.ENODEV | errno.EISDIR:
            return SourceError(
                SourceCode.SOURCE_NOT_A_FILE,
                f"the path does not name a file: {why}",
                remedy="Give the path of a regular file.",
            )
        case _:
            return SourceError(
                SourceCode.SOURCE_UNAVAILABLE,
                f"the file cannot be read now: {why}",
                remedy="Check the disk or the network share that the file lies on.",
            )
