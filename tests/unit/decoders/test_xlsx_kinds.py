"""Excel: what truth values, errors, formulas, empty cells and dates mean."""

import pytest

from app.decoders.xlsx.decoder import XlsxDecoder
from app.decoders.xlsx.formats import Kind, kind_of
from app.domain.errors import DecodeCode, Place, RecordError
from app.domain.ingestion import DecodeOptions
from tests.support.decoding import decode
from tests.support.sources import BytesSource
from tests.support.workbooks import archive, parts_of
from tests.unit.decoders.cells import WAYS, read, tokens

# ---- truth values, errors, formulas, nothing


@WAYS
def test_booleans_are_booleans(way: str) -> None:
    cells = [f'<c {{r}} t="b"><v>{v}</v></c>' for v in ("1", "0", "true", "false")]
    assert tokens(read(*cells, way=way)) == ["true", "false", "true", "false"]
    assert read('<c {r} t="b"><v>yes</v></c>').code == DecodeCode.RECORD_INVALID


@WAYS
@pytest.mark.parametrize("shown", ["#N/A", "#DIV/0!", "#REF!", "#NAME?", "#NULL!", "#VALUE!"])
def test_an_error_cell_is_an_error_of_its_record(shown: str, way: str) -> None:
    cells = ["<c {r}><v>1</v></c>", f'<c {{r}} t="e"><f>1/0</f><v>{shown}</v></c>']
    decoded = read(*cells, way=way)
    assert decoded.records == [b'{"A":1}']
    assert isinstance(decoded.error, RecordError)
    assert decoded.code == DecodeCode.CELL_ERROR
    assert shown in decoded.error.message
    assert decoded.error.place == Place(record=1, cell="Products!A3")


FORMULAS = [
    ("<c {r}><f>1+1</f><v>2</v></c>", "2"),
    ('<c {r}><f t="shared" ref="A2:A9" si="0">B2*2</f><v>2</v></c>', "2"),
    ('<c {r}><f t="shared" si="0"/><v>2.5</v></c>', "2.5"),
    ('<c {r} t="str"><f>IF(1&lt;2,"a &amp; b")</f><v>a &amp; b</v></c>', '"a & b"'),
    ('<c {r} t="b"><f>1&gt;2</f><v>0</v></c>', "false"),
    ('<c {r} cm="1" vm="2"><f t="array" ref="A2">SUM(1)</f><v>7</v></c>', "7"),
]


@WAYS
@pytest.mark.parametrize(("cell", "expected"), FORMULAS)
def test_a_formula_counts_by_its_value(cell: str, expected: str, way: str) -> None:
    assert tokens(read(*[cell] * 5, way=way)) == [expected] * 5


@WAYS
@pytest.mark.parametrize(
    "cell",
    [
        "<c {r}><f>1+1</f></c>",
        "<c {r}><f>1+1</f><v/></c>",
        "<c {r}><f>1+1</f><v></v></c>",
        '<c {r} t="str"><f>"a"</f></c>',
        '<c {r}><f t="shared" si="0"/></c>',
    ],
)
def test_a_formula_that_was_never_calculated_is_no_null(cell: str, way: str) -> None:
    decoded = read("<c {r}><v>1</v></c>", cell, way=way)
    assert decoded.records == [b'{"A":1}']
    assert decoded.code == DecodeCode.CELL_ERROR
    assert decoded.error
    assert "save" in decoded.error.remedy


@WAYS
def test_a_formula_with_an_empty_result_is_an_empty_string(way: str) -> None:
    parts = parts_of(
        f'{way}<row><c t="str"><v>A</v></c><c t="str"><v>B</v></c></row>'
        '<row><c t="str"><f>""</f><v></v></c><c><v>1</v></c></row>'
        '<row><c t="inlineStr"><is><t></t></is></c><c><v>1</v></c></row>'
        '<row><c t="inlineStr"><f>B1</f><is><t/></is></c><c><v>1</v></c></row>'
        "<row><c/><c><v>1</v></c></row>"
    )
    decoded = decode(XlsxDecoder(BytesSource(archive(parts)), DecodeOptions()))
    assert decoded.records == [b'{"A":"","B":1}'] * 3 + [b'{"A":null,"B":1}']


