"""From a reply to what happens next: the table of contract 7, as one pure function."""

from collections.abc import Iterator
from typing import assert_never

from app.domain.delivery import (
    CHECKSUM_RESENDS_MAX,
    RETRY_AFTER_S_MAX,
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

_BACK_PRESSURE = frozenset({429, 503})
_AMBIGUOUS = frozenset({408, 425})
_AUTH = frozenset({401, 403, 407})
_BUSY = frozenset({"BUSY", "LOCKED"})
_CLOCK_OR_SIGNATURE = frozenset({"SIGNATURE_INVALID", "TIMESTAMP_OUT_OF_RANGE"})
_DIVERGED = frozenset({"CHECKSUM_CONFLICT", "CHAIN_MISMATCH"})
_TOO_LARGE = frozenset({"CHUNK_TOO_LARGE"})


def judge(
    reply: Reply, *, sent: Sent, attempts: Attempts, policy: RetryPolicy, jitter: float
) -> Verdict:
    """Decide what to do with a reply. ``jitter`` is in [0, 1)."""
    ruling = _Ruling(sent=sent, attempts=attempts, policy=policy, jitter=jitter)
    match reply:
        case NoAnswer(Silence.URL_BLOCKED, detail):
            return Pause(
                Failure(
                    code="URL_BLOCKED",
                    message=detail,
                    remedy="Allow the receiver in INGEST_CALLBACK_ALLOW, then submit again.",
                    resumable=True,
                )
            )
        case NoAnswer(reason, detail):
            return ruling.again(reason.value, detail or "the receiver gave no answer")
        case Answer():
            return ruling.answer(reply)
        case _:
            assert_never(reply)


class _Ruling:
    """One judgement, with what it is about at hand."""

    def __init__(
        self, *, sent: Sent, attempts: Attempts, policy: RetryPolicy, jitter: float
    ) -> None:
        self._sent = sent
        self._attempts = attempts
        self._policy = policy
        self._jitter = jitter

    def answer(self, answer: Answer) -> Verdict:
        accepted = 200 <= answer.status < 300
        if accepted and answer.ack is True:
            # Invariant 1: an ACK is evidence, and must agree with what was sent.
            if lie := answer.malformed or _contradiction(answer, self._sent):
                return self.again("ACK_MISMATCH", f"the ACK contradicts what was sent: {lie}")
            return Commit(rejected=answer.rejected)
        if answer.error is not None:
            return self._refusal(answer, answer.error)
        if accepted and answer.ack is None:
            return self.again(
                "INVALID_ACK", f"HTTP {answer.status} without a JSON ack: {answer.excerpt!r}"
            )
        if accepted:
            return self.again("NACK", answer.message or "the receiver answered ack: false")
        return self._status(answer)

    def again(self, code: str, message: str) -> Verdict:
        """Send the same bytes again, or wait for the receiver when attempts ran out."""
        failure = Failure(code=code, message=message, resumable=True)
        counted = self._attempts.counted
        if counted >= self._policy.attempts_max:
            return Wait(failure)
        return Resend(self._policy.backoff_s(counted, jitter=self._jitter), failure)

    def _hold_back(self, code: str, answer: Answer) -> Verdict:
        asked = min(answer.retry_after_s or 0.0, RETRY_AFTER_S_MAX)
        # Never below the first step of the backoff: a receiver that answers 429 at once
        # and for ever must not make us spin.
        own = self._policy.backoff_s(self._attempts.held, jitter=max(self._jitter, 0.5))
        message = answer.message or f"the receiver asks for time (HTTP {answer.status})"
        return HoldBack(max(asked, own), Failure(code=code, message=message, resumable=True))

    def _status(self, answer: Answer) -> Verdict:
        status = answer.status
        text = f"the receiver answered HTTP {status}: {answer.excerpt!r}"
        if status in _BACK_PRESSURE:
            return self._hold_back("BACK_PRESSURE", answer)
        if status in _AMBIGUOUS or status >= 500 or status < 200:
            return self.again("RECEIVER_ERROR", text)
        if status < 400:
            return _fail("REDIRECTED", text, remedy="Submit again with the final callback URL.")
        if status in _AUTH:
            return _pause(
                "AUTH_FAILED", text, remedy="Correct the callback's credentials, submit again."
            )
        if status == 410:
            return _fail("RECEIVER_GONE", text, remedy="Submit again with a live callback URL.")
        if status == 413:
            return _too_large(text)
        return _fail(
            "RECEIVER_REJECTED", text, remedy="Correct the receiver, then submit the file again."
        )

    def _refusal(self, answer: Answer, error: str) -> Verdict:
        text = f"{error}: {answer.message}" if answer.message else error
        if error == "OUT_OF_ORDER_CHUNK" or (error == "INCOMPLETE" and self._is_completion):
            return self._elsewhere(answer, text)
        if error == "UNKNOWN_INGESTION":
            return Rewind(0) if self._number > 0 else self.again(error, text)
        if error == "CHECKSUM_MISMATCH":
            return self._damaged(answer, text)
        if error in _DIVERGED:
            return _fail(
                "DIVERGED",
                text,
                remedy="The receiver holds other content: ingest as a new version.",
                resumable=False,
            )
        if error in _CLOCK_OR_SIGNATURE:
            skew = f"; the receiver's clock says {answer.date}" if answer.date else ""
            return _pause(error, text + skew, remedy="Compare the secrets and clocks of both.")
        if error == "INGESTION_CLOSED":
            if self._is_completion:
                return Commit()  # It answers our own COMPLETED: an ACK that was lost.
            return _fail(error, text, remedy="Ingest as a new version.", resumable=False)
        if error in _BUSY or answer.status in _BACK_PRESSURE:
            return self._hold_back(error, answer)
        if error in _TOO_LARGE or answer.status == 413:
            return _too_large(text)
        if error == "REJECTED_INGESTION":
            return _fail(error, text, remedy="Ask the receiver's operator.", resumable=False)
        if error == "VALIDATION_FAILED":
            return _fail(error, text, remedy="Correct the receiver or the records.")
        if 300 <= answer.status < 500 and answer.status not in _AMBIGUOUS:
            return self._status(answer)
        return self.again(error, text)

    def _elsewhere(self, answer: Answer, text: str) -> Verdict:
        """The receiver expects another chunk than the one it got. Contract 8.1, 8.2."""
        expected = answer.expected_chunk
        if expected is None or answer.malformed:
            return _pause(
                "OUT_OF_ORDER_CHUNK",
                f"{text} – without saying which chunk it expects",
                remedy="Let the receiver answer expected_chunk, then submit again.",
            )
        if expected < self._number:
            return Rewind(expected)
        if expected == self._number:
            return self.again("CONTRADICTION", f"{text} – but it expects just this one")
        known = self._sent.chain_before_expected if isinstance(self._sent, ChunkSent) else None
        if known is not None and answer.chain == known:
            return FastForward(expected)
        return _pause(
            "RECEIVER_AHEAD",
            f"{text} – it expects chunk {expected}, we are at {self._number}, and it did not "
            "prove with its chain that it holds what we would send",
            remedy="Ingest as a new version, or restore the newer database of this service.",
        )

    def _damaged(self, answer: Answer, text: str) -> Verdict:
        if self._attempts.damaged < CHECKSUM_RESENDS_MAX:
            return Resend(
                self._policy.backoff_s(self._attempts.counted, jitter=self._jitter),
                Failure(code="CHECKSUM_MISMATCH", message=text, resumable=True),
            )
        ours = self._sent.ref.checksum if isinstance(self._sent, ChunkSent) else ""
        return _pause(
            "CHECKSUM_MISMATCH",
            f"{text} – ours is {ours}, the receiver's {answer.checksum or 'not given'}",
            remedy="Look for a proxy that changes bodies, then submit again.",
        )

    @property
    def _is_completion(self) -> bool:
        return isinstance(self._sent, CompletedSent)

    @property
    def _number(self) -> int:
        """The number the receiver should be at: of this chunk, or one past the last."""
        match self._sent:
            case ChunkSent(ref=ref):
                return ref.number
            case CompletedSent(total_chunks=total):
                return total
            case _:
                assert_never(self._sent)


def _contradiction(answer: Answer, sent: Sent) -> str:
    """Name what in an ACK does not fit what was sent; empty when all fits."""
    if isinstance(sent, CompletedSent):
        return ", ".join(_contradictions_of_completion(answer, sent))
    return ", ".join(_contradictions(answer, sent))


def _contradictions(answer: Answer, sent: ChunkSent) -> Iterator[str]:
    ref = sent.ref
    if answer.chunk_id is not None and answer.chunk_id != ref.chunk_id:
        yield f"chunk_id {answer.chunk_id}"
    if answer.chunk_number is not None and answer.chunk_number != ref.number:
        yield f"chunk_number {answer.chunk_number}"
    if answer.checksum is not None and answer.checksum != ref.checksum:
        yield f"checksum {answer.checksum}"
    # Contract 8.2: a duplicate may name a later chunk, as far as we have cut any.
    last = sent.cut_end if answer.duplicate else ref.number + 1
    if answer.next_chunk is not None and not ref.number < answer.next_chunk <= last:
        yield f"next_chunk {answer.next_chunk}"
    if answer.accepted is not None and not answer.duplicate:
        took = answer.accepted + len(answer.rejected)
        if took != ref.record_count:
            yield f"{took} records"
    if answer.rejected and answer.rejected[-1].index >= ref.record_count:
        yield f"rejected index {answer.rejected[-1].index}"


def _contradictions_of_completion(answer: Answer, sent: CompletedSent) -> Iterator[str]:
    """Name what shows that an ACK is for something else: a late one for a chunk, perhaps."""
    if answer.chunk_id is not None:
        yield f"chunk_id {answer.chunk_id}"
    if answer.chunk_number is not None:
        yield f"chunk_number {answer.chunk_number}"
    if answer.checksum is not None:
        yield f"checksum {answer.checksum}"
    if answer.next_chunk is not None and answer.next_chunk != sent.total_chunks:
        yield f"next_chunk {answer.next_chunk}"


def _fail(code: str, message: str, *, remedy: str, resumable: bool = True) -> Fail:
    return Fail(Failure(code=code, message=message, remedy=remedy, resumable=resumable))


def _pause(code: str, message: str, *, remedy: str) -> Pause:
    return Pause(Failure(code=code, message=message, remedy=remedy, resumable=True))


def _too_large(message: str) -> Fail:
    return _fail(
        "CHUNK_TOO_LARGE", message, remedy="Raise the receiver's limit, or submit smaller chunks."
    )


def shows_life(reply: Reply, verdict: Verdict) -> bool:
    """Tell whether the receiver is there and judges what it gets, whatever it says of this.

    Silence, a failing server or proxy, and a plea for time mean the same to every ingestion
    that is delivered to the same origin; what was judged concerns one alone. Contract 7.4.
    """
    match reply, verdict:
        case NoAnswer(), _:
            return False
        case _, Commit() | Rewind() | FastForward() | Pause() | Fail():
            return True
        case Answer(status=status, error=error, ack=ack), _:
            if error in _BUSY:
                return True
            failing = status < 200 or status >= 500 or status in _AMBIGUOUS | _BACK_PRESSURE
            return not failing and (error is not None or ack is not None)
        case _:
            assert_never(reply)


def chain_needed(reply: Reply, number: int) -> int | None:
    """Return the chunk whose preceding chain `judge` wants to see, if the reply is ahead."""
    if isinstance(reply, Answer) and reply.expected_chunk is not None:
        return reply.expected_chunk if reply.expected_chunk > number else None
    return None
