"""20,000 schedules: the service is killed, cut off, lied to and starved, and nothing breaks.

One that fails prints its trace and the command that shows it alone. More of them: make soak.
"""

import pytest

from tests.simulation.soak import run_all, told

RANGE = 250
RANGES = 80


@pytest.mark.parametrize("first", range(0, RANGE * RANGES, RANGE))
def test_nothing_is_lost_doubled_reordered_or_left_hanging(first: int) -> None:
    tally = run_all(range(first, first + RANGE), broken_max=1)
    for seed in tally.broken:
        pytest.fail(f"seed {seed}\n{told(seed)}", pytrace=False)
    assert tally.schedules == RANGE
    # A schedule in which nothing is ever delivered would prove nothing.
    assert tally.states["COMPLETED"] > RANGE / 2
