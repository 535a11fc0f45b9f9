"""Plans of misbehaviour."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mock_receiver.faults import Fault, Plan, PlanInvalid, read_plan

ATTEMPTS = range(1, 2001)


def test_a_plan_reads_as_it_is_written() -> None:
    text = "seed=7&attempts=2&delay_ms=5&retry_after=9&drop_after=@3,completed&ack_false=0.5"
    plan = read_plan(text)
    assert (plan.text, plan.seed, plan.attempts) == (text, 7, 2)
    assert (plan.delay_ms, plan.retry_after) == (5, 9)
    assert set(plan.faults) == {Fault.DROP_AFTER, Fault.ACK_FALSE}


def test_no_plan_means_no_faults() -> None:
    assert read_plan("") == Plan()
    assert read_plan("").at("i", "0", 1) == frozenset()


def test_a_named_place_is_hit_on_its_first_attempts_only() -> None:
    plan = read_plan("status_500=@3,completed&attempts=2")
    for place in ("3", "completed"):
        hits = [bool(plan.at("i", place, attempt)) for attempt in (1, 2, 3)]
        assert hits == [True, True, False]
    assert plan.at("i", "4", 1) == frozenset()


@given(st.integers(0, 10**9), st.text(max_size=10), st.integers(0, 99), st.integers(1, 99))
def test_a_decision_depends_on_seed_ingestion_place_and_attempt_alone(
    seed: int, ingestion: str, number: int, attempt: int
) -> None:
    text = f"seed={seed}&drop_after=0.5&garbage=0.5&ack_false=0.5"
    first = read_plan(text).at(ingestion, str(number), attempt)
    read_plan.cache_clear()
    assert read_plan(text).at(ingestion, str(number), attempt) == first


def test_a_probability_is_met_on_the_whole_and_differs_by_seed() -> None:
    def hits(seed: int) -> list[bool]:
        plan = read_plan(f"seed={seed}&drop_after=0.25")
        return [bool(plan.at("i", "0", attempt)) for attempt in ATTEMPTS]

    assert 0.2 < sum(hits(1)) / len(ATTEMPTS) < 0.3
    assert hits(1) != hits(2)


def test_faults_are_drawn_independently_of_each_other() -> None:
    plan = read_plan("drop_after=0.5&ack_false=0.5")
    drawn = {plan.at("i", "0", attempt) for attempt in ATTEMPTS}
    assert len(drawn) == 4


@pytest.mark.parametrize(("chance", "hit"), [("0", False), ("1", True), ("0.0", False)])
def test_the_ends_of_the_scale_mean_never_and_always(chance: str, hit: bool) -> None:
    plan = read_plan(f"drop_after={chance}")
    assert {bool(plan.at("i", "0", attempt)) for attempt in ATTEMPTS} == {hit}


@pytest.mark.parametrize(
    "text",
    [
        "drop_after=",
        "drop_after=2",
        "drop_after=-0.1",
        "drop_after=nan",
        "drop_after=x",
        "drop_after=@",
        "drop_after=@3,",
        "drop_after=@started",
        "seed=x",
        "seed=-1",
        "delay_ms=1.5",
        "drop_aftr=0.1",
    ],
)
def test_a_plan_that_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(PlanInvalid):
        read_plan(text)


def test_other_parameters_of_a_callback_url_are_none_of_our_business() -> None:
    assert read_plan("token=abc&drop_after=1", strict=False).faults.keys() == {Fault.DROP_AFTER}
