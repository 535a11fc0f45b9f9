"""JSON documents: where the records are, what is refused, and where."""

from collections.abc import Mapping

import pytest

from app.decoders.json.array import JsonDecoder
from app.decoders.json.exact_text import Cut, ExactText, Fault, Value
from app.domain.budget import BLOCK_BYTES, RECORD_BYTES_MAX
from app.domain.canonical import DuplicateKeys, Numbers
from app.domain.chunk import Cursor
from app.domain.errors import DecodeError, SourceError
from app.domain.ingestion import DecodeOptions
from tests.support.decoding import decode
from tests.support.decoding import read_json as read
from tests.support.sources import BytesSource

BLOCKS = pytest.mark.parametrize("block", [1, 5, BLOCK_BYTES])


def detect(data: str, path: str | None = None) -> Mapping[str, str]:
    return JsonDecoder(BytesSource(data.encode()), DecodeOptions(record_path=path)).detect()


# ---- where the records are


@BLOCKS
@pytest.mark.parametrize(
    ("text", "path", "records"),
    [
        ("[]", None, []),
        (" [ ] \n", None, []),
        ('[1,"a",null,true,[],{}]', None, [b"1", b'"a"', b"null", b"true", b"[]", b"{}"]),
        ("\ufeff[1]", None, [b"1"]),
        ('{"a":[{"x":1},{"x":2}]}', None, [b'{"x":1}', b'{"x":2}']),
        ('{"a":{"b":{"c":[{"x":1}]}},"d":[1,2]}', None, [b'{"x":1}']),
        ('{"a":[{"b":[{"c":1}]}],"d":[[{"e":1}]]}', None, [b'{"b":[{"c":1}]}']),
        ('{"a":[1],"b":[{"c":2}]}', "a", [b"1"]),
        ('{"a":[],"b":[{"c":2}]}', "a", []),
        ('{"a":{"b":[1]},"b":[2]}', "a.b", [b"1"]),
        ('{"a.b":[1]}', r"a\.b", [b"1"]),
        ('{"a\\\\b":[1]}', r"a\\b", [b"1"]),
        ('{"\\u0061":[1]}', "a", [b"1"]),
        ('{"":{"x":[1]}}', ".x", [b"1"]),
        ('{"$":{"x":[1]}}', r"\$.x", [b"1"]),
        ('{"p":[{"i":[1,2]},{"j":[9]},{"i":[]},3,{"i":[4]}]}', "p.i", [b"1", b"2", b"4"]),
        ('[{"i":[1]},{"i":[2]}]', "i", [b"1", b"2"]),
        ('[[{"i":[1]}],[],[{"i":[2]}]]', "i", [b"1", b"2"]),
        ('{"i":[[1],[2]]}', "i", [b"[1]", b"[2]"]),
        (' {"a" : 1 } ', "$", [b'{"a":1}']),
        ("[1,2]", "$", [b"[1,2]"]),
        ("42", "$", [b"42"]),
        ('{"a":[{"x":1}]}', "$.a", [b'{"x":1}']),
    ],
)
def test_the_records_are_found(
    text: str, path: str | None, records: list[bytes], block: int
) -> None:
    decoded = read(text, path, block)
    assert decoded.error is None
    assert decoded.records == records


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ('{"a":{"b":[{"x":1}]}}', "$.a.b"),
        ('{"a.b":{"c\\\\":[{"x":1}]}}', "$.a\\.b.c\\\\"),
        ('{"$":[{"x":1}]}', r"$.\$"),
        ('{"":[{"x":1}]}', "$."),
        ('{"n":1,"t":["a"],"rows":[{}],"o":{}}', "$.rows"),
    ],
)
def test_detection_gives_a_path_that_leads_to_the_same_records(text: str, path: str) -> None:
    assert detect(text) == {"record_path": path}
    assert read(text, path).records == read(text).records != []


def test_detection_has_nothing_to_say_of_an_array_or_when_the_path_is_given() -> None:
    assert detect("[1]") == {}
    assert detect('{"a":[{"x":1}]}', "b") == {}


def test_detection_stops_soon_after_the_first_array_of_objects() -> None:
    source = BytesSource(b'{"a":[' + b'{"x":1},' * 10**6 + b"!")
    assert JsonDecoder(source, DecodeOptions()).detect() == {"record_path": "$.a"}
    assert source.bytes_read < 2 * 1024 * 1024


def test_what_is_broken_behind_the_first_records_does_not_keep_them_back() -> None:
    decoded = read('{"a":[{"x":1},{"x":')
    assert decoded.records == [b'{"x":1}']
    assert decoded.code == "TRUNCATED"


