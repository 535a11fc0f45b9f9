"""The compiled loops and the Python they stand for: the same records, the same errors."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.decoders import native
from app.decoders.csv.rows import CsvDecoder
from app.decoders.json.array import JsonDecoder
from app.decoders.json.ndjson import NdjsonDecoder
from app.domain.canonical import DuplicateKeys, Numbers
from app.domain.chunk import Cursor
from app.domain.errors import Place
from app.domain.ingestion import DecodeOptions
from app.ports import Decoder
from tests.support.decoding import decode
from tests.support.json_texts import Writer, records
from tests.support.sources import BytesSource

pytestmark = pytest.mark.skipif(
    not native.is_compiled(),
    reason="the decoders were not compiled: there was no C compiler at `make setup`",
)

BLOCKS = st.sampled_from([1, 7, 61, 1000, 64 * 1024])
RANDOM = st.randoms(use_true_random=False)
OPTIONS = st.builds(
    DecodeOptions,
    canonical=st.booleans(),
    numbers=st.sampled_from(Numbers),
    duplicate_keys=st.sampled_from(DuplicateKeys),
)
CELLS = st.text(st.sampled_from(list('ab,;"\\\r\n\té€😀\x01\0 ')), max_size=6)


@dataclass(frozen=True)
class Outcome:
    """All that a decoder may be told by."""

    records: list[bytes]
    unsafe: dict[int, int]
    code: str | None
    place: Place | None


def outcome(make: Callable[[], Decoder]) -> Outcome:
    decoded = decode(make())
    place = decoded.error.place if decoded.error else None
    return Outcome(decoded.records, decoded.unsafe, decoded.code, place)


@contextmanager
def python_only() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(native, "_library", None)
        yield


def assert_both_agree(make: Callable[[], Decoder]) -> None:
    compiled = outcome(make)
    with python_only():
        assert compiled == outcome(make)


@pytest.mark.parametrize("wrong", [b"n1e5]}", b'"1e5', b'x"1e5]', b"1e5x"])
def test_a_line_that_is_wrong_does_not_hide_the_numbers_before_it(wrong: bytes) -> None:
    """What looks like the inside of a string is none, where the line is no JSON."""
    data = b'{"":[1e5]}\n%b\nnull\n' % wrong
    with python_only():
        read = outcome(lambda: NdjsonDecoder(BytesSource(data), DecodeOptions(), block_bytes=61))
    assert read.records == [b'{"":[1e5]}']
    assert_both_agree(lambda: NdjsonDecoder(BytesSource(data), DecodeOptions(), block_bytes=61))


def damaged(rng: Random, data: bytes) -> bytes:
    """Change, drop or repeat a few bytes, or cut the rest off; sometimes nothing."""
    text = bytearray(data)
    for _ in range(rng.choice([0, 0, 1, 1, 2, 5])):
        at = rng.randrange(len(text) + 1)
        match rng.randrange(4):
            case 0:
                text[at:at] = bytes([rng.choice(b'{}[]",:\\u0eE+-. \n\r\xc3\xa9\xed\xa0\x80\xff')])
            case 1:
                del text[at : at + rng.choice([1, 1, 5])]
            case 2:
                text[at:at] = text[at : at + rng.randrange(20)]
            case _ if rng.random() < 0.3:
                del text[at:]
    return bytes(text)


@settings(max_examples=1000, deadline=None)
@given(records(), RANDOM, OPTIONS, BLOCKS, st.booleans())
def test_both_read_the_same_out_of_a_json_array_right_or_wrong(
    values: list[object], rng: Random, options: DecodeOptions, block: int, compact: bool
) -> None:
    writer = Writer(rng, compact=compact)
    text = "[" + writer.joined([writer.write(value) for value in values]) + "]"
    data = damaged(rng, text.encode())
    # Detection reads other things than records: it is not what is compared here.
    if data.lstrip(b" \t\r\n")[:1] == b"[":
        assert_both_agree(lambda: JsonDecoder(BytesSource(data), options, block_bytes=block))


@settings(max_examples=1000, deadline=None)
@given(records(), RANDOM, OPTIONS, BLOCKS, st.booleans())
def test_both_read_the_same_out_of_lines_right_or_wrong(
    values: list[object], rng: Random, options: DecodeOptions, block: int, compact: bool
) -> None:
    writer = Writer(rng, compact=compact, line_feeds=False)
    text = "".join(writer.write(value) + rng.choice(["\n", "\r\n", "\n\n"]) for value in values)
    data = damaged(rng, text.encode())
    assert_both_agree(lambda: NdjsonDecoder(BytesSource(data), options, block_bytes=block))


@settings(max_examples=1000, deadline=None)
@given(records(), RANDOM, BLOCKS, st.booleans())
def test_both_pass_lines_that_are_nearly_alike(
    values: list[object], rng: Random, block: int, compact: bool
) -> None:
    """Keys are compared with those of the record before, each at its place."""
    writer = Writer(rng, compact=compact, line_feeds=False)
    line = writer.write({"k": values, "kk": {"k": values[:1]}}).encode()
    data = b"\n".join(damaged(rng, line) if rng.random() < 0.5 else line for _ in range(6))
    options = DecodeOptions(canonical=False)
    assert_both_agree(lambda: NdjsonDecoder(BytesSource(data), options, block_bytes=block))


@settings(max_examples=1000, deadline=None)
@given(
    st.lists(st.lists(CELLS, min_size=3, max_size=3), max_size=12),
    RANDOM,
    st.sampled_from([",", ";", "\t", "a"]),
    st.sampled_from(['"', "'", "", "b"]),
    st.sampled_from(["utf-8", "utf-16-le"]),
    BLOCKS,
)
def test_both_read_the_same_out_of_rows_right_or_wrong(
    rows: list[list[str]], rng: Random, delimiter: str, quote: str, encoding: str, block: int
) -> None:
    def written(cell: str) -> str:
        special = any(mark in cell for mark in (delimiter, quote or "\n", "\r", "\n"))
        if quote and (special or rng.random() < 0.3) and rng.random() < 0.95:
            return quote + cell.replace(quote, quote * 2) + quote
        return cell

    lines = [["x", "z", "y"], *rows]
    ends = ["\n"] * 8 + ["\r\n"] * 3 + ["\r", "\n\n"]
    text = "".join(delimiter.join(map(written, row)) + rng.choice(ends) for row in lines)
    data = damaged(rng, text.encode(encoding))
    options = DecodeOptions(delimiter=delimiter, quote=quote, encoding=encoding)
    assert_both_agree(lambda: CsvDecoder(BytesSource(data), options, block_bytes=block))


@pytest.mark.parametrize("depth", [199, 200, 201, 5000])
def test_both_refuse_what_is_nested_too_deeply(depth: int) -> None:
    data = b"[1," + b"[" * depth + b"]" * depth + b"]"
    assert_both_agree(lambda: JsonDecoder(BytesSource(data), DecodeOptions()))


@pytest.mark.parametrize("members", [63, 64, 65, 4095, 4096, 4097])
def test_objects_of_any_width_are_put_into_order(members: int) -> None:
    names = [f'"{name}":{name}' for name in range(members)]
    Random(members).shuffle(names)
    first = "{" + ",".join(names) + "}"
    Random(members + 1).shuffle(names)
    data = f"[{first},{{{','.join(names)}}},{first}]".encode()
    assert_both_agree(lambda: JsonDecoder(BytesSource(data), DecodeOptions()))


@pytest.mark.parametrize("digits", [15, 16, 17, 3999, 4000, 4001])
@pytest.mark.parametrize("form", ["{}", "-{}", "{}.5", "0.{}", "0.000{}", "{}e5", "{}.000"])
def test_both_keep_or_refuse_the_same_digits(digits: int, form: str) -> None:
    number = form.format("9" * digits)
    data = f"[{number},-0,0,-0.0,9007199254740991,9007199254740992]".encode()
    assert_both_agree(lambda: JsonDecoder(BytesSource(data), DecodeOptions()))


def test_the_bytes_of_a_record_are_kept_when_they_are_asked_for() -> None:
    text = b'[ {"b" : 1.50,\n"a":"\\u00e9\\/"} , 1E5,{"z":1,"z":2}]'
    options = DecodeOptions(canonical=False)
    decoded = decode(JsonDecoder(BytesSource(text), options))
    assert decoded.records == [b'{"b" : 1.50,\n"a":"\\u00e9\\/"}', b"1E5", b'{"z":1,"z":2}']
    assert_both_agree(lambda: JsonDecoder(BytesSource(text), options))


def test_most_of_a_usual_file_never_reaches_python(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards the speed: a scanner that takes nothing would pass all other tests."""
    taken: list[int] = []
    scan = native.JsonScanner.scan

    def counting(self: native.JsonScanner, *args: int, **kwargs: int) -> native.Scanned:
        scanned = scan(self, *args, **kwargs)  # type: ignore[arg-type]
        taken.append(len(scanned.records))
        return scanned

    monkeypatch.setattr(native.JsonScanner, "scan", counting)
    record = (
        b'{"sku":"A-1","price":20.00,"ean":4006381333931,"t":"\\"\xc3\xa9\\n","s":[{"b":1,"a":2}]}'
    )
    data = b"[" + b",".join([record] * 5000) + b"]"
    list(JsonDecoder(BytesSource(data), DecodeOptions()).batches(Cursor()))
    assert sum(taken) == 5000


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (rb'"\ud800"', "RECORD_INVALID"),
        (b"[" * 200 + b"]" * 200, "RECORD_TOO_DEEP"),
        (b"[" * 199 + b"]" * 199, None),
        (b'{"b":1,"b":' + b"[" * 198 + b"]" * 198 + b"}", None),
        (b'{"b":' + b"[" * 199 + b"]" * 199 + b',"b":0}', "RECORD_TOO_DEEP"),
    ],
    ids=["surrogate", "too deep", "deep", "deep inside", "too deep inside"],
)
def test_what_a_later_value_replaces_is_delivered_verbatim_so_it_is_checked(
    value: bytes, code: str | None
) -> None:
    record = b'{"a":%b,"a":1}' % value
    options = DecodeOptions(canonical=False)
    for make in (
        lambda: NdjsonDecoder(BytesSource(record + b"\n"), options),
        lambda: JsonDecoder(BytesSource(b"[" + record + b"]"), options),
    ):
        assert_both_agree(make)
        read = outcome(make)
        assert (read.code, read.records) == (code, [] if code else [record])


@pytest.mark.parametrize("data", [b"[0,[1],[2],[[3],4],5]", b"[1,[2],[[3],4],5]"])
def test_a_first_record_that_is_shorter_than_what_is_learnt_from(data: bytes) -> None:
    assert_both_agree(lambda: JsonDecoder(BytesSource(data), DecodeOptions()))
    with python_only():
        assert outcome(lambda: JsonDecoder(BytesSource(data), DecodeOptions())).code is None
