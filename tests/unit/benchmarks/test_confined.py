"""A limit that the kernel keeps is kept."""

import subprocess
import sys

import pytest

from benchmarks import confined


@pytest.mark.parametrize(("takes_mb", "status"), [(1, 0), (400, -9)])
def test_what_takes_more_than_its_group_may_is_killed(takes_mb: int, status: int) -> None:
    try:
        with confined.group(100) as group:
            module = [sys.executable, "-m", "benchmarks.confined", str(group)]
            done = subprocess.run(
                [*module, "timeit", "-n1", "-r1", f"b'x' * {takes_mb}_000_000"], check=False
            )
    except confined.CannotConfine as reason:
        pytest.skip(f"*** not tested here: {reason} ***")
    assert done.returncode == status
