"""When the next message is made."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from app.domain.chunk import ChunkRef
from app.domain.delivery import Message, Reply
from app.pipeline.deliver import SENT_S
from app.ports import Lease
from tests.unit.pipeline.bench import Bench, CountingReader


@pytest.mark.parametrize(("takes_s", "ahead"), [(0.0, 2), (0.02, 1)])
async def test_a_quick_receivers_next_message_but_one_is_made_during_the_commit(
    tmp_path: Path, takes_s: float, ahead: int
) -> None:
    """A slow one's is made while it works: made then, it would hold up the next request."""
    bench = Bench(tmp_path)
    bench.reader = reader = CountingReader(bench.reader)
    post, commit = bench.receiver.post, bench.store.ledger.commit
    given: list[int] = []

    async def slow_post(message: Message, *, attempt: int) -> Reply:
        for _ in range(20):
            await asyncio.sleep(0)
        bench.clock.advance(takes_s)
        return await post(message, attempt=attempt)

    async def slow_commit(lease: Lease, ref: ChunkRef, **more: Any) -> None:
        for _ in range(20):
            await asyncio.sleep(0)
        given.append(reader.chunks - ref.number - 1)
        await commit(lease, ref, **more)

    bench.receiver.post = slow_post  # type: ignore[method-assign]
    bench.store.ledger.commit = slow_commit  # type: ignore[method-assign]
    await bench.run()

    bench.assert_all_arrived_once()
    assert given == [min(ahead, 3 - number) for number in range(4)]


@pytest.mark.parametrize(("takes_s", "rests"), [(0.0, 0), (0.02, 3)])
async def test_a_slow_receivers_request_goes_out_before_the_next_chunk_is_asked_for(
    tmp_path: Path, takes_s: float, rests: int
) -> None:
    """Of four chunks, the first goes to a receiver that nobody knows yet."""
    bench = Bench(tmp_path)
    post, sleep = bench.receiver.post, bench.clock.sleep
    rested: list[float] = []

    async def slow_post(message: Message, *, attempt: int) -> Reply:
        await asyncio.sleep(0)
        bench.clock.advance(takes_s)
        return await post(message, attempt=attempt)

    async def noted_sleep(seconds: float) -> None:
        rested.append(seconds)
        await sleep(seconds)

    bench.receiver.post = slow_post  # type: ignore[method-assign]
    bench.clock.sleep = noted_sleep  # type: ignore[method-assign]
    await bench.run()

    bench.assert_all_arrived_once()
    assert rested == [SENT_S] * rests
