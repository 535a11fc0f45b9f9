"""CSV, trap by trap."""

import json

import orjson
import pytest

from app.decoders.csv.rows import CsvDecoder
from app.domain.budget import BLOCK_BYTES, RECORD_BYTES_MAX
from app.domain.chunk import Cursor
from app.domain.errors import DecodeCode, DecodeError, Place, RecordError, SourceError
from app.domain.ingestion import DecodeOptions
from tests.support.sources import BytesSource

PLAIN = DecodeOptions(encoding="utf-8", delimiter=",", quote='"')


def decode(
    text: str | bytes,
    options: DecodeOptions = PLAIN,
    *,
    tab: bool = False,
    block: int = BLOCK_BYTES,
) -> list[dict[str, str]]:
    data = text if isinstance(text, bytes) else text.encode()
    decoder = CsvDecoder(BytesSource(data), options, tab=tab, block_bytes=block)
    return [orjson.loads(raw) for batch in decoder.batches(Cursor()) for raw in batch.records]


def decode_until_error(
    text: str | bytes, options: DecodeOptions = PLAIN, *, block: int = BLOCK_BYTES
) -> tuple[list[dict[str, str]], DecodeError]:
    data = text if isinstance(text, bytes) else text.encode()
    rows: list[dict[str, str]] = []
    with pytest.raises(DecodeError) as caught:
        for batch in CsvDecoder(BytesSource(data), options, block_bytes=block).batches(Cursor()):
            rows += [orjson.loads(raw) for raw in batch.records]
    return rows, caught.value


# ---- values


def test_every_value_is_the_string_in_the_file() -> None:
    assert decode("n,f,e,s,b\n00042,1.50,1e5,  x ,TRUE\n") == [
        {"n": "00042", "f": "1.50", "e": "1e5", "s": "  x ", "b": "TRUE"}
    ]


def test_an_empty_cell_is_an_empty_string() -> None:
    assert decode('a,b,c\n,"",\n') == [{"a": "", "b": "", "c": ""}]


def test_records_are_canonical_with_keys_by_code_point() -> None:
    source = BytesSource("z,é,😀,\uffff,a\n1,2,3,4,5\n".encode())

    (batch,) = CsvDecoder(source, PLAIN).batches(Cursor())

    assert list(batch.records) == ['{"a":"5","z":"1","é":"2","\uffff":"4","😀":"3"}'.encode()]


@pytest.mark.parametrize("value", ["a\\b", 'a"b', "tab\tx", "nul\0x", "bell\x07", "esc\x1f", "50%"])
@pytest.mark.parametrize("name", ["n", "%s", "100%", 'q"', "back\\slash"])
def test_what_json_escapes_is_escaped_as_the_contract_says(name: str, value: str) -> None:
    header, row = (f'"{text.replace(chr(34), chr(34) * 2)}"' for text in (name, value))
    source = BytesSource(f"{header},x\n{row},1\n".encode())

    (batch,) = CsvDecoder(source, PLAIN).batches(Cursor())

    expected = json.dumps(
        {name: value, "x": "1"}, sort_keys=True, ensure_ascii=False, separators=(",", ":")
    )
    assert list(batch.records) == [expected.encode()]


def test_characters_that_other_readers_take_for_line_ends_are_kept() -> None:
    odd = "\u2028\u2029\x85\x0b\x0c\x1c\x1d\x1e"
    assert decode(f"a,b\nx{odd}y,1\n") == [{"a": f"x{odd}y", "b": "1"}]


def test_a_line_end_inside_quotes_is_kept_as_it_is() -> None:
    assert decode('a,b\r\n"1\r\n2","3\n4"\r\n"5\r6",7\r\n') == [
        {"a": "1\r\n2", "b": "3\n4"},
        {"a": "5\r6", "b": "7"},
    ]


def test_a_doubled_quote_is_one_quote() -> None:
    assert decode('a,b\n"say ""hi""",""""\n') == [{"a": 'say "hi"', "b": '"'}]


def test_a_quote_that_does_not_begin_a_cell_is_a_character() -> None:
    assert decode('a,b\n5" disk,x"y"\n "p",q\n') == [
        {"a": '5" disk', "b": 'x"y"'},
        {"a": ' "p"', "b": "q"},
    ]


