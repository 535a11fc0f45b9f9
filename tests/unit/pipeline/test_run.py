"""What one run does with all that a receiver, a source and a reader can do to it."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from app.domain.budget import ChunkLimits
from app.domain.delivery import Answer, Message, NoAnswer, Reply, RetryPolicy, Silence
from app.domain.errors import Failure, ReaderDied
from app.domain.events import ReaderLost, Rewound, StateChanged
from app.domain.ingestion import State
from tests.support.builders import a_submission
from tests.support.receivers import LOST, After, Before, Crash, Do, Step
from tests.unit.pipeline.bench import Bench, DyingReader

BAD = Failure(code="BAD", message="the bytes are at fault")
AWAY = Failure(code="CONNECTION_FAILED", message="nobody listens", resumable=True)


async def test_a_file_arrives_in_order_and_is_completed(bench: Bench) -> None:
    ingestion = await bench.run()

    bench.assert_all_arrived_once()
    assert ingestion.state is State.COMPLETED
    assert ingestion.records_read == ingestion.progress.records_delivered == 7
    assert ingestion.progress.next_chunk == 4
    assert ingestion.progress.chain == bench.receiver.chain


async def test_a_file_without_records_is_completed_with_none(tmp_path: Path) -> None:
    bench = Bench(tmp_path, lines=0)

    assert (await bench.run()).state is State.COMPLETED
    assert bench.receiver.posts == [("ingestion.completed", 1)]


async def test_a_lost_ack_is_sent_again_with_the_same_bytes(bench: Bench) -> None:
    """The receiver can dedupe only if a resend is byte for byte the same."""
    bench.receiver.script = [After(LOST), Before(LOST)]

    await bench.run()

    bench.assert_all_arrived_once()
    assert [attempt for _, attempt in bench.receiver.posts[:4]] == [1, 2, 3, 1]


async def test_nothing_is_sent_past_a_chunk_that_is_not_settled(bench: Bench) -> None:
    bench.receiver.script = [Before(LOST), Before(Answer(status=500)), Before(Answer(status=200))]
    bench.policy = replace(bench.policy, attempts_max=9)

    await bench.run()

    assert list(bench.receiver.seen) == [0, 1, 2, 3]
    bench.assert_all_arrived_once()


async def test_a_receiver_that_is_down_is_waited_for_and_found_again(bench: Bench) -> None:
    states: list[State] = []

    async def look() -> None:
        page = await bench.store.catalog.page()
        states.append(page.ingestions[0].state)

    bench.receiver.script = [Before(LOST)] * 6
    sleep = bench.clock.sleep

    async def sleep_and_look(seconds: float) -> None:
        await look()
        await sleep(seconds)

    bench.clock.sleep = sleep_and_look  # type: ignore[method-assign]
    ingestion = await bench.run()

    assert states == [State.RUNNING] * 2 + [State.WAITING] * 4
    assert ingestion.state is State.COMPLETED
    assert ingestion.waiting_since is None
    bench.assert_all_arrived_once()


async def test_who_is_asked_for_time_has_all_its_attempts_afterwards(bench: Bench) -> None:
    """Contract 7: back-pressure is no attempt."""
    busy = Before(Answer(status=429, retry_after_s=1))
    bench.receiver.script = [Before(LOST), busy, Before(LOST), busy]

    assert (await bench.run()).state is State.COMPLETED

    bench.assert_all_arrived_once()
    states = [event.state for event in bench.heard.events if isinstance(event, StateChanged)]
    assert State.WAITING not in states


async def test_a_chunk_that_always_arrives_damaged_is_shown_to_a_person(bench: Bench) -> None:
    """Contract 7: sent three times more, whatever the attempts."""
    damaged = Answer(status=409, ack=False, error="CHECKSUM_MISMATCH")
    bench.receiver.script = [Before(damaged)] * 10

    ingestion = await bench.run()

    assert ingestion.state is State.PAUSED
    assert ingestion.failure is not None
    assert ingestion.failure.code == "CHECKSUM_MISMATCH"
    assert bench.receiver.posts == [("ingestion.chunk", attempt) for attempt in range(1, 5)]


async def test_who_waits_too_long_fails_and_can_go_on_later(bench: Bench) -> None:
    bench.policy = RetryPolicy(attempts_max=2, wait_s_max=3600)
    bench.receiver.script = [Before(LOST)] * 200

    failed = await bench.run()
    bench.receiver.script = []
    resumed = await bench.run()

    assert failed.state is State.FAILED
    assert failed.failure is not None
    assert (failed.failure.code, failed.failure.resumable) == ("WAIT_EXPIRED", True)
    assert resumed.state is State.COMPLETED
    bench.assert_all_arrived_once()


async def test_the_time_waited_before_a_restart_counts(bench: Bench) -> None:
    bench.policy = RetryPolicy(attempts_max=2, wait_s_max=3600)
    bench.receiver.script = [Before(LOST)] * 200
    await bench.submit()
    lease, ingestion = await bench.claim()
    await bench.store.ledger.move(lease, State.WAITING, failure=AWAY)
    await bench.store.ledger.release(lease)
    bench.clock.advance(3600)

    lease, ingestion = await bench.claim()
    await bench.run_of(lease, ingestion).advance()

    assert len([p for p in bench.receiver.posts if p[0] == "ingestion.chunk"]) == 1
    assert (await bench.store.catalog.get(lease.ingestion_id)).state is State.FAILED


async def test_who_was_waited_for_before_a_restart_and_came_back_has_all_its_time_again(
    bench: Bench,
) -> None:
    bench.policy = RetryPolicy(attempts_max=2, wait_s_max=3600)
    bench.receiver.script = [Do(lambda: bench.clock.advance(3600)), Before(LOST), Before(LOST)]
    await bench.submit()
    lease, ingestion = await bench.claim()
    await bench.store.ledger.move(lease, State.WAITING, failure=AWAY)
    await bench.store.ledger.release(lease)

    lease, ingestion = await bench.claim()
    await bench.run_of(lease, ingestion).advance()

    assert (await bench.store.catalog.get(lease.ingestion_id)).failure is None
    bench.assert_all_arrived_once()


@pytest.mark.parametrize("down_to", [0, 1, 2])
async def test_a_receiver_that_lost_its_state_gets_the_same_chunks_again(
    bench: Bench, down_to: int
) -> None:
    well: Step = Do(lambda: None)
    bench.receiver.script = [well, well, well]
    bench.receiver.script += [Do(lambda: bench.receiver.forget(down_to=down_to))]

    ingestion = await bench.run()

    bench.assert_all_arrived_once()
    assert ingestion.state is State.COMPLETED
    assert Rewound(ingestion.id, from_chunk=3, to_chunk=down_to) in bench.heard.events


async def test_a_receiver_that_forgets_for_ever_is_shown_to_a_person(bench: Bench) -> None:
    forgetful = Before(Answer(status=409, ack=False, error="OUT_OF_ORDER_CHUNK", expected_chunk=0))
    well: Step = Do(lambda: None)
    bench.receiver.script = [well]
    for _ in range(10):
        bench.receiver.script += [forgetful, well]

    ingestion = await bench.run()

    assert ingestion.state is State.PAUSED
    assert ingestion.failure is not None
    assert ingestion.failure.code == "REWIND_LOOP"


async def test_a_source_that_changed_meanwhile_sends_nothing_more(bench: Bench) -> None:
    bench.receiver.script = [Do(lambda: None), Crash]
    with pytest.raises(Crash):
        await bench.run()
    await bench.store.ledger.release(await bench.lease())
    bench.path.write_text("7\n" * 7)
    posts = len(bench.receiver.posts)

    lease, ingestion = await bench.claim()
    await bench.run_of(lease, ingestion).advance()

    ingestion = await bench.store.catalog.get(lease.ingestion_id)
    assert ingestion.state is State.FAILED
    assert ingestion.failure is not None
    assert (ingestion.failure.code, ingestion.failure.resumable) == ("SOURCE_CHANGED", False)
    assert bench.receiver.posts[posts:] == [("ingestion.failed", 1)]


async def test_the_records_before_a_bad_place_arrive_then_it_fails_and_says_where(
    bench: Bench,
) -> None:
    bench.path.write_text("0\n1\n2\n!bad\n4\n")

    ingestion = await bench.run()

    assert bench.receiver.records == [0, 1, 2]
    assert bench.receiver.completed == 0
    assert bench.receiver.stopped == ["ingestion.failed"]
    assert ingestion.state is State.FAILED
    assert ingestion.failure is not None
    assert ingestion.failure.place is not None
    assert ingestion.failure.place.record == 3


async def test_wrong_credentials_pause_and_a_new_submission_goes_on(bench: Bench) -> None:
    bench.receiver.script = [Do(lambda: None), Before(Answer(status=401))]

    paused = await bench.run()
    resumed = await bench.run()

    assert (paused.state, paused.progress.next_chunk) == (State.PAUSED, 1)
    assert bench.receiver.stopped == []
    assert resumed.state is State.COMPLETED
    bench.assert_all_arrived_once()


async def test_a_chunk_that_was_sent_keeps_its_bytes_when_other_sizes_are_asked_for(
    bench: Bench,
) -> None:
    """Invariant 2: it may have arrived, so only what comes after it has the new size."""
    bench.receiver.script = [Do(lambda: None), Before(Answer(status=401))]
    await bench.run()
    larger = a_submission(str(bench.path), limits=ChunkLimits(records=3))
    await bench.store.catalog.submit(larger, bench.fingerprint(), new_version=False)

    lease, ingestion = await bench.claim()
    await bench.run_of(lease, ingestion).advance()

    bench.assert_all_arrived_once()
    counts = [json.loads(body)["record_count"] for body in bench.receiver.seen.values()]
    assert counts == [2, 2, 3]


async def test_every_chunk_is_stored_as_the_next_one_before_it_is_sent(bench: Bench) -> None:
    """Invariant 2: otherwise nobody knows after a crash what may have arrived."""
    post, stored = bench.receiver.post, []

    async def look_then_post(message: Message, *, attempt: int) -> Reply:
        if message.event == "ingestion.chunk":
            [ingestion] = (await bench.store.catalog.page()).ingestions
            point = await bench.store.ledger.resume_point(ingestion.id)
            assert [message.idempotency_key.rpartition(":")[2]] == [
                str(boundary.number) for boundary in point.planned
            ]
            stored.append(point.number)
        return await post(message, attempt=attempt)

    bench.receiver.post = look_then_post  # type: ignore[method-assign]
    await bench.run()

    assert stored == [0, 1, 2, 3]
    bench.assert_all_arrived_once()


async def test_a_blocked_address_pauses(bench: Bench) -> None:
    bench.receiver.script = [Before(NoAnswer(Silence.URL_BLOCKED, "10.0.0.1 is private"))]

    assert (await bench.run()).state is State.PAUSED


async def test_a_reader_that_dies_once_is_started_again(bench: Bench) -> None:
    bench.reader = DyingReader(bench.reader, deaths=1, error=ReaderDied("signal 11"))

    assert (await bench.run()).state is State.COMPLETED
    bench.assert_all_arrived_once()
    assert any(isinstance(event, ReaderLost) for event in bench.heard.events)


async def test_a_reader_that_dies_twice_at_one_place_is_quarantined(bench: Bench) -> None:
    bench.reader = DyingReader(bench.reader, deaths=2, error=ReaderDied("signal 11"))

    ingestion = await bench.run()

    assert ingestion.state is State.QUARANTINED
    assert ingestion.failure is not None
    assert "signal 11" in ingestion.failure.message
    assert bench.receiver.stopped == ["ingestion.failed"]


async def test_a_completion_whose_ack_was_lost_is_repeated(bench: Bench) -> None:
    bench.receiver.script = [*[Do(lambda: None)] * 4, After(LOST)]

    assert (await bench.run()).state is State.COMPLETED
    bench.assert_all_arrived_once()


async def test_a_receiver_that_misses_chunks_at_the_end_gets_them(bench: Bench) -> None:
    bench.receiver.script = [*[Do(lambda: None)] * 4, Do(lambda: bench.receiver.forget(down_to=1))]

    assert (await bench.run()).state is State.COMPLETED
    bench.assert_all_arrived_once()
