"""JSON that is refused: truncated, malformed, or holding what cannot be delivered."""

import pytest

from app.decoders.json.array import JsonDecoder
from app.domain.budget import BLOCK_BYTES, DEPTH_MAX
from app.domain.ingestion import DecodeOptions
from tests.support.decoding import decode
from tests.support.decoding import read_json as read
from tests.support.sources import BytesSource

BLOCKS = pytest.mark.parametrize("block", [1, 5, BLOCK_BYTES])


@BLOCKS
@pytest.mark.parametrize(
    ("text", "good", "byte", "line"),
    [
        ("[1] x", 1, 4, 1),
        ("[1][2]", 1, 3, 1),
        ("[1,]", 1, 3, 1),
        ("[1,2,\n]", 2, 6, 2),
        ("[,1]", 0, 1, 1),
        ("[1,,2]", 1, 3, 1),
        ("[ , 1]", 0, 2, 1),
        ("[1\n 2]", 0, 4, 2),
        ("[1,{'a':1}]", 1, 4, 1),
        ('[1,{"a":1,}]', 1, 10, 1),
        ('[1,{"a" 1}]', 1, 8, 1),
        ('[1,{"a":1 "b":2}]', 1, 10, 1),
        ("[1,{a:1}]", 1, 4, 1),
        ("[1, // comment\n 2]", 1, 4, 1),
        ("[01]", 0, 2, 1),
        ("[1.]", 0, 2, 1),
        ("[1,+1]", 1, 3, 1),
        ("[1,.5]", 1, 3, 1),
        ("[1,tru]", 1, 3, 1),
        ("[1,True]", 1, 3, 1),
        ('[1,"a\nb"]', 1, 5, 1),
        ('[1,"a\tb"]', 1, 5, 1),
        ("[1,2}", 1, 4, 1),
        ('["é",\n"ü" 1]', 2, 12, 2),
    ],
)
def test_malformed_records_are_refused_at_their_place(
    text: str, good: int, byte: int, line: int, block: int
) -> None:
    decoded = read(text, None, block)
    assert decoded.code == "MALFORMED"
    assert len(decoded.records) == good
    assert decoded.error is not None
    assert decoded.error.place is not None
    assert (decoded.error.place.byte, decoded.error.place.line) == (byte, line)
    assert decoded.error.place.record in (good, None)


@pytest.mark.parametrize("block", [16, 1000, BLOCK_BYTES])
@pytest.mark.parametrize("damage", [",,", ",]", ":", "}", "]", '"', "{"])
@pytest.mark.parametrize("record", ["7", '"a"', "[3]", '{"id":1,"n":[{"id":2},{"id":3}]}'])
def test_damage_far_behind_the_start_is_found_on_the_fast_path_too(
    record: str, damage: str, block: int
) -> None:
    many = ",".join([record] * 5000)
    for good, text in (
        (5000, f"[{many},{damage},{many}]"),
        (4999 if record == "7" else 5000, f"[{many}{damage}{record},{many}]"),
    ):
        decoded = read(text, None, block)
        assert decoded.error is not None
        # A quote too many makes strings of what was between strings, which are records too.
        assert decoded.records[:5000] == [record.encode()] * len(decoded.records[:5000])
        assert good <= len(decoded.records) <= 5001


@pytest.mark.parametrize("extra", [",", " ,", ",,,"])
def test_a_comma_too_many_is_found_where_a_large_record_follows(extra: str) -> None:
    decoded = read("[" + "1," * 3000 + extra + '"' + "x" * 5 * BLOCK_BYTES + '"]')
    assert (len(decoded.records), decoded.code) == (3000, "MALFORMED")


