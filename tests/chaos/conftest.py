"""What these tests run against: real processes."""

import pytest

from tests.support.process_fixtures import another, receiver, receivers, service, stack

__all__ = ["another", "receiver", "receivers", "service", "stack"]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say aloud which faults were not tested here."""
    for skipped in terminalreporter.stats.get("skipped", []):
        if isinstance(skipped.longrepr, tuple) and "NOT TESTED" in skipped.longrepr[2]:
            terminalreporter.write_line(skipped.longrepr[2], red=True)
