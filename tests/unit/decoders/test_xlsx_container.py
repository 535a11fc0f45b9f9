"""Excel: archives that are damaged, or made to do damage."""

import io
import os
import tracemalloc
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import pytest

from app.decoders.xlsx import package as xlsx_package
from app.decoders.xlsx.decoder import XlsxDecoder
from app.domain.errors import DecodeCode, DecodeError
from app.domain.ingestion import DecodeOptions
from app.sources.local import LocalSources
from tests.support.workbooks import (
    SHEET,
    STRINGS,
    archive,
    number,
    parts_of,
    row,
    worksheet,
)
from tests.unit.decoders.damaged_workbooks import GOOD, HEADER, RECORDS, read

# ---- the container


@pytest.mark.parametrize(
    ("data", "code", "says"),
    [
        (b"", DecodeCode.MALFORMED, "empty"),
        (b"sku,ean\n1,2\n", DecodeCode.MALFORMED, "not a workbook"),
        (b"PK\x03\x04" + bytes(100), DecodeCode.TRUNCATED, "end is missing"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), DecodeCode.MALFORMED, "password"),
        (archive({}), DecodeCode.MALFORMED, "no workbook"),
        (archive({"content.xml": "<x/>"}), DecodeCode.MALFORMED, "no workbook"),
    ],
)
def test_what_is_no_workbook_is_refused_with_the_reason(
    data: bytes, code: DecodeCode, says: str
) -> None:
    decoded = read(data)
    assert (decoded.code, decoded.records) == (code, [])
    assert decoded.error
    assert says in decoded.error.message
    assert decoded.error.remedy


def test_a_binary_workbook_is_refused_by_name() -> None:
    parts = parts_of(GOOD)
    parts["_rels/.rels"] = str(parts["_rels/.rels"]).replace("workbook.xml", "workbook.bin")
    error = read(archive(parts)).error
    assert error
    assert ".xlsb" in error.message


@pytest.mark.parametrize("missing", [SHEET, "xl/workbook.xml", "xl/_rels/workbook.xml.rels"])
def test_a_missing_part_is_malformed(missing: str) -> None:
    parts = parts_of(GOOD)
    del parts[missing]
    assert read(archive(parts)).code == DecodeCode.MALFORMED


def test_a_workbook_without_sheets_is_refused() -> None:
    assert read(archive(parts_of(sheets={}))).code == DecodeCode.SHEET_NOT_FOUND


def test_a_truncated_file_never_ends_well_wherever_it_is_cut() -> None:
    whole = archive(parts_of(GOOD, strings="<si><t>a</t></si>", formats=[14]))
    for end in range(0, len(whole), 7):
        assert read(whole[:end]).code in (DecodeCode.TRUNCATED, DecodeCode.MALFORMED)


@pytest.mark.parametrize("checksum", ["of the whole", "of what is left"])
def test_a_stream_that_was_cut_before_it_was_packed_never_ends_well(checksum: str) -> None:
    """The container is whole, and a decompressor says nothing of an input that ends early."""
    rows = HEADER + "".join(row(at, number(f"A{at}", str(at))) for at in range(2, 300))
    whole = read(archive(parts_of(rows))).records
    deflate = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    xml = worksheet(rows).encode()
    stream = deflate.compress(xml) + deflate.flush()
    for end in range(0, len(stream), 11):
        left = zlib.decompressobj(wbits=-zlib.MAX_WBITS).decompress(stream[:end])
        said = xml if checksum == "of the whole" else left
        decoded = read(with_stream(parts_of(rows), SHEET, stream[:end], said))
        if left != xml:  # its last bits say only that it ends
            assert decoded.code in (DecodeCode.TRUNCATED, DecodeCode.MALFORMED)
        assert decoded.records == whole[: len(decoded.records)]


