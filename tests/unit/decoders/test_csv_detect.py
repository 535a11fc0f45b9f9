"""What is found out about a CSV file, and what is refused before one is read."""

import pytest

from app.decoders.csv.detect import SAMPLE_BYTES
from app.decoders.csv.dialect import check_csv_options
from app.decoders.csv.rows import CsvDecoder
from app.domain.chunk import Cursor
from app.domain.errors import DecodeCode, DecodeError
from app.domain.ingestion import DecodeOptions
from tests.support.sources import BytesSource


def detect(
    data: str | bytes, options: DecodeOptions | None = None, *, tab: bool = False
) -> dict[str, str]:
    source = BytesSource(data if isinstance(data, bytes) else data.encode())
    return dict(CsvDecoder(source, options or DecodeOptions(), tab=tab).detect())


def found(encoding: str = "utf-8", delimiter: str = ",", quote: str = '"') -> dict[str, str]:
    return {"encoding": encoding, "delimiter": delimiter, "quote": quote}


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_the_one_that_gives_every_row_the_header_s_width(delimiter: str) -> None:
    rows = [["sku", "name, or title", "price"], ["1", "a; b | c", "1,50"], ["2", "d\te", "2;5"]]
    text = "".join(delimiter.join(f'"{cell}"' for cell in row) + "\r\n" for row in rows)

    assert detect(text) == found(delimiter=delimiter)


def test_decimal_commas_do_not_make_a_comma_the_delimiter() -> None:
    assert detect("sku;price;weight\n1;1,50;2,5\n2;2,50;3,5\n") == found(delimiter=";")


def test_commas_in_the_header_too_lose_to_more_columns() -> None:
    assert detect("name;price, net;n\na;1,5;1\nb;2,5;2\n") == found(delimiter=";")


@pytest.mark.parametrize("text", ["", "\n", "a\n", "text\none; two\nthree | four; five\n"])
def test_a_single_column_is_read_with_a_comma(text: str) -> None:
    assert detect(text) == found()


def test_a_header_alone_tells_the_delimiter() -> None:
    assert detect("a;b;c\n") == found(delimiter=";")


def test_a_few_ragged_rows_do_not_hide_the_delimiter() -> None:
    assert detect("a;b\n" + "1;2\n" * 20 + "3;4;5\n") == found(delimiter=";")


def test_quoted_line_ends_and_delimiters_are_respected() -> None:
    assert detect('a,b\n"x;y\n;z;",1\n"p;q\n;r;",2\n') == found()


def test_tsv_is_separated_by_tabs_whatever_else_is_in_it() -> None:
    assert detect("a,b\tc,d\n1,2\t3,4\n", tab=True) == found(delimiter="\t")
    assert detect("a,b\n1,2\n", tab=True) == found(delimiter="\t")


@pytest.mark.parametrize("line", ["sep=;\r\n", "SEP=;\n", '"sep=;"\r\n'])
@pytest.mark.parametrize("tab", [False, True])
def test_the_line_that_excel_writes_names_the_delimiter(line: str, tab: bool) -> None:
    assert detect(line + "a,b;c\r\n1,2;3\r\n", tab=tab) == found(delimiter=";")


def test_only_what_the_options_leave_open_is_returned() -> None:
    text = "a;b\n1;2\n"
    assert detect(text, DecodeOptions(delimiter=",", quote="")) == {"encoding": "utf-8"}
    assert detect(text, DecodeOptions(encoding="latin-1", quote="'")) == {"delimiter": ";"}
    assert detect(text, DecodeOptions(encoding="latin-1", delimiter=";")) == {"quote": '"'}


def test_decoding_without_stored_detection_detects() -> None:
    source = BytesSource("a;b\n1;é\n".encode("cp1252"))
    (batch,) = CsvDecoder(source, DecodeOptions()).batches(Cursor())

    assert list(batch.records) == ['{"a":"1","b":"é"}'.encode()]


# ---- quote


