"""How many submissions are taken, in time and by free space."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.control.admission import Admission, AdmissionPolicy
from app.domain.access import ANONYMOUS, Caller, Scope
from app.domain.errors import DiskLow, LimitReached
from tests.support.clocks import ManualClock

ONE, OTHER = (Caller(name=name, scope=Scope.INGEST) for name in ("one", "other"))


async def taken(admission: Admission, caller: Caller, tries: int) -> int:
    count = 0
    for _ in range(tries):
        try:
            await admission.admit(caller)
        except LimitReached:
            continue
        count += 1
    return count


async def test_a_minute_s_worth_may_come_at_once_and_then_as_fast_as_it_grows_again() -> None:
    clock = ManualClock()
    admission = Admission(clock=clock, policy=AdmissionPolicy(per_minute=30))

    assert await taken(admission, ONE, 50) == 30
    clock.advance(2)
    assert await taken(admission, ONE, 50) == 1
    clock.advance(3600)
    assert await taken(admission, ONE, 50) == 30


async def test_one_caller_does_not_use_up_what_another_may() -> None:
    admission = Admission(clock=ManualClock(), policy=AdmissionPolicy(per_minute=2))

    assert await taken(admission, ONE, 5) == 2
    assert await taken(admission, OTHER, 5) == 2


async def test_who_waits_as_long_as_told_is_taken() -> None:
    clock = ManualClock()
    admission = Admission(clock=clock, policy=AdmissionPolicy(per_minute=7))
    await taken(admission, ONE, 7)
    with pytest.raises(LimitReached) as refusal:
        await admission.admit(ONE)

    assert (refusal.value.code, refusal.value.retry_after_s) == ("RATE_LIMIT", 9)
    clock.advance(refusal.value.retry_after_s - 1)
    assert await taken(admission, ONE, 1) == 0
    clock.advance(1)
    assert await taken(admission, ONE, 1) == 1


async def test_without_keys_there_is_no_one_to_hold_back() -> None:
    admission = Admission(clock=ManualClock(), policy=AdmissionPolicy(per_minute=1))
    assert await taken(admission, ANONYMOUS, 20) == 20


@given(
    per_minute=st.integers(1, 100),
    steps=st.lists(st.tuples(st.floats(0, 200), st.integers(1, 30)), max_size=10),
)
async def test_no_rhythm_gets_more_than_the_rate_and_one_burst(
    per_minute: int, steps: list[tuple[float, int]]
) -> None:
    clock = ManualClock()
    admission = Admission(clock=clock, policy=AdmissionPolicy(per_minute=per_minute))
    count = 0
    for pause_s, tries in steps:
        clock.advance(pause_s)
        count += await taken(admission, ONE, tries)

    elapsed_s = sum(pause_s for pause_s, _ in steps)
    assert count <= per_minute + elapsed_s * per_minute / 60 + 1e-6


async def test_below_the_low_water_mark_nothing_is_begun() -> None:
    free = 1000
    admission = Admission(
        clock=ManualClock(),
        policy=AdmissionPolicy(disk_free_bytes_min=1000),
        disk_free_bytes=lambda: free,
    )
    await admission.admit(ONE)
    free = 999
    with pytest.raises(DiskLow, match="999 bytes are free") as refusal:
        await admission.admit(ONE)
    assert refusal.value.retryable


async def test_a_disk_that_cannot_be_asked_counts_as_full() -> None:
    def gone() -> int:
        raise OSError(5, "Input/output error")

    with pytest.raises(DiskLow, match="Input/output error"):
        await Admission(clock=ManualClock(), disk_free_bytes=gone).check_disk()
