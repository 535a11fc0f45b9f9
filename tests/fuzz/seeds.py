"""What fuzzing starts from, and the words of each format."""

import io
from collections.abc import Iterator

from app.samples.formats import SampleFormat, write
from tests.fuzz.case import KNOBS
from tests.fuzz.workbook_case import packed
from tests.support.workbooks import archive, parts_of

PLAIN = bytes(KNOBS)


def sample(kind: SampleFormat, records: int) -> bytes:
    """Return a file of products."""
    target = io.BytesIO()
    write(target, kind, records=records, seed=1, progress=lambda _: None)
    return target.getvalue()


def knobs(*values: int) -> bytes:
    """Return knobs, the rest of them at 0."""
    return bytes(values).ljust(KNOBS, b"\0")


JSON_RECORDS = (
    b'{"id":1,"v":20.00}',
    b'{"id":2,"v":[1.5,-0,1e5,{"z":null}]}',
    '{"é":"\\u00e9\\ud83d\\ude00\\n","a":"},{"}'.encode(),
    b'{"n":9007199254740993,"m":0.30000000000000004,"k":0.00001,"n":-0.0}',
    b"12345678901234567890.5",
    b'"text"',
    b"[[],{},[{}]]",
)

JSON_TOKENS = (
    *(b"{", b"}", b"[", b"]", b",", b":", b'"', b"\\", b"\n", b"\r\n", b" ", b"\t", b"\0"),
    *(b"true", b"false", b"null", b"NaN", b"Infinity", b"-", b"1e5", b"-0", b".", b"E+"),
    *(b"\\u00e9", b"\\ud800", b"\\udc00", b"\\u0000", b"\\/", b"\xc3\xa9", b"\xed\xa0\x80"),
    *(b"\xff", b"\xef\xbb\xbf", b"\xff\xfe", b"9007199254740992", b"0.0001", b"0.00001"),
    *(b'"a":', b'"p":', b'{"a":[', b'"id":1', b"]},", b"},{", b"},\n{", b"[{}]", b"0" * 16),
    *(b"[" * 50, b"]" * 50, b"1" * 4001, b'{"a":' * 40, b"\xf0\x9f\x98\x80", b"\xe2\x80\xa8"),
)


def json_seeds() -> Iterator[bytes]:
    array = b"[" + b",\n ".join(JSON_RECORDS) + b"]"
    yield PLAIN + array
    yield PLAIN + sample(SampleFormat.JSON, 3)
    yield knobs(0, 0, 0, 2) + array
    yield PLAIN + b'{"meta":{"n":1},"rows":' + array + b',"t":[1,2]}'
    yield knobs(2) + b'{"o":{"x":[1]},"a":' + array + b',"t":null}'
    yield knobs(3) + b'{"p":[{"a":' + array + b'},{},{"n":1,"a":[]}]}'
    yield knobs(4) + b'{"a":[{"id":1}],"b":[1],"c":{"d":[{}]}}'
    yield knobs(5) + b' {"id":1,"v":[1.50]} \n'
    yield knobs(6) + b'{"a.b":[{"id":1}]}'
    yield PLAIN + b"\xef\xbb\xbf[]"
    yield PLAIN + b'{"rows":[{"a":1}],"more":[{"b":2}]}'


def ndjson_seeds() -> Iterator[bytes]:
    yield PLAIN + b"\n".join(JSON_RECORDS) + b"\n"
    yield knobs(0, 0, 0, 2) + b"\r\n \n".join(JSON_RECORDS)
    yield PLAIN + sample(SampleFormat.NDJSON, 3)
    yield knobs(0, 1, 1) + b'\xef\xbb\xbf{"a":1}\n{"a":2}'


CSV_TOKENS = (
    *(b",", b";", b"\t", b"|", b'"', b"'", b'""', b"\n", b"\r", b"\r\n", b"\\", b"\0"),
    *(b"sep=;\n", b'"sep=|"\r\n', b'"a\nb"', b'","', b'"\n"', b"a,b\n", b"\xc3\xa9", b"\xe9"),
    *(b"\xff\xfe", b"\xef\xbb\xbf", b"\x00\n", b"\n\x00", b"\x82\xa0", b"\x85", b"\xe2\x80\xa8"),
    *(b"\x81\x30\x81\x30", b"\x95\x5c", b"\x0b", b"\x1f", b"\xf0\x9f\x98\x80", b'"' * 3),
)


