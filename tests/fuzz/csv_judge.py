"""Judge what the CSV decoder makes of a file."""

import codecs
import re

from app.decoders.csv.rows import CsvDecoder
from app.domain.errors import DecodeCode
from app.domain.ingestion import DecodeOptions
from app.ports import Decoder
from tests.fuzz.agreement import Outcome, read_every_way
from tests.fuzz.case import Broken, Case
from tests.support.sources import BytesSource
from tests.unit.decoders import test_csv_properties as by_the_standard_library

DELIMITERS = (None, ",", ";", "\t", "|", "a", "é")
QUOTES = (None, '"', "'", "", "b")
ENCODINGS = (
    *(None, "utf-8", "utf-8", "cp1252", "utf-16", "utf-16-le", "utf-16-be", "utf-8-sig"),
    *("latin-1", "shift_jis", "gb18030", "utf-32", "big5", "euc_kr", "cp1251"),
)
MARKS = {
    "utf-8-sig": (codecs.BOM_UTF8,),
    "utf-8": (codecs.BOM_UTF8,),
    "utf-16-le": (codecs.BOM_UTF16_LE,),
    "utf-16-be": (codecs.BOM_UTF16_BE,),
    "utf-32-le": (codecs.BOM_UTF32_LE,),
    "utf-32-be": (codecs.BOM_UTF32_BE,),
    "gb18030": ("\ufeff".encode("gb18030"),),
}
HINT = re.compile(r'"?sep=([^"\'\r\n\0])"?(?:\r\n|\r|\n|$)', re.IGNORECASE)


def judge_csv(case: Case) -> None:
    """Raise `Broken` when rows are not read as they must be."""
    options = DecodeOptions(
        delimiter=case.pick(0, DELIMITERS),
        quote=case.pick(1, QUOTES),
        encoding=case.pick(2, ENCODINGS),
    )
    tab = case.pick(3, (False, False, True))

    def make(source: BytesSource, options: DecodeOptions, block: int) -> Decoder:
        return CsvDecoder(source, options, tab=tab, block_bytes=block)

    outcome = read_every_way(make, case, options)
    found = outcome.options
    if outcome.code == DecodeCode.OPTION_INVALID:
        delimiter = options.delimiter or ("\t" if tab else None)
        hinted = f"sep={options.quote}".encode() in case.content.replace(b"\0", b"").lower()
        if options.quote not in {delimiter, None} and not hinted:
            raise Broken(f"refused {options}")
        return
    if found.encoding is None:
        if outcome.code != DecodeCode.ENCODING_INVALID or outcome.records:
            raise Broken(f"no encoding, but {outcome.facts()}")
        return
    name, content = _without_mark(found.encoding, case.content)
    try:
        text, whole = content.decode(name), True
    except UnicodeDecodeError as error:
        text, whole = content[: error.start].decode(name), False
        # Up to the line with the bytes that are no text.
        ends = [match.end() for match in re.finditer(r"\r\n|\r|\n", text)]
        text = text[: ends[-1] if ends else 0]
    hint = HINT.match(text)
    text = text[hint.end() :] if hint else text
    assert found.delimiter is not None
    assert found.quote is not None
    expected = by_the_standard_library.reference(text, found.delimiter, found.quote)
    _compare(outcome, expected, whole=whole, lines_before=1 if hint else 0)


def _without_mark(encoding: str, content: bytes) -> tuple[str, bytes]:
    name = codecs.lookup(encoding).name
    if name in {"utf-16", "utf-32"}:
        orders = [name + "-be", name + "-le"]
        name = next((n for n in orders if content.startswith(MARKS[n])), orders[1])
    mark = next((mark for mark in MARKS.get(name, ()) if content.startswith(mark)), b"")
    return ("utf-8" if name == "utf-8-sig" else name), content[len(mark) :]


def _compare(
    outcome: Outcome,
    expected: by_the_standard_library.Outcome,
    *,
    whole: bool,
    lines_before: int,
) -> None:
    records = [record for _, record in expected.records]
    code: str | None = expected.code
    if not whole and code in {None, DecodeCode.TRUNCATED}:
        code = DecodeCode.ENCODING_INVALID  # in the last row, or in one after it
    if outcome.records != records or outcome.code != code:
        raise Broken(
            f"{outcome.records}, {outcome.code} at {outcome.place}\n"
            f"by the standard library: {records}, {code}"
        )
    place = outcome.place
    if code is None or code == DecodeCode.ENCODING_INVALID:
        return
    assert expected.line is not None
    if place is None or place.byte is None or place.line != expected.line + lines_before:
        raise Broken(f"{code} at {place} instead of line {expected.line + lines_before}")
