"""The reference receiver over HTTP: every answer of contract 8.4, and what it remembers."""

import asyncio
import json
import sqlite3
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from app.domain.ingestion import State
from app.wire import chunk_message, completed_message, stopped_message
from app.wire.headers import content_digest, request_headers
from app.wire.models import AckBody
from mock_receiver.main import Settings
from tests.support.builders import INGESTION, an_ingestion
from tests.support.chunks import a_chunk, all_delivered, chunks
from tests.support.senders import KEY, Sender, receiver

ARRAYS = (b'[{"a":1}]', b'[{"b":1.10}]', '[{"c":"é"}]'.encode())


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(database=tmp_path / "made" / "on the way" / "receiver.db")


@pytest.fixture
async def sender(settings: Settings) -> AsyncIterator[Sender]:
    async with receiver(settings) as sender:
        yield sender


# ---- contract 8.4, line by line


async def test_chunks_in_order_are_taken_and_the_ack_is_evidence(sender: Sender) -> None:
    first, second, third = sent = chunks(*ARRAYS)
    response = await sender.chunk(first)
    assert response.json() == {
        "ack": True,
        "chunk_id": f"{INGESTION}:0",
        "next_chunk": 1,
        "duplicate": False,
        "accepted": 1,
        "chain": first.ref.chain,
        "protocol": "1",
    }
    AckBody.model_validate_json(response.content)
    await sender.all([second, third])
    assert await sender.holding() == {
        "ingestion_id": INGESTION,
        "state": "open",
        "next_chunk": 3,
        "chain": third.ref.chain,
        "records": 3,
        "bytes": sum(map(len, ARRAYS)),
    }
    answer = (await sender.completed(sent)).json()
    assert (answer["ack"], answer["next_chunk"], answer["duplicate"]) == (True, 3, False)
    assert (await sender.holding())["state"] == "completed"


async def test_records_are_downloaded_byte_for_byte(sender: Sender) -> None:
    exact = b'[{"big":123456789012345678901234567890,"e":1.10e+7},{"z":-0.0}]'
    await sender.all(chunks(exact, b'["\xe2\x80\xa8"]'))
    assert await sender.download() == (
        b'{"big":123456789012345678901234567890,"e":1.10e+7}\n{"z":-0.0}\n"\xe2\x80\xa8"\n'
    )


async def test_a_duplicate_changes_nothing_and_is_acknowledged(sender: Sender) -> None:
    sent = chunks(*ARRAYS)
    await sender.all(sent)
    before = await sender.holding()
    answer = (await sender.chunk(sent[0], attempt=2)).json()
    assert (answer["ack"], answer["duplicate"], answer["next_chunk"]) == (True, True, 3)
    assert await sender.holding() == before


async def test_of_20_duplicates_at_once_one_is_stored(sender: Sender) -> None:
    (chunk,) = chunks(ARRAYS[0])
    answers = await asyncio.gather(*(sender.chunk(chunk) for _ in range(20)))
    told = [answer.json() for answer in answers]
    assert all(answer["ack"] is True and answer["next_chunk"] == 1 for answer in told)
    assert sorted(answer["duplicate"] for answer in told) == [False] + [True] * 19
    assert await sender.download() == b'{"a":1}\n'


async def test_two_receivers_may_share_one_database(settings: Settings) -> None:
    sent = chunks(*(b"[%d]" % number for number in range(20)))
    async with receiver(settings) as one, receiver(settings) as other:
        for chunk in sent:
            answers = await asyncio.gather(*(to.chunk(chunk) for to in (one, other)))
            assert [answer.json()["ack"] for answer in answers] == [True, True]
            assert sorted(answer.json()["duplicate"] for answer in answers) == [False, True]
        assert await one.download() == b"".join(b"%d\n" % number for number in range(20))


async def test_a_number_with_other_content_is_a_conflict(sender: Sender) -> None:
    await sender.all(chunks(*ARRAYS))
    answer = (await sender.chunk(a_chunk(0, b"[0]"))).json()
    assert (answer["ack"], answer["error"]) == (False, "CHECKSUM_CONFLICT")


async def test_a_chunk_too_early_is_told_which_one_is_expected(sender: Sender) -> None:
    sent = chunks(*ARRAYS)
    await sender.all(sent[:1])
    answer = (await sender.chunk(sent[2])).json()
    assert (answer["ack"], answer["error"]) == (False, "OUT_OF_ORDER_CHUNK")
    assert (answer["expected_chunk"], answer["chain"]) == (1, sent[0].ref.chain)


