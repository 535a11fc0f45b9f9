"""Bodies, byte for byte. Contract 4."""

import json
from dataclasses import replace
from datetime import timedelta, timezone
from hashlib import sha256

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.errors import Failure
from app.domain.identity import file_id_of
from app.domain.ingestion import Ingestion, State
from app.wire import chunk_message, completed_message, stopped_message
from app.wire.models import ChunkBody, CompletedBody, StoppedBody
from app.wire.protocol import RECORDS_MEMBER
from app.wire.receiving import slice_records
from tests.support import builders
from tests.support.builders import INGESTION, a_submission
from tests.support.chunks import a_chunk, all_delivered, chunks

RECORDS = '[{"name":"Café","price":1.10},{"n":12345678901234567890123}]'.encode()
FILE_ID = file_id_of(builders.FILE_PATH, "json")
FAILURE = Failure(code="TRUNCATED", message="the array is not closed", resumable=False)


def an_ingestion(
    *,
    state: State = State.RUNNING,
    metadata: dict[str, str] | None = None,
    failure: Failure | None = None,
) -> Ingestion:
    made = builders.an_ingestion(submission=a_submission(metadata=metadata), state=state)
    return replace(made, failure=failure)


def test_a_chunk_body_has_exactly_these_bytes() -> None:
    chunk = a_chunk(7, RECORDS, count=2, unsafe_numbers=1, revision=3)
    message = chunk_message(an_ingestion(metadata={"class": "Product"}), chunk)
    head = (
        '{"protocol":"1","type":"ingestion.chunk","timestamp":"2024-05-06T07:08:09Z",'
        f'"ingestion_id":"{INGESTION}","file_id":"{FILE_ID}","chunk_id":"{INGESTION}:7",'
        '"chunk_number":7,"revision":3,"record_offset":14,"record_count":2,"unsafe_numbers":1,'
        f'"chain":"{chunk.ref.chain}","metadata":{{"class":"Product"}},'
        f'"checksum":"{sha256(RECORDS).hexdigest()}","records":'
    )
    assert message.body == head.encode() + RECORDS + b"}"


def test_a_chunk_is_named_by_ingestion_number_and_revision() -> None:
    message = chunk_message(an_ingestion(), a_chunk(7, revision=3))
    assert message.url == a_submission().callback_url
    assert message.event == "ingestion.chunk"
    assert message.message_id == f"chk_{INGESTION}_7_3"
    assert "." not in message.message_id
    assert message.idempotency_key == f"{INGESTION}:7"


def test_a_chunk_body_does_not_depend_on_how_far_the_ingestion_has_come() -> None:
    # Invariant 2: the same chunk after a restart, an hour and a rewind later.
    before = an_ingestion(metadata={"b": "2", "a": "1"})
    after = replace(
        before,
        state=State.WAITING,
        progress=replace(before.progress, next_chunk=9, rewinds=2),
        updated_at=before.updated_at + timedelta(hours=1),
        # A store may give the time back in another zone, or lose its microseconds.
        created_at=before.created_at.replace(microsecond=0).astimezone(
            timezone(timedelta(hours=2))
        ),
    )
    assert chunk_message(before, a_chunk()) == chunk_message(after, a_chunk())


def test_the_forbidden_metadata_key_never_reaches_the_wire() -> None:
    with pytest.raises(ValueError, match="records"):
        chunk_message(an_ingestion(metadata={"records": "x"}), a_chunk())


HOSTILE = st.one_of(
    st.text(st.characters(codec="utf-8"), max_size=20),
    st.sampled_from([',"records":', '","records":[', "records", '\\","records":', '"', "\\"]),
)


@given(st.dictionaries(HOSTILE.filter(lambda key: key != "records"), HOSTILE, max_size=4))
def test_nothing_before_the_last_member_looks_like_it(metadata: dict[str, str]) -> None:
    body = chunk_message(an_ingestion(metadata=metadata), a_chunk(records=RECORDS)).body
    assert slice_records(body) == RECORDS
    assert RECORDS_MEMBER not in body.removesuffix(RECORDS_MEMBER + RECORDS + b"}")
    assert orjson.loads(body)["metadata"] == metadata


