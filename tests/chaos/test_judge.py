"""The judge of the siege is fair: what it counts against a sender is the sender's doing."""

from pathlib import Path

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
