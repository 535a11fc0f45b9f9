"""Excel: sheets, headers, rows and resume."""

from dataclasses import replace

import orjson
import pytest

from app.decoders.xlsx.decoder import XlsxDecoder
from app.domain.canonical import Json
from app.domain.chunk import Cursor
from app.domain.errors import DecodeCode, DecodeError, Place, RecordError
from app.domain.ingestion import DecodeOptions
from tests.support.decoding import Decoded, decode
from tests.support.sources import BytesSource
from tests.support.workbooks import SHEET, archive, number, parts_of, row, text, worksheet

PLAIN = DecodeOptions()
HEADER = row(1, text("A1", "sku"), text("B1", "ean"))


def product(at: int) -> str:
    return row(at, text(f"A{at}", f"P{at}"), number(f"B{at}", f"{4006381333900 + at}"))


def read(rows: str, options: DecodeOptions = PLAIN, **parts: object) -> Decoded:
    source = BytesSource(archive(parts_of(rows, **parts)))  # type: ignore[arg-type]
    return decode(XlsxDecoder(source, options))


def values(rows: str, options: DecodeOptions = PLAIN, **parts: object) -> list[dict[str, Json]]:
    decoded = read(rows, options, **parts)
    if decoded.error:
        raise decoded.error
    return [orjson.loads(record) for record in decoded.records]


def detected(data: bytes, options: DecodeOptions = PLAIN) -> dict[str, str]:
    return dict(XlsxDecoder(BytesSource(data), options).detect())


# ---- sheets

TWO = {
    "Notes": row(1, text("A1", "note")) + row(2, text("A2", "hidden")),
    "Chart": "",
    "Pröducts & more": HEADER + product(2),
    "Prices": row(1, text("A1", "price")) + row(2, number("A2", "1.5")),
}


def sheets_read(sheet: str | int | None) -> Decoded:
    parts = parts_of(sheets=TWO, hidden=["Notes"], charts=["Chart"])
    return decode(XlsxDecoder(BytesSource(archive(parts)), DecodeOptions(sheet=sheet)))


def test_the_first_visible_worksheet_is_read_and_reported() -> None:
    data = archive(parts_of(sheets=TWO, hidden=["Notes"], charts=["Chart"]))
    assert detected(data) == {"sheet": "Pröducts & more", "header_row": "1"}
    assert sheets_read(None).records == [b'{"ean":4006381333902,"sku":"P2"}']


def test_what_was_given_is_not_detected() -> None:
    data = archive(parts_of(HEADER + product(2)))
    assert detected(data, DecodeOptions(sheet=0)) == {"header_row": "1"}
    assert detected(data, DecodeOptions(header_row=1)) == {"sheet": "Products"}
    assert detected(data, DecodeOptions(sheet="Products", header_row=1)) == {}


@pytest.mark.parametrize("sheet", ["Prices", 2])
def test_a_sheet_is_named_or_counted_without_the_chart_sheets(sheet: str | int) -> None:
    assert sheets_read(sheet).records == [b'{"price":1.5}']


def test_a_hidden_sheet_is_read_when_it_is_asked_for() -> None:
    assert sheets_read("Notes").records == sheets_read(0).records == [b'{"note":"hidden"}']


@pytest.mark.parametrize("sheet", ["prices ", "Chart", 3, -1])
def test_an_unknown_sheet_is_refused_with_the_sheets_there_are(sheet: str | int) -> None:
    error = sheets_read(sheet).error
    assert error
    assert error.code == DecodeCode.SHEET_NOT_FOUND
    assert "'Notes', 'Pröducts & more', 'Prices'" in error.message
    assert "Chart" not in error.message.partition(";")[2]