async def test_a_chain_that_does_not_follow_is_refused(sender: Sender) -> None:
    await sender.all(chunks(*ARRAYS)[:1])
    answer = (await sender.chunk(a_chunk(1, b"[2]", after="0" * 64))).json()
    assert (answer["ack"], answer["error"]) == (False, "CHAIN_MISMATCH")
    assert (await sender.holding())["next_chunk"] == 1


async def test_records_damaged_on_the_way_are_refused(sender: Sender) -> None:
    message = chunk_message(an_ingestion(), a_chunk(records=b'[{"a":1}]'))
    answer = (await sender.post(message, body=message.body.replace(b":1}", b":2}"))).json()
    assert (answer["ack"], answer["error"]) == (False, "CHECKSUM_MISMATCH")
    assert (await sender.client.get("/ingestions")).json() == []


@pytest.mark.parametrize("digest", ["sha-256=:AAAA:", "", "sha-512=:AAAA:"])
async def test_a_digest_that_is_wrong_asks_for_the_same_bytes_again(
    sender: Sender, digest: str
) -> None:
    message = chunk_message(an_ingestion(), a_chunk())
    response = await sender.post(message, headers={"Content-Digest": digest})
    assert (response.status_code, response.json()["error"]) == (422, "CHECKSUM_MISMATCH")
    assert (await sender.client.get("/ingestions")).json() == []


async def test_a_body_damaged_on_the_way_is_not_taken_for_a_forged_one(settings: Settings) -> None:
    """Contract 8.4: the digest is compared before the signature."""
    message = chunk_message(an_ingestion(), a_chunk(records=b'[{"a":1}]'))
    now_s = int(time.time())
    honest = request_headers(message, attempt=1, timestamp_s=now_s, secrets=[KEY])
    damaged = message.body.replace(b":1}", b":2}")
    forged = honest | {"Content-Digest": content_digest(damaged)}
    async with receiver(replace(settings, secrets=(KEY,))) as sender:
        answers = [
            (answer.status_code, answer.json()["error"])
            for answer in (
                await sender.post(message, body=damaged, headers=honest),
                await sender.post(message, body=damaged, headers=forged),
            )
        ]
        assert (await sender.client.get("/ingestions")).json() == []
    assert answers == [(422, "CHECKSUM_MISMATCH"), (401, "SIGNATURE_INVALID")]


async def test_with_a_secret_only_signed_requests_are_taken(settings: Settings) -> None:
    message = chunk_message(an_ingestion(), a_chunk())
    async with receiver(replace(settings, secrets=(b"x" * 24, KEY))) as sender:
        response = await sender.post(message, headers={"webhook-signature": ""})
        assert (response.status_code, response.json()["error"]) == (401, "SIGNATURE_INVALID")
        signed = request_headers(message, attempt=1, timestamp_s=1, secrets=[KEY])
        response = await sender.post(message, headers=signed)
        assert response.json()["error"] == "TIMESTAMP_OUT_OF_RANGE"
        assert (await sender.post(message)).json()["ack"] is True


async def test_after_completion_no_chunk_is_taken(sender: Sender) -> None:
    sent = chunks(*ARRAYS)
    await sender.all(sent[:2])
    assert (await sender.completed(sent[:2])).json()["ack"] is True
    assert (await sender.chunk(sent[2])).json()["error"] == "INGESTION_CLOSED"
    again = (await sender.completed(sent[:2])).json()
    assert (again["ack"], again["duplicate"]) == (True, True)


async def test_an_incomplete_completion_is_told_where_to_go_on(sender: Sender) -> None:
    sent = chunks(*ARRAYS)
    await sender.all(sent[:1])
    answer = (await sender.completed(sent)).json()
    assert (answer["error"], answer["expected_chunk"]) == ("INCOMPLETE", 1)


async def test_a_completion_that_proves_something_else_is_refused(sender: Sender) -> None:
    sent = chunks(*ARRAYS)
    await sender.all(sent)
    assert (await sender.completed(sent[:2])).json()["error"] == "CHAIN_MISMATCH"
    ingestion = all_delivered(an_ingestion(), sent)
    more = replace(ingestion.progress, records_delivered=4)
    wrong = completed_message(replace(ingestion, progress=more, records_read=4))
    assert (await sender.post(wrong)).json()["error"] == "REJECTED_INGESTION"
    assert (await sender.holding())["state"] == "open"


async def test_an_ingestion_without_records_completes(sender: Sender) -> None:
    assert (await sender.completed([])).json()["ack"] is True
    assert await sender.download() == b""