@WAYS
@pytest.mark.parametrize("attribute", ['t="x"', 't="a b"', 's="77"', 's="one"', 's="-1"'])
def test_an_unknown_type_or_style_is_refused(attribute: str, way: str) -> None:
    decoded = read(f"<c {{r}} {attribute}><v>1</v></c>", way=way, formats=[14])
    assert decoded.records == []
    assert decoded.code == DecodeCode.RECORD_INVALID


@WAYS
def test_an_empty_type_or_style_is_the_default(way: str) -> None:
    cells = ['<c {r} s=""><v>45356</v></c>', '<c {r} t=""><v>7</v></c>', '<c {r} t="" s=""/>']
    assert tokens(read(*cells, way=way, formats=[14])) == ["45356", "7"]


@WAYS
def test_of_two_texts_in_a_cell_the_one_of_its_type_counts(way: str) -> None:
    cell = '<c {r} t="%"><v>1</v><is><t>one</t></is></c>'
    decoded = read(cell.replace("%", "inlineStr"), cell.replace("%", "n"), way=way)
    assert tokens(decoded) == ['"one"', "1"]


def test_a_style_means_nothing_in_a_workbook_without_styles() -> None:
    assert tokens(read('<c {r} s="3"><v>45356</v></c>')) == ["45356"]


# ---- dates

STYLES: list[str | int] = [
    "yyyy-mm-dd",
    "yyyy-mm-dd hh:mm",
    "hh:mm:ss",
    "[h]:mm",
    "0.00",
    14,
    22,
    21,
    46,
]
DATE, DATETIME, TIME, DURATION, NUMBER = 1, 2, 3, 4, 5
MOMENTS_1900 = [
    (DATE, "45356", "2024-03-05"),
    (DATE, "45356.4375", "2024-03-05T10:30:00"),
    (DATE, "1", "1900-01-01"),
    (DATE, "59", "1900-02-28"),
    (DATE, "61", "1900-03-01"),
    (DATE, "2958465", "9999-12-31"),
    (DATE, "0.5", "12:00:00"),
    (DATETIME, "45356", "2024-03-05T00:00:00"),
    (DATETIME, "45356.4375", "2024-03-05T10:30:00"),
    (DATETIME, "45356.437505787035", "2024-03-05T10:30:00.500"),
    (DATETIME, "45356.99999999999", "2024-03-06T00:00:00"),
    (DATETIME, "43831.00070601852", "2020-01-01T00:01:01"),
    (TIME, "0.4375", "10:30:00"),
    (TIME, "0", "00:00:00"),
    (TIME, "0.437505787037037", "10:30:00.500"),
    (TIME, "1.25", "1900-01-01T06:00:00"),
    (DURATION, "1.5", "PT36H"),
    (DURATION, "0.4375", "PT10H30M"),
    (DURATION, "0", "PT0S"),
    (DURATION, "-0.25", "-PT6H"),
    (DURATION, "0.000017361111111111112", "PT1.500S"),
    (NUMBER, "45356", None),
    (6, "45356", "2024-03-05"),
    (7, "45356.5", "2024-03-05T12:00:00"),
    (8, "0.5", "12:00:00"),
    (9, "2", "PT48H"),
]
MOMENTS_1904 = [
    (DATE, "43894", "2024-03-05"),
    (DATE, "0", "1904-01-01"),
    (DATE, "60", "1904-03-01"),
    (DATE, "2957003", "9999-12-31"),
    (DATETIME, "0.5", "1904-01-01T12:00:00"),
    (TIME, "0.5", "12:00:00"),
]


@WAYS
@pytest.mark.parametrize(
    ("since_1904", "style", "serial", "expected"),
    [(False, *moment) for moment in MOMENTS_1900] + [(True, *moment) for moment in MOMENTS_1904],
)
def test_dates_are_iso_8601_without_a_zone(
    since_1904: bool, style: int, serial: str, expected: str | None, way: str
) -> None:
    cell = f'<c {{r}} s="{style}"><v>{serial}</v></c>'
    decoded = read(cell, way=way, formats=STYLES, since_1904=since_1904)
    assert tokens(decoded) == [serial if expected is None else f'"{expected}"']


