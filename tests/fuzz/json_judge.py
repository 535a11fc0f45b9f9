"""Judge what the JSON and NDJSON decoders make of a file."""

from collections.abc import Set as AbstractSet
from itertools import takewhile

from app.decoders.json.array import JsonDecoder
from app.decoders.json.ndjson import NdjsonDecoder
from app.domain.canonical import DuplicateKeys, Numbers
from app.domain.errors import DecodeCode
from app.domain.ingestion import DecodeOptions
from app.domain.record_path import WHOLE
from app.ports import Decoder
from tests.fuzz.agreement import Outcome, read_every_way
from tests.fuzz.case import Broken, Case
from tests.fuzz.json_reference import (
    Found,
    Tree,
    Written,
    arrays_of_objects,
    at_path,
    elements_before_a_fault,
    parse,
    spans,
    written,
)
from tests.support.sources import BytesSource

PATHS: tuple[tuple[str | None, tuple[str, ...], bool], ...] = (
    (None, (), False),
    (None, (), False),
    ("a", ("a",), False),
    ("p.a", ("p", "a"), False),
    ("$.a", ("a",), True),
    (WHOLE, (), False),
    ("a\\.b", ("a.b",), False),
    ("", (), False),
)
"""Path, the members it leads through, whether it must be the only one."""

FAULTS = {DecodeCode.MALFORMED, DecodeCode.TRUNCATED, DecodeCode.ENCODING_INVALID}
BOM = b"\xef\xbb\xbf"


def options_of(case: Case) -> DecodeOptions:
    """Return what the first knobs stand at."""
    return DecodeOptions(
        record_path=case.pick(0, PATHS)[0],
        numbers=case.pick(1, tuple(Numbers)),
        duplicate_keys=case.pick(2, tuple(DuplicateKeys)),
        canonical=case.pick(3, (True, True, False)),
    )


def json_decoder(source: BytesSource, options: DecodeOptions, block: int) -> Decoder:
    return JsonDecoder(source, options, block_bytes=block)


def ndjson_decoder(source: BytesSource, options: DecodeOptions, block: int) -> Decoder:
    return NdjsonDecoder(source, options, block_bytes=block)


def judge_json(case: Case) -> None:
    """Raise `Broken` when a document is not read as it must be."""
    options = options_of(case)
    outcome = read_every_way(json_decoder, case, options)
    if _is_not_utf8(case.content):
        must_be(outcome, [], {DecodeCode.ENCODING_INVALID})
        return
    text, whole = _text_of(case.content)
    try:
        tree = parse(text) if whole else None
    except RecursionError:
        return  # The reference gives up; that all ways agree is known.
    except ValueError:
        whole = False
    path, members, sole = case.pick(0, PATHS)
    if not whole:
        _judge_fault(outcome, text, options, members)
        return
    if path == WHOLE:
        _judge_records(outcome, Found([tree]), options, [text.strip(" \t\r\n")])
        return
    if path:
        _judge_records(outcome, at_path(tree, members, sole=sole), options, None)
    elif isinstance(tree, list) and text.lstrip(" \t\r\n")[:1] == "[":
        _judge_records(outcome, Found(tree), options, spans(text))
    else:
        arrays = list(arrays_of_objects(tree))
        if len(arrays) == 1:
            _judge_records(outcome, Found(arrays[0]), options, None)
        else:
            kind = "AMBIGUOUS_RECORDS" if arrays else "NO_RECORDS_AT_PATH"
            must_be(outcome, [], {kind, *_deep(tree)})


