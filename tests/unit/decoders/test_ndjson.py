"""NDJSON: one record a line."""

import pytest

from app.decoders.json.ndjson import NdjsonDecoder
from app.domain.budget import BLOCK_BYTES, DEPTH_MAX, RECORD_BYTES_MAX
from app.domain.canonical import DuplicateKeys, Numbers
from app.domain.ingestion import DecodeOptions
from tests.support.decoding import Decoded, decode
from tests.support.sources import BytesSource

BLOCKS = pytest.mark.parametrize("block", [1, 5, BLOCK_BYTES])


def read(
    data: bytes | str, block: int = BLOCK_BYTES, options: DecodeOptions | None = None
) -> Decoded:
    data = data.encode() if isinstance(data, str) else data
    source = BytesSource(data)
    return decode(NdjsonDecoder(source, options or DecodeOptions(), block_bytes=block))


@BLOCKS
@pytest.mark.parametrize(
    ("text", "records"),
    [
        ("", []),
        ("\n \n\t\r\n", []),
        ("\ufeff1\n", [b"1"]),
        ('{"a":1}\n[2]\n"x"\nnull\n', [b'{"a":1}', b"[2]", b'"x"', b"null"]),
        ('{"a":1}\r\n{"a":2}\r\n', [b'{"a":1}', b'{"a":2}']),
        ('{"a":1}\n\n \n{"a":2}', [b'{"a":1}', b'{"a":2}']),
        (' {"a" :\t1} \n', [b'{"a":1}']),
        ('{"a":\r1}\n', [b'{"a":1}']),
        ('"a\u2028b\x85c"\n', ['"a\u2028b\x85c"'.encode()]),
        ('"\x7f\\u0000"\n', [b'"\x7f\\u0000"']),
    ],
)
def test_every_line_that_is_not_blank_is_a_record(
    text: str, records: list[bytes], block: int
) -> None:
    decoded = read(text, block)
    assert decoded.error is None
    assert decoded.records == records


@BLOCKS
@pytest.mark.parametrize(
    ("line", "byte"),
    [
        ("1,2", 1),
        ("1 2", 2),
        ('{"a":1}{"a":2}', 7),
        ('{"a":1},', 7),
        ("{a:1}", 1),
        ('{"a":1', 6),
        ('"a', 2),
        ("[1,]", 3),
        ("01", 1),
        ("1.", 2),
        ("tru", 3),
        ("[", 1),
        ("]", 0),
        ("\x0b1", 0),
        ("// x", 0),
        ('"a\tb"', 2),
    ],
)
def test_a_bad_line_is_refused_at_its_place(line: str, byte: int, block: int) -> None:
    decoded = read(f'{{"n":0}}\n\n{line}\n{{"n":2}}\n', block)
    assert (decoded.code, decoded.records) == ("MALFORMED", [b'{"n":0}'])
    assert decoded.error is not None
    assert str(decoded.error.place) == f"byte {9 + byte}, line 3, record 1"


@BLOCKS
@pytest.mark.parametrize(
    "line", ['{"a":1', '"a', '"a\\', '"a\\u00', "tru", "1.", "1e+", "[1,", "-"]
)
def test_a_last_line_that_is_cut_is_truncated(line: str, block: int) -> None:
    decoded = read(f"1\n{line}", block)
    assert (decoded.code, decoded.records) == ("TRUNCATED", [b"1"])
    assert decoded.error is not None
    assert str(decoded.error.place) == f"byte {2 + len(line)}, line 2, record 1"
    half_a_character = read(b'1\n"a\xc3', block)
    assert (half_a_character.code, half_a_character.records) == ("TRUNCATED", [b"1"])