def test_completed_has_exactly_these_bytes() -> None:
    ingestion = all_delivered(an_ingestion(), chunks(b"[1]", b"[2]"))
    progress = replace(
        ingestion.progress, records_filtered=3, records_dead_lettered=4, records_rejected=1
    )
    message = completed_message(replace(ingestion, progress=progress, records_read=9))
    assert message.body.decode() == (
        '{"protocol":"1","type":"ingestion.completed","timestamp":"2024-05-06T07:08:09Z",'
        f'"status":"COMPLETED","ingestion_id":"{INGESTION}","total_records":2,'
        f'"file_id":"{FILE_ID}","total_chunks":2,"chain":"{progress.chain}",'
        '"counts":{"read":9,"delivered":2,"filtered":3,"dead_lettered":4,'
        '"rejected_by_receiver":1}}'
    )
    assert message.message_id == message.idempotency_key == f"evt_{INGESTION}_completed"


def test_an_ingestion_cannot_complete_before_its_source_ended() -> None:
    with pytest.raises(ValueError, match="not read to the end"):
        completed_message(an_ingestion())


@pytest.mark.parametrize(
    ("state", "status"),
    [
        (State.FAILED, "FAILED"),
        (State.QUARANTINED, "FAILED"),
        (State.ABORTED, "ABORTED"),
    ],
)
def test_a_stop_goes_out_as_failed_or_aborted(state: State, status: str) -> None:
    message = stopped_message(an_ingestion(state=state, failure=FAILURE))
    body = json.loads(message.body)
    assert message.event == body["type"] == f"ingestion.{status.lower()}"
    assert body["status"] == status
    assert body["error"] == {
        "code": "TRUNCATED",
        "message": "the array is not closed",
        "retryable": False,
    }
    assert (body["next_chunk"], body["records_delivered"]) == (0, 0)


def test_a_cancelled_ingestion_needs_no_failure_and_is_never_resumable() -> None:
    body = json.loads(stopped_message(an_ingestion(state=State.ABORTED)).body)
    assert body["error"]["code"] == "ABORTED"
    assert body["resumable"] is False


def test_failing_again_for_another_reason_is_other_news_with_another_id() -> None:
    first = stopped_message(an_ingestion(state=State.FAILED, failure=FAILURE))
    other = replace(FAILURE, code="MALFORMED")
    assert first == stopped_message(an_ingestion(state=State.FAILED, failure=FAILURE))
    assert (
        first.message_id
        != stopped_message(an_ingestion(state=State.FAILED, failure=other)).message_id
    )


def test_a_failure_may_quote_a_file_name_that_is_not_unicode() -> None:
    failure = replace(FAILURE, message="cannot read 'caf\udce9.json'")
    body = stopped_message(an_ingestion(state=State.FAILED, failure=failure)).body
    assert json.loads(body)["error"]["message"] == "cannot read 'caf?.json'"


def test_the_published_models_read_the_bytes_that_are_sent() -> None:
    delivered = chunks(RECORDS, b"[{}]")
    ingestion = an_ingestion(metadata={"class": "Product"})
    ChunkBody.model_validate_json(chunk_message(ingestion, delivered[0]).body)
    CompletedBody.model_validate_json(completed_message(all_delivered(ingestion, delivered)).body)
    for state in (State.FAILED, State.ABORTED):
        stopped = replace(ingestion, state=state, failure=FAILURE)
        StoppedBody.model_validate_json(stopped_message(stopped).body)


def test_the_published_models_name_every_member_that_is_sent() -> None:
    ingestion = all_delivered(an_ingestion(), chunks(b"[1]"))
    for model, body in (
        (ChunkBody, chunk_message(ingestion, a_chunk()).body),
        (CompletedBody, completed_message(ingestion).body),
        (StoppedBody, stopped_message(replace(ingestion, state=State.FAILED)).body),
    ):
        assert set(orjson.loads(body)) == set(model.model_fields)
        for example in model.model_json_schema()["examples"]:
            model.model_validate_json(orjson.dumps(example))
