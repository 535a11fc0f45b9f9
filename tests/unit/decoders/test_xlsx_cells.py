"""Excel: what the text of a cell with a number or a text means."""

import orjson
import pytest

from app.domain.canonical import Numbers
from app.domain.errors import DecodeCode, Place, RecordError
from app.domain.ingestion import DecodeOptions
from tests.support.decoding import Decoded
from tests.unit.decoders.cells import WAYS, read, tokens

# ---- numbers

NUMBERS = [
    ("4006381333931", "4006381333931"),
    ("4006381333931.0", "4006381333931"),
    ("4.006381333931E12", "4006381333931"),
    ("9007199254740991", "9007199254740991"),
    ("-9007199254740991", "-9007199254740991"),
    ("19.989999999999998", "19.99"),
    ("0.1", "0.1"),
    ("0.10000000000000001", "0.1"),
    ("1.50", "1.5"),
    ("-0.5", "-0.5"),
    ("0.001", "0.001"),
    ("1E-4", "0.0001"),
    ("5.0000000000000001E-3", "0.005"),
    ("0", "0"),
    ("-0", "0"),
    ("007", "7"),
    ("+5", "5"),
    (".5", "0.5"),
    ("5.", "5"),
    (" 12 ", "12"),
    ("1e3", "1000"),
]


@WAYS
@pytest.mark.parametrize(("written", "expected"), NUMBERS)
def test_a_number_is_the_double_that_is_written(written: str, expected: str, way: str) -> None:
    decoded = read(f"<c {{r}}><v>{written}</v></c>", way=way)
    assert tokens(decoded) == [expected]
    assert decoded.unsafe == {}


UNSAFE = [
    ("9007199254740992", "9007199254740992"),
    ("12345678901234567890", "12345678901234567890"),
    ("-00012345678901234567890", "-12345678901234567890"),
    ("1E+20", "1e+20"),
    ("1.7976931348623157E+308", "1.7976931348623157e+308"),
    ("1E-05", "1e-05"),
    ("0.00001", "1e-05"),
    ("5E-324", "5e-324"),
    ("0.30000000000000004", "0.30000000000000004"),
    ("1234567890.1234567", "1234567890.1234567"),
]


@pytest.mark.parametrize(("written", "expected"), UNSAFE)
def test_an_unsafe_number_is_carried_exactly_and_counted(written: str, expected: str) -> None:
    decoded = read("<c {r}><v>1</v></c>", f"<c {{r}}><v>{written}</v></c>")
    assert tokens(decoded) == ["1", expected]
    assert decoded.unsafe == {1: 1}
    assert float(orjson.loads(decoded.records[1])["A"]) == float(written)


def test_an_unsafe_number_is_a_string_or_refused_where_that_is_asked_for() -> None:
    cell = "<c {r}><v>0.30000000000000004</v></c>"
    as_string = read(cell, options=DecodeOptions(numbers=Numbers.STRING))
    assert tokens(as_string) == ['"0.30000000000000004"']
    refused = read(cell, options=DecodeOptions(numbers=Numbers.REJECT))
    assert isinstance(refused.error, RecordError)
    assert refused.code == DecodeCode.NUMBER_UNSAFE
    assert refused.error.place == Place(record=0, cell="Products!A2")


@WAYS
@pytest.mark.parametrize(
    "written",
    ["x", "inf", "NaN", "1_000", "1,5", "٣", "²", "0x10", "1e999", "--1", "1 2", "1" * 400],
)
def test_what_is_no_number_is_refused_at_its_cell(written: str, way: str) -> None:
    decoded = read("<c {r}><v>1</v></c>", f"<c {{r}}><v>{written}</v></c>", way=way)
    assert tokens(Decoded(records=decoded.records)) == ["1"]
    assert decoded.code == DecodeCode.RECORD_INVALID
    assert decoded.error
    assert decoded.error.place == Place(record=1, cell="Products!A3")


# ---- text

