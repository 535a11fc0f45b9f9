"""Excel: parts that are damaged, or made to do damage. Nothing foreign escapes."""

import os
import tracemalloc
from typing import IO

import pytest

from app.decoders.xlsx import rows as xlsx_rows
from app.decoders.xlsx import strings as xlsx_strings
from app.decoders.xlsx.decoder import XlsxDecoder
from app.domain.chunk import Cursor
from app.domain.errors import DecodeCode, DecodeError, IngestError, SourceError
from app.domain.ingestion import DecodeOptions
from tests.support.decoding import decode
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
from tests.unit.decoders.damaged_workbooks import GOOD, HEADER, RECORDS, raw_sheet, read, with_part

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


@pytest.mark.parametrize("before", ["", "<!-- exact -->"])
@pytest.mark.parametrize(
    "cell",
    [
        '<c r="A3"><v>1</v><v>2</v></c>',
        '<c r="A3"><v>1</v><v/></c>',
        '<c r="A3" t="inlineStr"><is><t>1</t></is><is><t>2</t></is></c>',
        '<c r="A3"><f>1</f><v>1</v><f>2</f></c>',
        '<c r="A3"><v>1<x>2</x></v></c>',
        '<c r="A3"><v><v>1</v></v></c>',
        '<c r="A3"><v>1</v><extLst><ext><v>7</v></ext></extLst></c>',
        '<c r="A3"><m:AlternateContent xmlns:m="urn:m"><v>1</v></m:AlternateContent></c>',
    ],
)
def test_a_cell_with_two_values_has_none_and_is_named(cell: str, before: str) -> None:
    rows = HEADER + row(2, number("A2", "1")) + f'<row r="3">{cell}</row>'
    decoded = raw_sheet(worksheet(before + rows))
    assert (decoded.code, decoded.records) == (DecodeCode.MALFORMED, RECORDS[:1])
    assert decoded.error
    assert decoded.error.place
    assert str(decoded.error.place.cell).endswith("!A3")


@pytest.mark.parametrize("declared", [True, False])
@pytest.mark.parametrize("before", ["", "<!-- exact -->"])
@pytest.mark.parametrize(
    "wrapped",
    [
        '<row r="3"><c r="A3"><v>9</v></c></row>',
        '<m:Choice><row r="3"><c r="A3"><v>9</v></c></row></m:Choice><m:Fallback/>',
        '<row r="3"/>',
    ],
)
def test_a_row_inside_anything_but_the_sheet_is_refused(
    wrapped: str, before: str, *, declared: bool
) -> None:
    space = ' xmlns:m="urn:m"'
    rows = HEADER + row(2, number("A2", "1")) + before
    rows += f"<m:AlternateContent{'' if declared else space}>{wrapped}</m:AlternateContent>"
    sheet = worksheet(rows + row(4, number("A4", "2")))
    if declared:
        sheet = sheet.replace("<worksheet", "<worksheet" + space, 1)
    decoded = raw_sheet(sheet)
    assert (decoded.code, decoded.records) == (DecodeCode.MALFORMED, RECORDS[:1])
    assert decoded.error
    assert decoded.error.place


def test_so_is_a_row_behind_the_sheet_and_a_cell_inside_anything_but_its_row() -> None:
    behind = worksheet(GOOD, after='<extLst><row r="9"><c r="A9"><v>9</v></c></row></extLst>')
    inside = GOOD + '<row r="9"><x><c r="A9"><v>9</v></c></x></row>'
    nested = worksheet(GOOD).replace("<sheetData>", "<x><sheetData>")
    nested = nested.replace("</sheetData>", "</sheetData></x>")
    assert raw_sheet(behind).code == DecodeCode.MALFORMED
    assert raw_sheet(worksheet(inside)).code == DecodeCode.MALFORMED
    assert raw_sheet(nested).code == DecodeCode.MALFORMED


def test_rows_of_another_name_space_are_none_however_many_blocks_they_fill() -> None:
    foreign = '<w xmlns="urn:w">' + row(3, number("A3", "9")) * 9000 + "</w>"
    decoded = raw_sheet(worksheet(GOOD + foreign))
    assert (decoded.code, decoded.records) == (None, RECORDS)


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
