"""Every error that a caller can cause has a status of its own."""

from collections.abc import Iterator

import pytest

from app.api.problems import PROBLEMS
from app.domain.errors import (
    DiskLow,
    IngestError,
    NotReady,
    RequestError,
    SourceCode,
    StoreUnavailable,
)


def kinds(error: type[IngestError]) -> Iterator[type[IngestError]]:
    yield error
    for child in error.__subclasses__():
        yield from kinds(child)


@pytest.mark.parametrize("error", [*kinds(RequestError), NotReady, DiskLow, StoreUnavailable])
def test_every_request_error_is_listed(error: type[IngestError]) -> None:
    assert error.code in PROBLEMS


@pytest.mark.parametrize("code", list(SourceCode))
def test_every_reason_that_a_source_is_refused_for_is_listed(code: SourceCode) -> None:
    assert code in PROBLEMS


def test_only_passing_faults_are_5xx() -> None:
    failing = {code for code, kind in PROBLEMS.items() if kind.status >= 500}
    assert failing == {
        "SOURCE_UNAVAILABLE",
        "NOT_READY",
        "DISK_LOW",
        "STORE_UNAVAILABLE",
        "INTERNAL",
    }
