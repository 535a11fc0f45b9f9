"""One thing ahead, if there is memory for it."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest

from app.pipeline.lookahead import Lookahead


class Numbers:
    """Counts how many of its things were asked for."""

    def __init__(self) -> None:
        self.asked = 0

    async def generate(self) -> AsyncGenerator[int, None]:
        for n in range(5):
            self.asked += 1
            yield n
        raise LookupError("no more")


async def doubled(n: int) -> int:
    return 2 * n


@pytest.mark.parametrize("spare", [False, True])
async def test_a_thing_is_asked_for_ahead_only_while_there_is_memory_to_spare(spare: bool) -> None:
    numbers = Numbers()
    async with (
        aclosing(numbers.generate()) as things,
        Lookahead(things, prepare=doubled, spare=lambda: spare) as ahead,
    ):
        for n in range(5):
            assert await ahead.take() == 2 * n
            await asyncio.sleep(0)
            assert ahead.ready() == (2 * (n + 1) if spare and n < 4 else None)
            assert numbers.asked == min(5, n + 1 + spare)
        with pytest.raises(LookupError):
            await ahead.take()


async def test_the_thing_after_it_is_asked_for_when_the_rest_is_over() -> None:
    numbers, is_over = Numbers(), asyncio.Event()
    rests: list[float] = []

    async def sleep(seconds: float) -> None:
        rests.append(seconds)
        await is_over.wait()

    async with (
        aclosing(numbers.generate()) as things,
        Lookahead(things, prepare=doubled, sleep=sleep) as ahead,
    ):
        assert await ahead.take(rest_s=0.5) == 0
        for _ in range(20):
            await asyncio.sleep(0)
        assert (numbers.asked, rests, ahead.ready()) == (1, [0.5], None)
        is_over.set()
        assert await ahead.take() == 2
        assert await ahead.take() == 4
        assert rests == [0.5]
