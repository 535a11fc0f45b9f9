"""Workbooks as text that a fuzzer can change: the parts one after the other, not yet zipped."""

import io
import zipfile
from collections.abc import Mapping

SEPARATOR = b"\n%%% "


def packed(parts: Mapping[str, str | bytes]) -> bytes:
    """Write parts one after the other, each below its name."""
    return b"".join(
        SEPARATOR + name.encode() + b"\n" + (part.encode() if isinstance(part, str) else part)
        for name, part in parts.items()
    )


def unpacked(content: bytes) -> dict[str, bytes]:
    """Read what `packed` wrote, whatever became of it."""
    parts: dict[str, bytes] = {}
    for section in content.split(SEPARATOR)[1:]:
        name, _, part = section.partition(b"\n")
        parts[name.decode("latin-1")[:200]] = part
    return parts


def zipped(parts: Mapping[str, bytes]) -> bytes:
    """Return the container, the parts not compressed: that takes most of the time."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as package:
        for name, part in parts.items():
            package.writestr(zipfile.ZipInfo(name), part)
    return file.getvalue()
