"""A row that is read in pieces is read as one that is looked at as a whole."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.decoders.csv.rows import CsvDecoder
from app.domain.budget import RECORD_BYTES_MAX
from app.domain.chunk import Cursor
from app.domain.errors import DecodeCode, DecodeError, Place
from app.domain.ingestion import DecodeOptions
from tests.support.sources import BytesSource

CRUMBS = [b"a", b"\\", b",", b'"', b"\n", b"\r", b"\0", b"\x1f", b"\xff", b"\x81", b"\xc3", b"\xa9"]
CRUMBS += ["é".encode(), "表".encode("shift_jis"), b"aaaaaaaa", b'""', b'","', b'"\r\n"', b'"\n']


def outcome(
    text: bytes, options: DecodeOptions, *, block: int, short: int | None = None
) -> tuple[list[bytes], str, str, str, Place | None]:
    """Return the records, and the error in all its words."""
    records: list[bytes] = []
    decoder = CsvDecoder(BytesSource(text, short), options, block_bytes=block)
    try:
        for batch in decoder.batches(Cursor()):
            records += batch.records
    except DecodeError as error:
        return records, error.code, error.message, error.remedy, error.place
    return records, "", "", "", None


@settings(max_examples=1500, deadline=None)
@given(
    crumbs=st.lists(st.sampled_from(CRUMBS), max_size=60),
    tail=st.sampled_from([b"", b",a\n", b'",a\n', b"\na,a\n"]),
    quote=st.sampled_from(['"', '"', "'", "", "a"]),
    encoding=st.sampled_from(["utf-8", "utf-8", "cp1252", "shift_jis", "gb18030", "utf-16-le"]),
    block=st.integers(1, 5),
    short=st.none() | st.integers(1, 9),
)
def test_any_bytes_give_the_same_records_and_the_same_error(
    crumbs: list[bytes], tail: bytes, quote: str, encoding: str, block: int, short: int | None
) -> None:
    options = DecodeOptions(encoding=encoding, delimiter=",", quote=quote)
    text = b"".join(crumbs) + tail
    if encoding == "utf-16-le":
        text = b"".join(bytes([byte, 0]) if byte < 0xFF else b"\xff\xd8" for byte in text)
    text = "h,k\n".encode(encoding) + text

    assert outcome(text, options, block=block, short=short) == outcome(text, options, block=4096)


@settings(max_examples=300, deadline=None)
@given(
    cells=st.lists(st.text('ab\n\r",; \\\0é😀', max_size=9), min_size=1, max_size=9),
    names=st.permutations("ihgfedcba"),
    quote=st.sampled_from(['"', "'"]),
    block=st.integers(1, 3),
    encoding=st.sampled_from(["utf-8", "utf-16-be", "gb18030"]),
)
def test_any_cells_stand_under_their_names(
    cells: list[str], names: list[str], quote: str, block: int, encoding: str
) -> None:
    row = ",".join(quote + cell.replace(quote, 2 * quote) + quote for cell in cells)
    text = ",".join(names[: len(cells)]) + "\r\n" + row + "\r\n"
    options = DecodeOptions(encoding=encoding, delimiter=",", quote=quote)

    whole = outcome(text.encode(encoding), options, block=4096)

    assert len(whole[0]) == 1
    assert outcome(text.encode(encoding), options, block=block) == whole


PLAIN = DecodeOptions(encoding="utf-8", delimiter=",", quote='"')
LONG = RECORD_BYTES_MAX + 100_000


@pytest.mark.parametrize(
    ("row", "code"),
    [
        ('1,"' + "x,\n" * (LONG // 3), DecodeCode.RECORD_TOO_LARGE),
        ("1," + "x" * LONG + "\n", DecodeCode.RECORD_TOO_LARGE),
        ("," * (LONG // 2) + "\n", DecodeCode.RAGGED_ROW),
        ('"",' * (LONG // 8) + "\n", DecodeCode.RAGGED_ROW),
        ('1,"' + "x" * (LONG // 2), DecodeCode.TRUNCATED),
        ('1,"' + "x\n" * (LONG // 4) + '"y\n', DecodeCode.MALFORMED),
        ("1," + "\x01" * (LONG // 4) + "\n", DecodeCode.RECORD_TOO_LARGE),
    ],
    ids=[
        "quote never closed",
        "no line end",
        "commas",
        "quoted cells",
        "quote open at the end",
        "more behind a quote",
        "large as JSON only",
    ],
)
def test_what_is_wrong_with_a_very_long_row_is_told_where_it_starts(
    row: str, code: DecodeCode
) -> None:
    records, found, *_, place = outcome(f"a,b\n1,2\n{row}3,4\n".encode(), PLAIN, block=1 << 16)

    assert (found, place) == (code, Place(byte=8, line=3, record=1))
    assert records == [b'{"a":"1","b":"2"}']


def test_the_bytes_of_a_very_long_row_that_are_no_text_are_told_before_the_rest_is_read() -> None:
    text = b'a,b\n1,"x\n' + b"y" * 3_000_000 + b"\xff" + b"y" * LONG
    source = BytesSource(text)

    with pytest.raises(DecodeError) as caught:
        list(CsvDecoder(source, PLAIN).batches(Cursor()))

    assert caught.value.code == DecodeCode.ENCODING_INVALID
    assert caught.value.place == Place(byte=text.index(b"\xff"), line=3, record=0)
    assert source.bytes_read < 4_000_000


def test_the_rows_after_a_very_long_one_are_read_and_resumed_at() -> None:
    long = "é" * 1_000_000
    source = BytesSource(f'a,b\n1,2\n"{long}\n",3\n4,5\n"{long}",6\n7,8\n'.encode())
    batches = list(CsvDecoder(source, PLAIN).batches(Cursor()))
    records = [record for batch in batches for record in batch.records]

    assert [record.decode() for record in records] == [
        '{"a":"1","b":"2"}',
        f'{{"a":"{long}\\n","b":"3"}}',
        '{"a":"4","b":"5"}',
        f'{{"a":"{long}","b":"6"}}',
        '{"a":"7","b":"8"}',
    ]
    for index, batch in enumerate(batches):
        later = CsvDecoder(source, PLAIN).batches(batch.start)
        assert [list(b.records) for b in later] == [list(b.records) for b in batches[index:]]


def test_the_line_of_what_follows_a_closing_quote_is_counted_through_a_very_long_row() -> None:
    text = 'a,b\n1,"' + "x\n" * 1_000_000 + '"y\n'

    *_, message, _, place = outcome(text.encode(), PLAIN, block=1 << 16)

    assert "in line 1000002," in message
    assert place == Place(byte=4, line=2, record=0)
