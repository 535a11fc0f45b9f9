"""Every test of a text decoder runs twice: with the compiled loops, and without them."""

from collections.abc import Iterator

import pytest

from app.decoders import native

TEXT_FORMATS = ("test_json", "test_ndjson", "test_csv")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if metafunc.module.__name__.rpartition(".")[2].startswith(TEXT_FORMATS):
        metafunc.fixturenames.append("loops")
        metafunc.parametrize("loops", ["compiled", "python"], indirect=True, scope="module")


@pytest.fixture(scope="module")
def loops(request: pytest.FixtureRequest) -> Iterator[None]:
    if request.param == "compiled":
        if not native.is_compiled():
            pytest.skip("the decoders were not compiled: there was no C compiler at `make setup`")
        yield
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(native, "_library", None)
        yield
