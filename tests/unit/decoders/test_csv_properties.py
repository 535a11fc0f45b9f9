"""CSV against the standard library over the whole text, wherever the blocks are cut."""

import csv
import io
import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.decoders.csv.columns import Columns
from app.decoders.csv.rows import CsvDecoder
from app.domain.chunk import Batch, Cursor
from app.domain.errors import DecodeCode, DecodeError, Place
from app.domain.ingestion import DecodeOptions
from tests.support.sources import BytesSource

if TYPE_CHECKING:
    import _csv

ENCODINGS = ["utf-8", "utf-16-le", "utf-16-be", "utf-32-le", "cp1252", "shift_jis", "gb18030"]


@dataclass
class Outcome:
    """What a file gives: its records, each with its line, and how it ends."""

    records: list[tuple[int, bytes]]
    code: DecodeCode | None = None
    line: int | None = None


def reference(text: str, delimiter: str, quote: str) -> Outcome:
    """Read with the standard library and encode with ``json``, one row at a time."""
    reader = csv.reader(
        io.StringIO(text, newline=""),
        delimiter=delimiter,
        quotechar=quote or None,
        quoting=csv.QUOTE_MINIMAL if quote else csv.QUOTE_NONE,
        strict=True,
    )
    outcome = Outcome([])
    names: list[str] = []
    for line, row in _with_lines(reader, outcome):
        if not row:
            continue
        if not names:
            names = row
            if len(set(names)) < len(names):
                outcome.code, outcome.line = DecodeCode.DUPLICATE_HEADER, line
                break
        elif len(row) != len(names):
            outcome.code, outcome.line = DecodeCode.RAGGED_ROW, line
            break
        else:
            outcome.records.append((line, as_json(names, row)))
    return outcome


def as_json(names: list[str], row: list[str]) -> bytes:
    record = dict(zip(names, row, strict=True))
    text = json.dumps(record, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return text.encode()


def _with_lines(reader: "_csv.Reader", outcome: Outcome) -> Iterator[tuple[int, list[str]]]:
    while True:
        line = reader.line_num + 1
        try:
            row = next(reader, None)
        except csv.Error as error:
            at_the_end = "unexpected end" in str(error)
            outcome.code = DecodeCode.TRUNCATED if at_the_end else DecodeCode.MALFORMED
            outcome.line = line
            return
        if row is None:
            return
        yield line, row


def run(decoder: CsvDecoder, cursor: Cursor) -> tuple[list[Batch], DecodeError | None]:
    batches: list[Batch] = []
    try:
        batches.extend(decoder.batches(cursor))
    except DecodeError as error:
        return batches, error
    return batches, None


def records(batches: list[Batch]) -> list[bytes]:
    return [record for batch in batches for record in batch.records]


def cursors(batches: list[Batch]) -> list[Cursor]:
    return [
        Cursor(offset=b.start.offset, skip=b.start.skip + i, line=b.start.line)
        for b in batches
        for i in range(len(b.records))
    ]


def agree(
    text: str, *, encoding: str, delimiter: str, quote: str, block: int, short: int | None
) -> None:
    """Compare with the reference, from the start and from every record's cursor."""
    expected = reference(text, delimiter, quote)
    options = DecodeOptions(encoding=encoding, delimiter=delimiter, quote=quote)

    def decoder() -> CsvDecoder:
        source = BytesSource(text.encode(encoding), short)
        return CsvDecoder(source, options, block_bytes=block)

    batches, error = run(decoder(), Cursor())
    assert records(batches) == [record for _, record in expected.records]
    ends(error, expected, given=len(expected.records))
    positions = [batch.position for batch in batches]
    assert positions == sorted(positions)
    for index, cursor in enumerate(cursors(batches)[:20]):
        later, later_error = run(decoder(), cursor)
        assert records(later) == records(batches)[index:]
        ends(later_error, expected, given=len(expected.records) - index)


def ends(error: DecodeError | None, expected: Outcome, *, given: int) -> None:
    assert (error.code if error else None) == expected.code
    if error is None:
        return
    assert error.place is not None
    assert error.place.line == expected.line
    assert error.place.byte is not None
    if expected.code != DecodeCode.DUPLICATE_HEADER and expected.records:
        assert error.place.record == given


@settings(max_examples=400, deadline=None)
@given(
    text=st.text(alphabet="ab,;\"'\n\r\\ \0%é表", max_size=60),
    quote=st.sampled_from(['"', '"', "'", ""]),
    encoding=st.sampled_from(["utf-8", "utf-16-le", "gb18030"]),
    block=st.integers(1, 70),
    short=st.none() | st.integers(1, 9),
)
def test_any_text_is_read_as_by_the_standard_library(
    text: str, quote: str, encoding: str, block: int, short: int | None
) -> None:
    # A first column that no row of the text ends early keeps most examples from being errors
    # in the header.
    agree("h,k\n" + text, encoding=encoding, delimiter=",", quote=quote, block=block, short=short)
    agree(text, encoding=encoding, delimiter=";", quote=quote, block=block, short=short)


@st.composite
def tables(draw: st.DrawFn) -> tuple[str, str, str, str]:
    """A document that the standard library wrote: text, delimiter, quote, encoding."""
    encoding = draw(st.sampled_from(ENCODINGS))
    letters = {"shift_jis": "表ソ能", "gb18030": "丂😀", "cp1252": "é€"}.get(
        encoding, "é表😀\u2028\x85"
    )
    delimiter = draw(st.sampled_from(",;\t|"))
    quote = draw(st.sampled_from("\"'"))
    cell = st.text(
        alphabet=st.sampled_from("ab0 \n\r\"'\\,;|%\0\x0b\x0c\x1f" + letters), max_size=8
    )
    width = draw(st.integers(1, 4))
    names = draw(st.lists(cell, min_size=width, max_size=width, unique=True))
    rows = draw(st.lists(st.lists(cell, min_size=width, max_size=width), max_size=25))
    out = io.StringIO(newline="")
    writer = csv.writer(
        out,
        delimiter=delimiter,
        quotechar=quote,
        quoting=draw(st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL])),
        lineterminator=draw(st.sampled_from(["\n", "\r\n", "\r"])),
    )
    writer.writerows([names, *rows])
    if draw(st.booleans()):  # an error at the end, whose line must be known after any resume
        writer.writerow(["x"] * (width + 1))
    return out.getvalue(), delimiter, quote, encoding


