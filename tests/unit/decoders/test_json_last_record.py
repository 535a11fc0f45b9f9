"""The last record before a bad place: delivered where nothing that follows could change it."""

from dataclasses import replace
from itertools import product

import pytest

from app.decoders.json.array import JsonDecoder
from app.decoders.json.elements import Elements
from app.decoders.json.window import Window
from app.decoders.native import json_scanner
from app.domain.budget import BLOCK_BYTES, RECORD_BYTES_MAX
from app.domain.canonical import DuplicateKeys
from app.domain.errors import RecordError
from app.domain.ingestion import DecodeOptions
from tests.support.decoding import decode
from tests.support.sources import BytesSource

BLOCKS = (1, 3, 8, BLOCK_BYTES)
FORMS = (
    DecodeOptions(),
    DecodeOptions(canonical=False),
    DecodeOptions(duplicate_keys=DuplicateKeys.REFUSE),
)
BEFORE = {None: b"", "a": b'{"x":1,"a":', "p.a": b'{"p":[{},{"a":[]},{"a":'}
BROKEN = [
    # text, records, code, byte of the bad place
    ('[{"a":1}', 1, "TRUNCATED", 8),
    ('[{"a":1}\n', 1, "TRUNCATED", 9),
    ('[{"a":1},{"b":2}', 2, "TRUNCATED", 16),
    ('[{"a":1}{"b":2}]', 1, "MALFORMED", 8),
    ('[{"a":1}x,{"b":2}]', 1, "MALFORMED", 8),
    ('[{"a":1} \n x,{"b":2}]', 1, "MALFORMED", 11),
    ('[{"a":1}}', 1, "MALFORMED", 8),
    ('[{"a":1}:', 1, "MALFORMED", 8),
    ('[{"a":1}é', 1, "MALFORMED", 8),
    (b'[{"a":1}\xff', 1, "ENCODING_INVALID", 8),
    (b'[{"a":1} \xe2\x82x', 1, "ENCODING_INVALID", 9),
    (b'[{"a":1}\xe2\x82', 1, "TRUNCATED", 10),
    ('["é"', 1, "TRUNCATED", 5),
    ('["a" "b"]', 1, "MALFORMED", 5),
    ("[[]", 1, "TRUNCATED", 3),
    ("[[1,2][3]]", 1, "MALFORMED", 6),
    ("[{},{}", 2, "TRUNCATED", 6),
    ('[1,{"a":[12', 1, "TRUNCATED", 11),
    ("[12", 0, "TRUNCATED", 3),
    ("[12 ", 0, "TRUNCATED", 4),
    ("[-", 0, "TRUNCATED", 2),
    ("[tru", 0, "TRUNCATED", 4),
    ("[true", 0, "TRUNCATED", 5),
    ("[null", 0, "TRUNCATED", 5),
    ("[1 2]", 0, "MALFORMED", 3),
    ("[null x]", 0, "MALFORMED", 6),
    ('["a', 0, "TRUNCATED", 3),
    ('["a\\"', 0, "TRUNCATED", 5),
]


@pytest.mark.parametrize("path", BEFORE)
@pytest.mark.parametrize(("text", "good", "code", "byte"), BROKEN)
def test_a_record_that_ends_with_its_own_last_byte_is_delivered_whatever_follows(
    text: str | bytes, good: int, code: str, byte: int, path: str | None
) -> None:
    data = text.encode() if isinstance(text, str) else text
    source = BytesSource(BEFORE[path] + data)
    for form, block in product(FORMS, BLOCKS):
        options = replace(form, record_path=path)
        _check(source, options, block, (good, code, len(BEFORE[path]) + byte))


def _check(
    source: BytesSource, options: DecodeOptions, block: int, expected: tuple[int, str, int]
) -> None:
    good, code, byte = expected
    decoded = decode(JsonDecoder(source, options, block_bytes=block))
    assert (len(decoded.records), decoded.code) == (good, code)
    assert decoded.error is not None
    place = decoded.error.place
    assert place is not None
    assert (place.byte, place.record) == (byte, good)
    for index, cursor in (*decoded.cursors(), *decoded.ends()):
        for other in (1, BLOCK_BYTES):
            rest = decode(JsonDecoder(source, options, block_bytes=other), cursor)
            assert rest.records == decoded.records[index:]
            assert rest.error is not None
            assert rest.code == code
            assert rest.error.place == replace(place, record=good - index)


@pytest.mark.parametrize("block", [16, BLOCK_BYTES])
@pytest.mark.parametrize("end", ["", " {"])
@pytest.mark.parametrize("record", ['"a"', '{"id":1,"n":[{"id":2},{"id":3}]}'])
def test_so_is_the_last_of_many(record: str, end: str, block: int) -> None:
    source = BytesSource(("[" + ",".join([record] * 3000) + end).encode())
    decoded = decode(JsonDecoder(source, DecodeOptions(), block_bytes=block))
    assert decoded.records == [record.encode()] * 3000
    assert decoded.code == ("MALFORMED" if end else "TRUNCATED")


class Counted:
    """A stream without an end that counts what is taken of it."""

    def __init__(self, head: bytes) -> None:
        self._head = head
        self.taken = 0

    def read(self, size: int, /) -> bytes:
        part = self._head if not self.taken else b"a" * size
        self.taken += len(part)
        return part


def test_a_record_that_is_too_large_is_not_read_much_further_than_that_is_known() -> None:
    stream = Counted(b'[1,"')
    elements = Elements(DecodeOptions())
    window = Window(stream)
    window.begin()
    window.peek()
    window.advance(window.at + 1)
    with pytest.raises(RecordError) as refused:
        list(elements.read(window))
    assert refused.value.code == "RECORD_TOO_LARGE"
    assert stream.taken <= RECORD_BYTES_MAX + 2 * BLOCK_BYTES


def test_what_a_large_record_needed_is_not_kept_for_the_next() -> None:
    scanner = json_scanner(DecodeOptions())
    if scanner is None:
        pytest.skip("nothing is compiled")
    text = b'"' + b"a" * (RECORD_BYTES_MAX - 2) + b'",7,'
    assert list(scanner.scan(text, 0, len(text), records_max=1).records) == [text[:-3]]
    assert scanner._buffers.found.out_max < 1024 * 1024
    scanned = scanner.scan(text, len(text) - 2, len(text))
    assert list(scanned.records) == [b"7"]


@pytest.mark.parametrize("blanks", [5, RECORD_BYTES_MAX + 5 * BLOCK_BYTES])
@pytest.mark.parametrize(("rest", "good"), [("", 1), ("x", 1), (',"b"]', 2), ("]", 1)])
def test_white_space_behind_a_large_record_does_not_hide_it(
    rest: str, good: int, blanks: int
) -> None:
    text = '["' + "a" * (RECORD_BYTES_MAX // 8) + '"' + " " * blanks + rest
    decoded = decode(JsonDecoder(BytesSource(text.encode()), DecodeOptions()))
    assert len(decoded.records) == good
    assert decoded.code == {"": "TRUNCATED", "x": "MALFORMED"}.get(rest)