@pytest.mark.parametrize(
    "text",
    ['{"a":[{"x":1}],"b":[{"y":1}]}', '{"a":[{"x":1}],"b":{"c":[{"y":1}]}}'],
)
def test_two_arrays_of_objects_are_ambiguous_until_a_path_is_named(text: str) -> None:
    decoded = read(text)
    assert decoded.code == "AMBIGUOUS_RECORDS"
    assert decoded.records == []
    assert decoded.error is not None
    assert "'a'" in decoded.error.message
    assert "options.record_path" in decoded.error.remedy
    assert decoded.error.place is not None
    assert decoded.error.place.byte == text.index('{"y"')
    assert read(text, "a").error is None


def test_a_second_array_far_behind_a_detected_one_is_never_missed() -> None:
    text = '{"a":[' + ",".join(['{"x":1}'] * 200_000) + '],"b":[{"y":1}]}'
    found = detect(text)["record_path"]
    decoded = read(text, found)
    assert len(decoded.records) == 200_000
    assert decoded.code == "AMBIGUOUS_RECORDS"
    _, last = list(decoded.cursors())[-1]
    options = DecodeOptions(record_path=found)
    resumed = decode(JsonDecoder(BytesSource(text.encode()), options), last)
    assert (len(resumed.records), resumed.code) == (1, "AMBIGUOUS_RECORDS")


@BLOCKS
@pytest.mark.parametrize(
    ("text", "path", "says"),
    [
        ('{"a":1}', None, "an object without an array of objects"),
        ('{"a":[]}', None, "an object without an array of objects"),
        ("42", None, "a scalar"),
        ('{"a":[1]}', "b", "nothing is at the record path 'b'"),
        ('{"a":{"b":[1]}}', "a.c", "nothing is at the record path 'a.c'"),
        ('{"a":{"b":1}}', "a", "is an object"),
        ('{"a":"x"}', "a", "is a string"),
        ('{"a":null}', "a", "is null"),
        ('{"a":-1}', "a", "is a number"),
        ('{"a":3}', "a.b", "nothing"),
        ("[1,2]", "a", "nothing"),
        ("[]", "a", "nothing"),
    ],
)
def test_a_path_to_no_array_is_never_an_empty_success(
    text: str, path: str | None, says: str, block: int
) -> None:
    decoded = read(text, path, block)
    assert decoded.code == "NO_RECORDS_AT_PATH"
    assert decoded.error is not None
    assert says in decoded.error.message
    assert "'$'" in decoded.error.remedy


@BLOCKS
def test_a_member_on_the_path_that_comes_twice_is_ambiguous(block: int) -> None:
    decoded = read('{"a":[1],"a":[2]}', "a", block)
    assert (decoded.records, decoded.code) == ([b"1"], "AMBIGUOUS_RECORDS")


def test_a_path_that_ends_in_an_escape_is_refused() -> None:
    assert read("[]", "a\\").code == "OPTION_INVALID"
    with pytest.raises(DecodeError):
        detect("[]", "a\\")


# ---- options


@BLOCKS
def test_unsafe_numbers_are_counted_by_record(block: int) -> None:
    decoded = read("[1,[1e5,2e5],1.5,12345678901234567890]", None, block)
    assert decoded.unsafe == {1: 2, 3: 1}
    assert decoded.records[3] == b"12345678901234567890"


@BLOCKS
def test_unsafe_numbers_become_strings_or_are_refused_when_asked_for(block: int) -> None:
    text = '[{"a":1},{"a":1e5},{"a":2}]'
    assert read(text, None, block, numbers=Numbers.STRING).records[1] == b'{"a":"1e5"}'
    refused = read(text, None, block, numbers=Numbers.REJECT)
    assert (refused.records, refused.code) == ([b'{"a":1}'], "NUMBER_UNSAFE")


@BLOCKS
def test_a_key_that_comes_twice_is_refused_when_asked_for(block: int) -> None:
    text = '[{"a":1},{"a":1,"a":2},{"a":3}]'
    assert read(text, None, block).records[1] == b'{"a":2}'
    refused = read(text, None, block, duplicate_keys=DuplicateKeys.REFUSE)
    assert (refused.records, refused.code) == ([b'{"a":1}'], "DUPLICATE_KEY")
    alone = read('{"a":1,"a":2}', "$", block, duplicate_keys=DuplicateKeys.REFUSE)
    assert alone.code == "DUPLICATE_KEY"


# ---- size


def test_a_batch_holds_about_a_block_and_a_record_may_be_larger_than_many() -> None:
    small = '{"id":1,"t":"' + "x" * 400 + '"}'
    large = '{"id":2,"t":"' + "y" * 1_000_000 + '"}'
    texts = [small] * 1000 + [large] + [small] * 1000 + [large, large]
    decoded = read("[" + ",".join(texts) + "]")
    assert decoded.error is None
    assert [len(record) for record in decoded.records] == [len(text) for text in texts]
    for batch in decoded.batches:
        sizes = [len(record) for record in batch.records]
        assert sum(sizes) - max(sizes) <= 2 * BLOCK_BYTES


