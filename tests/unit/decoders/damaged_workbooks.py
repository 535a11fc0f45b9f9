"""Workbooks with one part that is not as it should be, read."""

from app.decoders.xlsx.decoder import XlsxDecoder
from app.domain.ingestion import DecodeOptions
from tests.support.decoding import Decoded, decode
from tests.support.sources import BytesSource
from tests.support.workbooks import (
    SHEET,
    archive,
    number,
    parts_of,
    row,
    text,
)

HEADER = row(1, text("A1", "n"))
GOOD = HEADER + row(2, number("A2", "1")) + row(3, number("A3", "2"))
RECORDS = [b'{"n":1}', b'{"n":2}']


def read(data: bytes) -> Decoded:
    return decode(XlsxDecoder(BytesSource(data), DecodeOptions()))


def with_part(name: str, content: str | bytes, rows: str = GOOD) -> Decoded:
    return read(archive({**parts_of(rows, strings=""), name: content}))


def raw_sheet(xml: str | bytes) -> Decoded:
    return with_part(SHEET, xml)