TEXTS = [
    ("a &amp; b &lt;c&gt; &quot;d&quot; &apos;e&apos;", "a & b <c> \"d\" 'e'"),
    ("Caf&#233; &#x1F600; &#10;x", "Café 😀 \nx"),
    ("a\r\nb\rc", "a\nb\nc"),
    ("a_x000D_b", "a\rb"),
    ("_x005F_x000D_", "_x000D_"),
    ("_x0000__x0001_", "\0\x01"),
    ("_xD83D__xDE00_", "😀"),
    ("_x00e9_", "é"),
    ("_x12_ x_y _X000D_ _x000G_", "_x12_ x_y _X000D_ _x000G_"),
    ("=1+1", "=1+1"),
    ("00042", "00042"),
    ("TRUE", "TRUE"),
    ("\u2028 e\u0301 \ufeff \ufffd", "\u2028 e\u0301 \ufeff \ufffd"),
    ("  kept  ", "  kept  "),
    ("%s {0} \\n", "%s {0} \\n"),
]
CELLS = [
    '<c {r} t="inlineStr"><is><t>%</t></is></c>',
    '<c {r} t="inlineStr"><is><t xml:space="preserve">%</t></is></c>',
    '<c {r} t="str"><v>%</v></c>',
    '<c {r} t="str"><f>A1&amp;"x"</f><v>%</v></c>',
    "<c {r} s='0' t = 'str'><v><![CDATA[]]>%</v></c>",
]


@WAYS
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize(("written", "expected"), TEXTS)
def test_text_is_what_a_spreadsheet_program_shows(
    written: str, expected: str, cell: str, way: str
) -> None:
    # Often enough for the shape of the row to be known.
    decoded = read(*[cell.replace("%", written)] * 5, way=way)
    assert [orjson.loads(token) for token in tokens(decoded)] == [expected] * 5


@WAYS
@pytest.mark.parametrize(("written", "expected"), TEXTS)
def test_a_shared_string_is_the_same_text(written: str, expected: str, way: str) -> None:
    strings = f"{way}<si><t>first</t></si><si><t>{written}</t></si>"
    cells = ['<c {r} t="s"><v>1</v></c>'] * 5 + ['<c {r} t="s"><v>0</v></c>']
    decoded = read(*cells, strings=strings, way=way)
    assert [orjson.loads(token) for token in tokens(decoded)] == [expected] * 5 + ["first"]


RICH = (
    "<r><rPr><b/></rPr><t>Big </t></r><r><t xml:space='preserve'> red</t></r>"
    '<rPh sb="0" eb="1"><t>ビッグ</t></rPh><phoneticPr fontId="1"/>'
)


@WAYS
def test_runs_of_rich_text_are_joined_and_their_phonetics_left_out(way: str) -> None:
    strings = f"{way}<si><t>a</t></si><si>{RICH}</si><si><t/></si><si><t>b</t></si>"
    cells = [f'<c {{r}} t="s"><v>{index}</v></c>' for index in (3, 1, 0)]
    cells.append(f'<c {{r}} t="inlineStr"><is>{RICH}</is></c>')
    decoded = read(*cells, strings=strings, way=way)
    assert tokens(decoded) == ['"b"', '"Big  red"', '"a"', '"Big  red"']


@WAYS
@pytest.mark.parametrize("half", ["_xD83D_", "_xDE00_", "_xDE00__xD83D_"])
def test_half_a_character_is_refused_and_not_replaced(half: str, way: str) -> None:
    decoded = read(f'<c {{r}} t="str"><v>x{half}</v></c>', way=way)
    assert (decoded.code, decoded.records) == (DecodeCode.RECORD_INVALID, [])
    assert decoded.error
    assert decoded.error.place == Place(record=0, cell="Products!2")


def test_half_a_character_among_many_records_is_found_where_it_is() -> None:
    cells = ["<c {r}><v>0.30000000000000004</v></c>"] * 40
    cells[30] = '<c {r} t="str"><v>x_xDE00_</v></c>'
    decoded = read(*cells)
    assert len(decoded.records) == 30
    assert decoded.unsafe == dict.fromkeys(range(30), 1)
    assert decoded.error
    assert decoded.error.place == Place(record=30, cell="Products!32")


@WAYS
@pytest.mark.parametrize("index", ["2", "-1", "99999999999999999999", "x", "1.0", " 1"])
def test_a_shared_string_that_does_not_exist_is_refused_at_its_cell(index: str, way: str) -> None:
    cells = ['<c {r} t="s"><v>1</v></c>', f'<c {{r}} t="s"><v>{index}</v></c>']
    decoded = read(*cells, strings="<si><t>a</t></si><si><t>b</t></si>", way=way)
    assert decoded.records == [b'{"A":"b"}']
    assert decoded.error
    assert decoded.error.place == Place(record=1, cell="Products!A3")


def test_a_shared_string_without_a_table_is_refused() -> None:
    assert read('<c {r} t="s"><v>0</v></c>').code == DecodeCode.MALFORMED