@pytest.mark.parametrize("path", [None, "$"])
def test_a_record_above_the_limit_is_refused_without_reading_on(path: str | None) -> None:
    source = BytesSource(b'[1,"' + b"x" * (3 * RECORD_BYTES_MAX) + b'"]')
    decoded = decode(JsonDecoder(source, DecodeOptions(record_path=path)))
    assert decoded.code == "RECORD_TOO_LARGE"
    assert decoded.records == ([] if path else [b"1"])
    assert source.bytes_read < 2.1 * RECORD_BYTES_MAX


def test_endless_white_space_is_passed_in_little_memory() -> None:
    blank = b" \n" * (RECORD_BYTES_MAX // 2 + 100)
    decoded = read(b"[" + blank + b"1," + blank + b"2]" + blank)
    assert decoded.error is None
    assert decoded.records == [b"1", b"2"]


# ---- speed

PRODUCT = '{"sku":"S#","price":20.00,"rate":1.50,"ean":4006381333931,"of":[{"sku":1},{"sku":2}]}'
TREE = '{"id":#,"of":[{"id":1,"of":[]},{"id":2,"of":[]}],"n":"x"}'
DIGEST = '{"sha":"9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c1#e00"}'


@pytest.mark.parametrize(
    "texts",
    [
        [PRODUCT.replace("#", str(n)) for n in range(5000)],
        [
            PRODUCT.replace("#", str(n)).replace(",", ",\n   ").replace("{", "{\n   ")
            for n in range(5000)
        ],
        [TREE.replace("#", str(n)) for n in range(5000)],
        [DIGEST.replace("#", str(n)) for n in range(5000)],
        [PRODUCT.replace("#", str(n)) for n in range(2500)]
        + [DIGEST.replace("#", str(n)) for n in range(2500)],
        [f'{{"k{n}":"\\u4e2d\\u00e9 5e5x","x":1}}' for n in range(5000)],
        [f'"s{n}"' for n in range(50_000)],
        [f"[{n},[{n}]]" for n in range(50_000)],
        [str(n) for n in range(50_000)],
    ],
    ids=[
        "products",
        "indented",
        "trees",
        "digests",
        "changing",
        "keys",
        "texts",
        "arrays",
        "numbers",
    ],
)
def test_ordinary_records_go_the_fast_way(
    texts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    exactly: list[int] = []
    read_exactly = ExactText.read

    def counting(self: ExactText, text: str, start: int) -> Value | Cut | Fault:
        exactly.append(start)
        return read_exactly(self, text, start)

    monkeypatch.setattr(ExactText, "read", counting)
    decoded = read("[" + ",\n".join(texts) + "]")
    assert decoded.error is None
    assert len(decoded.records) == len(texts)
    assert len(exactly) < len(texts) / 4
    exactly.clear()
    pages = [texts[start : start + 50] for start in range(0, len(texts), 50)]
    arrays = ['{"of":[' + ",".join(page) + "]}" for page in pages]
    decoded = read("[" + ",".join(arrays) + "]", "of")
    assert decoded.error is None
    assert len(decoded.records) == len(texts)
    assert len(exactly) < len(texts) / 4


# ---- resume


def test_a_resume_reads_only_from_its_cursor_on() -> None:
    data = b"[" + b",".join(b'{"n":%d}' % n for n in range(50_000)) + b"]"
    decoded = decode(JsonDecoder(BytesSource(data), DecodeOptions()))
    index, cursor = list(decoded.cursors())[-100]
    source = BytesSource(data)
    resumed = decode(JsonDecoder(source, DecodeOptions(), block_bytes=BLOCK_BYTES), cursor)
    assert resumed.records == decoded.records[index:]
    assert source.bytes_read < 4 * BLOCK_BYTES


def test_an_error_after_a_resume_has_its_place_in_the_file_and_counts_from_the_cursor() -> None:
    data = b'{"a":[1,\n2,\n3,\n4,\n!]}'
    options = DecodeOptions(record_path="a")
    decoded = decode(JsonDecoder(BytesSource(data), options, block_bytes=4))
    assert decoded.error is not None
    assert str(decoded.error.place) == "byte 18, line 5, record 4"
    for index, cursor in decoded.cursors():
        resumed = decode(JsonDecoder(BytesSource(data), options), cursor)
        assert resumed.records == decoded.records[index:]
        assert resumed.error is not None
        assert str(resumed.error.place) == f"byte 18, line 5, record {4 - index}"


def test_a_source_that_breaks_is_not_the_end_of_the_file() -> None:
    source = BytesSource(b"[" + b'{"a":1},' * 50_000 + b"1]", fails_at=200_000)
    with pytest.raises(SourceError):
        list(JsonDecoder(source, DecodeOptions()).batches(Cursor()))