@BLOCKS
@pytest.mark.parametrize(
    "rest",
    [
        "}",
        ', "b" 1}',
        ', "b":}',
        ', "b":1,}',
        ', "b":[1,]}',
        ', "b":[1 2]}',
        ', "b":{"c":tru}}',
        ', "b":"\\x"}',
        ', "b":"\\ud80"}',
        ', "b":"\n"}',
        ', "b":01}',
        ', "b":1.}',
        ', "b":-}',
        ", b:1}",
        ', "b":{"c":1]}',
        ', "b":1} x',
        ', "b":1}}',
        ', "b":1}{}',
    ],
)
def test_a_document_broken_behind_its_records_is_refused(rest: str, block: int) -> None:
    decoded = read('{"a":[1]' + rest, "a", block)
    if rest == "}":
        assert decoded.error is None
    else:
        assert decoded.code == "MALFORMED"
    assert decoded.records == [b"1"]


@pytest.mark.parametrize(
    "data",
    [
        *(b"[1]" + rest for rest in (b"-", b"t", b"e", b"-1", b"-\n")),
        b"[1\\u00e\xff]",
        b"[\\ud800\xff]",
    ],
)
def test_what_is_wrong_is_judged_alike_in_any_blocks(data: bytes) -> None:
    outcomes = {
        (decoded.code, decoded.error and decoded.error.place)
        for decoded in (read(data, "", block) for block in (1, 2, 3, 4, 5, 64 * 1024))
    }
    assert len(outcomes) == 1


@BLOCKS
def test_a_value_that_is_no_record_may_hold_what_a_record_may_not(block: int) -> None:
    text = '{"s":"\\ud800","n":[1e400,"\\udfff"],"big":' + "9" * 6000 + ',"a":[1],"z":{"q":[[]]}}'
    assert read(text, "a", block).records == [b"1"]
    assert read(text, "a", block).error is None


@BLOCKS
@pytest.mark.parametrize(
    ("text", "code"),
    [
        ('[1,{"a":"\\ud800"},2]', "RECORD_INVALID"),
        ('[1,{"\\udfff":1},2]', "RECORD_INVALID"),
        ("[1,NaN,2]", "RECORD_INVALID"),
        ("[1,[Infinity],2]", "RECORD_INVALID"),
        ("[1,-Infinity,2]", "RECORD_INVALID"),
        ("[1," + "9" * 5000 + ",2]", "NUMBER_TOO_LONG"),
        ("[1," + "9" * 100_000 + ".5,2]", "NUMBER_TOO_LONG"),
        ("[1," + "[" * 201 + "]" * 201 + ",2]", "RECORD_TOO_DEEP"),
        ("[1," + '{"a":' * 254 + "1" + "}" * 254 + ",2]", "RECORD_TOO_DEEP"),
        ("[1," + "[" * 600 + "]" * 600 + ",2]", "RECORD_TOO_DEEP"),
        ("[1," + "[" * 100_000 + "]" * 100_000 + ",2]", "RECORD_TOO_DEEP"),
        ("[1," + "[" * 1_000_000, "RECORD_TOO_DEEP"),
        ("[1," + '{"a":' * 100_000, "RECORD_TOO_DEEP"),
    ],
)
def test_a_record_that_cannot_be_delivered_is_an_error_at_its_place(
    text: str, code: str, block: int
) -> None:
    decoded = read(text, None, block)
    assert (decoded.code, decoded.records) == (code, [b"1"])
    assert decoded.error is not None
    assert decoded.error.place is not None
    assert (decoded.error.place.byte, decoded.error.place.record) == (3, 1)


@BLOCKS
def test_the_depth_limit_is_the_same_on_both_paths(block: int) -> None:
    deep = "[" * DEPTH_MAX + "]" * DEPTH_MAX
    plain = ",".join([deep] * 30)
    assert len(read(f"[{plain}]", None, block).records) == 30
    assert len(read(f"[{plain},1e5]", None, block).records) == 31
    decoded = read(f"[{plain},[{deep}],{plain}]", None, block)
    assert (len(decoded.records), decoded.code) == (30, "RECORD_TOO_DEEP")


