"""What a number format makes of a number: only that tells a date from a quantity."""

import re
from collections.abc import Mapping
from enum import StrEnum


class Kind(StrEnum):
    """What a number in a cell stands for."""

    NUMBER = "number"
    DATE = "date"
    DATETIME = "datetime"
    TIME = "time"
    DURATION = "duration"


# Source: ECMA-376-1 §18.8.30. What 27–36 and 50–58 show depends on the language, but it is
# always a date or a time of day, and the value then tells which.
BUILTIN: Mapping[int, Kind] = {
    **dict.fromkeys((*range(14, 18), *range(27, 37), *range(50, 59)), Kind.DATE),
    **dict.fromkeys((18, 19, 20, 21, 45, 47), Kind.TIME),
    22: Kind.DATETIME,
    46: Kind.DURATION,
}
"""Of the formats that a workbook may use by number without defining them."""

_TOKEN = re.compile(
    r"""
      "[^"]*"?                    # literal
    | [\\_*].?                    # literal character, space as wide as one, filling
    | \[(?P<elapsed>h+|m+|s+)\]   # elapsed time
    | \[[^\]]*\]?                 # colour, condition, currency and language
    | general
    | (?P<ampm>am/pm|a/p|上午/下午)
    | (?P<fraction>(?<=s)[.,]0+)  # of a second
    | e[+-]                       # of a number in scientific notation
    | (?P<digit>[0\#?])
    | (?P<letters>y+|m+|d+|h+|s+|e+|g+|b+|a{3,})
    """,
    re.VERBOSE | re.IGNORECASE,
)


def kind_of(code: str) -> Kind:
    """Classify a format code by its first section, the one for positive numbers."""
    found: list[str] = []
    for match in _TOKEN.finditer(_first_section(code).lower()):
        if match["digit"]:
            return Kind.NUMBER
        if match["elapsed"]:
            return Kind.DURATION
        if match["ampm"]:
            found.append("h")
        elif match["letters"]:
            found.append(match["letters"])
    date = time = False
    for at, letters in enumerate(found):
        if letters[0] in "hs":
            time = True
        elif letters[0] != "m" or len(letters) > 2 or not _is_minute(found, at):
            date = True
        else:
            time = True
    match date, time:
        case True, True:
            return Kind.DATETIME
        case True, False:
            return Kind.DATE
        case False, True:
            return Kind.TIME
        case _:
            return Kind.NUMBER


def _is_minute(found: list[str], at: int) -> bool:
    """Tell whether an ``m`` beside hours or seconds, so minutes. Source: ECMA-376-1 §18.8.31."""
    before = found[at - 1][0] if at else ""
    after = found[at + 1][0] if at + 1 < len(found) else ""
    return before == "h" or after == "s"


def _first_section(code: str) -> str:
    quoted = escaped = False
    for at, character in enumerate(code):
        if escaped:
            escaped = False
        elif character == '"':
            quoted = not quoted
        elif character == "\\" and not quoted:
            escaped = True
        elif character == ";" and not quoted:
            return code[:at]
    return code