def csv_seeds() -> Iterator[bytes]:
    table = 'id,name,note\n1,"x, ""y""",é\r\n2,"l\nl",\n\n3,plain,\'q\'\n'
    given = {"utf-8": 1, "utf-16-le": 5, "utf-16-be": 6, "gb18030": 10, "utf-32": 11}
    yield PLAIN + table.encode()
    yield PLAIN + table.encode("cp1252")
    yield PLAIN + ("\ufeff" + table).encode("utf-16-le")
    for encoding, knob in given.items():
        yield knobs(1, 1, knob) + table.encode(encoding)
    yield PLAIN + sample(SampleFormat.CSV, 3)
    yield knobs(0, 0, 0, 1) + b"a\tb\n1\t2\n"
    yield PLAIN + b"sep=;\na;b\n1;2\n"
    yield knobs(2, 3, 9) + "a;b\n表;ソ\n".encode("shift_jis")
    yield knobs(5, 4, 1) + b"xayaz\n1a2a3\nbabaaab\n"


XLSX_TOKENS = (
    *(b"<row>", b"</row>", b'<row r="2">', b"<c>", b"</c>", b"<c/>", b'<c r="A2">', b"<v>"),
    *(b"</v>", b"<f>", b"</f>", b"<f/>", b"<is><t>", b"</t></is>", b'<t xml:space="preserve">'),
    *(b' t="s"', b' t="str"', b' t="inlineStr"', b' t="b"', b' t="e"', b' t="d"', b' s="1"'),
    *(b' r="B2"', b' r="XFD9"', b' r="3"', b"<!--", b"-->", b"<![CDATA[", b"]]>", b"<?a?>"),
    *(b"&amp;", b"&#65;", b"&#x0;", b"&#xFFFE;", b"&lt;", b"&no;", b"_x0041_", b"_xD83D_"),
    *(b"_x005F_", b"<rPh><t>x</t></rPh>", b"<r><t>", b"</t></r>", b"<si><t>", b"</t></si>"),
    *(b"<!DOCTYPE a>", b' xmlns="urn:x"', b' xmlns:x="urn:x"', b"x:", b"\r\n", b"\t", b"  "),
    *(b"45000.5", b"1E+2", b"-0", b"1.50", b"12345678901234567890", b"true", b"#N/A"),
    *(b"\xef\xbf\xbf", b"\xef\xbf\xbe", b"\xff\xfe", b"\xc3\xa9", b"\0", b"\x01", b"'", b'"'),
    *(b"</sheetData>", b"<sheetData>", b'<xf numFmtId="14"/>', b'numFmtId="22"', b"mergeCells"),
    *(b'<row r="2"><c r="A2"><v>1</v></c></row>', b"<c t='s'><v>0</v></c>", b"\n%%% "),
)

_HEADER = '<row r="1"><c r="A1" t="str"><v>id</v></c><c r="B1" t="s"><v>0</v></c></row>'
_ROWS = (
    '<row r="2" spans="1:2"><c r="A2"><v>1</v></c><c r="B2" t="s"><v>1</v></c></row>'
    '<row r="3"><c r="A3"><v>2.50</v></c><c r="B3" t="s"><v>2</v></c></row>'
    '<row r="4"><c r="A4" t="b"><v>1</v></c><c r="B4" t="inlineStr"><is><t>in &amp;</t></is></c>'
    '</row><row r="6"><c r="A6" s="1"><v>45000</v></c><c r="B6" s="2"><v>45000.5</v></c></row>'
    '<row><c t="str"><f>1+1</f><v>_x0041_</v></c><c/></row>'
)
_STRINGS = (
    "<si><t>name</t></si><si><t>one &lt;</t></si>"
    '<si><r><t>ri</t></r><r><t xml:space="preserve">ch </t></r><rPh><t>x</t></rPh></si>'
)


def xlsx_seeds() -> Iterator[bytes]:
    whole = parts_of(_HEADER + _ROWS, strings=_STRINGS, formats=[14, 22, "h:mm", 46, "0.00"])
    yield PLAIN + packed(whole)
    yield knobs(0, 0, 1) + archive(whole)
    yield knobs(1, 1) + packed(parts_of(_HEADER + _ROWS * 2, strings=_STRINGS, since_1904=True))
    sheets = {"Empty": "", "Hidden": _HEADER, "Products": _HEADER + _ROWS}
    yield knobs(3) + packed(parts_of(sheets=sheets, hidden=["Hidden"], strings=_STRINGS))
    yield PLAIN + packed(parts_of("<!-- -->" + _HEADER + _ROWS.replace('"', "'")))
    usual = "".join(
        f'<row r="{at}"><c r="A{at}"><v>{at}</v></c><c r="B{at}" t="s"><v>1</v></c></row>'
        for at in range(2, 30)
    )
    yield PLAIN + packed(parts_of(_HEADER + usual, strings=_STRINGS))