async def test_a_failed_ingestion_may_go_on_and_an_aborted_one_may_not(sender: Sender) -> None:
    first, second, third = chunks(*ARRAYS)
    for state, name, error in (
        (State.FAILED, "failed", None),
        (State.ABORTED, "aborted", "INGESTION_CLOSED"),
    ):
        await sender.chunk(first if state is State.FAILED else second)
        stopped = stopped_message(an_ingestion(state=state))
        assert (await sender.post(stopped)).json()["ack"] is True
        assert (await sender.post(stopped)).json()["duplicate"] is True
        assert (await sender.holding())["state"] == name
        assert (await sender.chunk(second if error is None else third)).json().get("error") == error
    refused = (await sender.completed([first, second])).json()
    assert (refused["ack"], refused["error"]) == (False, "REJECTED_INGESTION")


# ---- bodies it does not take


async def test_a_body_that_is_none_of_the_contracts_is_refused(sender: Sender) -> None:
    response = await sender.client.post("/callback", content=b'{"hello":"world"}')
    assert (response.status_code, response.json()["ack"]) == (400, False)


async def test_a_body_that_is_too_large_is_refused(settings: Settings) -> None:
    async with receiver(replace(settings, body_bytes_max=100)) as sender:
        response = await sender.chunk(a_chunk())
    assert (response.status_code, response.json()["error"]) == (413, "CHUNK_TOO_LARGE")


async def test_a_database_that_cannot_be_written_asks_for_time(
    sender: Sender, settings: Settings
) -> None:
    with sqlite3.connect(settings.database) as db:
        db.execute("DROP TABLE chunks")
    db.close()
    response = await sender.chunk(a_chunk())
    assert (response.status_code, response.json()["error"]) == (503, "BUSY")
    assert response.headers["retry-after"] == "5"
    assert (await sender.client.get("/ingestions")).json() == []


# ---- its memory


async def test_it_goes_on_where_it_was_after_a_restart(settings: Settings) -> None:
    sent = chunks(*ARRAYS)
    async with receiver(settings) as sender:
        await sender.all(sent[:2])
    async with receiver(settings) as sender:
        assert (await sender.chunk(sent[1])).json()["duplicate"] is True
        await sender.all(sent[2:])
        assert await sender.download() == b"".join(array[1:-1] + b"\n" for array in ARRAYS)


async def test_what_it_forgot_it_asks_for_again(sender: Sender) -> None:
    sent = chunks(*ARRAYS)
    await sender.all(sent[:2])
    gone = await sender.client.post(f"/admin/forget/{INGESTION}")
    assert gone.json() == {"forgotten": True}
    assert (await sender.chunk(sent[2])).json()["expected_chunk"] == 0
    assert (await sender.client.get(f"/ingestions/{INGESTION}")).status_code == 404
    assert (await sender.client.get(f"/ingestions/{INGESTION}/records")).status_code == 404
    await sender.all(sent)


# ---- its documents and settings


async def test_the_document_describes_the_callback(sender: Sender) -> None:
    document = (await sender.client.get("/openapi.json")).json()
    assert set(document["paths"]) == {
        "/callback",
        "/ingestions",
        "/ingestions/{ingestion_id}",
        "/ingestions/{ingestion_id}/records",
        "/admin/forget/{ingestion_id}",
        "/admin/faults",
        "/healthz",
    }
    schemas = document["components"]["schemas"]
    assert {"ChunkBody", "CompletedBody", "StoppedBody", "AckBody", "Counts"} <= set(schemas)
    references = {
        part.split('"')[0] for part in json.dumps(document).split('"#/components/schemas/')[1:]
    }
    assert references <= set(schemas)


async def test_it_says_that_it_lives(sender: Sender) -> None:
    assert (await sender.client.get("/healthz")).json() == {"status": "ok"}


def test_settings_come_from_the_environment(tmp_path: Path) -> None:
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    read = Settings.read(
        {
            "RECEIVER_DATABASE": str(tmp_path / "r.db"),
            "RECEIVER_SECRETS": f"{secret}, {secret}",
            "RECEIVER_FAULTS": "drop_after=0.5",
            "RECEIVER_BODY_BYTES_MAX": "1000",
        }
    )
    assert (read.database, len(read.secrets)) == (tmp_path / "r.db", 2)
    assert (read.faults.text, read.body_bytes_max) == ("drop_after=0.5", 1000)
    assert Settings.read({}) == Settings()
    with pytest.raises(ValueError, match="probability"):
        Settings.read({"RECEIVER_FAULTS": "drop_after=often"})
