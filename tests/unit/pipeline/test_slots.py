"""So many at once; who waited longest is next; none is lost."""

import asyncio
import random
from datetime import timedelta

import pytest

from app.pipeline.slots import Slot, Slots
from tests.support.builders import LONG_AGO
from tests.support.clocks import quiet


async def test_the_oldest_gets_the_next_one() -> None:
    slots = Slots(1)
    assert slots.reserve() == 1
    got: list[int] = []

    async def take(age: int) -> None:
        await slots.take(LONG_AGO + timedelta(days=age))
        got.append(age)

    tasks = [asyncio.ensure_future(take(age)) for age in (3, 1, 2)]
    for _ in tasks:
        await quiet()
        slots.release()
    await asyncio.gather(*tasks)

    assert got == [1, 2, 3]


async def test_what_is_claimed_anew_goes_after_those_who_wait() -> None:
    slots = Slots(2)
    assert slots.reserve() == 2
    waits = asyncio.ensure_future(slots.take(LONG_AGO))
    await quiet()

    slots.unreserve(2)

    assert slots.reserve() == 1
    await waits


async def test_only_a_slot_that_nobody_asked_for_wakes_who_claims() -> None:
    slots = Slots(2)
    slots.unreserve(slots.reserve())
    assert not slots.freed.is_set()
    slots.reserve()
    waits = asyncio.ensure_future(slots.take(LONG_AGO))
    await quiet()
    slots.release()
    assert not slots.freed.is_set()

    slots.release()

    assert slots.freed.is_set()
    await waits


@pytest.mark.parametrize("seed", range(100))
async def test_no_slot_is_lost_or_made_whoever_gives_up_when(seed: int) -> None:
    plan, slots = random.Random(seed), Slots(3)
    held = [Slot(slots, LONG_AGO) for _ in range(slots.reserve())]
    for slot in held:
        slot.release()
        slot.release()  # what is given back already stays so

    async def work(slot: Slot) -> None:
        try:
            await slot.take()
            running.add(slot)
            assert len(running) <= 3
            for _ in range(plan.randrange(5)):
                await asyncio.sleep(0)
        finally:
            running.discard(slot)
            slot.release()

    running: set[Slot] = set()
    tasks = []
    for age in range(20):
        slot = Slot(slots, LONG_AGO + timedelta(seconds=age))
        slot._held = False  # as of a run that gave its place up
        tasks.append(asyncio.ensure_future(work(slot)))
        await quiet(plan.randrange(3))
        if plan.random() < 0.3:
            plan.choice(tasks).cancel()
    await asyncio.wait(tasks)

    assert slots.reserve() == 3
