"""JSON and NDJSON decoders against the reference, on random documents and blocks."""

import json
from decimal import Decimal
from random import Random

import ijson.backends.python as ijson
from hypothesis import given, settings
from hypothesis import strategies as st

from app.decoders.json.array import JsonDecoder
from app.decoders.json.ndjson import NdjsonDecoder
from app.domain.canonical import DuplicateKeys, Exact, canonical
from app.domain.ingestion import DecodeOptions
from tests.support.decoding import Decoded, decode
from tests.support.json_texts import Number, Writer, records
from tests.support.sources import BytesSource

BLOCKS = st.sampled_from([1, 2, 3, 7, 16, 61, 200, 1000, 4096, 64 * 1024])
RANDOM = st.randoms(use_true_random=False)
RECORDS = records()
EXACTLY = DuplicateKeys.REFUSE  # Repeated keys can only be seen on the exact path.


def reference(texts: list[str]) -> tuple[list[bytes], dict[int, int]]:
    exact = Exact()
    written, unsafe = [], {}
    for index, text in enumerate(texts):
        exact.unsafe = 0
        written.append(canonical(exact.decoder().decode(text)))
        if exact.unsafe:
            unsafe[index] = exact.unsafe
    return written, unsafe


def document(rng: Random, texts: list[str], path: str | None, *, compact: bool) -> bytes:
    """Put an array of records at ``path``, with other things around it."""
    writer = Writer(rng, compact=compact)
    array = f"[{writer.joined(texts)}]"
    if path is None:
        return (writer.blank() + array + writer.blank()).encode()
    other = writer.write({"x": [Number("1"), {"y": "},{"}], "z": {"q": [[], {}, "é"]}})
    members = [f'"n":{other}', f'"a":{array}', f'"m":{other}']
    inner = "{" + writer.joined(members) + "}"
    if path == "p.a":
        inner = f'{{"o":{other},"p":[{inner},{{}},{inner}],"t":{other}}}'
    return inner.encode()


def read(
    data: bytes, path: str | None, block: int, options: DecodeOptions | None = None
) -> Decoded:
    options = options or DecodeOptions(record_path=path)
    return decode(JsonDecoder(BytesSource(data, block=5000), options, block_bytes=block))


@settings(max_examples=300, deadline=None)
@given(RECORDS, RANDOM, st.booleans(), st.sampled_from([None, "a", "p.a"]), BLOCKS)
def test_a_document_gives_the_reference_whatever_its_form_and_blocks(
    values: list[object],
    rng: Random,
    compact: bool,
    path: str | None,
    block: int,
) -> None:
    texts = [Writer(rng, compact=compact).write(value) for value in values]
    data = document(rng, texts, path, compact=compact)
    expected, unsafe = reference(texts * 2 if path == "p.a" else texts)
    decoded = read(data, path, block)
    assert decoded.error is None
    assert decoded.records == expected
    if path != "p.a":
        assert decoded.unsafe == unsafe
    slowly = read(data, path, block, DecodeOptions(record_path=path, duplicate_keys=EXACTLY))
    assert slowly.error is None
    assert slowly.records == expected


@settings(max_examples=100, deadline=None)
@given(RECORDS, RANDOM, st.booleans(), st.sampled_from([None, "a", "p.a"]), BLOCKS, BLOCKS)
def test_every_cursor_leads_to_the_same_rest(
    values: list[object],
    rng: Random,
    compact: bool,
    path: str | None,
    block: int,
    other: int,
) -> None:
    texts = [Writer(rng, compact=compact).write(value) for value in values]
    data = document(rng, texts, path, compact=compact)
    decoded = read(data, path, block)
    options = DecodeOptions(record_path=path)
    for index, cursor in (*decoded.cursors(), *decoded.ends()):
        source = BytesSource(data)
        rest = decode(JsonDecoder(source, options, block_bytes=other), cursor)
        assert rest.error is None
        assert rest.records == decoded.records[index:]
        assert cursor.offset in source.opened_at
        assert cursor.line == data.count(b"\n", 0, cursor.offset) + 1


