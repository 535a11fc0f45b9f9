"""A column of cells, read in both ways."""

from collections.abc import Sequence

import pytest

from app.decoders.xlsx.decoder import XlsxDecoder
from app.domain.ingestion import DecodeOptions
from tests.support.decoding import Decoded, decode
from tests.support.sources import BytesSource
from tests.support.workbooks import archive, column, parts_of

# A cell is read by a pattern, or by expat; a comment leaves all to expat.
WAYS = pytest.mark.parametrize("way", ["", "<!-- exact -->"], ids=["plain", "exact"])


def read(
    *cells: str,
    way: str = "",
    options: DecodeOptions | None = None,
    strings: str | None = None,
    formats: Sequence[str | int] = (),
    since_1904: bool = False,
) -> Decoded:
    parts = parts_of(way + column(*cells), strings=strings, formats=formats, since_1904=since_1904)
    return decode(XlsxDecoder(BytesSource(archive(parts)), options or DecodeOptions()))


def tokens(decoded: Decoded) -> list[str]:
    assert decoded.error is None
    return [record.decode().removeprefix('{"A":').removesuffix("}") for record in decoded.records]
