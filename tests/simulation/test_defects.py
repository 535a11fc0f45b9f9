"""The simulation has teeth: each planted defect is found, and soon."""

import pytest

from tests.simulation.defects import DEFECTS, Defect, Edit, planted
from tests.simulation.soak import run, run_all

SEEDS = range(1_000_001, 1_002_001)
"""Where a defect must show itself."""


@pytest.mark.parametrize("defect", DEFECTS, ids=lambda defect: defect.name)
def test_a_planted_defect_is_found_within_two_thousand_schedules(defect: Defect) -> None:
    with planted(defect):
        tally = run_all(SEEDS, broken_max=1)
    assert tally.broken, f"{tally.schedules} schedules, and nobody noticed"


def test_what_was_planted_is_gone_afterwards() -> None:
    seed = next(iter(SEEDS))
    with planted(DEFECTS[0]):
        pass
    assert run(seed).accusations == []


def test_a_defect_that_no_longer_fits_the_source_is_an_error() -> None:
    defect = Defect("nowhere", [Edit(run_all, "no such line", "")])
    with pytest.raises(AssertionError, match="no place"), planted(defect):
        pass