@BLOCKS
@pytest.mark.parametrize(
    ("line", "code"),
    [
        ('"\\ud800"', "RECORD_INVALID"),
        ("NaN", "RECORD_INVALID"),
        ("9" * 5000, "NUMBER_TOO_LONG"),
        ("[" * (DEPTH_MAX + 1) + "]" * (DEPTH_MAX + 1), "RECORD_TOO_DEEP"),
        ('{"a":' * 300 + "1" + "}" * 300, "RECORD_TOO_DEEP"),
        ('["]",' * 201 + "1" + ',"["]' * 201, "RECORD_TOO_DEEP"),
        ('["]",' * 300 + "1" + ',"["]' * 300, "RECORD_TOO_DEEP"),
        ("[" * 1_000_000, "RECORD_TOO_DEEP"),
    ],
)
def test_a_record_that_cannot_be_delivered_is_an_error_at_its_line(
    line: str, code: str, block: int
) -> None:
    decoded = read(f"1\n{line}\n2\n", block)
    assert (decoded.code, decoded.records) == (code, [b"1"])
    assert decoded.error is not None
    assert str(decoded.error.place) == "byte 2, line 2, record 1"


@BLOCKS
def test_invalid_utf_8_is_refused_at_its_byte(block: int) -> None:
    decoded = read(b'1\n"\xc3\xa9\xff"\n2\n', block)
    assert (decoded.code, decoded.records) == ("ENCODING_INVALID", [b"1"])
    assert decoded.error is not None
    assert str(decoded.error.place) == "byte 5, line 2, record 1"


@pytest.mark.parametrize("codec", ["utf-16", "utf-16-le", "utf-32-be"])
def test_another_encoding_is_named_and_not_guessed(codec: str) -> None:
    assert read('{"a":1}\n'.encode(codec)).code == "ENCODING_INVALID"


@BLOCKS
def test_numbers_and_repeated_keys_follow_the_options(block: int) -> None:
    text = '{"a":1}\n{"a":1e5}\n{"a":12345678901234567890,"b":0.1}\n'
    exact = read(text, block)
    assert exact.records[1:] == [b'{"a":1e5}', b'{"a":12345678901234567890,"b":0.1}']
    assert exact.unsafe == {1: 1, 2: 1}
    assert read(text, block, DecodeOptions(numbers=Numbers.STRING)).records[1] == b'{"a":"1e5"}'
    assert read(text, block, DecodeOptions(numbers=Numbers.REJECT)).code == "NUMBER_UNSAFE"
    refuse = DecodeOptions(duplicate_keys=DuplicateKeys.REFUSE)
    assert read('{"a":1}\n{"a":1,"a":2}\n', block, refuse).code == "DUPLICATE_KEY"
    assert read('{"a":1,"a":2}\n', block).records == [b'{"a":2}']


def test_a_line_above_the_limit_is_refused_without_reading_on() -> None:
    source = BytesSource(b'1\n"' + b"x" * (3 * RECORD_BYTES_MAX) + b'"\n')
    decoded = decode(NdjsonDecoder(source, DecodeOptions()))
    assert (decoded.code, decoded.records) == ("RECORD_TOO_LARGE", [b"1"])
    assert source.bytes_read < 2.1 * RECORD_BYTES_MAX


def test_a_line_just_above_the_limit_is_refused_too() -> None:
    line = b'"' + b"x" * (RECORD_BYTES_MAX - 2) + b'"'
    assert read(line + b"\n1\n").error is None
    decoded = read(b"1\n " + line + b"\n1\n")
    assert (decoded.code, decoded.records) == ("RECORD_TOO_LARGE", [b"1"])


def test_a_batch_holds_about_a_block() -> None:
    decoded = read(b'{"a":1,"b":"xxxxxxxxxx"}\n' * 50_000)
    assert len(decoded.records) == 50_000
    assert max(sum(map(len, batch.records)) for batch in decoded.batches) <= BLOCK_BYTES


def test_a_resume_reads_only_from_its_cursor_on() -> None:
    data = b"".join(b'{"n":%d}\n' % n for n in range(50_000))
    decoded = decode(NdjsonDecoder(BytesSource(data), DecodeOptions()))
    index, cursor = list(decoded.cursors())[-100]
    source = BytesSource(data)
    resumed = decode(NdjsonDecoder(source, DecodeOptions()), cursor)
    assert resumed.records == decoded.records[index:]
    assert source.bytes_read < 2 * BLOCK_BYTES


def test_there_is_nothing_to_detect() -> None:
    assert NdjsonDecoder(BytesSource(b"1\n"), DecodeOptions()).detect() == {}
