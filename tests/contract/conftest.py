"""The stores that every contract is tested with."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.ports import Lease
from tests.support.stores import STORES, OpenStore, open_store


@pytest.fixture(params=STORES)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[OpenStore]:
    async with open_store(request.param, tmp_path) as opened:
        yield opened


@pytest.fixture
async def lease(store: OpenStore) -> Lease:
    return await store.start()