def test_a_sheet_is_found_through_its_relation_and_not_by_its_file_name() -> None:
    parts = parts_of(HEADER + product(2))
    parts["xl/worksheets/other.xml"] = parts.pop(SHEET)
    parts["xl/_rels/workbook.xml.rels"] = str(parts["xl/_rels/workbook.xml.rels"]).replace(
        "worksheets/sheet1.xml", "/xl/../xl/./Worksheets\\OTHER.xml"
    )
    decoded = decode(XlsxDecoder(BytesSource(archive(parts)), PLAIN))
    assert decoded.records == [b'{"ean":4006381333902,"sku":"P2"}']


# ---- the header


def test_records_have_every_column_of_the_header_in_canonical_order() -> None:
    rows = row(1, text("A1", "z"), text("B1", "é"), text("D1", "a"), text("E1", "😀"))
    rows += row(2, number("A2", "1"), number("D2", "4")) + row(3, number("E3", "5"))
    assert read(rows).records == [
        '{"a":4,"z":1,"é":null,"😀":null}'.encode(),
        '{"a":null,"z":null,"é":null,"😀":5}'.encode(),
    ]


def test_the_header_is_the_first_row_with_any_value() -> None:
    rows = '<row r="1" ht="20"/>' + row(3, '<c r="A3" s="0"/>', text("B3", ""))
    rows += row(5, text("B5", "sku")) + row(6, text("B6", "P1"))
    assert values(rows) == [{"sku": "P1"}]
    assert detected(archive(parts_of(rows)))["header_row"] == "5"


def test_rows_above_a_given_header_row_are_no_records() -> None:
    rows = row(1, text("A1", "Catalogue 2024")) + row(2, text("C2", "draft"))
    rows += row(4, text("A4", "sku")) + row(5, text("A5", "P1"))
    assert values(rows, DecodeOptions(header_row=4)) == [{"sku": "P1"}]


@pytest.mark.parametrize("header_row", [2, 3, 9])
def test_a_given_header_row_without_values_is_refused(header_row: int) -> None:
    rows = row(1, text("A1", "sku")) + row(3, '<c r="A3"/>') + row(4, text("A4", "P1"))
    error = read(rows, DecodeOptions(header_row=header_row)).error
    assert error
    assert error.code == DecodeCode.OPTION_INVALID
    assert error.place == Place(cell=f"Products!{header_row}")


@pytest.mark.parametrize("rows", ["", '<row r="1"/>', row(7, '<c r="A7" s="0"/>'), HEADER])
@pytest.mark.parametrize("header_row", [None, 1])
def test_an_empty_sheet_or_a_header_alone_has_no_records(rows: str, header_row: int | None) -> None:
    assert values(rows, DecodeOptions(header_row=header_row)) == []


def test_a_header_is_text_as_it_is_shown() -> None:
    rows = row(
        1,
        number("A1", "2024"),
        number("B1", "1.50"),
        '<c r="C1" t="b"><v>1</v></c>',
        number("D1", "45356", style=1),
        number("E1", "12345678901234567890"),
        text("F1", " sp "),
    ) + row(2, number("A2", "1"))
    expected = ["2024", "1.5", "TRUE", "2024-03-05", "12345678901234567890", " sp "]
    assert sorted(values(rows, formats=[14])[0]) == sorted(expected)


def test_a_duplicate_header_is_refused_naming_both_columns() -> None:
    error = read(row(1, text("A1", "sku"), text("C1", "sku"))).error
    assert error
    assert error.code == DecodeCode.DUPLICATE_HEADER
    assert "columns A and C" in error.message
    assert error.place == Place(cell="Products!C1")


def test_a_header_that_is_an_error_is_refused() -> None:
    error = read(row(1, '<c r="B1" t="e"><v>#REF!</v></c>')).error
    assert error
    assert (error.code, error.place) == ("CELL_ERROR", Place(cell="Products!B1"))
    assert not isinstance(error, RecordError)


def test_a_value_below_a_column_without_a_name_is_ragged_at_its_cell() -> None:
    decoded = read(HEADER + product(2) + row(3, text("A3", "P3"), text("C3", "stray")))
    assert len(decoded.records) == 1
    assert isinstance(decoded.error, RecordError)
    assert decoded.code == DecodeCode.RAGGED_ROW
    assert decoded.error.place == Place(record=1, cell="Products!C3")


