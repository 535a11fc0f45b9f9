"""A sink that could not see a fault would prove nothing."""

import orjson
import pytest

from benchmarks.audit import Audit, Chunks, Records, Tally
from benchmarks.many import standing
from benchmarks.resume import Incomplete, check_complete
from benchmarks.running import Watched


def head(number: int = 0, *, ingestion: str = "ab12", key: str = "") -> bytes:
    lines = ["POST /callback HTTP/1.1", f"webhook-id: chk_{ingestion}_{number}_0"]
    lines += [f"Idempotency-Key: {key}"] if key else []
    return "\r\n".join([*lines, "", ""]).encode()


def body(*numbers: int) -> bytes:
    return orjson.dumps({"records": [{"sku": f"SKU-{number:09d}"} for number in numbers]})


def of_chunks(*numbers: int, ingestion: str = "ab12") -> Audit:
    audit = Audit(chunks=Chunks())
    for at, number in enumerate(numbers):
        audit.arrived(head(number, ingestion=ingestion), 10, b"", float(at))
    return audit


def test_a_missing_chunk_is_seen() -> None:
    assert of_chunks(0, 1, 3).report(0).chunks_missing == 1
    assert of_chunks(0, 1, 2).report(0).chunks_missing == 0


def test_a_chunk_that_comes_twice_is_seen_and_is_not_new() -> None:
    report = of_chunks(0, 1, 1, 2).report(0)
    assert report.chunks_twice == 1
    assert report.new_at == [0.0, 1.0, 3.0]


def test_chunks_are_told_apart_by_their_ingestion() -> None:
    audit = of_chunks(0, 1)
    audit.arrived(head(0, ingestion="cd34"), 10, b"", 9.0)
    assert audit.report(0).chunks_of == [2, 1]
    assert audit.report(0).chunks_twice == 0


def test_missing_and_repeated_records_are_seen() -> None:
    audit = Audit(records=Records())
    for numbers in ((0, 1), (1, 2), (5,)):
        audit.arrived(head(), 10, body(*numbers), 0.0)
    report = audit.report(6)
    assert (report.records_missing, report.records_twice, report.effects_twice) == (2, 1, 1)


def test_a_repeated_key_is_a_record_twice_but_not_an_effect_twice() -> None:
    records = Records()
    records.arrived(head(key='"a:0"'), body(0, 1))
    records.arrived(head(key='"a:0"'), body(0, 1))
    records.arrived(head(key='"a:1"'), body(2))
    assert (records.duplicates(), records.effects_twice()) == (2, 0)


def test_a_completion_is_no_chunk() -> None:
    tally = Tally()
    tally.arrived(head(), 100, 1.0)
    tally.arrived(b"POST / HTTP/1.1\r\nIngest-Event: ingestion.completed\r\n\r\n", 50, 2.0)
    assert (tally.requests, tally.completed, tally.body_bytes) == (2, 1, 150)
    assert (tally.first_at, tally.last_at) == (1.0, 1.0)


@pytest.mark.parametrize(
    ("numbers", "kills"),
    [((0, 1, 3), 1), ((0, 1), 1), ((0, 0, 1, 1, 2), 1)],
    ids=["a gap", "an end that is missing", "more twice than kills"],
)
def test_a_resume_that_lost_or_repeated_chunks_is_no_result(
    numbers: tuple[int, ...], kills: int
) -> None:
    with pytest.raises(Incomplete):
        check_complete(of_chunks(*numbers).report(0), 3, kills=kills)


def test_a_resume_may_repeat_the_chunk_in_flight() -> None:
    check_complete(of_chunks(0, 1, 1, 2).report(0), 3, kills=1)


def test_an_ingestion_that_stands_still_is_counted() -> None:
    before, after = of_chunks(0), of_chunks(0, 1, 2)
    for audit in (before, after):
        audit.arrived(head(0, ingestion="cd34"), 10, b"", 9.0)
    row = standing(
        3, before.report(0), after.report(0), seconds=2.0, started=1.0, cpu=0.1, watched=Watched()
    )
    assert (row["progressed"], row["slowest"]) == (1, 0.0)
