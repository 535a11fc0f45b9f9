"""A receiver, and services around it, that end with the test whatever happens."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.processes import Receiver, Service


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


@pytest.fixture
def receiver(tmp_path: Path, stack: ExitStack) -> Receiver:
    return stack.enter_context(Receiver(tmp_path))


@pytest.fixture
def service(tmp_path: Path, stack: ExitStack, receiver: Receiver) -> Service:
    return stack.enter_context(Service(tmp_path, receiver.address))


@pytest.fixture
def another(tmp_path: Path, stack: ExitStack) -> Callable[..., Service]:
    """Start one more service on the same database."""

    def start(receiver: Receiver, **settings: str) -> Service:
        return stack.enter_context(Service(tmp_path, receiver.address, **settings))

    return start
