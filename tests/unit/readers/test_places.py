"""Who gets a place, and who loses one."""

import asyncio

import pytest

from app.readers import places
from app.readers.places import Place, Places

FOREVER_S = 3600.0


class Tenant:
    """Holds a place until it is taken back."""

    def __init__(self, name: str = "") -> None:
        self.name = name
        self.place = Place(vacate=self._vacate)
        self.is_in = False

    async def enter(self, offered: Places) -> None:
        await offered.take(self.place)
        self.is_in = True

    def _vacate(self) -> None:
        assert self.is_in
        self.is_in = False


async def settled() -> None:
    """Let everything run that can."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_no_more_have_a_place_than_there_are_and_the_others_come_in_order() -> None:
    offered, came = Places(2), []
    tenants = [Tenant(str(n)) for n in range(6)]

    async def stay(tenant: Tenant) -> None:
        await tenant.enter(offered)
        came.append(tenant.name)

    async with asyncio.TaskGroup() as tasks:
        for tenant in tenants:
            tasks.create_task(stay(tenant))
        for n in range(6):
            await settled()
            assert came == list("012345"[: n + 2])
            offered.leave(tenants[n].place)


async def test_the_one_that_is_idle_for_the_longest_makes_room() -> None:
    offered = Places(3)
    first, second, third, late = (Tenant(name) for name in "1234")
    for tenant in (first, second, third):
        await tenant.enter(offered)
    offered.rest(second.place, -2.0)
    offered.rest(first.place, -1.0)
    offered.rest(third.place, FOREVER_S)

    await late.enter(offered)

    assert (first.is_in, second.is_in, third.is_in) == (True, False, True)


async def test_nobody_loses_a_place_that_nobody_needs() -> None:
    offered, tenant = Places(2), Tenant()
    await tenant.enter(offered)
    offered.rest(tenant.place, 0.0)
    await Tenant().enter(offered)

    assert tenant.is_in


async def test_a_place_is_kept_for_as_long_as_it_was_said_and_no_longer() -> None:
    offered, tenant = Places(1), Tenant()
    await tenant.enter(offered)
    loop = asyncio.get_running_loop()
    began = loop.time()
    offered.rest(tenant.place, 0.05)
    await Tenant().enter(offered)

    assert not tenant.is_in
    assert loop.time() - began >= 0.05


async def test_one_at_work_is_never_put_out_however_long_others_wait() -> None:
    offered, tenant = Places(1), Tenant()
    await tenant.enter(offered)
    offered.rest(tenant.place, FOREVER_S)
    offered.work(tenant.place)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(Tenant().enter(offered), 0.05)

    assert tenant.is_in


async def test_one_that_rests_while_others_wait_makes_room_when_its_time_has_come() -> None:
    offered, tenant, late = Places(1), Tenant(), Tenant()
    await tenant.enter(offered)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(late.enter(offered))
        await settled()
        assert tenant.is_in
        offered.rest(tenant.place, 0.0)

    assert (tenant.is_in, late.is_in) == (False, True)


@pytest.mark.parametrize("given", [False, True], ids=["before", "after"])
async def test_who_gives_up_waiting_before_or_after_it_was_given_takes_no_place_away(
    given: bool,
) -> None:
    offered, tenant, quitter = Places(1), Tenant(), Tenant()
    await tenant.enter(offered)
    waiting = asyncio.create_task(quitter.enter(offered))
    await settled()
    if given:
        offered.leave(tenant.place)
        waiting.cancel()
    else:
        waiting.cancel()
        await settled()
        offered.leave(tenant.place)
    await settled()
    assert waiting.cancelled()

    await asyncio.wait_for(Tenant().enter(offered), 1.0)


async def test_a_turn_is_over_only_when_it_was_long_and_somebody_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    offered, tenant = Places(1), Tenant()
    await tenant.enter(offered)
    monkeypatch.setattr(places, "TURN_S", 0.0)
    assert not offered.turn_is_over(tenant.place)

    waiting = asyncio.create_task(Tenant().enter(offered))
    await settled()
    assert offered.turn_is_over(tenant.place)
    monkeypatch.setattr(places, "TURN_S", FOREVER_S)
    assert not offered.turn_is_over(tenant.place)
    waiting.cancel()
