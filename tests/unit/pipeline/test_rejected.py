"""Records that an ACK refuses by name (contract 5.3)."""

from dataclasses import replace

import pytest

from app.domain.dead_letter import DeadLetter
from app.domain.delivery import Answer, Rejection
from app.domain.events import RecordsRefused
from app.domain.identity import IngestionId
from app.domain.ingestion import State
from app.pipeline import refusals
from tests.support.receivers import LOST, After, Before, Do
from tests.unit.pipeline.bench import Bench, failing


def refusing(*indexes: int, code: str = "") -> After:
    """Take a chunk, and name records of it."""
    rejected = tuple(Rejection(index=index, code=code) for index in indexes)
    return After(Answer(status=200, ack=True, rejected=rejected))


async def dead_letters(bench: Bench, ingestion_id: IngestionId) -> list[DeadLetter]:
    return list((await bench.store.catalog.dead_letters(ingestion_id)).dead_letters)


@pytest.mark.parametrize("inline_bytes_max", [0, 1_000_000])
async def test_they_are_dead_letters_and_their_chunk_is_delivered(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, inline_bytes_max: int
) -> None:
    """In a thread, where the chunk is large, just as on the event loop."""
    monkeypatch.setattr(refusals, "SPLIT_INLINE_BYTES_MAX", inline_bytes_max)
    lines = bench.path.read_bytes().splitlines()
    bench.receiver.script = [refusing(1, code="BAD"), refusing(0, 1)]

    ingestion = await bench.run()

    bench.assert_all_arrived_once()
    assert (ingestion.state, ingestion.progress.records_rejected) == (State.COMPLETED, 3)
    found = await dead_letters(bench, ingestion.id)
    assert [(one.record, one.chunk_number, one.code) for one in found] == [
        (1, 0, "BAD"),
        (2, 1, ""),
        (3, 1, ""),
    ]
    assert [one.content for one in found] == lines[1:4]
    told = [event for event in bench.heard.events if isinstance(event, RecordsRefused)]
    assert [(event.ref.number, event.count) for event in told] == [(0, 1), (1, 2)]


async def test_an_ack_that_names_a_record_which_the_chunk_does_not_have_is_none(
    bench: Bench,
) -> None:
    bench.receiver.script = [refusing(2)]

    ingestion = await bench.run()

    bench.assert_all_arrived_once()
    assert [attempt for _, attempt in bench.receiver.posts[:2]] == [1, 2]
    assert await dead_letters(bench, ingestion.id) == []


async def test_a_duplicate_names_them_again_after_a_lost_ack(bench: Bench) -> None:
    rejected = (Rejection(index=0),)
    duplicate = Answer(status=200, ack=True, duplicate=True, rejected=rejected)
    bench.receiver.script = [After(LOST), After(duplicate)]

    ingestion = await bench.run()

    assert [one.record for one in await dead_letters(bench, ingestion.id)] == [0]


async def test_too_many_stop_the_ingestion_and_a_new_submission_goes_on(bench: Bench) -> None:
    bench.policy = replace(bench.policy, rejected_max=1)
    bench.receiver.script = [refusing(0), refusing(1)]

    paused = await bench.run()

    assert (paused.state, paused.progress.next_chunk) == (State.PAUSED, 2)
    assert paused.failure is not None
    assert (paused.failure.code, paused.failure.resumable) == ("TOO_MANY_REJECTED", True)
    assert [one.record for one in await dead_letters(bench, paused.id)] == [0, 3]

    ended = await bench.run()

    bench.assert_all_arrived_once()
    assert (ended.state, ended.progress.records_rejected) == (State.COMPLETED, 2)


@pytest.mark.parametrize(
    "limits", [{"rejected_max": 1}, {"rejected_bytes_max": 1}], ids=["records", "bytes"]
)
async def test_those_of_earlier_runs_count(bench: Bench, limits: dict[str, int]) -> None:
    if limits.get("rejected_bytes_max"):
        limits["rejected_bytes_max"] = len(bench.path.read_bytes().splitlines()[0])
    bench.policy = replace(bench.policy, **limits)
    stranger = Before(Answer(status=401))
    bench.receiver.script = [refusing(0), stranger, refusing(1)]

    stopped = await bench.run()
    assert stopped.failure is not None
    assert (stopped.failure.code, stopped.progress.records_rejected) == ("AUTH_FAILED", 1)

    paused = await bench.run()
    assert paused.failure is not None
    assert (paused.state, paused.failure.code) == (State.PAUSED, "TOO_MANY_REJECTED")


async def test_a_store_that_fails_does_not_forget_that_they_are_too_many(bench: Bench) -> None:
    bench.policy = replace(bench.policy, rejected_max=0)
    again = Answer(status=200, ack=True, duplicate=True, rejected=(Rejection(index=0),))
    commit, move = bench.store.ledger.commit, bench.store.ledger.move
    bench.receiver.script = [refusing(0), After(again)]
    bench.store.ledger.commit = failing(commit, times=1)  # type: ignore[method-assign]
    bench.store.ledger.move = failing(move, times=1)  # type: ignore[method-assign]

    paused = await bench.run()

    assert (paused.state, paused.progress.next_chunk) == (State.PAUSED, 1)
    assert paused.progress.records_rejected == 1


async def test_no_more_than_none_are_allowed(bench: Bench) -> None:
    bench.policy = replace(bench.policy, rejected_max=0)
    bench.receiver.script = [refusing(0)]

    assert (await bench.run()).state is State.PAUSED


async def test_those_of_a_chunk_that_is_sent_again_are_those_of_its_last_ack(bench: Bench) -> None:
    """A receiver that lost its state judges anew."""
    bench.receiver.script = [refusing(0, 1), Do(bench.receiver.forget), refusing(1)]

    ingestion = await bench.run()

    bench.assert_all_arrived_once()
    assert (ingestion.progress.rewinds, ingestion.progress.records_rejected) == (0, 1)
    assert [one.record for one in await dead_letters(bench, ingestion.id)] == [1]
