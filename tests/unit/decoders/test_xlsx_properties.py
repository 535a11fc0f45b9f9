"""Excel: any workbook, against another reader, and one way of reading against the other."""

import datetime as dt
import io
import itertools
import json
from typing import Any
from xml.sax.saxutils import escape

import openpyxl
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openpyxl.utils.datetime import CALENDAR_MAC_1904, CALENDAR_WINDOWS_1900

from app.decoders.xlsx.decoder import XlsxDecoder
from app.domain.canonical import Json
from app.domain.ingestion import DecodeOptions
from tests.support.decoding import Decoded, decode
from tests.support.sources import BytesSource
from tests.support.workbooks import archive, column, parts_of

PLAIN = DecodeOptions()
NAMES = ("sku", "größe", "z", "😀", "A")

# What openpyxl can write: it refuses control characters, and takes a leading = for a formula
# and a leading # for an error. An empty string it writes as no cell.
CONTROLS = "".join(map(chr, range(32))).replace("\t", "").replace("\n", "")
TEXTS = st.text(
    st.characters(codec="utf-8", exclude_characters=CONTROLS + "\ufffe\uffff"),
    min_size=1,
    max_size=20,
).filter(lambda text: text[0] not in "=#" and "_x" not in text)
FIRST, LAST = map(dt.datetime.fromisoformat, ("1904-01-02", "9999-12-30"))
MOMENTS = st.datetimes(FIRST, LAST).map(lambda moment: moment.replace(microsecond=0))
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**53) + 1, 2**53 - 1),
    st.floats(-1e300, 1e300),
    TEXTS,
    MOMENTS,
    MOMENTS.map(dt.datetime.date),
    st.times().map(lambda time: time.replace(microsecond=0)),
    st.timedeltas(dt.timedelta(0), dt.timedelta(days=999)).map(
        lambda span: span - dt.timedelta(microseconds=span.microseconds)
    ),
)
ROWS = st.lists(st.lists(VALUES, min_size=1, max_size=len(NAMES)), max_size=12)


def written(rows: list[list[Any]], epoch: dt.datetime) -> bytes:
    book = openpyxl.Workbook()
    book.epoch = epoch
    sheet = book.worksheets[0]
    sheet.append(NAMES)
    for values in rows:
        sheet.append(values)
    file = io.BytesIO()
    book.save(file)
    return file.getvalue()


def shown(value: Any, number_format: str) -> Json:
    """What the decoder should make of what openpyxl read."""
    match value:
        case dt.datetime():
            dateless = number_format == "yyyy-mm-dd" and value.time() == dt.time()
            return (value.date() if dateless else value).isoformat()
        case dt.date() | dt.time():
            return value.isoformat()
        case dt.timedelta():
            return f"{value.total_seconds():.0f} s"
        case float() if value.is_integer() and abs(value) < 2**53:
            return int(value)
        case _:
            return value  # type: ignore[no-any-return]


def seconds(value: Json) -> Json:
    """Turn the ISO 8601 duration that the decoder gives into seconds."""
    if not (isinstance(value, str) and value.startswith("PT")):
        return value
    total, digits = 0, ""
    for character in value[2:]:
        if character.isdigit():
            digits += character
        else:
            total, digits = total + int(digits) * {"H": 3600, "M": 60, "S": 1}[character], ""
    return f"{total} s"


@pytest.mark.parametrize("epoch", [CALENDAR_WINDOWS_1900, CALENDAR_MAC_1904])
@settings(max_examples=60, deadline=None)
@given(rows=ROWS)
def test_values_are_those_that_openpyxl_reads(epoch: dt.datetime, rows: list[list[Any]]) -> None:
    data = written(rows, epoch)
    book = openpyxl.load_workbook(io.BytesIO(data), data_only=True)
    expected = []
    for cells in book.worksheets[0].iter_rows(min_row=2, max_col=len(NAMES)):
        values = [shown(cell.value, str(cell.number_format)) for cell in cells]
        if any(value is not None for value in values):
            expected.append(dict(zip(NAMES, values, strict=True)))

    decoded = decode(XlsxDecoder(BytesSource(data), PLAIN))

    assert decoded.error is None
    read = [orjson.loads(record) for record in decoded.records]
    assert [{name: seconds(value) for name, value in record.items()} for record in read] == expected
    kinds = [[type(value) for value in record.values()] for record in read]
    assert kinds == [[type(record[name]) for name in sorted(NAMES)] for record in expected]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1))
def test_every_double_comes_back_as_itself(doubles: list[float]) -> None:
    # 17 digits, as Excel writes them.
    cells = [f"<c {{r}}><v>{double:.17G}</v></c>" for double in doubles]
    decoded = decode(XlsxDecoder(BytesSource(archive(parts_of(column(*cells)))), PLAIN))
    read = [float(json.loads(record)["A"]) for record in decoded.records]
    assert list(map(repr, read)) == [repr(double + 0.0) for double in doubles]


