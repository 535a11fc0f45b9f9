"""A header has bounds of its own: every record holds all its names again."""

import pytest

from app.decoders.csv.columns import COLUMNS_MAX
from app.decoders.csv.refusals import HEADER_BYTES_MAX
from app.decoders.csv.rows import CsvDecoder
from app.domain.chunk import Cursor
from app.domain.errors import DecodeCode, DecodeError, Place
from app.domain.ingestion import DecodeOptions
from tests.support.sources import BytesSource

PLAIN = DecodeOptions(encoding="utf-8", delimiter=",", quote='"')


@pytest.mark.parametrize("more", [b"a,b\n", b"n", b"n,\xff"])
def test_a_header_that_does_not_end_is_not_read_to_the_end_of_the_file(more: bytes) -> None:
    source = BytesSource(b'"' + more * HEADER_BYTES_MAX)
    with pytest.raises(DecodeError) as caught:
        next(CsvDecoder(source, PLAIN).batches(Cursor()))

    assert caught.value.code == DecodeCode.RECORD_TOO_LARGE
    assert caught.value.place == Place(byte=0, line=1)
    assert source.bytes_read <= HEADER_BYTES_MAX + 1


@pytest.mark.parametrize("row", ["", "1,2\n"])
def test_more_columns_than_a_spreadsheet_has_are_refused(row: str) -> None:
    names = [f"c{column}" for column in range(COLUMNS_MAX + 1)]
    source = BytesSource(f"\n{','.join(names)}\n{row}".encode())

    with pytest.raises(DecodeError) as caught:
        next(CsvDecoder(source, PLAIN).batches(Cursor()))

    error = caught.value
    assert error.code == DecodeCode.RECORD_TOO_LARGE
    assert error.place == Place(byte=1, line=2)
    assert "16385 columns" in error.message
    assert "options.delimiter" in error.remedy


def test_as_many_columns_as_a_spreadsheet_has_are_read() -> None:
    names = [f"c{column}" for column in range(COLUMNS_MAX)]
    source = BytesSource(f"{','.join(names)}\n{',' * (COLUMNS_MAX - 1)}\n".encode())

    (batch,) = CsvDecoder(source, PLAIN).batches(Cursor())

    (record,) = batch.records
    assert record.count(b':""') == COLUMNS_MAX


def test_a_header_may_be_as_long_as_is_looked_for_its_end() -> None:
    name = "n" * (HEADER_BYTES_MAX - 1)
    source = BytesSource(f"{name}\n1\n".encode())

    (batch,) = CsvDecoder(source, PLAIN).batches(Cursor())

    assert list(batch.records) == [f'{{"{name}":"1"}}'.encode()]
