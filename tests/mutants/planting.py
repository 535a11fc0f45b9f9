"""A defect is an edit of named files. It is planted in a copy of the checkout, never in it.

An edit that no longer fits the source is an error: a defect that is not planted proves
nothing.
"""

import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).parents[2]

BUILT = ("app/decoders/native/_scan.so",)
"""What the checkout holds that git does not know; taken along where it is."""


class NoPlace(Exception):
    """An edit does not fit the source."""


@dataclass(frozen=True, slots=True)
class Edit:
    """Replace what occurs once in a file."""

    path: str
    """From the root of the checkout."""

    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Defect:
    """A bug that somebody could write."""

    number: int
    """Up to 26 as in ``docs/reliability.md``; several may be forms of the same one."""

    name: str
    edits: Sequence[Edit]

    tests: Sequence[str]
    """Node ids of which one has to turn red."""

    note: str = ""


def edited(text: str, edits: Sequence[Edit]) -> str:
    """Return ``text`` after all edits of one file. Raises `NoPlace`."""
    spans = []
    for edit in edits:
        if (count := text.count(edit.old)) != 1:
            raise NoPlace(f"{edit.path}: {count} places, not one, for {edit.old!r}")
        start = text.index(edit.old)
        spans.append((start, start + len(edit.old), edit.new))
    spans.sort()
    parts, done = [], 0
    for start, end, new in spans:
        if start < done:
            raise NoPlace(f"{edits[0].path}: two edits overlap before {new!r}")
        parts += [text[done:start], new]
        done = end
    after = "".join((*parts, text[done:]))
    if after == text:
        raise NoPlace(f"{edits[0].path}: the edits change nothing")
    return after


def planted(root: Path, defect: Defect) -> dict[Path, str]:
    """Return the files that the defect changes as they would be. Raises `NoPlace`."""
    after = {}
    for path in dict.fromkeys(edit.path for edit in defect.edits):
        edits = [edit for edit in defect.edits if edit.path == path]
        try:
            text = edited((root / path).read_text("utf-8"), edits)
            if path.endswith(".py"):
                compile(text, path, "exec")
        except (OSError, SyntaxError) as error:
            raise NoPlace(f"{path}: {error}") from error
        after[root / path] = text
    return after


def places(root: Path, defect: Defect) -> Iterator[str]:
    """Yield where the defect is planted and what is written there, a line for each edit."""
    for edit in defect.edits:
        before = (root / edit.path).read_text("utf-8").partition(edit.old)[0]
        yield f"{edit.path}:{before.count(chr(10)) + 1}: {_told(edit)}"


def _told(edit: Edit) -> str:
    if edit.old in edit.new:
        before, _, after = edit.new.partition(edit.old)
        return f"added {_short(f'{before} {after}', 140)}"
    return (
        f"{_short(edit.old)} → {_short(edit.new)}" if edit.new else f"left out {_short(edit.old)}"
    )


def _short(text: str, length: int = 72) -> str:
    text = " ".join(text.split())
    return text if len(text) <= length else text[: length - 1] + "…"


@contextmanager
def copy_of(root: Path, defect: Defect | None = None) -> Iterator[Path]:
    """Make a copy of the checkout as it stands, with the defect in it."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=root,
        check=True,
        stdout=subprocess.PIPE,
    ).stdout.decode()
    with TemporaryDirectory(prefix="mutant-", ignore_cleanup_errors=True) as folder:
        copy = Path(folder).resolve()
        for name in (*filter(None, listed.split("\0")), *BUILT):
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            with suppress(FileNotFoundError):  # deleted, perhaps this moment
                shutil.copy2(root / name, copy / name)
        if defect is not None:
            for path, text in planted(copy, defect).items():
                path.write_text(text, "utf-8")
        yield copy