@pytest.mark.parametrize(
    "text",
    [
        "'a','b'\n'1, or 2','x'\n'3','y'\n",
        "a,b\n'1, or 2',x\n'3, or 4',y\n5,6\n",
        "'a'\n'1'\n",
    ],
)
def test_an_apostrophe_is_the_quote_on_clear_evidence(text: str) -> None:
    assert detect(text) == found(quote="'")


@pytest.mark.parametrize(
    "text",
    [
        "a,b\n'tis,x\nit's,y\n",
        "a,b\n'00042,'00043\n",
        "a,b\n'quoted','also'\n'and','so on'\n",
        "a,b\n\"1, or 2\",'x'\n",
        "a,b\n'x,y\n1,2,3\n",
    ],
)
def test_an_apostrophe_is_data_otherwise(text: str) -> None:
    assert detect(text) == found()


# ---- encoding


@pytest.mark.parametrize(
    ("codec", "name"),
    [
        ("utf-8-sig", "utf-8"),
        ("utf-16", "utf-16-le"),
        ("utf-32", "utf-32-le"),
        ("utf-16-le", "utf-16-le"),
        ("utf-16-be", "utf-16-be"),
    ],
)
def test_unicode_is_told_by_its_mark_or_its_zeros(codec: str, name: str) -> None:
    assert detect("name;city\nJosé;Köln\n".encode(codec)) == found(encoding=name, delimiter=";")


@pytest.mark.parametrize(("codec", "mark"), [("utf-16-be", "\ufeff"), ("utf-32-be", "\ufeff")])
def test_a_mark_of_the_other_byte_order_is_read(codec: str, mark: str) -> None:
    source = BytesSource(f"{mark}a,b\n1,é\n".encode(codec))
    assert detect(f"{mark}a,b\n1,é\n".encode(codec)) == found(encoding=codec)
    (batch,) = CsvDecoder(source, DecodeOptions()).batches(Cursor())
    assert list(batch.records) == ['{"a":"1","b":"é"}'.encode()]


def test_some_zeros_do_not_make_it_utf_16() -> None:
    assert detect("a,b\n\0\0,x\n\0,y\n") == found()


def test_what_is_not_utf_8_is_windows_1252_and_said_so() -> None:
    assert detect("name,price\nCafé,5 €\n".encode("cp1252")) == found(encoding="cp1252")


def test_a_character_cut_by_the_end_of_the_sample_does_not_mislead() -> None:
    data = b"a\n" + b"x" * (SAMPLE_BYTES - 3) + "é\n".encode()
    assert data[:SAMPLE_BYTES][-1:] == b"\xc3"
    assert detect(data) == found()


def test_utf_8_with_a_broken_byte_stays_utf_8_and_fails_at_that_byte() -> None:
    data = "a,b\nKöln,Größe\nMünchen,".encode() + b"\xe9" + b"\n"
    assert detect(data) == found()

    batches = CsvDecoder(BytesSource(data), DecodeOptions()).batches(Cursor())
    assert list(next(batches).records) == ['{"a":"Köln","b":"Größe"}'.encode()]
    with pytest.raises(DecodeError) as caught:
        next(batches)
    assert caught.value.code == DecodeCode.ENCODING_INVALID
    assert caught.value.place is not None
    assert caught.value.place.byte == data.index(b"\xe9")


def test_utf_8_cut_off_inside_a_character_stays_utf_8_when_one_before_it_says_so() -> None:
    """As Windows-1252 the records before the cut would arrive with wrong text."""
    data = "a,b\n1,Köln\n2,Größe\n".encode()
    cut = data[: data.index("ö".encode(), 12) + 1]
    assert detect(cut) == found()

    batches = CsvDecoder(BytesSource(cut), DecodeOptions()).batches(Cursor())
    assert list(next(batches).records) == ['{"a":"1","b":"Köln"}'.encode()]
    with pytest.raises(DecodeError) as caught:
        next(batches)
    assert caught.value.code == DecodeCode.ENCODING_INVALID


def test_windows_1252_that_ends_with_its_only_accent_stays_windows_1252() -> None:
    assert detect("name,price\n1,Café".encode("cp1252")) == found(encoding="cp1252")


