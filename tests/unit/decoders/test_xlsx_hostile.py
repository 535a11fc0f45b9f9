"""Excel: files that are damaged, or made to do damage. Nothing foreign escapes."""

import io
import os
import tracemalloc
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import IO

import pytest

from app.decoders.xlsx import package as xlsx_package
from app.decoders.xlsx import rows as xlsx_rows
from app.decoders.xlsx import strings as xlsx_strings
from app.decoders.xlsx.decoder import XlsxDecoder
from app.domain.chunk import Cursor
from app.domain.errors import DecodeCode, DecodeError, IngestError, SourceError
from app.domain.ingestion import DecodeOptions
from app.sources.local import LocalSources
from tests.support.decoding import Decoded, decode
from tests.support.sources import BytesSource
from tests.support.workbooks import (
    MAIN,
    SHEET,
    STRICT,
    STRINGS,
    archive,
    number,
    parts_of,
    row,
    text,
    worksheet,
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


# ---- XML

DOCTYPES = [
    '<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]>',
    '<!DOCTYPE x SYSTEM "file:///etc/passwd">',
    "<!DOCTYPE worksheet>",
]


@pytest.mark.parametrize("doctype", DOCTYPES)
@pytest.mark.parametrize(
    "part", [SHEET, STRINGS, "xl/styles.xml", "xl/workbook.xml", "_rels/.rels"]
)
def test_a_doctype_is_refused_in_every_part(part: str, doctype: str) -> None:
    parts = parts_of(GOOD, strings="<si><t>a</t></si>", formats=[14])
    declaration, found, rest = str(parts[part]).partition("?>\n")
    parts[part] = declaration + found + doctype + rest if found else doctype + declaration
    decoded = read(archive(parts))
    assert decoded.code == DecodeCode.MALFORMED
    assert decoded.error
    assert "DOCTYPE" in decoded.error.message


@pytest.mark.parametrize(
    "bad",
    [
        "<row r='4'><c r='A4'><v>3</c></row>",
        "<row r='4'><c r='A4'><v>3</v></row>",
        '<row r="4"><c r="A4"><v>3</v></c></rov>',
        '<row r="4"><c r="A4"><v>3 & 4</v></c></row>',
        '<row r="4"><c r="A4" t="str"><v>&unknown;</v></c></row>',
        '<row r="4"><c r="A4" t="str"><v>&#0;</v></c></row>',
        '<row r="4"><c r="A4" t="str"><v>&#xD800;</v></c></row>',
        '<row r="4"><c r="A4" t="str"><v>\x01</v></c></row>',
        '<row r="4"><c r="A4" t="inlineStr"><is><t>a</v></c></row>',
        '<row r="4><c r="A4"><v>3</v></c></row>',
        '<row r="4" x="1" x="2" y=z><c r="A4"><v>3</v></c></row>',
        '<row r="4"><c r="A4" s=1><v>3</v></c></row>',
        '<row r="4"><u:c r="A4"><v>3</v></u:c></row>',
        '<row r="4"><c r="A4"><v>3</v></c></row></sheetData></worksheet><x/>',
        '<row r="4"><row r="5"></row></row>',
        '<row r="4"><c r="A4"><c r="B4"/></c></row>',
        "<!-- never closed ",
        '<row r="4"><c r="A4"><v>3',
    ],
)
@pytest.mark.parametrize("before", ["", "<!-- exact -->"])
def test_malformed_xml_is_an_error_after_the_good_records(bad: str, before: str) -> None:
    decoded = raw_sheet(worksheet(before + GOOD + bad + row(5, number("A5", "9"))))
    assert decoded.records[:2] == RECORDS
    assert decoded.code == DecodeCode.MALFORMED
    assert decoded.error
    assert decoded.error.place
    assert decoded.error.place.record == len(decoded.records)
    assert b"9" not in b"".join(decoded.records)


@pytest.mark.parametrize(
    "cut", ["</worksheet>", "</sheetData></worksheet>", "</row></sheetData></worksheet>"]
)
def test_a_sheet_that_stops_early_is_an_error(cut: str) -> None:
    decoded = raw_sheet(worksheet(GOOD).removesuffix(cut))
    assert decoded.code == DecodeCode.MALFORMED
    assert decoded.records == RECORDS[: 1 if "row" in cut else 2]


def test_what_is_no_sheet_is_an_error_and_not_empty() -> None:
    assert raw_sheet(f'<chartsheet xmlns="{MAIN}"/>').code == DecodeCode.MALFORMED
    assert raw_sheet("<worksheet><sheetData/></worksheet>").code == DecodeCode.MALFORMED
    assert raw_sheet("").code == DecodeCode.MALFORMED


@pytest.mark.parametrize("before", ["", "<!-- exact -->"])
@pytest.mark.parametrize(
    "xml",
    [
        worksheet(GOOD, namespace=STRICT),
        worksheet(GOOD).encode("utf-16"),
        b"\xef\xbb\xbf" + worksheet(GOOD).encode(),
        worksheet(GOOD).partition("?>\n")[2],
        worksheet(GOOD).replace("UTF-8", "us-ascii"),
        worksheet(GOOD.replace("><", ">\r\n  <")),
        worksheet(GOOD.replace('"', "'")),
        worksheet("<?pi x?>" + GOOD),
        worksheet(GOOD.replace("<v>", "<!-- </row> --><v>")),
        worksheet(GOOD.replace("<v>1</v>", "<v><![CDATA[1]]></v>")),
        worksheet(GOOD.replace("</row>", "</row >").replace("</c>", "</c\n>")),
        worksheet(GOOD.replace("</v>", "</v><extLst><ext><v>7</v></ext></extLst>", 0)),
        worksheet(GOOD.replace("<row ", '<row spans="1:1" xmlns:y="urn:y" y:dy="0.25" ')),
        worksheet(GOOD, before="<!-- <sheetData> -->"),
        worksheet(GOOD, after="<!-- <row> --><legacyDrawing/>"),
        worksheet(GOOD).replace("<sheetData>", "<sheetData >"),
        worksheet(GOOD.replace('<row r="2">', '<row  r = "2" >')),
        worksheet(GOOD.replace('<c r="A2">', '<c s="0" r="A2">')),
        worksheet(GOOD.replace('<c r="A2">', '<c note="a &gt; r=\'B9\' /" r="A2">')),
    ],
)
def test_every_way_to_write_the_same_sheet_reads_the_same(xml: str | bytes, before: str) -> None:
    if before and isinstance(xml, str):
        head, tag, rest = xml.rpartition("<sheetData")
        xml = head + tag + rest.replace(">", ">" + before, 1)
    decoded = raw_sheet(xml)
    assert decoded.error is None
    assert decoded.records == RECORDS


@pytest.mark.parametrize("namespace", [MAIN, STRICT])
def test_prefixed_names_are_read(namespace: str) -> None:
    prefixed = worksheet(GOOD).replace("<", "<x:").replace("<x:/", "</x:").replace("<x:?", "<?")
    prefixed = prefixed.replace(f'xmlns="{MAIN}"', f'xmlns:x="{namespace}"')
    strings = f'<s:sst xmlns:s="{namespace}"><s:si><s:t>a</s:t></s:si></s:sst>'
    parts = {**parts_of(GOOD, strings=""), SHEET: prefixed, STRINGS: strings}
    assert read(archive(parts)).records == RECORDS


@pytest.mark.parametrize(
    "before",
    [
        f"<?xml-stylesheet <sheetData>{HEADER}{row(2, number('A2', '9')) * 3000}?>",
        f"<x><sheetData xmlns='urn:x'>{HEADER}{row(2, number('A2', '9'))}</sheetData></x>",
    ],
    ids=["in an instruction", "in another name space"],
)
def test_rows_that_are_none_are_not_read(before: str) -> None:
    sheet = f"<worksheet xmlns='{MAIN}'><sheetData>{GOOD}</sheetData></worksheet>"
    if before.startswith("<x>"):
        sheet = sheet.replace("<sheetData>", before + "<sheetData>", 1)
    else:
        sheet = before + sheet
    decoded = raw_sheet(sheet)
    assert (decoded.code, decoded.records) == (None, RECORDS)


def test_an_attribute_that_comes_twice_is_malformed() -> None:
    rows = HEADER + '<row r="2"><c r="A2" t="n" t="str"><v>1</v></c></row>'
    decoded = read(archive(parts_of(rows)))
    assert (decoded.code, decoded.records) == (DecodeCode.MALFORMED, [])


def test_elements_of_other_name_spaces_are_no_cells() -> None:
    foreign = (
        '<row r="4" xmlns:o="urn:o"><o:c r="A4"><o:v>9</o:v></o:c><c r="A4"><o:v>9</o:v></c></row>'
    )
    assert raw_sheet(worksheet(GOOD + foreign)).records == RECORDS


@pytest.mark.parametrize(
    ("xml", "code"),
    [
        (
            worksheet(GOOD + "x").replace("x<", "\xff<", 1).encode("latin-1"),
            DecodeCode.ENCODING_INVALID,
        ),
        (worksheet(GOOD).replace("UTF-8", "UTF-7"), DecodeCode.MALFORMED),
        (worksheet(GOOD).encode("utf-16")[:-1], DecodeCode.ENCODING_INVALID),
    ],
)
def test_a_wrong_encoding_is_refused(xml: str | bytes, code: DecodeCode) -> None:
    assert raw_sheet(xml).code == code


def test_depth_is_bounded() -> None:
    deep = "<a>" * 100_000
    assert raw_sheet(worksheet(GOOD + deep)).code == DecodeCode.MALFORMED
    assert with_part("xl/workbook.xml", f"<workbook>{deep}").code == DecodeCode.MALFORMED


@pytest.mark.parametrize(
    ("tail", "code"),
    [
        ("<row r='4' x='{}'/>", DecodeCode.MALFORMED),
        ("<!--{}-->", DecodeCode.MALFORMED),
        ("<row r='4'><c r='A4' t='str'><v>{}</v></c></row>", DecodeCode.RECORD_TOO_LARGE),
        (
            "<row r='4'><c r='A4' t='str'><v><![CDATA[{}]]></v></c></row>",
            DecodeCode.RECORD_TOO_LARGE,
        ),
    ],
)
def test_one_token_without_end_is_bounded(
    tail: str, code: DecodeCode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(xlsx_rows, "RECORD_BYTES_MAX", 2_000_000)
    data = archive(
        {**parts_of(), SHEET: worksheet(GOOD + tail.format(os.urandom(3_000_000).hex()))}
    )
    tracemalloc.start()
    decoded = read(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (decoded.code, decoded.records) == (code, RECORDS)
    assert peak < 12 * 2**20


def test_a_record_that_grows_from_one_string_is_refused_before_it_is_built() -> None:
    strings = "<si><t>n</t></si><si><t>" + os.urandom(1_000_000).hex() + "</t></si>"
    header = "".join(f"<c t='str'><v>c{at}</v></c>" for at in range(1000))
    cells = '<c t="s"><v>1</v></c>' * 1000
    parts = parts_of(f"<row>{header}</row><row>{cells}</row>", strings=strings)
    decoded = read(archive(parts))
    assert decoded.code == DecodeCode.RECORD_TOO_LARGE


# ---- strings on disk


def many_strings(count: int) -> bytes:
    strings = "".join(f"<si><t>string {at} é</t></si>" for at in range(count))
    order = [(at * 7919) % count for at in range(count)]
    rows = "".join(f'<row><c t="s"><v>{at}</v></c></row>' for at in order)
    return archive(parts_of(f"<row>{text('A1', 'n')}</row>{rows}", strings=strings))


def test_strings_beyond_the_bound_are_read_from_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    data = many_strings(20_000)
    expected = read(data)
    monkeypatch.setattr(xlsx_strings, "KEPT_BYTES_MAX", 100_000)
    monkeypatch.setattr(xlsx_strings, "_CACHED_BYTES_MAX", 10_000)
    decoded = read(data)
    assert decoded.error is None
    assert decoded.records == expected.records
    assert len(set(decoded.records)) == 20_000
    assert (
        decode(XlsxDecoder(BytesSource(data), DecodeOptions()), Cursor(skip=9999)).records
        == (expected.records[9999:])
    )


def test_strings_may_not_fill_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xlsx_strings, "KEPT_BYTES_MAX", 100_000)
    monkeypatch.setattr(xlsx_strings, "SPILLED_BYTES_MAX", 100_000)
    assert read(many_strings(20_000)).code == DecodeCode.DECOMPRESSION_LIMIT


@pytest.mark.parametrize("writes", [0, 1, 2])
def test_a_full_disk_is_no_fault_of_the_file(writes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[bytes] = []

    def full(file: IO[bytes], content: bytes) -> None:
        calls.append(content)
        if len(calls) > writes:
            raise OSError(28, "No space left on device")
        file.write(content)

    monkeypatch.setattr(xlsx_strings, "KEPT_BYTES_MAX", 100_000)
    monkeypatch.setattr(xlsx_strings, "_write", full)
    with pytest.raises(SourceError) as caught:
        read(many_strings(20_000))
    assert caught.value.failure().resumable
    assert "No space left" in caught.value.message


# ---- nothing foreign


def test_nothing_foreign_escapes_from_any_damaged_part() -> None:
    whole = parts_of(GOOD, strings="<si><t>a</t></si>", formats=[14, "yyyy"])
    for name, content in whole.items():
        good = str(content).encode()
        for at in range(0, len(good), 5):
            for damaged in (
                good[:at],
                good[:at] + b"\xff" + good[at:],
                good[:at] + b"<" + good[at:],
            ):
                decoder = XlsxDecoder(
                    BytesSource(archive({**whole, name: damaged})), DecodeOptions()
                )
                try:
                    decoder.detect()
                    for _ in decoder.batches(Cursor()):
                        pass
                except IngestError as error:
                    assert isinstance(error, DecodeError)  # noqa: PT017 - it may also succeed
