"""A pytest plugin inside a copy: proves whose code is tested, and writes down what failed."""

import os
from pathlib import Path

import pytest

import app
import mock_receiver

FAILED = "MUTANT_FAILED"
"""Variable: the file that gets the node id of each test that failed, a line each."""


def pytest_configure(config: pytest.Config) -> None:
    """Stop where another checkout would be tested than the one that pytest was started in."""
    for package in (app, mock_receiver):
        if not Path(package.__file__ or "").is_relative_to(Path.cwd()):
            raise pytest.UsageError(f"{package.__name__} is that of {package.__file__}")


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Note a failure in the test, or in what it needs."""
    if report.failed:
        with Path(os.environ[FAILED]).open("a", encoding="utf-8") as file:
            file.write(report.nodeid + "\n")
