"""The judge of the siege is fair: what it counts against a sender is the sender's doing."""

import asyncio
from pathlib import Path

import httpx
import pytest

from tests.support.chunks import chunks
from tests.support.processes import PATIENCE_S, Receiver
from tests.support.senders import Sender
from tests.support.strict_book import Book, Reading
from tests.support.strict_request import ABORTED, Event

EVENT = Event(
    kind=ABORTED, members={"ingestion_id": "a" * 64}, records=b"", webhook_id="a:aborted", attempt=1
)


def needless(path: Path, *answers: bool) -> int:
    """Send one event once for each answer, clean or spoilt. Returns what was needless."""
    book = Book(path)
    for clean in answers:
        request = book.arrived(EVENT, b"{}", "")
        book.answered(request, EVENT, {"ack": True}, clean=clean)
    reading = Reading(path)
    try:
        return reading.needless()
    finally:
        reading.close()


def test_a_request_after_a_clean_ack_is_needless(tmp_path: Path) -> None:
    assert needless(tmp_path / "book.db", True, True, True) == 2


def test_a_retry_after_an_answer_that_was_spoilt_is_not(tmp_path: Path) -> None:
    """One crash costs one needless request, also when that one then meets faults."""
    assert needless(tmp_path / "book.db", True, False, False, True) == 1


@pytest.mark.parametrize("alive", [True, False])
async def test_a_request_beside_another_one_is_wrong_unless_the_other_ones_sender_is_dead(
    receiver: Receiver, alive: bool
) -> None:
    (chunk,) = chunks(b'[{"a":1}]')
    url = f"http://{receiver.address}"
    async with (
        httpx.AsyncClient(base_url=url, timeout=PATIENCE_S) as first,
        httpx.AsyncClient(base_url=url, timeout=PATIENCE_S) as second,
    ):
        receiver.gate(1, "received")
        held = asyncio.create_task(Sender(first).chunk(chunk))
        assert await asyncio.to_thread(receiver.said) == {"at": "received"}
        if not alive:
            held.cancel()
        beside = await Sender(second).chunk(chunk)
        receiver.go()
        await asyncio.wait([held])

    assert beside.json()["ack"] is True
    with receiver.reading() as book:
        assert sum(": 0.1: two requests" in one for one in book.anomalies()) == alive