def test_an_empty_cell_below_a_column_without_a_name_is_nothing() -> None:
    rows = HEADER + row(2, text("A2", "P2"), '<c r="C2" s="0"/>', text("D2", ""))
    assert values(rows) == [{"sku": "P2", "ean": None}]


# ---- rows


def test_empty_rows_are_no_records_wherever_they_are() -> None:
    rows = HEADER + product(2) + '<row r="3" s="1"/><row r="4"/>' + row(5, '<c r="A5" s="1"/>')
    rows += product(1000) + row(1001, '<c r="A1001" s="1"/>', "<c r='B1001'></c>")
    rows += "".join(f'<row r="{at}" customHeight="1"/>' for at in range(1002, 3000))
    assert [record["sku"] for record in values(rows, formats=[14])] == ["P2", "P1000"]


def test_a_row_of_empty_strings_alone_is_no_record() -> None:
    rows = HEADER + row(2, '<c r="A2" t="str"><f>IF(1,"")</f><v></v></c>', text("B2", ""))
    rows += row(3, text("A3", ""), '<c r="B3" t="b"><v>0</v></c>')
    assert values(rows) == [{"sku": "", "ean": False}]


def test_rows_and_cells_without_references_follow_each_other() -> None:
    rows = "<row><c t='inlineStr'><is><t>a</t></is></c><c/>" + text("D1", "d")
    rows += "<c t='inlineStr'><is><t>e</t></is></c></row>"
    rows += "<row><c><v>1</v></c></row>" + "<row/>" * 3
    rows += '<row><c><v>2</v></c><c r="E6"><v>5</v></c></row>' + "<row><c><v>3</v></c></row>" * 9
    assert values(rows) == [
        {"a": 1, "d": None, "e": None},
        {"a": 2, "d": None, "e": 5},
        *[{"a": 3, "d": None, "e": None}] * 9,
    ]


def test_cells_out_of_order_are_put_in_order() -> None:
    rows = HEADER + row(2, number("B2", "1"), text("A2", "P"))
    assert values(rows) == [{"sku": "P", "ean": 1}]


@pytest.mark.parametrize(
    "bad",
    [
        product(3),
        row(2, text("A2", "again")),
        row(0, text("A0", "x")),
        row(1_048_577, text("A1048577", "x")),
        row(5, text("A6", "x")),
        row(5, text("A5", "x"), number("B4", "1")),
        row(5, text("A5", "x"), number("A5", "1")),
        row(5, text("XFE5", "x")),
        row(5, text("AAAA5", "x")),
        row(5, text("a5", "x")),
        '<row r="five"><c r="A5"><v>1</v></c></row>',
    ],
)
@pytest.mark.parametrize("exact", [False, True])
def test_rows_and_cells_out_of_place_are_refused_after_the_good_ones(
    bad: str, *, exact: bool
) -> None:
    decoded = read(("<!-- -->" if exact else "") + HEADER + product(2) + product(3) + bad)
    assert len(decoded.records) == 2
    assert decoded.code == DecodeCode.MALFORMED
    assert decoded.error
    assert decoded.error.place
    assert decoded.error.place.cell


def test_the_last_row_and_the_last_column_of_excel_are_read() -> None:
    rows = row(1, text("XFD1", "last")) + row(1_048_576, number("XFD1048576", "1"))
    assert values(rows) == [{"last": 1}]


def test_a_lying_dimension_is_not_believed() -> None:
    parts = parts_of()
    for dimension in ("A1", "A1:XFD1048576", "nonsense"):
        before = f'<dimension ref="{dimension}"/>'
        parts[SHEET] = worksheet(HEADER + product(2), before=before)
        assert len(decode(XlsxDecoder(BytesSource(archive(parts)), PLAIN)).records) == 1


