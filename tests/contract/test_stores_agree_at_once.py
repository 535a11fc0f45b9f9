"""The same two stores as in ``test_stores_agree.py``, without SQLite's threads, often.

Each call is done when it is asked for, on the connections that the simulation has too. As many
examples as are wanted: ``ACKLINE_STORE_EXAMPLES=50000``.
"""

import os
from collections.abc import Coroutine
from typing import Any, TypeVar, cast

import pytest
from hypothesis import settings

from tests.contract.test_stores_agree import LEASE_S, Service, StoresAgree
from tests.simulation.database import database
from tests.simulation.rows import LEASE_S as SIMULATED_LEASE_S
from tests.simulation.rows import SqliteHold
from tests.simulation.virtual import Time, at_once
from tests.support.stores import OpenStore

T = TypeVar("T")

EXAMPLES = int(os.environ.get("ACKLINE_STORE_EXAMPLES", "2000"))

pytestmark = pytest.mark.timeout(60 + EXAMPLES // 4)

assert SIMULATED_LEASE_S == LEASE_S


class StoresAgreeAtOnce(StoresAgree):
    def __init__(self) -> None:
        self._database = database()
        super().__init__()

    def run(self, asking: Coroutine[Any, Any, T]) -> T:
        return at_once(asking)

    def started(self) -> Service:
        time = cast("Time", _Uptime(self))
        hold = SqliteHold(self._database, clock=self._clock, time=time)
        store = OpenStore(hold.ledger, hold.catalog, self._clock)
        return Service(store, end=hold.leave, die=hold.die)


class _Uptime:
    """Seconds since boot, as the test has them."""

    def __init__(self, machine: StoresAgree) -> None:
        self._machine = machine

    @property
    def now(self) -> float:
        return self._machine._uptime


TestStoresAgreeAtOnce = StoresAgreeAtOnce.TestCase
TestStoresAgreeAtOnce.settings = settings(
    max_examples=EXAMPLES, stateful_step_count=30, deadline=None, print_blob=True
)