@settings(max_examples=200, deadline=None)
@given(table=tables(), block=st.integers(1, 300) | st.just(64 * 1024), short=st.none() | st.just(3))
def test_any_table_is_read_as_by_the_standard_library(
    table: tuple[str, str, str, str], block: int, short: int | None
) -> None:
    text, delimiter, quote, encoding = table
    agree(text, encoding=encoding, delimiter=delimiter, quote=quote, block=block, short=short)


@settings(max_examples=30, deadline=None)
@given(
    seeds=st.lists(st.sampled_from(["plain", 'an "inch" "', "l\nl", "é", "\\", ""]), min_size=7),
    block=st.sampled_from([1024, 4096, 16 * 1024, 64 * 1024]),
    quoting=st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL]),
    stray=st.integers(0, 3),
)
def test_files_of_many_blocks_are_read_as_by_the_standard_library(
    seeds: list[str], block: int, quoting: Literal[0, 1], stray: int
) -> None:
    out = io.StringIO(newline="")
    writer = csv.writer(out, quoting=quoting, lineterminator="\n")
    writer.writerow(["n", "x", "y"])
    cells = itertools.cycle(seeds)
    for i in range(1_500):
        writer.writerow([i, next(cells) * 3, next(cells) * 20])
        if stray and i % (stray * 37) == 0:
            out.write(f'{i},5" disk,x\n')
    text = out.getvalue()
    expected = reference(text, ",", '"')

    options = DecodeOptions(encoding="utf-8", delimiter=",", quote='"')
    source = BytesSource(text.encode())
    batches, error = run(CsvDecoder(source, options, block_bytes=block), Cursor())

    assert error is None
    assert records(batches) == [record for _, record in expected.records]
    for index in range(0, len(expected.records), 199):
        cursor = cursors(batches)[index]
        later = CsvDecoder(source, options, block_bytes=block).batches(cursor)
        assert next(later).records[0] == expected.records[index][1]


@settings(max_examples=200, deadline=None)
@given(
    names=st.lists(st.text(max_size=5), min_size=1, max_size=4, unique=True),
    rows=st.lists(st.lists(st.text(max_size=6), min_size=4, max_size=4), min_size=1, max_size=5),
)
def test_rows_are_encoded_the_same_together_and_alone(
    names: list[str], rows: list[list[str]]
) -> None:
    columns = Columns(names, Place())
    rows = [row[: len(names)] for row in rows]
    try:
        expected = [as_json(names, row) for row in rows]
    except UnicodeEncodeError:
        return  # an unpaired surrogate, which no strict codec decodes to

    assert columns.records(rows) == expected
    assert [columns.record(row) for row in rows] == expected


DOCUMENT = 'id,"na""me"\r\n1,"x\r\ny, ""z"""\r\n2,plain é\r\n3,""\r\n4,"end"\r\n'


@pytest.mark.parametrize("block", [1, 7, 64])
def test_a_file_cut_at_any_byte_gives_a_true_prefix_or_one_shorter_legal_row(block: int) -> None:
    whole = DOCUMENT.encode()
    options = DecodeOptions(encoding="utf-8", delimiter=",", quote='"')
    truth = [record for _, record in reference(DOCUMENT, ",", '"').records]
    silent = set()
    for cut in range(DOCUMENT.index("\r\n") + 2, len(whole)):
        source = BytesSource(whole[:cut])
        batches, _error = run(CsvDecoder(source, options, block_bytes=block), Cursor())
        got = records(batches)
        if got == truth[: len(got)]:
            continue
        # Only the last record differs, and only by the end of its last cell.
        assert got[:-1] == truth[: len(got) - 1]
        cell = json.loads(got[-1])['na"me']
        full = json.loads(truth[len(got) - 1])['na"me']
        assert full.startswith(cell)
        silent.add(cut)
    # What no reader can know: the cut fell inside an unquoted last cell, or between the two
    # quotes that stand for one.
    assert all(_looks_whole(whole[:cut].decode(errors="replace")) for cut in silent)


def _looks_whole(text: str) -> bool:
    return text.count('"') % 2 == 0
