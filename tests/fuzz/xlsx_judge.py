"""Judge what the Excel decoder makes of a workbook."""

import json
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import BinaryIO, cast

from app.decoders.xlsx import package
from app.decoders.xlsx.decoder import XlsxDecoder
from app.domain.canonical import Numbers
from app.domain.errors import DecodeCode
from app.domain.ingestion import DecodeOptions
from app.ports import Decoder
from tests.fuzz.agreement import (
    BLOCK,
    CURSOR,
    Outcome,
    check_error,
    check_positions,
    check_rest,
    read,
    same,
)
from tests.fuzz.case import Broken, Case
from tests.fuzz.json_reference import Number
from tests.fuzz.sheet_reference import Numeric, Sheet, UnsureError, Value
from tests.fuzz.sheet_reference import read as read_by_element_tree
from tests.fuzz.workbook_case import unpacked, zipped
from tests.support.decoding import decode
from tests.support.sources import BytesSource
from tests.support.workbooks import SHEET

BLOCKS = (200, 331, 1000, 4096)
"""Bytes decompressed at a time. The declaration of a part must fit into the first."""

DAMAGED = frozenset({DecodeCode.MALFORMED, DecodeCode.ENCODING_INVALID})
"""Of bytes that are no text inside a broken tag, either may be said."""


class FileSource(BytesSource):
    """A source on disk: a file refuses what memory lets pass, such as a place before it."""

    def open_seekable(self) -> AbstractContextManager[BinaryIO]:
        file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - closed by whoever reads
        file.write(self._data)
        file.seek(0)
        return cast("AbstractContextManager[BinaryIO]", file)


def judge_xlsx(case: Case) -> None:
    """Raise `Broken` when a workbook is not read as it must be."""
    options = DecodeOptions(
        header_row=case.pick(0, (None, None, None, 1, 2, 3)),
        sheet=case.pick(1, (None, None, None, 0, 1, "Products")),
        numbers=case.pick(3, (Numbers.EXACT, Numbers.EXACT, Numbers.STRING)),
    )
    parts = None if case.pick(2, (False, False, True)) else unpacked(case.content)
    content = case.content if parts is None else zipped(parts)
    outcome = _read(content, options, FileSource)
    check_error(outcome, place_needed=False)  # a container has no bytes or lines to speak of
    check_positions(outcome, len(content))
    block = case.pick(BLOCK, BLOCKS)
    with blocks_of(block):
        same("one block", outcome, f"blocks of {block}", _read(content, options))
        _check_resume(case, content, outcome)
    if parts is not None and (marked := _all_by_expat(parts)):
        _same_by_expat(outcome, _read(marked, options))
    try:
        sheet = read_by_element_tree(content, options)
    except UnsureError:
        return
    _compare(outcome, sheet, options)


def _make(source: BytesSource, options: DecodeOptions, _: int) -> Decoder:
    return XlsxDecoder(source, options)


def _read(content: bytes, options: DecodeOptions, kind: type[BytesSource] = BytesSource) -> Outcome:
    return read(_make, kind(content), options)


def _check_resume(case: Case, content: bytes, outcome: Outcome) -> None:
    starts = [*outcome.decoded.cursors(), *outcome.decoded.ends()]
    if starts:
        index, cursor = case.pick(CURSOR, starts)
        rest = decode(XlsxDecoder(BytesSource(content), outcome.options), cursor)
        check_rest(outcome, index, rest)


@contextmanager
def blocks_of(size: int) -> Iterator[None]:
    """Decompress so much at a time."""
    usual = vars(package)["BLOCK_BYTES"]
    vars(package)["BLOCK_BYTES"] = size
    try:
        yield
    finally:
        vars(package)["BLOCK_BYTES"] = usual


def _all_by_expat(parts: dict[str, bytes]) -> bytes | None:
    """Return the workbook with a comment in its sheet, which no pattern reads."""
    sheet = parts.get(SHEET, b"")
    head, opened, rows = sheet.partition(b"<sheetData>")
    if not opened or b"<!" in head or head.count(b"<?") > 1:
        return None
    return zipped({**parts, SHEET: head + opened + b"<!-- -->" + rows})


def _same_by_expat(usual: Outcome, expat: Outcome) -> None:
    """Compare the patterns for usual rows with the parser for all."""
    error = expat.decoded.error
    if error is not None and "unbound prefix" in error.message:
        return  # The patterns do not ask whether a prefix was declared.
    if {usual.code, expat.code} <= DAMAGED and usual.code != expat.code:
        if (usual.records, usual.place) != (expat.records, expat.place):
            raise Broken(f"usual: {usual.facts()[1:]}\nexpat: {expat.facts()[1:]}")
        return
    same("the usual way", usual, "expat", expat)


def _compare(outcome: Outcome, sheet: Sheet, options: DecodeOptions) -> None:
    """Compare with what ElementTree reads: a refusal may come early, another value never."""
    found = [
        dict(json.loads(record, parse_int=Number, parse_float=Number)) for record in outcome.records
    ]
    for index, (got, expected) in enumerate(zip(found, sheet.records, strict=False)):
        if not _are_the_same(got, expected, options):
            raise Broken(f"record {index} is {got} instead of {expected}")
    if sheet.ends == "unsure":
        return
    if len(found) > len(sheet.records):
        raise Broken(f"{len(found)} records; by ElementTree {len(sheet.records)}, {sheet.ends}")
    if outcome.code is None and (sheet.ends != "whole" or len(found) < len(sheet.records)):
        raise Broken(
            f"{len(found)} records without an error; by ElementTree {len(sheet.records)}, "
            f"{sheet.ends}"
        )
    if outcome.code == DecodeCode.RECORD_INVALID and sheet.ends == "whole":
        raise Broken(f"{outcome.decoded.error} at {outcome.place}; by ElementTree it is fine")


def _are_the_same(
    got: dict[str, object], expected: dict[str, Value], options: DecodeOptions
) -> bool:
    return got.keys() == expected.keys() and all(
        _is_the_same(got[name], expected[name], options) for name in got
    )


def _is_the_same(got: object, expected: Value, options: DecodeOptions) -> bool:
    if not isinstance(expected, Numeric):
        return type(got) is type(expected) and got == expected
    if not isinstance(got, Number) and not (
        isinstance(got, str) and options.numbers is Numbers.STRING
    ):
        return False
    digits = expected.text.lstrip("+-0")
    if digits.isdigit() and len(digits) > 15:
        return got.lstrip("-") == digits  # copied, not rounded
    return float(got) == float(expected.text)
