"""Receivers that are away: what waits costs nothing, and goes on when they are back."""

import gc
import tracemalloc
from itertools import pairwise
from pathlib import Path

import pytest

from app.domain.delivery import Answer
from app.domain.ingestion import State
from tests.support.receivers import LOST, Before, StrictReceiver
from tests.unit.pipeline.fleet import Fleet

DEAD, WELL = "dead.example", "well.example"


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return Fleet(tmp_path)


async def test_ingestions_to_a_dead_receiver_do_not_stop_one_to_a_healthy_one(
    fleet: Fleet,
) -> None:
    fleet.hosts.down.add(DEAD)
    dead = [await fleet.submit(DEAD, f"d{n}") for n in range(8)]
    async with fleet.open():
        await fleet.clock.run(10)
        assert await fleet.states(*dead) == [State.WAITING] * 8
        assert fleet.reader.open == []

        well = await fleet.submit(WELL, "w")
        await fleet.clock.run(1)

        assert await fleet.states(well) == [State.COMPLETED]
    fleet.assert_arrived("w")


async def test_a_dead_receiver_gets_one_request_at_a_time(fleet: Fleet) -> None:
    fleet.hosts.down.add(DEAD)
    async with fleet.open():
        for n in range(8):
            await fleet.submit(DEAD, f"d{n}")
        await fleet.clock.run(10)
        fleet.hosts.most_in_flight, fleet.hosts.sent = 0, []

        await fleet.clock.run(3600)

        assert fleet.hosts.most_in_flight == 1
        times = [time for time, _, _ in fleet.hosts.sent]
        assert 6 <= len(times) <= 20
        assert min(b - a for a, b in pairwise(times)) >= 30.0
        # In turn: nobody probes a second time before everyone probed once.
        assert len(set(fleet.hosts.sent_to(DEAD)[:6])) == 6


async def test_when_it_is_back_all_go_on_the_oldest_first_and_never_more_than_allowed(
    fleet: Fleet,
) -> None:
    fleet.hosts.down.add(DEAD)
    async with fleet.open():
        ids = [await fleet.submit(DEAD, f"d{n}") for n in range(8)]
        await fleet.clock.run(200)
        fleet.reader.most, fleet.reader.opened = 0, []
        fleet.hosts.down.clear()
        await fleet.clock.run(600)

        assert await fleet.states(*ids) == [State.COMPLETED] * 8
        assert fleet.reader.most <= 2
        prober, *others = dict.fromkeys(fleet.reader.opened)
        assert others == sorted(others)
        assert prober not in others
    fleet.assert_arrived(*(f"d{n}" for n in range(8)))


async def test_a_run_in_the_middle_of_its_attempts_stops_when_another_found_nobody(
    fleet: Fleet,
) -> None:
    fleet.hosts.down.add(DEAD)
    async with fleet.open():
        ids = [await fleet.submit(DEAD, name) for name in ("a", "b")]
        await fleet.clock.run(20)

        assert await fleet.states(*ids) == [State.WAITING] * 2
        assert len(fleet.hosts.sent) < 6  # 3 by the one, fewer by the other


async def test_who_goes_on_after_the_probe_of_another_has_all_its_attempts_again(
    fleet: Fleet,
) -> None:
    fleet.hosts.down.add(DEAD)
    async with fleet.open():
        ids = {name: await fleet.submit(DEAD, name) for name in ("a", "b")}
        await fleet.clock.run(20)
        sent = fleet.hosts.sent_to(DEAD)
        prober = "a" if _third(sent, "a") else "b"
        [other] = set(ids) - {prober}
        fleet.hosts.of[other] = StrictReceiver(script=[Before(LOST)])
        fleet.hosts.down.clear()
        while await fleet.states(ids[prober]) != [State.COMPLETED]:
            await fleet.clock.run(1)

        await fleet.clock.run(5)

        assert await fleet.states(ids[other]) == [State.COMPLETED]
    fleet.assert_arrived("a", "b")


def _third(sent: list[str], name: str) -> bool:
    """Tell whether this one was the first to spend its three attempts."""
    counts = {"a": 0, "b": 0}
    for one in sent:
        counts[one] += 1
        if counts[one] == 3:
            return one == name
    raise AssertionError(sent)


async def test_what_meets_a_dead_receiver_later_spends_no_attempt_on_it(fleet: Fleet) -> None:
    fleet.hosts.down.add(DEAD)
    async with fleet.open():
        await fleet.submit(DEAD, "first")
        await fleet.clock.run(10)
        assert fleet.hosts.sent_to(DEAD) == ["first"] * 3

        late = await fleet.submit(DEAD, "late")
        await fleet.clock.run(10)

        shown = await fleet.get(late)
        assert shown.state is State.WAITING
        assert shown.failure is not None
        assert shown.failure.code == "CONNECTION_FAILED"
        assert fleet.hosts.sent_to(DEAD) == ["first"] * 3
        assert "late" not in fleet.reader.opened


