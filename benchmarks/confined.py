"""A memory limit that the kernel keeps: a control group around a process and its children.

``python -m benchmarks.confined FOLDER MODULE …`` enters the group and becomes the module, so
that not a page of it was counted elsewhere. Above the limit the kernel takes page cache
back, and then kills.
"""

import os
import runpy
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex

_ROOTS = (Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup"))
"""Version 1 of control groups, and version 2, which has no folder for memory alone."""

_LIMITS = ("memory.limit_in_bytes", "memory.max")
_SWAP = ("memory.swappiness", "memory.swap.max")
"""Set to 0: what is swapped out counts elsewhere."""

_MEMBERS = "cgroup.procs"


class CannotConfine(Exception):
    """This machine lets nobody here make a control group with a memory limit."""


@contextmanager
def group(limit_mb: int) -> Iterator[Path]:
    """Make a group whose members take at most ``limit_mb`` (10⁶ bytes) together."""
    folder = next((root for root in _ROOTS if root.is_dir()), _ROOTS[0]) / f"bench-{token_hex(4)}"
    try:
        folder.mkdir()
        limit = next(folder / name for name in _LIMITS if (folder / name).exists())
        limit.write_text(str(limit_mb * 1_000_000))
        for swap in _SWAP:
            if (folder / swap).exists():
                (folder / swap).write_text("0")
    except (OSError, StopIteration) as error:
        if folder.is_dir():
            folder.rmdir()
        raise CannotConfine(f"no control group with a memory limit can be made: {error}") from error
    try:
        yield folder
    finally:
        folder.rmdir()


if __name__ == "__main__":
    members, module = sys.argv[1:3]
    Path(members, _MEMBERS).write_text(str(os.getpid()))
    del sys.argv[:2]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