@settings(max_examples=150, deadline=None)
@given(RECORDS, RANDOM, st.booleans(), BLOCKS, st.data())
def test_a_document_cut_or_damaged_anywhere_gives_a_true_prefix_and_an_error(
    values: list[object],
    rng: Random,
    compact: bool,
    block: int,
    data: st.DataObject,
) -> None:
    texts = [Writer(rng, compact=compact).write(value) for value in values]
    whole = document(rng, texts, "a", compact=compact)
    expected, _ = reference(texts)
    cut = whole[: data.draw(st.integers(0, len(whole.rstrip()) - 1))]
    decoded = read(cut, "a", block)
    assert decoded.error is not None
    assert decoded.code in {"TRUNCATED", "MALFORMED"}
    assert decoded.records == expected[: len(decoded.records)]


@settings(max_examples=150, deadline=None)
@given(RECORDS, RANDOM, st.booleans(), BLOCKS, BLOCKS, st.data())
def test_damage_is_judged_alike_in_any_blocks_and_as_the_standard_library_judges_it(
    values: list[object],
    rng: Random,
    compact: bool,
    block: int,
    other: int,
    data: st.DataObject,
) -> None:
    texts = [Writer(rng, compact=compact).write(value) for value in values]
    whole = bytearray(document(rng, texts, None, compact=compact))
    at = data.draw(st.integers(0, len(whole) - 1))
    whole[at] = data.draw(st.sampled_from(list(b'{}[]",:\\0e.- x\xff\n')))
    damaged = bytes(whole)
    decoded = read(damaged, "", block)
    again = read(damaged, "", other)
    assert again.records == decoded.records
    assert again.code == decoded.code
    if decoded.error is not None:
        assert again.error is not None
        assert again.error.place == decoded.error.place
    try:
        value = json.loads(damaged.decode())
    except ValueError:
        value = None
    if not isinstance(value, list):
        assert decoded.error is not None
    elif decoded.error is None:
        assert len(decoded.records) == len(value)
        assert decoded.records == [
            canonical(element) for element in Exact().decoder().decode(damaged.decode())
        ]
    else:
        assert decoded.code in {"RECORD_INVALID", "MALFORMED"}
        assert decoded.code == "RECORD_INVALID" or "NaN" in damaged.decode()


@settings(max_examples=150, deadline=None)
@given(RECORDS, RANDOM, st.booleans())
def test_an_independent_reader_finds_the_same_values(
    values: list[object],
    rng: Random,
    compact: bool,
) -> None:
    texts = [Writer(rng, compact=compact).write(value) for value in values]
    data = document(rng, texts, "a", compact=compact)
    theirs = list(ijson.items(data, "a.item"))
    ours = [json.loads(record, parse_float=Decimal) for record in read(data, "a", 97).records]
    assert ours == theirs
    assert kinds(ours) == kinds(theirs)


def kinds(value: object) -> object:
    """Replace every value by its kind: ``1`` and ``1.0`` are equal, but not the same."""
    if isinstance(value, list):
        return [kinds(element) for element in value]
    if isinstance(value, dict):
        return {key: kinds(element) for key, element in value.items()}
    return type(value)


@settings(max_examples=300, deadline=None)
@given(
    RECORDS,
    RANDOM,
    st.booleans(),
    st.sampled_from(["\n", "\r\n", "\n\n", " \n \t\n"]),
    BLOCKS,
    BLOCKS,
)
def test_lines_give_the_reference_and_every_cursor_leads_to_the_same_rest(
    values: list[object],
    rng: Random,
    compact: bool,
    end: str,
    block: int,
    other: int,
) -> None:
    writer = Writer(rng, compact=compact, line_feeds=False)
    texts = [writer.write(value) for value in values]
    data = (end.join(texts) + end * rng.randrange(2)).encode()
    expected, unsafe = reference(texts)
    for options in (DecodeOptions(), DecodeOptions(duplicate_keys=EXACTLY)):
        decoder = NdjsonDecoder(BytesSource(data, block=5000), options, block_bytes=block)
        decoded = decode(decoder)
        assert decoded.error is None
        assert decoded.records == expected
        assert decoded.unsafe == unsafe
    for index, cursor in (*decoded.cursors(), *decoded.ends()):
        rest = decode(NdjsonDecoder(BytesSource(data), DecodeOptions(), block_bytes=other), cursor)
        assert rest.records == expected[index:]
