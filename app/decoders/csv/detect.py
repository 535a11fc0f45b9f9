"""Find out a CSV file's encoding, delimiter and quote from its beginning."""

import codecs
import csv
import re
from itertools import islice

from app.decoders.csv.dialect import (
    Dialect,
    bom_encoding,
    codec_of,
    spreadsheet_hint,
    text_lines,
)
from app.domain.errors import DecodeCode, DecodeError, Place
from app.domain.ingestion import DecodeOptions

SAMPLE_BYTES = 1024 * 1024
"""Read for detection. Non-ASCII text may be rare, so the encoding needs many rows."""

_ROWS = 200
"""Rows that the delimiter and the quote are judged by."""

_DELIMITERS = (",", ";", "\t", "|")
"""The first of those that fit equally well is taken."""


def detect_csv(sample: bytes, options: DecodeOptions, *, tab: bool, whole: bool) -> dict[str, str]:
    """Return what ``options`` leave open of encoding, delimiter and quote.

    Parameters
    ----------
    sample
        The beginning of the file.
    tab
        The file is TSV: only a ``sep=`` line in it says otherwise.
    whole
        The sample is the whole file; otherwise its last row and character may be cut.

    Raises
    ------
    DecodeError
        ``ENCODING_INVALID``: the bytes are text in none of the encodings tried.
    """
    found: dict[str, str] = {}
    encoding = options.encoding
    if encoding is None:
        encoding = found["encoding"] = _encoding(sample, whole=whole)
    codec = codec_of(encoding, sample)
    text = sample[codec.bom :].decode(codec.name, "replace")
    first = next(text_lines(text), "")
    hint = spreadsheet_hint(first)
    if hint is not None:
        text = text[len(first) :]
    known = options.delimiter or hint or ("\t" if tab else None)
    delimiters = (known,) if known else _DELIMITERS
    quotes = ('"', "'") if options.quote is None else (options.quote,)
    dialect, consistency = _best(text, delimiters, quotes[0], whole=whole)
    if options.quote is None:
        if dialect.delimiter != "'":
            other, other_consistency = _best(text, delimiters, "'", whole=whole)
            if other_consistency == 1.0 and (
                consistency < 1.0 or _wraps_every_name(other, next(text_lines(text), ""))
            ):
                dialect = other
        found["quote"] = dialect.quote
    if options.delimiter is None:
        found["delimiter"] = dialect.delimiter
    return found


def _encoding(sample: bytes, *, whole: bool) -> str:
    """Name the encoding: by its BOM, by its zeros, as strict UTF-8, else cp1252."""
    marked = bom_encoding(sample)
    if marked:
        return marked
    # ASCII text in UTF-16 has a zero in every other byte, and is valid UTF-8.
    for order, first in (("utf-16-le", 1), ("utf-16-be", 0)):
        zeros = sample[first::2].count(0)
        if zeros > len(sample) / 4 and not sample[1 - first :: 2].count(0) > zeros / 4:
            return order
    try:
        codecs.getincrementaldecoder("utf-8")().decode(sample, final=whole)
    except UnicodeDecodeError:
        # UTF-8 with a few broken bytes must fail at them; as cp1252 it would turn every
        # other accented character into two wrong ones. The last may be half of one that
        # was cut off: then a single whole one says enough.
        lenient = sample.decode("utf-8", "replace")
        broken = lenient.count("\ufffd")
        cut_off = broken == 1 and lenient.endswith("\ufffd")
        beyond_ascii = len(lenient) - len(lenient.encode("ascii", "ignore"))
        if beyond_ascii > 2 * broken - cut_off:
            return "utf-8"
    else:
        return "utf-8"
    try:
        sample.decode("cp1252")
    except UnicodeDecodeError as error:
        raise DecodeError(
            DecodeCode.ENCODING_INVALID,
            f"the byte 0x{sample[error.start]:02x} is text in neither UTF-8 nor cp1252",
            place=Place(byte=error.start, line=sample.count(b"\n", 0, error.start) + 1),
            remedy="Name the encoding in options.encoding.",
        ) from error
    return "cp1252"


def _best(
    text: str, delimiters: tuple[str, ...], quote: str, *, whole: bool
) -> tuple[Dialect, float]:
    """Return the dialect under which most rows are as wide as the header, and their share.

    A delimiter that the header does not hold, or by which most rows are not as wide as
    it, is none; where none is left the file has one column, and the delimiter is ``,``.
    """
    if len(delimiters) == 1:
        only = Dialect(delimiters[0], quote)
        return only, _fit(text, only, whole=whole)[0]
    fits = [
        (*_fit(text, dialect, whole=whole), -order, dialect)
        for order, dialect in enumerate(Dialect(d, quote) for d in delimiters if d != quote)
    ]
    share, width, _, dialect = max(fits, key=lambda fit: fit[:3] if fit[1] > 1 else (0.0, 0, 0))
    if share > 0.5 and width > 1:
        return dialect, share
    plain = fits[0][3]
    return plain, _fit(text, plain, whole=whole)[0]


def _fit(text: str, dialect: Dialect, *, whole: bool) -> tuple[float, int]:
    """Return the share of rows that are as wide as the header, and its width."""
    reader = dialect.reader(text_lines(text), strict=False)
    try:
        widths = [len(row) for row in islice(reader, _ROWS) if row]
    except csv.Error:
        return 0.0, 0
    if not whole and next(reader, None) is None:
        widths = widths[:-1]
    if not widths:
        return 1.0, 0
    header, *rows = widths
    return (rows.count(header) / len(rows) if rows else 1.0), header


def _wraps_every_name(dialect: Dialect, header: str) -> bool:
    name = f"{dialect.quote}[^{dialect.quote}]*{dialect.quote}"
    wrapped = f"{name}(?:{re.escape(dialect.delimiter)}{name})*[\r\n]*"
    return re.fullmatch(wrapped, header) is not None