def with_stream(
    parts: Mapping[str, str | bytes], name: str, stream: bytes, content: bytes
) -> bytes:
    """Zip ``parts``, one of them as this deflate stream, which is said to be ``content``."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as package:
        for part, text in parts.items():
            package.writestr(part, stream if part == name else text)
        entry = package.getinfo(name)
        entry.compress_type, entry.CRC = zipfile.ZIP_DEFLATED, zlib.crc32(content)
        entry.file_size = len(content)  # the directory, which is what counts, says so
    packed = bytearray(file.getvalue())
    packed[entry.header_offset + 8] = zipfile.ZIP_DEFLATED  # and the header has to agree
    return bytes(packed)


def test_a_changed_byte_is_noticed_or_changes_nothing() -> None:
    rows = HEADER + "".join(row(at, number(f"A{at}", str(at))) for at in range(2, 300))
    whole = archive(parts_of(rows, strings="<si><t>a</t></si>"))
    expected = read(whole).records
    assert len(expected) == 298
    for at in range(0, len(whole), 3):
        changed = bytearray(whole)
        changed[at] ^= 0x55
        decoded = read(bytes(changed))
        if decoded.error is None:
            assert decoded.records == expected
        else:
            assert decoded.records == expected[: len(decoded.records)]


def test_a_wrong_checksum_at_the_end_is_noticed_after_all_good_records() -> None:
    rows = HEADER + "".join(row(at, number(f"A{at}", str(at))) for at in range(2, 9000))
    whole = archive(parts_of(rows))
    with zipfile.ZipFile(io.BytesIO(whole)) as package:
        crc = package.getinfo(SHEET).CRC
    damaged = whole.replace(crc.to_bytes(4, "little"), bytes(4))
    decoded = read(damaged)
    assert decoded.code == DecodeCode.MALFORMED
    assert len(decoded.records) > 8000


def test_a_file_without_its_beginning_is_no_fault_of_the_disk(tmp_path: Path) -> None:
    """Its parts now lie before it: a file on disk refuses to go there with an OSError."""
    file = tmp_path / "damaged.xlsx"
    file.write_bytes(archive(parts_of(GOOD))[300:])
    source = LocalSources([tmp_path]).locate(str(file))
    with pytest.raises(DecodeError) as caught:
        XlsxDecoder(source, DecodeOptions()).detect()
    assert caught.value.code == DecodeCode.MALFORMED


def test_a_damaged_string_that_no_cell_uses_is_noticed() -> None:
    whole = archive(parts_of(GOOD, strings="<si><t>unused</t></si>"))
    with zipfile.ZipFile(io.BytesIO(whole)) as package:
        crc = package.getinfo(STRINGS).CRC
    decoded = read(whole.replace(crc.to_bytes(4, "little"), bytes(4)))
    assert (decoded.code, decoded.records) == (DecodeCode.MALFORMED, RECORDS)


def test_a_part_that_comes_twice_is_refused() -> None:
    entries = [*parts_of(GOOD).items(), (SHEET.upper(), worksheet(HEADER))]
    decoded = read(archive(entries))
    assert (decoded.code, decoded.records) == (DecodeCode.MALFORMED, [])


def test_an_encrypted_part_is_refused() -> None:
    whole = bytearray(archive(parts_of(GOOD)))
    for magic, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = -1
        while (at := whole.find(magic, at + 1)) >= 0:
            whole[at + flags] |= 1
    error = read(bytes(whole)).error
    assert error
    assert "encrypted" in error.message


def test_an_unknown_compression_is_refused() -> None:
    whole = bytearray(archive(parts_of(GOOD)))
    for magic, method in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        at = -1
        while (at := whole.find(magic, at + 1)) >= 0:
            whole[at + method] = 99
    assert read(bytes(whole)).code == DecodeCode.MALFORMED


@pytest.mark.parametrize("part", [SHEET, STRINGS, "xl/workbook.xml", "xl/_rels/workbook.xml.rels"])
def test_a_zip_bomb_is_stopped_whichever_part_it_is(part: str) -> None:
    bomb = str(parts_of(GOOD, strings="")[part]).replace("?>\n", "?>\n" + " " * 30_000_000, 1)
    if not part.startswith("xl/worksheets"):
        bomb = bomb.replace("</", " " * 30_000_000 + "</", 1)
    data = archive({**parts_of(GOOD, strings=""), part: bomb})
    tracemalloc.start()
    decoded = read(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert decoded.code == DecodeCode.DECOMPRESSION_LIMIT
    assert peak < 12 * 2**20


def test_a_small_part_may_not_be_large_however_badly_it_compresses(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(xlsx_package, "SMALL_PART_BYTES_MAX", 1_200_000)
    comment = f"<!--{os.urandom(5_000).hex()}-->"
    for count, code in ((100, None), (130, DecodeCode.DECOMPRESSION_LIMIT)):
        parts = parts_of(GOOD)
        parts["xl/workbook.xml"] = str(parts["xl/workbook.xml"]) + comment * count
        assert read(archive(parts, compressed=False)).code == code


def test_too_many_parts_are_refused() -> None:
    parts = parts_of(GOOD) | {f"xl/media/{at}.png": b"" for at in range(10_001)}
    assert read(archive(parts)).code == DecodeCode.DECOMPRESSION_LIMIT
    parts = parts_of(GOOD) | {f"xl/media/{'x' * 60_000}{at}": b"" for at in range(80)}
    assert read(archive(parts)).code == DecodeCode.DECOMPRESSION_LIMIT


@pytest.mark.parametrize(
    "target", ["../../../../etc/passwd", "/etc/passwd", "file:///etc/passwd", ""]
)
def test_a_relation_cannot_leave_the_container(target: str) -> None:
    parts = parts_of(GOOD)
    relations = str(parts["xl/_rels/workbook.xml.rels"])
    parts["xl/_rels/workbook.xml.rels"] = relations.replace("worksheets/sheet1.xml", target)
    assert read(archive(parts)).code == DecodeCode.MALFORMED


def test_an_external_sheet_is_refused() -> None:
    parts = parts_of(GOOD)
    relations = str(parts["xl/_rels/workbook.xml.rels"])
    parts["xl/_rels/workbook.xml.rels"] = relations.replace(
        "Target=", 'TargetMode="External" Target='
    )
    assert read(archive(parts)).code == DecodeCode.MALFORMED