async def test_a_refusal_of_one_ingestion_holds_up_no_other(fleet: Fleet) -> None:
    fleet.hosts.replies = {
        "rejected": Answer(status=422),
        "locked": Answer(status=200, ack=False, error="LOCKED"),
        "nacked": Answer(status=200, ack=False),
    }
    async with fleet.open():
        ids = [await fleet.submit(WELL, name) for name in fleet.hosts.replies]
        await fleet.clock.run(60)
        fine = await fleet.submit(WELL, "fine")
        await fleet.clock.run(1)

        states = await fleet.states(*ids, fine)
        assert states == [State.FAILED, State.WAITING, State.WAITING, State.COMPLETED]


async def test_an_ingestion_that_breaks_its_receiver_holds_up_no_other_that_gets_answers(
    fleet: Fleet,
) -> None:
    fleet.hosts.replies = {"poison": Answer(status=500)}
    async with fleet.open():
        poison = await fleet.submit(WELL, "poison")
        await fleet.clock.run(20)
        assert await fleet.states(poison) == [State.WAITING]
        first = await fleet.submit(WELL, "first")
        await fleet.clock.run(200)  # it was taken for dead; the second probe shows it is not
        assert await fleet.states(first) == [State.COMPLETED]
        for n in range(20):
            quick = await fleet.submit(WELL, f"quick{n}")
            await fleet.clock.run(10)
            assert await fleet.states(quick) == [State.COMPLETED], n
        assert await fleet.states(poison) == [State.WAITING]
        fleet.hosts.replies = {}
        await fleet.clock.run(1200)
        assert await fleet.states(poison) == [State.COMPLETED]


async def test_a_probe_that_is_cancelled_leaves_the_next_one_to_another(fleet: Fleet) -> None:
    fleet.hosts.down.add(DEAD)
    async with fleet.open():
        first, second = [await fleet.submit(DEAD, name) for name in ("first", "second")]
        await fleet.clock.run(20)
        fleet.hosts.sent, fleet.hosts.hangs = [], {DEAD}
        await fleet.clock.run(60)
        [prober] = fleet.hosts.sent_to(DEAD)
        hanging, other = (first, second) if prober == "first" else (second, first)

        await fleet.store.catalog.request_cancel(hanging)
        fleet.hosts.hangs, fleet.hosts.down = set(), set()
        await fleet.clock.run(2)

        assert await fleet.states(hanging, other) == [State.ABORTED, State.COMPLETED]
        assert fleet.hosts.told == [f"{prober} ingestion.aborted"]


async def test_who_waits_can_be_cancelled_at_once(fleet: Fleet) -> None:
    fleet.hosts.down.add(DEAD)
    async with fleet.open():
        ids = [await fleet.submit(DEAD, f"d{n}") for n in range(3)]
        await fleet.clock.run(20)
        for one in ids:
            await fleet.store.catalog.request_cancel(one)
            await fleet.clock.run(0)
            assert await fleet.states(one) == [State.ABORTED]


async def test_all_who_waited_too_long_fail_whoever_probed(fleet: Fleet) -> None:
    fleet.hosts.down.add(DEAD)
    async with fleet.open():
        ids = [await fleet.submit(DEAD, f"d{n}") for n in range(30)]
        await fleet.clock.run(7200 + 900)

        assert await fleet.states(*ids) == [State.FAILED] * 30
        failures = [(await fleet.get(one)).failure for one in ids]
        assert {failure and failure.code for failure in failures} == {"WAIT_EXPIRED"}
        assert len(fleet.hosts.told) == 30
        assert fleet.hosts.most_in_flight <= 2  # a probe, and one that says its farewell


async def test_what_waits_outlives_a_restart_and_is_probed_one_at_a_time(fleet: Fleet) -> None:
    fleet.hosts.down.add(DEAD)
    async with fleet.open():
        ids = [await fleet.submit(DEAD, f"d{n}") for n in range(5)]
        await fleet.clock.run(20)
    claimable = [one.id for _, one in await fleet.store.ledger.claim(limit=9)]
    assert claimable == ids
    for one in ids:
        await _release(fleet, one)
    fleet.hosts.most_in_flight, fleet.hosts.sent, fleet.reader.opened = 0, [], []
    async with fleet.open():
        await fleet.clock.run(1)
        assert fleet.hosts.sent_to(DEAD) == ["d0"]
        assert fleet.reader.opened == ["d0"]
        fleet.hosts.down.clear()
        await fleet.clock.run(120)

        assert await fleet.states(*ids) == [State.COMPLETED] * 5
    fleet.assert_arrived(*(f"d{n}" for n in range(5)))


