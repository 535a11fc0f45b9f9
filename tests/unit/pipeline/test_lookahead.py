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
