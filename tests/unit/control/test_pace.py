"""Rates and estimates: right, or not there."""

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.control.pace import pace_of
from app.domain.ingestion import LIVE, Ingestion, State
from tests.support.builders import LONG_AGO, a_fingerprint, an_ingestion


def at(
    position: int, *, size: int = 1000, records: int = 0, seconds: float | None = 10.0
) -> Ingestion:
    ingestion = an_ingestion(fingerprint=a_fingerprint(size=size))
    progress = replace(ingestion.progress, position=position, records_delivered=records)
    acked_at = None if seconds is None else LONG_AGO + timedelta(seconds=seconds)
    return replace(ingestion, progress=progress, started_at=LONG_AGO, acked_at=acked_at)


def test_the_rate_is_over_the_time_from_the_start_to_the_last_ack() -> None:
    pace = pace_of(at(250, records=50), now=LONG_AGO + timedelta(seconds=14))

    assert (pace.fraction, pace.bytes_per_s, pace.records_per_s) == (0.25, 25.0, 5.0)
    assert (pace.eta_s, pace.ack_age_s) == (30.0, 4.0)


def test_before_the_first_ack_nothing_is_guessed() -> None:
    pace = pace_of(at(0, seconds=None), now=LONG_AGO)

    assert (pace.bytes_per_s, pace.records_per_s, pace.eta_s, pace.ack_age_s) == (None,) * 4


def test_a_clock_set_back_gives_no_negative_rate() -> None:
    pace = pace_of(at(500, seconds=-5.0), now=LONG_AGO - timedelta(seconds=60))

    assert (pace.bytes_per_s, pace.eta_s, pace.ack_age_s) == (None, None, 0.0)


@pytest.mark.parametrize("state", [state for state in State if state is not State.RUNNING])
def test_only_what_runs_has_an_estimate(state: State) -> None:
    pace = pace_of(replace(at(500), state=state), now=LONG_AGO)

    assert pace.eta_s is None
    assert (pace.ack_age_s is not None) == (state in LIVE)


@pytest.mark.parametrize(
    "state", [state for state in State if state not in (State.COMPLETING, State.COMPLETED)]
)
def test_what_is_not_completed_is_never_shown_as_whole(state: State) -> None:
    """Every byte may be acknowledged and the completion refused."""
    pace = pace_of(replace(at(1000), state=state), now=LONG_AGO)

    assert pace.fraction < 1.0
    assert f"{pace.fraction:.1%}" != "100.0%"


def test_an_empty_file_is_whole_once_it_is_completed() -> None:
    empty = at(0, size=0, seconds=None)

    assert pace_of(empty, now=LONG_AGO).fraction == 0.0
    assert pace_of(replace(empty, state=State.COMPLETED), now=LONG_AGO).fraction == 1.0


@given(
    position=st.integers(0, 2**40),
    size=st.integers(0, 2**40),
    seconds=st.floats(-1e6, 1e6),
    age=st.floats(-1e6, 1e6),
)
def test_no_number_is_ever_negative_or_above_the_whole(
    position: int, size: int, seconds: float, age: float
) -> None:
    pace = pace_of(at(position, size=size, seconds=seconds), now=LONG_AGO + timedelta(seconds=age))

    assert 0.0 <= pace.fraction <= 1.0
    for number in (pace.bytes_per_s, pace.records_per_s, pace.eta_s, pace.ack_age_s):
        assert number is None or number >= 0.0
