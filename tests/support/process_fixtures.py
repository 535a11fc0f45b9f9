"""Fixtures: a strict receiver, and services that end with the test whatever happens."""

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
def receivers(tmp_path: Path, stack: ExitStack) -> Callable[..., Receiver]:
    """Start a receiver with options of its own."""

    def start(*options: str, seed: int | None = None) -> Receiver:
        return stack.enter_context(Receiver(tmp_path, *options, seed=seed))

    return start


@pytest.fixture
def receiver(receivers: Callable[..., Receiver]) -> Receiver:
    return receivers()


@pytest.fixture
def service(tmp_path: Path, stack: ExitStack, receiver: Receiver) -> Service:
    return stack.enter_context(Service(tmp_path, receiver.address))


@pytest.fixture
def another(tmp_path: Path, stack: ExitStack) -> Callable[..., Service]:
    """Start one more service on the same database."""

    def start(receiver: Receiver, **settings: str) -> Service:
        return stack.enter_context(Service(tmp_path, receiver.address, **settings))

    return start
