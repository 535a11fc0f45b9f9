"""Learn what the bytes between two records look like.

A mark is never believed: it says where to try, and the parser says whether it was right.
A good one spares failed tries, above all where records hold arrays of objects themselves.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

_SPANS_MAX: Final = 32
"""Records to learn from; more do not make the mark better."""

_LEFT_MAX: Final = 4
"""Characters of the record before the comma that a mark may hold."""

# What follows a record, the preferred first among equals: as far as the first key, the
# first quote, the comma, the next character (last: numbers in order often begin alike).
_RIGHTS = tuple(
    re.compile(r"[ \t\n\r]*," + rest, re.DOTALL)
    for rest in (
        r'[ \t\n\r]*\{[ \t\n\r]*"(?:[^"\\]|\\.){0,64}"',
        r'[ \t\n\r]*\{[ \t\n\r]*"',
        r"",
        r"[ \t\n\r]*[^ \t\n\r]",
    )
)


@dataclass(frozen=True, slots=True)
class Mark:
    """Bytes that stand between two records, and hardly anywhere else."""

    pattern: bytes

    comma: int
    """Index in ``pattern`` of the comma between the records."""


def learn(text: str, spans: Sequence[tuple[int, int]]) -> Mark | None:
    """Find the best mark for records that stand at ``spans`` (half-open) in ``text``.

    Every span is followed by a comma. Best: stands nowhere but between records, and
    there most often.
    """
    spans = spans[-_SPANS_MAX:]
    if not spans:
        return None
    first, last = spans[0][0], spans[-1][1]
    best: tuple[float, int] = (0.0, 0)
    found: Mark | None = None
    for pattern, left, hits in _candidates(text, spans):
        # In the stretch that the spans cover, the mark of the last one included.
        everywhere = text.count(pattern, first, last + len(pattern) - left)
        rating = (hits / max(hits, everywhere), hits)
        if rating > best:
            best = rating
            comma = left + pattern[left:].index(",")
            found = Mark(pattern.encode(), len(pattern[:comma].encode()))
    return found


def _candidates(text: str, spans: Sequence[tuple[int, int]]) -> Iterator[tuple[str, int, int]]:
    """Yield texts of marks, how much of each is from the record before, how often it is right."""
    for right in _RIGHTS:
        after = [(end, match[0]) for _, end in spans if (match := right.match(text, end))]
        for left in range(_LEFT_MAX + 1):
            counts = Counter(text[end - left : end] + gap for end, gap in after if end >= left)
            for pattern, hits in counts.most_common(1):
                yield pattern, left, hits