def test_a_hint_of_what_can_be_no_delimiter_is_a_header() -> None:
    assert detect("sep=\0\n1\n") == found()


def test_bytes_that_are_no_text_are_no_hint() -> None:
    source = BytesSource(b'"sep=\x8a"\n')
    options = DecodeOptions(encoding="utf-8", delimiter=",")
    with pytest.raises(DecodeError) as caught:
        list(CsvDecoder(source, options).batches(Cursor()))
    assert caught.value.code == DecodeCode.ENCODING_INVALID


def test_utf_8_that_ends_beyond_the_sample_is_an_error_with_a_remedy() -> None:
    data = b"a\n" + b"x\n" * SAMPLE_BYTES + b"caf\xe9\n"
    assert detect(data) == found()
    with pytest.raises(DecodeError) as caught:
        list(CsvDecoder(BytesSource(data), DecodeOptions()).batches(Cursor()))

    assert caught.value.code == DecodeCode.ENCODING_INVALID
    assert caught.value.place is not None
    assert caught.value.place.byte == len(data) - 2
    assert caught.value.place.line == SAMPLE_BYTES + 2
    assert "options.encoding" in caught.value.remedy


def test_bytes_that_are_text_in_no_likely_encoding_are_refused_before_any_row() -> None:
    with pytest.raises(DecodeError) as caught:
        detect(b"a,b\n1,\x81\xe9\n")

    assert caught.value.code == DecodeCode.ENCODING_INVALID
    assert "options.encoding" in caught.value.remedy


def test_detection_reads_one_sample() -> None:
    source = BytesSource(b"a,b\n" * SAMPLE_BYTES)
    CsvDecoder(source, DecodeOptions()).detect()
    assert source.bytes_read == SAMPLE_BYTES


# ---- options


@pytest.mark.parametrize(
    "options",
    [
        DecodeOptions(encoding="no-such-codec"),
        DecodeOptions(encoding="rot13"),
        DecodeOptions(encoding="base64"),
        DecodeOptions(encoding="utf-7"),
        DecodeOptions(encoding="iso-2022-jp"),
        DecodeOptions(encoding="unicode_escape"),
        DecodeOptions(encoding="undefined"),
        DecodeOptions(encoding="cp037"),
        DecodeOptions(encoding="nul\0"),
        DecodeOptions(encoding=""),
        DecodeOptions(delimiter=""),
        DecodeOptions(delimiter=",,"),
        DecodeOptions(delimiter="\\t"),
        DecodeOptions(delimiter="\n"),
        DecodeOptions(delimiter="\r"),
        DecodeOptions(delimiter="\0"),
        DecodeOptions(quote="''"),
        DecodeOptions(quote="\n"),
        DecodeOptions(delimiter='"'),
        DecodeOptions(delimiter="'", quote="'"),
    ],
)
def test_options_that_fit_no_file_are_refused_before_one_is_read(options: DecodeOptions) -> None:
    with pytest.raises(DecodeError) as caught:
        check_csv_options(options)
    assert caught.value.code == DecodeCode.OPTION_INVALID
    assert caught.value.remedy

    with pytest.raises(DecodeError):
        CsvDecoder(BytesSource(b""), options)


def test_a_tab_cannot_quote_what_tabs_separate() -> None:
    check_csv_options(DecodeOptions(quote="\t"))
    with pytest.raises(DecodeError):
        check_csv_options(DecodeOptions(quote="\t"), tab=True)


@pytest.mark.parametrize(
    "options",
    [
        DecodeOptions(),
        DecodeOptions(delimiter="'"),
        DecodeOptions(delimiter='"', quote=""),
        DecodeOptions(delimiter="¦", quote="~", encoding="UTF8"),
        DecodeOptions(encoding="utf-8-sig"),
        DecodeOptions(encoding="utf-16"),
        DecodeOptions(encoding="Windows-1252"),
    ],
)
def test_options_that_could_fit_are_accepted(options: DecodeOptions) -> None:
    check_csv_options(options)
