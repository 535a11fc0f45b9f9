"""Run tests in a copy of the checkout, and say what became of them."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.mutants.planting import ROOT, Defect, copy_of
from tests.mutants.witness import FAILED

TRIAL_S_MAX = 3600.0
"""A run of tests that takes longer has proven nothing. The whole suite takes a quarter of it."""

GREEN, RED = 0, 1
"""Exit statuses of pytest: all passed, some failed. Any other one means that it did not test."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What came of running tests in a copy."""

    status: int
    """Exit status of pytest; negative when it was killed."""

    failed: Sequence[str]
    """Node ids, in the order in which they failed."""

    seconds: float
    output: str

    @property
    def is_red(self) -> bool:
        """Tell whether tests were run and failed."""
        return self.status == RED and bool(self.failed)


def try_out(
    defect: Defect | None, tests: Sequence[str], *, root: Path = ROOT, to_the_end: bool = False
) -> Trial:
    """Run ``tests`` in a copy of ``root`` that has the defect, up to the first that fails."""
    began = time.monotonic()
    with (
        copy_of(root, defect) as copy,
        TemporaryDirectory(prefix="mutant-told-") as folder,
        (Path(folder) / "output").open("w+b") as output,
    ):
        told = Path(folder) / "failed"
        told.touch()
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
        command += ["-p", "tests.mutants.witness", *([] if to_the_end else ["-x"]), *tests]
        # The path for children too that are started elsewhere: an installed copy comes after it.
        environment = os.environ | {"PYTHONPATH": str(copy), FAILED: str(told)}
        with subprocess.Popen(
            command,
            cwd=copy,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        ) as process:
            try:
                status = process.wait(TRIAL_S_MAX)
            except subprocess.TimeoutExpired:
                status = -signal.SIGKILL
            finally:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
        output.seek(0)
        return Trial(
            status=status,
            failed=told.read_text("utf-8").splitlines(),
            seconds=time.monotonic() - began,
            output=output.read().decode("utf-8", "replace"),
        )
