"""What is said of rows that cannot be read, however they are looked at."""

from app.domain.budget import RECORD_BYTES_MAX
from app.domain.errors import DecodeCode, DecodeError, Place, RecordError

HEADER_BYTES_MAX = 1024 * 1024
"""Up to the end of the header row. Every record holds all its names again."""


def header_too_large() -> DecodeError:
    """Return the error for a header that does not end."""
    return DecodeError(
        DecodeCode.RECORD_TOO_LARGE,
        f"no header row ends within the first {HEADER_BYTES_MAX} bytes",
        place=Place(byte=0, line=1),
        remedy="Look for a quote that is opened in the header and never closed, or a wrong "
        "delimiter; the first row that is not blank must name the columns.",
    )


def malformed(place: Place, line: int) -> DecodeError:
    """Return the error for text behind a closing quote in ``line``."""
    return DecodeError(
        DecodeCode.MALFORMED,
        f"in line {line}, a closing quote is followed by "
        f"more text; the row began in line {place.line}",
        place=place,
        remedy="Double the quotes inside quoted cells, or, where quotes are data, set "
        "options.quote to an empty string.",
    )


def truncated(place: Place) -> DecodeError:
    """Return the error for a source that ends inside quotes."""
    return DecodeError(
        DecodeCode.TRUNCATED,
        f"the row that begins in line {place.line} opens a quote that is never closed",
        place=place,
        remedy="The file was cut short, or a quote in it is data: double it, or set "
        "options.quote to an empty string.",
    )


def no_text(error: UnicodeDecodeError, encoding: str, *, byte: int, line: int) -> DecodeError:
    """Return the error for bytes that are no text; the decoder's input began at ``byte``."""
    wrong = error.object[error.start : error.end]
    return DecodeError(
        DecodeCode.ENCODING_INVALID,
        f"the bytes {wrong[:8].hex(' ')} are not text in {encoding}",
        place=Place(byte=byte + error.start, line=line),
        remedy="Name the file's encoding in options.encoding, or repair the bytes.",
    )


def too_large(place: Place) -> RecordError:
    """Return the error for a row with more bytes than a record may have."""
    return RecordError(
        DecodeCode.RECORD_TOO_LARGE,
        f"the row that begins in line {place.line} has more than {RECORD_BYTES_MAX} bytes",
        place=place,
        remedy="Look for a quote that is opened in this row and never closed.",
    )