def test_without_a_quote_character_quotes_are_data() -> None:
    options = DecodeOptions(encoding="utf-8", delimiter=",", quote="")
    assert decode('a,"b"\n"1,2"\n', options) == [{"a": '"1', '"b"': '2"'}]


def test_the_quote_may_be_another_character() -> None:
    options = DecodeOptions(encoding="utf-8", delimiter=";", quote="'")
    assert decode("a;b\n'1;2';\"x\"\n", options) == [{"a": "1;2", "b": '"x"'}]


# ---- rows


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("at_the_end", [True, False])
@pytest.mark.parametrize("block", [1, 2, 3, 5, 64])
def test_every_line_end_counts(line_end: str, at_the_end: bool, block: int) -> None:
    text = line_end.join(["a,b", "1,2", "3,4"]) + line_end * at_the_end
    assert decode(text, block=block) == [{"a": "1", "b": "2"}, {"a": "3", "b": "4"}]


def test_line_ends_may_be_mixed() -> None:
    assert decode("a\r\n1\n2\r3\r\n\r4") == [{"a": "1"}, {"a": "2"}, {"a": "3"}, {"a": "4"}]


def test_a_blank_line_is_no_row_but_an_empty_quoted_cell_is() -> None:
    assert decode('\n\r\na\n\n1\n""\n\n') == [{"a": "1"}, {"a": ""}]


@pytest.mark.parametrize("text", ["", "\ufeff", "\n\n", "a,b", "a,b\n", "\ufeffa,b\r\n", "sep=;\n"])
def test_an_empty_file_and_a_header_alone_are_no_records(text: str) -> None:
    assert decode(text) == []


def test_a_batch_is_about_one_block() -> None:
    text = "a,b\n" + "".join(f"{i},{'x' * 500}\n" for i in range(1_000))
    batches = list(CsvDecoder(BytesSource(text.encode()), PLAIN).batches(Cursor()))

    assert [len(batch.records) for batch in batches[:-1]] == pytest.approx(
        [BLOCK_BYTES / 505] * (len(batches) - 1), abs=3
    )
    assert batches[-1].position == len(text)
    assert [b.position for b in batches] == [b.start.offset for b in batches[1:]] + [len(text)]


# ---- the header


def test_a_bom_is_no_part_of_the_first_name() -> None:
    assert decode('\ufeff"a",b\n1,2\n') == [{"a": "1", "b": "2"}]


def test_names_are_not_trimmed() -> None:
    assert decode('" a",b \n1,2\n') == [{" a": "1", "b ": "2"}]


def test_one_name_may_be_empty() -> None:
    assert decode(",b\n1,2\n") == [{"": "1", "b": "2"}]


def test_equal_names_are_an_error_that_names_them() -> None:
    rows, error = decode_until_error('\na,"x y",a,b,x y\n1,2,3,4,5\n')

    assert rows == []
    assert error.code == DecodeCode.DUPLICATE_HEADER
    assert "'a'" in error.message
    assert "'x y'" in error.message
    assert "'b'" not in error.message
    assert error.place == Place(byte=1, line=2)


def test_a_header_may_hold_line_ends_and_be_longer_than_a_block() -> None:
    name = "n" * 500
    assert decode(f'"a\nb",{name}\n1,2\n', block=16) == [{"a\nb": "1", name: "2"}]


def test_the_line_that_excel_writes_about_the_delimiter_is_not_the_header() -> None:
    options = DecodeOptions(encoding="utf-8", delimiter=";", quote='"')
    assert decode("\ufeffsep=;\r\na;b\r\n1;2\r\n", options) == [{"a": "1", "b": "2"}]


# ---- errors, with the good rows first


def test_a_ragged_row_is_an_error_not_shifted_columns() -> None:
    rows, error = decode_until_error('a,b\n1,2\n"3\n",4\n5,6,7\n8,9\n')

    assert rows == [{"a": "1", "b": "2"}, {"a": "3\n", "b": "4"}]
    assert isinstance(error, RecordError)
    assert error.code == DecodeCode.RAGGED_ROW
    assert error.place == Place(byte=15, line=5, record=2)
    assert "3 cells" in error.message
    assert "header has 2" in error.message


def test_a_line_of_blanks_is_a_row_of_one_cell() -> None:
    assert decode_until_error("a,b\n  \n")[1].code == DecodeCode.RAGGED_ROW