def judge_ndjson(case: Case) -> None:
    """Raise `Broken` when lines are not read as they must be."""
    options = options_of(case)
    outcome = read_every_way(ndjson_decoder, case, options)
    if _is_not_utf8(case.content):
        must_be(outcome, [], {DecodeCode.ENCODING_INVALID})
        return
    expected: list[bytes] = []
    unsafe: dict[int, int] = {}
    for line in case.content.removeprefix(BOM).split(b"\n"):
        raw = line.strip(b" \t\r")
        if not raw:
            continue
        try:
            made = written(parse(raw.decode()), options)
        except RecursionError:
            made = Written(refusals={DecodeCode.RECORD_TOO_DEEP})
        except ValueError:
            made = Written(refusals={*FAULTS, DecodeCode.RECORD_INVALID})
            made.refusals |= set(DecodeCode) if options.numbers is Numbers.REJECT else set()
            made.refusals |= _limits(raw)
        if made.refusals:
            must_be(outcome, expected, made.refusals)
            return
        if made.unsafe:
            unsafe[len(expected)] = made.unsafe
        expected.append(made.record if options.canonical else raw)
    must_be(outcome, expected, {None})
    if outcome.decoded.unsafe != unsafe:
        raise Broken(f"unsafe {outcome.decoded.unsafe} instead of {unsafe}")


def _judge_records(
    outcome: Outcome, found: Found, options: DecodeOptions, own: list[str] | None
) -> None:
    """Compare with the records of a document that is JSON.

    ``own``: the text of each, where it is known; ``None``: only its meaning is compared.
    """
    made = [written(tree, options) for tree in found.records]
    good = list(takewhile(lambda each: not each.refusals, made))
    bad = made[len(good)].refusals if len(good) < len(made) else {found.code}
    expected = [each.record for each in good]
    if options.canonical:
        must_be(outcome, expected, bad)
    elif own is not None:
        must_be(outcome, [text.encode() for text in own[: len(good)]], bad)
    else:
        plain = DecodeOptions(numbers=options.numbers)
        again = [written(parse(record.decode()), plain).record for record in outcome.records]
        if again != expected:
            raise Broken(f"the records mean {again} instead of {expected}")
        must_be(outcome, outcome.records, bad)
    unsafe = {index: each.unsafe for index, each in enumerate(good) if each.unsafe}
    if outcome.decoded.unsafe != unsafe:
        raise Broken(f"unsafe {outcome.decoded.unsafe} instead of {unsafe}")


def _judge_fault(
    outcome: Outcome, text: str, options: DecodeOptions, members: tuple[str, ...]
) -> None:
    """Compare with what stands before the fault, where that can be said."""
    if outcome.code is None:
        raise Broken(f"this is not JSON, and gave {outcome.records}")
    if members or text.lstrip(" \t\r\n")[:1] != "[" or options.record_path == WHOLE:
        return
    try:
        made = [written(tree, options) for tree in elements_before_a_fault(text)]
    except RecursionError:
        return
    good = list(takewhile(lambda each: not each.refusals, made))
    if len(good) < len(made):
        codes: set[str | None] = {*made[len(good)].refusals}
    else:
        # The element with the fault may be refused for something before it.
        codes = set(DecodeCode)
    if options.canonical:
        must_be(outcome, [each.record for each in good], codes)
    elif len(outcome.records) != len(good):
        raise Broken(f"{len(outcome.records)} records before the fault instead of {len(good)}")


def must_be(outcome: Outcome, records: list[bytes], codes: AbstractSet[str | None]) -> None:
    """Compare records, and the code of what stopped them with those that may have."""
    if outcome.records != records:
        raise Broken(f"{outcome.records} instead of {records}")
    if outcome.code not in codes:
        raise Broken(f"{outcome.code} at {outcome.place} instead of {codes}")


def _is_not_utf8(content: bytes) -> bool:
    head = content[:4]
    return b"\0" in head or head.startswith((b"\xff\xfe", b"\xfe\xff"))


def _text_of(content: bytes) -> tuple[str, bool]:
    """Decode as far as it goes; tell whether that is to the end."""
    content = content.removeprefix(BOM)
    try:
        return content.decode(), True
    except UnicodeDecodeError as error:
        return content[: error.start].decode(), False


def _limits(raw: bytes) -> set[str]:
    """Return the codes that may come before it is seen that this is not JSON."""
    codes: set[str] = {DecodeCode.DUPLICATE_KEY}
    if len(raw) > 200:
        codes |= {DecodeCode.NUMBER_TOO_LONG, DecodeCode.RECORD_TOO_DEEP}
    return codes


def _deep(tree: Tree) -> set[str]:
    return written(tree, DecodeOptions()).refusals & {DecodeCode.RECORD_TOO_DEEP}