@pytest.mark.parametrize("status", [429, 503])
async def test_a_long_pause_that_a_receiver_asks_for_is_kept_and_holds_nothing(
    fleet: Fleet, status: int
) -> None:
    fleet.hosts.replies = {"busy": Answer(status=status, retry_after_s=1800.0)}
    async with fleet.open():
        busy = await fleet.submit(WELL, "busy")
        await fleet.clock.run(1790)
        shown = await fleet.get(busy)
        assert (shown.state, fleet.reader.open) == (State.WAITING, [])
        assert fleet.hosts.sent_to(WELL) == ["busy"]
        fleet.hosts.replies = {}
        await fleet.clock.run(15)
        assert await fleet.states(busy) == [State.COMPLETED]
    fleet.assert_arrived("busy")


async def test_a_probe_that_is_held_back_is_repeated_when_its_receiver_said(fleet: Fleet) -> None:
    fleet.hosts.down.add(DEAD)
    async with fleet.open():
        ids = [await fleet.submit(DEAD, f"d{n}") for n in range(2)]
        await fleet.clock.run(20)
        fleet.hosts.down.clear()
        fleet.hosts.replies = dict.fromkeys(("d0", "d1"), Answer(status=503, retry_after_s=1800.0))
        fleet.hosts.sent = []
        await fleet.clock.run(1700)
        assert len(fleet.hosts.sent) == 1
        fleet.hosts.replies = {}
        await fleet.clock.run(200)
        assert await fleet.states(*ids) == [State.COMPLETED] * 2


async def test_what_waits_with_its_completion_is_completed(fleet: Fleet) -> None:
    async with fleet.open():
        one = await fleet.submit(WELL, "one", records=0)
        fleet.hosts.down.add(DEAD)
        two = await fleet.submit(DEAD, "two", records=0)
        await fleet.clock.run(20)
        assert await fleet.states(one, two) == [State.COMPLETED, State.WAITING]
        fleet.hosts.down.clear()
        fleet.reader.opened = []
        await fleet.clock.run(120)
        assert await fleet.states(two) == [State.COMPLETED]
        assert fleet.reader.opened == []  # nothing has to be read for it


async def test_a_file_that_cannot_be_read_any_more_hands_its_probe_to_the_next(
    tmp_path: Path,
) -> None:
    """Also while its farewell to the receiver hangs."""
    fleet = Fleet(tmp_path, running_max=1)
    fleet.hosts.down.add(DEAD)
    async with fleet.open():
        broken, sound = [await fleet.submit(DEAD, name) for name in ("broken", "sound")]
        await fleet.clock.run(20)
        assert fleet.reader.opened == ["broken"]
        (tmp_path / "broken").write_text("other\n")
        fleet.hosts.down.clear()
        fleet.hosts.farewells_hang = True
        await fleet.clock.run(61)

        assert await fleet.states(broken, sound) == [State.FAILED, State.COMPLETED]
        fleet.hosts.release_farewells()


async def test_a_drain_stops_all_that_wait_at_once_and_gives_them_back(fleet: Fleet) -> None:
    fleet.hosts.down.add(DEAD)
    async with fleet.open():
        ids = [await fleet.submit(DEAD, f"d{n}") for n in range(20)]
        await fleet.clock.run(100)
        fleet.hosts.sent = []

    assert fleet.hosts.sent == []
    assert [one.id for _, one in await fleet.store.ledger.claim(limit=99)] == ids
    assert await fleet.states(*ids) == [State.WAITING] * 20


async def test_an_ingestion_that_waits_takes_a_few_kilobytes(fleet: Fleet) -> None:
    fleet.hosts.down.add(DEAD)
    tracemalloc.start()
    try:
        async with fleet.open():
            ids = [await fleet.submit(DEAD, f"d{n}", records=1_000) for n in range(30)]
            await fleet.clock.run(3600)
            assert await fleet.states(*ids) == [State.WAITING] * 30
            gc.collect()
            waiting, _ = tracemalloc.get_traced_memory()
        gc.collect()
        stopped, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert (waiting - stopped) / 30 < 8_000


async def _release(fleet: Fleet, ingestion_id: object) -> None:
    row = fleet.store._rows[ingestion_id]  # type: ignore[index]
    row.held = False