@pytest.mark.parametrize(
    ("since_1904", "serial"),
    [(False, "60"), (False, "60.5"), (False, "-1"), (False, "2958466"), (False, "4006381333931"),
     (True, "-1"), (True, "2957004"), (True, "1e300")],
)  # fmt: skip
def test_a_date_that_does_not_exist_is_an_error(since_1904: bool, serial: str) -> None:
    cell = f'<c {{r}} s="{DATE}"><v>{serial}</v></c>'
    assert read(cell, formats=STYLES, since_1904=since_1904).code == DecodeCode.CELL_ERROR


@WAYS
@pytest.mark.parametrize(
    "written", ["2024-03-05", "2024-03-05T10:30:00", "2024-03-05T10:30:00.123Z", "10:30:00"]
)
def test_an_iso_date_cell_is_copied(written: str, way: str) -> None:
    cell = f'<c {{r}} s="1" t="d"><v>{written}</v></c>'
    assert tokens(read(cell, way=way, formats=STYLES)) == [f'"{written}"']


def test_an_iso_date_cell_without_a_date_is_refused() -> None:
    assert read('<c {r} t="d"><v>yesterday</v></c>').code == DecodeCode.RECORD_INVALID


def test_a_date_style_leaves_text_and_booleans_alone() -> None:
    cells = ['<c {r} s="1" t="str"><v>45356</v></c>', '<c {r} s="1" t="b"><v>1</v></c>']
    assert tokens(read(*cells, formats=STYLES)) == ['"45356"', "true"]


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("General", Kind.NUMBER),
        ("general", Kind.NUMBER),
        ("0", Kind.NUMBER),
        ("@", Kind.NUMBER),
        ('0.00 "days"', Kind.NUMBER),
        ('"sold "0" pcs this month"', Kind.NUMBER),
        ("0.00\\ \\d", Kind.NUMBER),
        ("#,##0.00_ ;[Red]\\-#,##0.00\\ ", Kind.NUMBER),
        ("[$-409]#,##0", Kind.NUMBER),
        ("[$USD-409] #,##0.00", Kind.NUMBER),
        ("[Red]0;[Magenta]yyyy", Kind.NUMBER),
        ('[>=1000]0,"k";0', Kind.NUMBER),
        ("0.00E+00", Kind.NUMBER),
        ("_-* #,##0.00\\ _d_h_-", Kind.NUMBER),
        ("# ?/?", Kind.NUMBER),
        ("", Kind.NUMBER),
        ('"yyyy', Kind.NUMBER),
        ("yyyy-mm-dd", Kind.DATE),
        ("[$-F800]dddd\\,\\ mmmm\\ dd\\,\\ yyyy", Kind.DATE),
        ("[$-409]d\\-mmm\\-yy;@", Kind.DATE),
        ("mmm", Kind.DATE),
        ("m/d", Kind.DATE),
        ("[Red]yyyy", Kind.DATE),
        ('ggge"年"m"月"', Kind.DATE),
        ("YYYY\\.MM\\.DD", Kind.DATE),
        ("h:mm", Kind.TIME),
        ("mm:ss", Kind.TIME),
        ("mm:ss.0", Kind.TIME),
        ("h:mm AM/PM", Kind.TIME),
        ("[$-F400]h:mm:ss\\ AM/PM", Kind.TIME),
        ('hh"h"mm', Kind.TIME),
        ("yyyy-mm-dd\\Thh:mm:ss.000", Kind.DATETIME),
        ("m/d/yy h:mm", Kind.DATETIME),
        ("h:mm d", Kind.DATETIME),
        ("[h]:mm:ss", Kind.DURATION),
        ("[mm]:ss", Kind.DURATION),
        ("[ss].00", Kind.DURATION),
    ],
)
def test_a_number_format_tells_dates_from_quantities(code: str, kind: Kind) -> None:
    assert kind_of(code) is kind


@pytest.mark.parametrize(
    "written", ["2024-02-30", "2024-13-45", "0000-00-00", "99:99", "2024-02-28T25:61:61"]
)
def test_an_iso_date_that_does_not_exist_is_none(written: str) -> None:
    assert read(f'<c {{r}} t="d"><v>{written}</v></c>').code == DecodeCode.CELL_ERROR
