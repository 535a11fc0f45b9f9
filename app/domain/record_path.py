"""Which array of a document holds the records: the text of a path, and what it means."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from app.domain.errors import DecodeCode, DecodeError

WHOLE: Final = "$"
"""The path that makes the whole document one record."""

_SOLE: Final = "$."

_PART = re.compile(r"((?:[^.\\]|\\.)*)(\.|$)", re.DOTALL)
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordPath:
    """Members to follow from the top; arrays on the way are passed through."""

    members: tuple[str, ...] = ()
    """Empty: the top-level array."""

    whole: bool = False
    """The document is one record; there are no members."""

    sole: bool = False
    """No other array of objects may be in the document.

    Detection says this of what it finds, because it only reads as far as the first one.
    It must hold to the end, also after a resume, so it is written in the path: ``$.a.b``
    is ``a.b`` and nothing beside it. A person may write it too.
    """


def parse_path(text: str) -> RecordPath:
    r"""Read ``a.b``, ``$.a.b`` or ``$``; ``\.`` is a dot and ``\$`` a dollar in a name.

    Raises
    ------
    DecodeError
        ``OPTION_INVALID``: it ends in a single backslash.
    """
    if text == WHOLE:
        return RecordPath(whole=True)
    sole = text.startswith(_SOLE)
    rest = text.removeprefix(_SOLE)
    members: list[str] = []
    at = 0
    while True:
        part = _PART.match(rest, at)
        if part is None:
            raise DecodeError(
                DecodeCode.OPTION_INVALID,
                f"options.record_path ends in the middle of an escape: {text[:200]!r}",
                remedy="Write a backslash in a name as two.",
            )
        members.append(_ESCAPE.sub(r"\1", part[1]))
        if not part[2]:
            return RecordPath(members=tuple(members), sole=sole)
        at = part.end()


def path_text(members: Sequence[str]) -> str:
    """Write members as a path that `parse_path` reads back."""
    names = [re.sub(r"([.\\])", r"\\\1", name) for name in members]
    if names and names[0].startswith(WHOLE):
        names[0] = "\\" + names[0]
    return ".".join(names)


def sole_path_text(members: Sequence[str]) -> str:
    """Write members as the path of the only array of objects in the document."""
    return _SOLE + path_text(members)


def ambiguous(paths: Sequence[str]) -> DecodeError:
    """Return the error for a document with more than one array of objects."""
    return DecodeError(
        DecodeCode.AMBIGUOUS_RECORDS,
        "more than one array of objects could be the records: "
        + ", ".join(repr(path[:200]) for path in paths[:10]),
        remedy="Name the one to ingest in options.record_path.",
    )