@BLOCKS
@pytest.mark.parametrize("depth", [201, 253, 254, 255, 900])
def test_depth_is_not_hidden_by_brackets_in_strings(depth: int, block: int) -> None:
    allowed = '["]",' * DEPTH_MAX + "1" + ',"["]' * DEPTH_MAX
    hidden = '["]",' * depth + "1" + ',"["]' * depth
    many = ",".join(['{"a":1}'] * 5000 + [allowed] * 9)
    decoded = read(f"[{many},{hidden},{many}]", None, block)
    assert (len(decoded.records), decoded.code) == (5009, "RECORD_TOO_DEEP")


@pytest.mark.parametrize("path", ["a", "$"])
def test_a_document_nested_without_end_is_refused_quickly(path: str) -> None:
    for text in ('{"b":' * 100_000, '{"b":' * 1_000_000, "[" * 1_000_000):
        decoded = read(text, path)
        assert decoded.code == "RECORD_TOO_DEEP"
        assert decoded.records == []


@BLOCKS
def test_invalid_utf_8_is_refused_at_its_byte(block: int) -> None:
    decoded = read(b'[1,\n"\xc3\xa9\xff",2]', None, block)
    assert (decoded.code, decoded.records) == ("ENCODING_INVALID", [b"1"])
    assert decoded.error is not None
    assert str(decoded.error.place) == "byte 7, line 2, record 1"
    assert read(b'{"a":[1],"b":"\xff"}', "a", block).code == "ENCODING_INVALID"
    assert read(b'{"\xed\xa0\x80":1,"a":[1]}', "a", block).code == "ENCODING_INVALID"
    assert read(b'"\xff"', "$", block).code == "ENCODING_INVALID"


@pytest.mark.parametrize("codec", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-be"])
def test_another_encoding_is_named_and_not_guessed(codec: str) -> None:
    decoded = read('[{"a":1}]'.encode(codec))
    assert decoded.code == "ENCODING_INVALID"
    assert decoded.error is not None
    assert decoded.error.remedy == "Convert the file to UTF-8."


@BLOCKS
@pytest.mark.parametrize("path", [None, "$", "a"])
@pytest.mark.parametrize("data", [b"", b" \n", b"\xef\xbb\xbf"])
def test_an_empty_file_is_truncated(data: bytes, path: str | None, block: int) -> None:
    assert read(data, path, block).code == "TRUNCATED"


DOCUMENTS = [
    ('[{"a":"é\\u00e9\\ud83d\\ude00","b":[1,-2.5,true,false,null]},{"a":"x","b":[]},12,"s"]', None),
    ('[ {"a" : 1e5 , "b" : 12345678901234567890 } ,\n {"a" : -0.5 } ]', None),
    (
        '{"n":{"m":[1,"x"],"t":true},"p":[{"i":[1,{"z":2}]},{"i":[3]}],"q":"\\n\\u00e9","r":-1.5e3}',
        "p.i",
    ),
    ('{"a":{"b":1.5,"c":"é"}}', "$"),
]


@BLOCKS
@pytest.mark.parametrize(("text", "path"), DOCUMENTS)
def test_cut_at_any_byte_it_gives_a_true_prefix_and_says_so(
    text: str, path: str | None, block: int
) -> None:
    data = text.encode()
    whole = read(data, path, block)
    assert whole.error is None
    for end in range(len(data)):
        cut = read(data[:end], path, block)
        assert cut.records == whole.records[: len(cut.records)]
        assert cut.code == "TRUNCATED", data[:end]
        assert cut.error is not None
        assert cut.error.place is not None
        assert cut.error.place.byte is not None
        assert end - 3 <= cut.error.place.byte <= end


@BLOCKS
def test_a_number_is_not_believed_before_its_end_is_seen(block: int) -> None:
    source = BytesSource(b"[12345678,9]", block=3)
    decoded = decode(JsonDecoder(source, DecodeOptions(), block_bytes=block))
    assert decoded.records == [b"12345678", b"9"]