def test_of_merged_cells_the_first_has_the_value() -> None:
    parts = parts_of()
    rows = HEADER + row(2, text("A2", "P"), '<c r="B2" s="0"/>') + row(3, '<c r="A3"/>')
    parts[SHEET] = worksheet(rows, after='<mergeCells><mergeCell ref="A2:B3"/></mergeCells>')
    decoded = decode(XlsxDecoder(BytesSource(archive(parts)), PLAIN))
    assert decoded.records == [b'{"ean":null,"sku":"P"}']


# ---- cursors


def varied(at: int) -> str:
    if at % 11 == 0:
        return f'<row r="{at}"/>'
    if at % 7 == 0:
        return row(at, text(f"A{at}", ""))
    return row(at, number(f"B{at}", "0.1234567890123456")) if at % 5 == 0 else product(at)


MANY = HEADER + "".join(map(varied, range(2, 900)))


def test_resuming_at_any_record_gives_the_same_records() -> None:
    data = archive(parts_of(MANY))
    whole = decode(XlsxDecoder(BytesSource(data), PLAIN))
    assert len(whole.records) > 600
    assert len(whole.batches) > 2
    for index, cursor in whole.cursors():
        assert cursor == Cursor(skip=index)
        if index % 13 == 0 or index > len(whole.records) - 4:
            rest = decode(XlsxDecoder(BytesSource(data), PLAIN), cursor)
            assert rest.records == whole.records[index:]
            assert rest.batches[0].start == cursor
            assert rest.unsafe == {at - index: n for at, n in whole.unsafe.items() if at >= index}


def test_resuming_after_the_last_record_gives_nothing() -> None:
    data = archive(parts_of(HEADER + product(2)))
    assert decode(XlsxDecoder(BytesSource(data), PLAIN), Cursor(skip=1)).records == []


def test_a_record_that_was_refused_can_be_passed_over() -> None:
    rows = HEADER + product(2) + row(3, '<c r="A3" t="e"><v>#N/A</v></c>')
    rows += row(4, text("C4", "stray")) + product(5)
    source = BytesSource(archive(parts_of(rows)))
    first = decode(XlsxDecoder(source, PLAIN))
    second = decode(XlsxDecoder(source, PLAIN), Cursor(skip=2))
    third = decode(XlsxDecoder(source, PLAIN), Cursor(skip=3))
    assert [d.code for d in (first, second, third)] == ["CELL_ERROR", "RAGGED_ROW", None]
    assert second.error
    assert second.error.place == Place(record=0, cell="Products!C4")
    assert third.records == [b'{"ean":4006381333905,"sku":"P5"}']


def test_positions_grow_up_to_the_size_of_the_source() -> None:
    data = archive(parts_of(MANY))
    positions = [batch.position for batch in decode(XlsxDecoder(BytesSource(data), PLAIN)).batches]
    assert positions == sorted(positions)
    assert 0 < positions[0] <= positions[-1] <= len(data)


def test_a_batch_stays_small_where_records_are_large() -> None:
    header = row(1, *(f'<c t="inlineStr"><is><t>c{at}</t></is></c>' for at in range(2000)))
    rows = header + "".join(f"<row><c><v>{at}</v></c></row>" for at in range(200))
    batches = read(rows).batches
    assert max(sum(map(len, batch.records)) for batch in batches) < 300_000
    assert sum(len(batch.records) for batch in batches) == 200


def test_detection_gives_the_options_that_read_the_same() -> None:
    data = archive(parts_of(sheets=TWO, hidden=["Notes"], charts=["Chart"]))
    found = detected(data)
    options = replace(PLAIN, sheet=found["sheet"], header_row=int(found["header_row"]))
    assert decode(XlsxDecoder(BytesSource(data), options)).records == sheets_read(None).records


def test_an_error_in_detection_is_ours_too() -> None:
    with pytest.raises(DecodeError):
        detected(b"not a workbook")
