"""Contract 7 and 8, row by row."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.chunk import ChunkRef, Cursor
from app.domain.delivery import (
    Answer,
    Attempts,
    ChunkSent,
    Commit,
    CompletedSent,
    Fail,
    FastForward,
    HoldBack,
    NoAnswer,
    Pause,
    Rejection,
    Reply,
    Resend,
    RetryPolicy,
    Rewind,
    Sent,
    Silence,
    Verdict,
    Wait,
)
from app.domain.errors import Failure
from app.domain.identity import Checksum, IngestionId, chain_start
from app.domain.judgement import chain_needed, judge, shows_life

INGESTION = IngestionId("ab" * 32)
REF = ChunkRef(
    ingestion_id=INGESTION,
    number=4,
    record_start=40,
    record_end=50,
    start=Cursor(),
    end=Cursor(skip=10),
    position=100,
    checksum=Checksum("c" * 64),
    chain=chain_start(INGESTION),
    records_bytes=99,
)
CHUNK = ChunkSent(ref=REF, cut_end=6)
DONE = CompletedSent(total_chunks=9)
POLICY = RetryPolicy(attempts_max=3, backoff_s_initial=1.0, backoff_s_max=60.0)
TRIES = Attempts(counted=1)


def verdict(reply: Reply, sent: Sent = CHUNK, attempts: Attempts = TRIES) -> Verdict:
    return judge(reply, sent=sent, attempts=attempts, policy=POLICY, jitter=0.999)


def refusal(error: str, status: int = 200, **more: object) -> Answer:
    return replace(Answer(status=status, ack=False, error=error), **more)  # type: ignore[arg-type]


ACK = Answer(status=200, ack=True)


def refused(*indexes: int) -> tuple[Rejection, ...]:
    return tuple(Rejection(index=index) for index in indexes)


@pytest.mark.parametrize(
    "answer",
    [
        ACK,
        replace(ACK, status=299),
        replace(ACK, chunk_id=REF.chunk_id, chunk_number=4, checksum=REF.checksum, next_chunk=5),
        replace(ACK, accepted=10),
        replace(ACK, accepted=9, rejected=refused(9)),
        replace(ACK, accepted=0, rejected=refused(*range(10))),
        replace(ACK, duplicate=True, next_chunk=6),
        replace(ACK, duplicate=True, accepted=0),
    ],
)
def test_an_ack_whose_evidence_agrees_is_a_commit(answer: Answer) -> None:
    assert verdict(answer) == Commit(rejected=answer.rejected)


@pytest.mark.parametrize(
    "answer",
    [
        replace(ACK, chunk_id=f"{INGESTION}:3"),
        replace(ACK, chunk_number=3),
        replace(ACK, checksum="d" * 64),
        replace(ACK, next_chunk=4),
        replace(ACK, next_chunk=6),
        replace(ACK, duplicate=True, next_chunk=7),
        replace(ACK, duplicate=True, next_chunk=4),
        replace(ACK, accepted=9),
        replace(ACK, accepted=10, rejected=refused(0)),
        replace(ACK, rejected=refused(*range(11))),
        replace(ACK, rejected=refused(10)),
        replace(ACK, accepted=9, rejected=refused(10)),
        replace(ACK, duplicate=True, rejected=refused(10)),
        replace(ACK, malformed="chunk_number is not an integer"),
    ],
)
def test_an_ack_that_contradicts_the_chunk_is_not_believed(answer: Answer) -> None:
    ruling = verdict(answer)

    assert isinstance(ruling, Resend)
    assert ruling.failure.code == "ACK_MISMATCH"


@pytest.mark.parametrize(
    "answer",
    [
        replace(ACK, chunk_id=f"{INGESTION}:8"),
        replace(ACK, chunk_number=8),
        replace(ACK, checksum="d" * 64),
        replace(ACK, next_chunk=8),
    ],
)
def test_an_ack_of_a_chunk_does_not_acknowledge_the_completion(answer: Answer) -> None:
    ruling = verdict(answer, sent=DONE)

    assert isinstance(ruling, Resend)
    assert ruling.failure.code == "ACK_MISMATCH"


def test_an_ack_of_the_completion_may_name_the_chunk_after_the_last() -> None:
    assert verdict(replace(ACK, next_chunk=DONE.total_chunks), sent=DONE) == Commit()


@pytest.mark.parametrize(
    ("reply", "kind", "code"),
    [
        pytest.param(Answer(status=200), Resend, "INVALID_ACK", id="200 without ack"),
        pytest.param(Answer(status=204), Resend, "INVALID_ACK", id="204"),
        pytest.param(Answer(status=200, ack=False), Resend, "NACK", id="ack false"),
        pytest.param(Answer(status=500, ack=True), Resend, "RECEIVER_ERROR", id="500, ack true"),
        pytest.param(Answer(status=502), Resend, "RECEIVER_ERROR", id="502"),
        pytest.param(Answer(status=408), Resend, "RECEIVER_ERROR", id="408"),
        pytest.param(Answer(status=425), Resend, "RECEIVER_ERROR", id="425"),
        pytest.param(Answer(status=302, ack=True), Fail, "REDIRECTED", id="302"),
        pytest.param(Answer(status=304), Fail, "REDIRECTED", id="304"),
        pytest.param(Answer(status=400), Fail, "RECEIVER_REJECTED", id="400"),
        pytest.param(Answer(status=404, ack=True), Fail, "RECEIVER_REJECTED", id="404"),
        pytest.param(Answer(status=405), Fail, "RECEIVER_REJECTED", id="405"),
        pytest.param(Answer(status=422), Fail, "RECEIVER_REJECTED", id="422"),
        pytest.param(Answer(status=401), Pause, "AUTH_FAILED", id="401"),
        pytest.param(Answer(status=403), Pause, "AUTH_FAILED", id="403"),
        pytest.param(Answer(status=407), Pause, "AUTH_FAILED", id="407"),
        pytest.param(Answer(status=410), Fail, "RECEIVER_GONE", id="410"),
        pytest.param(Answer(status=413), Fail, "CHUNK_TOO_LARGE", id="413"),
        pytest.param(Answer(status=429), HoldBack, "BACK_PRESSURE", id="429"),
        pytest.param(Answer(status=503), HoldBack, "BACK_PRESSURE", id="503"),
        pytest.param(NoAnswer(Silence.TIMEOUT), Resend, "TIMEOUT", id="timeout"),
        pytest.param(NoAnswer(Silence.URL_BLOCKED), Pause, "URL_BLOCKED", id="blocked"),
        pytest.param(refusal("CHECKSUM_CONFLICT"), Fail, "DIVERGED", id="conflict"),
        pytest.param(refusal("CHAIN_MISMATCH", 409), Fail, "DIVERGED", id="chain"),
        pytest.param(refusal("SIGNATURE_INVALID", 401), Pause, "SIGNATURE_INVALID", id="sig"),
        pytest.param(
            refusal("TIMESTAMP_OUT_OF_RANGE"), Pause, "TIMESTAMP_OUT_OF_RANGE", id="clock"
        ),
        pytest.param(refusal("INGESTION_CLOSED", 409), Fail, "INGESTION_CLOSED", id="closed"),
        pytest.param(refusal("REJECTED_INGESTION"), Fail, "REJECTED_INGESTION", id="rejected"),
        pytest.param(refusal("VALIDATION_FAILED", 422), Fail, "VALIDATION_FAILED", id="invalid"),
        pytest.param(refusal("CHUNK_TOO_LARGE"), Fail, "CHUNK_TOO_LARGE", id="too large"),
        pytest.param(refusal("BUSY"), HoldBack, "BUSY", id="busy"),
        pytest.param(refusal("LOCKED", 423), HoldBack, "LOCKED", id="locked"),
        pytest.param(refusal("SOMETHING_ELSE"), Resend, "SOMETHING_ELSE", id="unknown code"),
        pytest.param(refusal("SOMETHING_ELSE", 500), Resend, "SOMETHING_ELSE", id="unknown, 500"),
        pytest.param(refusal("SOMETHING_ELSE", 400), Fail, "RECEIVER_REJECTED", id="unknown, 400"),
        pytest.param(refusal("OUT_OF_ORDER_CHUNK"), Pause, "OUT_OF_ORDER_CHUNK", id="where?"),
    ],
)
def test_every_other_answer_has_its_consequence(
    reply: Reply, kind: type[Resend | HoldBack | Pause | Fail], code: str
) -> None:
    ruling = verdict(reply)

    assert isinstance(ruling, kind)
    assert ruling.failure.code == code


@pytest.mark.parametrize(
    "reply", [NoAnswer(Silence.TIMEOUT), Answer(status=500), Answer(status=200), refusal("ODD")]
)
def test_when_attempts_run_out_the_ingestion_waits_and_does_not_fail(reply: Reply) -> None:
    assert isinstance(verdict(reply, attempts=Attempts(counted=2)), Resend)
    assert isinstance(verdict(reply, attempts=Attempts(counted=3)), Wait)


def test_back_pressure_waits_as_asked_and_is_never_an_attempt() -> None:
    asked = replace(Answer(status=429), retry_after_s=30.0)
    absurd = replace(Answer(status=503), retry_after_s=1e9)

    assert verdict(asked, attempts=Attempts(counted=99)) == HoldBack(30.0, _failure(asked))
    assert verdict(absurd).after_s == 3600.0  # type: ignore[union-attr]


@given(jitter=st.floats(0, 0.999), held=st.integers(1, 1000))
def test_back_pressure_without_a_time_is_no_hot_loop(jitter: float, held: int) -> None:
    attempts = Attempts(counted=1, held=held)
    ruling = judge(Answer(status=429), sent=CHUNK, attempts=attempts, policy=POLICY, jitter=jitter)

    assert isinstance(ruling, HoldBack)
    assert 0.5 <= ruling.after_s <= 60.0


@given(attempt=st.integers(1, 10_000), jitter=st.floats(0, 0.999))
def test_backoff_grows_is_jittered_and_is_capped(attempt: int, jitter: float) -> None:
    assert 0.0 <= POLICY.backoff_s(attempt, jitter=jitter) <= min(2.0 ** min(attempt - 1, 9), 60.0)


def test_the_receiver_is_believed_when_it_wants_an_earlier_chunk() -> None:
    assert verdict(refusal("OUT_OF_ORDER_CHUNK", 409, expected_chunk=2)) == Rewind(2)
    assert verdict(refusal("UNKNOWN_INGESTION", 404)) == Rewind(0)


def test_the_first_chunk_cannot_be_rewound() -> None:
    first = replace(CHUNK, ref=replace(REF, number=0))

    assert isinstance(verdict(refusal("UNKNOWN_INGESTION"), first), Resend)


def test_a_receiver_that_is_ahead_must_prove_it_with_our_chain() -> None:
    ahead = refusal("OUT_OF_ORDER_CHUNK", expected_chunk=6, chain="e" * 64)
    proven = replace(CHUNK, chain_before_expected=Checksum("e" * 64))
    other = replace(CHUNK, chain_before_expected=Checksum("f" * 64))

    assert verdict(ahead, proven) == FastForward(6)
    assert isinstance(verdict(ahead, other), Pause)
    assert isinstance(verdict(ahead), Pause)
    assert isinstance(verdict(replace(ahead, chain=None), proven), Pause)
    assert chain_needed(ahead, REF.number) == 6
    assert chain_needed(ACK, REF.number) is None


@pytest.mark.parametrize("status", [200, 422])
def test_a_damaged_chunk_is_sent_three_times_more_and_then_shown_to_a_person(status: int) -> None:
    """Contract 8.4: 422 when the digest of the whole body differs."""
    damaged = refusal("CHECKSUM_MISMATCH", status, checksum="d" * 64)

    assert isinstance(verdict(damaged, attempts=Attempts(counted=3, damaged=2)), Resend)
    paused = verdict(damaged, attempts=Attempts(counted=4, damaged=3))
    assert isinstance(paused, Pause)
    assert REF.checksum in paused.failure.message
    assert "d" * 64 in paused.failure.message


def test_closed_answers_our_own_completion_and_so_is_its_ack() -> None:
    assert verdict(refusal("INGESTION_CLOSED", 409), DONE) == Commit()
    assert verdict(ACK, DONE) == Commit()


def test_an_incomplete_receiver_gets_what_it_misses() -> None:
    assert verdict(refusal("INCOMPLETE", 409, expected_chunk=7), DONE) == Rewind(7)
    assert verdict(refusal("UNKNOWN_INGESTION"), DONE) == Rewind(0)


def _failure(answer: Answer) -> Failure:
    ruling = verdict(answer)
    assert isinstance(ruling, HoldBack)
    return ruling.failure


@pytest.mark.parametrize(
    ("reply", "alive"),
    [
        (NoAnswer(Silence.TIMEOUT), False),
        (NoAnswer(Silence.CONNECTION_FAILED), False),
        (NoAnswer(Silence.URL_BLOCKED), False),  # nobody was asked
        (Answer(status=500), False),
        (Answer(status=502, excerpt="<html>"), False),
        (refusal("INTERNAL", status=500), False),
        (refusal("DATABASE_DOWN", status=503), False),
        (Answer(status=429, retry_after_s=5.0), False),
        (Answer(status=408), False),
        (Answer(status=425), False),
        (Answer(status=200, excerpt="<html>"), False),
        (Answer(status=204), False),
        (Answer(status=200, ack=True), True),
        (Answer(status=200, ack=True, chunk_number=3), True),
        (Answer(status=200, ack=False), True),
        (refusal("TRY_LATER"), True),
        (refusal("BUSY", status=503), True),
        (refusal("LOCKED"), True),
        (refusal("CHECKSUM_MISMATCH", status=422), True),
        (refusal("OUT_OF_ORDER_CHUNK", expected_chunk=0), True),
        (Answer(status=301), True),
        (Answer(status=401), True),
        (Answer(status=404), True),
        (Answer(status=422), True),
    ],
    ids=str,
)
def test_only_who_judges_what_it_gets_shows_that_it_is_there(reply: Reply, alive: bool) -> None:
    """Contract 7.4, at the last attempt."""
    last = Attempts(counted=POLICY.attempts_max, held=POLICY.attempts_max)

    assert shows_life(reply, verdict(reply, attempts=last)) == alive


@given(
    status=st.integers(100, 599),
    error=st.none() | st.text(max_size=9),
    ack=st.sampled_from((None, False)),
)
def test_a_receiver_is_there_whenever_its_answer_ends_the_sending(
    status: int, error: str | None, ack: bool | None
) -> None:
    reply = Answer(status=status, ack=ack, error=error)
    decided = verdict(reply)

    if not isinstance(decided, Resend | HoldBack | Wait):
        assert shows_life(reply, decided)