# ---- one way of reading against the other

ATTRIBUTES = st.sampled_from(
    ["", ' t="n"', ' t="s"', ' t="str"', ' t="inlineStr"', ' t="b"', ' t="e"', ' s="1"', " s='2'",
     ' s="1" t="n"', ' t="z"', ' cm="1"', " t='s' s='1'"]
)  # fmt: skip
BODIES = st.sampled_from(
    [
        "/>", "></c>", "><v/></c>", "><v></v></c>", "><v>1</v></c>", "><v>2.50</v></c>",
        "><v>45000</v></c>", "><v>a &amp; &#98;_x0041_</v></c>", "><f>1+1</f><v>2</v></c>",
        "><f>x</f></c>", '><f si="0"/><v>3</v></c>', "><is><t>in</t></is></c>",
        '><is><t xml:space="preserve"> a </t></is></c>', "><is><r><t>r</t></r></is></c>",
        "><is><t/></is></c>", "><v>x</c>", "><v>&no;</v></c>", "><!-- c --><v>7</v></c>",
        "><v>12345678901234567890</v></c>",
    ]
)  # fmt: skip
REFERENCES = st.sampled_from(["{c}{r}"] * 8 + ["", "C{r}", "{c}9"])
CELLS = st.tuples(REFERENCES, ATTRIBUTES, BODIES)
LINES = st.tuples(
    st.sampled_from([' r="{r}"'] * 6 + ["", ' r="{r}" spans="1:3"', ' r="3"', " s='1'"]),
    st.lists(CELLS, max_size=3),
)


def line(at: int, attributes: str, cells: list[tuple[str, str, str]]) -> str:
    text = f"<row{attributes.format(r=at)}>"
    for letter, (reference, kind, body) in zip("ABC", cells, strict=False):
        own = f' r="{reference.format(c=letter, r=at)}"' if reference else ""
        text += f"<c{own}{kind}{body}"
    return text + "</row>"


def both_ways(rows: str) -> tuple[Decoded, Decoded]:
    strings = "<si><t>zero</t></si><si><t>one &lt;</t></si><si><t/></si>"
    header = "<row>" + "".join(f'<c t="str"><v>{name}</v></c>' for name in "ABC") + "</row>"
    made = (
        archive(parts_of(way + header + rows, strings=strings, formats=[14, "h:mm"]))
        for way in ("", "<!-- exact -->")
    )
    plain, exact = (decode(XlsxDecoder(BytesSource(data), PLAIN)) for data in made)
    return plain, exact


@settings(max_examples=300, deadline=None)
@given(st.lists(LINES, max_size=6), st.integers(1, 6))
def test_the_fast_way_and_the_exact_way_read_the_same(
    lines: list[tuple[str, list[tuple[str, str, str]]]], times: int
) -> None:
    repeated = itertools.chain.from_iterable([each] * times for each in lines)
    rows = "".join(line(at, *each) for at, each in enumerate(repeated, 2))
    plain, exact = both_ways(rows)
    assert plain.records == exact.records
    assert plain.unsafe == exact.unsafe
    assert plain.code == exact.code
    assert (plain.error and plain.error.place) == (exact.error and exact.error.place)


def escaped(text: str) -> str:
    """Write text as Excel does: what XML cannot carry as ``_xHHHH_``, so ``_`` too."""
    controls = "".join(f"_x{ord(c):04X}_" if c < " " or c in "_\ufffe\uffff" else c for c in text)
    return escape(controls)


@settings(max_examples=60, deadline=None)
@given(
    texts=st.lists(st.text(st.characters(codec="utf-8"), max_size=99), min_size=1),
    times=st.integers(1, 2000),
    bold=st.integers(0, 40),
)
def test_no_text_is_changed_wherever_a_block_ends(texts: list[str], times: int, bold: int) -> None:
    expected = (texts * times)[:2000]
    strings = [f'<si><t xml:space="preserve">{escaped(text)}</t></si>' for text in expected]
    if bold < len(strings):
        strings[bold] = strings[bold].replace("<si>", "<si><r>").replace("</si>", "</r></si>")
    rows = '<row><c t="str"><v>A</v></c><c t="str"><v>B</v></c></row>' + "".join(
        f'<row><c t="s"><v>{at}</v></c><c><v>{at}</v></c></row>' for at in range(len(expected))
    )
    data = archive(parts_of(rows, strings="".join(strings)))
    decoded = decode(XlsxDecoder(BytesSource(data), PLAIN))
    assert decoded.error is None
    assert [orjson.loads(record)["A"] for record in decoded.records] == expected