@pytest.mark.parametrize("block", [3, 50, BLOCK_BYTES])
def test_a_quote_never_closed_is_told_with_the_line_where_its_row_began(block: int) -> None:
    text = 'a,b\n1,2\n3,"open\n' + "4,5\n" * 100

    rows, error = decode_until_error(text, block=block)

    assert rows == [{"a": "1", "b": "2"}]
    assert error.code == DecodeCode.TRUNCATED
    assert error.place == Place(byte=8, line=3, record=1)


@pytest.mark.parametrize("block", [3, 50, BLOCK_BYTES])
def test_text_after_a_closing_quote_is_told_with_both_lines(block: int) -> None:
    rows, error = decode_until_error('a,b\n1,2\n3,"open\n4,"x"\n', block=block)

    assert rows == [{"a": "1", "b": "2"}]
    assert error.code == DecodeCode.MALFORMED
    assert error.place == Place(byte=8, line=3, record=1)
    assert "in line 4" in error.message


def test_a_quote_never_closed_does_not_buffer_the_rest_of_the_file() -> None:
    source = BytesSource(b'a,b\n1,2\n3,"open\n' + b"4444444,555555555\n" * (RECORD_BYTES_MAX // 12))
    batches = CsvDecoder(source, PLAIN).batches(Cursor())

    assert list(next(batches).records) == [b'{"a":"1","b":"2"}']
    with pytest.raises(RecordError) as caught:
        next(batches)

    assert caught.value.code == DecodeCode.RECORD_TOO_LARGE
    assert caught.value.place == Place(byte=8, line=3, record=1)
    assert source.bytes_read < RECORD_BYTES_MAX + 4 * BLOCK_BYTES


def test_a_cell_beyond_the_csv_module_s_own_limit_is_read() -> None:
    cell = "x" * 3_000_000
    assert decode(f'a,b\n"{cell}\n",2\n3,4\n') == [
        {"a": cell + "\n", "b": "2"},
        {"a": "3", "b": "4"},
    ]


def test_a_record_that_only_its_json_form_makes_too_large_is_refused() -> None:
    cell = "\\" * (RECORD_BYTES_MAX // 2)
    rows, error = decode_until_error(f"a\n1\n{cell}\n")

    assert rows == [{"a": "1"}]
    assert error.code == DecodeCode.RECORD_TOO_LARGE
    assert error.place == Place(byte=4, line=3, record=1)


def test_short_rows_under_long_names_are_not_all_held_at_once() -> None:
    name = "n" * 1_000_000
    source = BytesSource(f"{name}\n".encode() + b"1\n" * 10_000)
    batches = CsvDecoder(source, PLAIN).batches(Cursor())

    first, second = next(batches), next(batches)

    assert sum(map(len, first.records)) <= RECORD_BYTES_MAX + 2 * len(name)
    assert second.start == Cursor(
        offset=len(name) + 1 + 2 * len(first.records), line=2 + len(first.records)
    )


def test_short_rows_after_a_long_one_are_not_all_held_at_once() -> None:
    text = "a\n" + "x" * 1_000_000 + "\n" + "1\n" * 1_000_000
    batches = list(CsvDecoder(BytesSource(text.encode()), PLAIN).batches(Cursor()))

    assert sum(len(batch.records) for batch in batches) == 1_000_001
    assert max(len(batch.records) for batch in batches) <= BLOCK_BYTES // 2


def test_a_row_may_be_as_large_as_a_record_and_no_larger() -> None:
    largest = "x" * (RECORD_BYTES_MAX - len('{"a":""}'))
    assert decode(f"a\n{largest}\n1\n") == [{"a": largest}, {"a": "1"}]
    assert decode_until_error(f"a\n{largest}xx\n1\n")[1].place == Place(byte=2, line=2, record=0)


@pytest.mark.parametrize("block", [4, 100, BLOCK_BYTES])
def test_bytes_that_are_no_text_are_told_to_the_byte(block: int) -> None:
    data = b'a,b\n1,2\n"x\ny",caf\xe9\n'

    rows, error = decode_until_error(data, block=block)

    assert rows == [{"a": "1", "b": "2"}]
    assert error.code == DecodeCode.ENCODING_INVALID
    assert error.place == Place(byte=data.index(b"\xe9"), line=4, record=1)
    assert "options.encoding" in error.remedy


def test_a_source_that_breaks_is_a_source_error_after_the_rows_before() -> None:
    source = BytesSource(b"a,b\n" + b"1,2\n" * 50_000, fails_at=100_000)
    batches = CsvDecoder(source, PLAIN).batches(Cursor())

    assert next(batches).records
    with pytest.raises(SourceError):
        list(batches)


def test_lines_are_counted_over_quoted_line_ends_and_blank_lines() -> None:
    text = 'a,b\r\n\r\n"1\r\n\n\r",2\n\r3,4\r5\n'

    error = decode_until_error(text)[1]

    assert error.place == Place(byte=text.index("5"), line=9, record=2)


# ---- encodings


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-be"])
@pytest.mark.parametrize("block", [1, 7, 64])
def test_wide_encodings_are_cut_at_their_own_line_ends(encoding: str, block: int) -> None:
    # U+0A0A, U+0D0A and U+0A00 hold the bytes of line ends, U+2C22 those of "," and '"'.
    cell = "ਊഊ\u0a00Ⱒ😀é"
    options = DecodeOptions(encoding=encoding, delimiter=",", quote='"')
    text = f'a,b\r\n{cell},1\r\n"{cell}\n{cell}",2\r3,4'

    assert decode(text.encode(encoding), options, block=block) == [
        {"a": cell, "b": "1"},
        {"a": f"{cell}\n{cell}", "b": "2"},
        {"a": "3", "b": "4"},
    ]


def test_the_byte_of_an_error_is_exact_in_utf_16_too() -> None:
    options = DecodeOptions(encoding="utf-16", delimiter=",", quote='"')
    head = "a,b\n1,2\n".encode("utf-16")
    broken = head + "x,".encode("utf-16-le") + b"\x00\xd8" + "\n3,4\n".encode("utf-16-le")

    rows, error = decode_until_error(broken, options)

    assert rows == [{"a": "1", "b": "2"}]
    assert error.code == DecodeCode.ENCODING_INVALID
    assert error.place == Place(byte=len(head) + 4, line=3, record=1)


def test_half_a_character_at_the_end_is_an_error() -> None:
    options = DecodeOptions(encoding="utf-16-le", delimiter=",", quote='"')
    assert decode_until_error("a\nxy".encode("utf-16-le")[:-1], options)[1].code == (
        DecodeCode.ENCODING_INVALID
    )
    assert decode_until_error("a\nxé".encode()[:-1])[1].code == DecodeCode.ENCODING_INVALID


@pytest.mark.parametrize(
    "encoding", ["cp1252", "latin-1", "shift_jis", "gb18030", "big5", "koi8-r"]
)
def test_a_named_encoding_is_used(encoding: str) -> None:
    text = {"shift_jis": "表示ソ", "gb18030": "丂😀", "big5": "功能", "koi8-r": "привет"}.get(
        encoding, "é§"
    )
    options = DecodeOptions(encoding=encoding, delimiter=",", quote='"')
    assert decode(f'a,b\n{text},"{text}\n"\n'.encode(encoding), options) == [
        {"a": text, "b": text + "\n"}
    ]


# ---- resume


def test_resume_reads_the_header_and_what_is_left_and_nothing_between() -> None:
    text = "a,b\n" + "".join(f"{i},x\n" for i in range(500_000))
    batches = list(CsvDecoder(BytesSource(text.encode()), PLAIN).batches(Cursor()))
    source = BytesSource(text.encode())

    late = CsvDecoder(source, PLAIN).batches(batches[-2].start)

    assert [list(b.records) for b in late] == [list(b.records) for b in batches[-2:]]
    assert source.opened_at == [0, batches[-2].start.offset]
    assert source.bytes_read <= 3 * BLOCK_BYTES


def test_a_record_in_an_error_is_counted_from_the_cursor() -> None:
    text = "a,b\n" + "1,2\n" * 10 + "3\n"
    decoder = CsvDecoder(BytesSource(text.encode()), PLAIN)
    with pytest.raises(RecordError) as caught:
        list(decoder.batches(Cursor(offset=4, skip=7, line=2)))

    assert caught.value.place == Place(byte=44, line=12, record=3)
