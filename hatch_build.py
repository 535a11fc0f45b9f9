"""Compile the decoders' inner loops when the package is installed or built.

A C compiler is all it takes, and none is needed: without one the decoders do the same work
in Python. ``CC`` names another compiler; ``ACKLINE_NATIVE=0`` leaves it out, ``=1`` makes a
failure an error.
"""

import os
import shlex
import shutil
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FOLDER = Path(__file__).parent / "app" / "decoders" / "native"
LIBRARY = FOLDER / "_scan.so"
FLAGS = ["-std=c11", "-O2", "-fPIC", "-shared", "-fvisibility=default"]


def compile_library() -> str | None:
    """Compile; return what stood in the way, if anything did."""
    LIBRARY.unlink(missing_ok=True)
    compiler = shlex.split(os.environ.get("CC") or "cc")
    if not shutil.which(compiler[0]):
        return f"there is no C compiler {compiler[0]!r}"
    sources = [str(path) for path in sorted(FOLDER.glob("*.c"))]
    partial = LIBRARY.with_suffix(".partial")
    done = subprocess.run(  # noqa: S603 - the compiler that the person building chose
        [*compiler, *FLAGS, "-o", str(partial), *sources],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        partial.unlink(missing_ok=True)
        return done.stderr.strip() or f"{compiler[0]} ended with status {done.returncode}"
    partial.replace(LIBRARY)  # a process that has the old one mapped keeps it
    return None


class CustomBuildHook(BuildHookInterface):  # type: ignore[type-arg]
    """Called by the build backend."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Put the library into a wheel, or beside its source in the working tree."""
        if self.target_name != "wheel":
            return
        wish = os.environ.get("ACKLINE_NATIVE", "")
        problem = "ACKLINE_NATIVE=0" if wish == "0" else compile_library()
        if problem is None:
            build_data["pure_python"] = False
            platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
            build_data["tag"] = f"py3-none-{platform}"
            build_data["artifacts"].append("app/decoders/native/_scan.so")
            return
        if wish == "1":
            raise RuntimeError(f"the decoders could not be compiled: {problem}")
        self.app.display_warning(f"The decoders stay in Python, which is slower: {problem}")
