"""What rows of a sheet usually look like, learnt from the first of them.

A column mostly has one type and one style. A pattern with these in it reads a row three
times as fast as a pattern for any cell, and gives its texts in places known beforehand.
"""

import re
from collections.abc import Sequence

_LEARN_AFTER = 3
"""Rows that did not fit before the pattern is made; four times as many each time after.
Making one costs as much as reading some hundred rows."""

_COLUMNS_MAX = 256
_VARIANTS_MAX = 8
"""Combinations of type and style in one column."""

_Variant = tuple[str, str]
"""Attributes of a cell, and ``"is"``, ``"v"`` or ``""``: how it holds its text, if any."""


class UsualRow:
    """A pattern for rows. It knows nothing, and matches nothing, until it has learnt."""

    def __init__(self) -> None:
        self.columns: tuple[str, ...] = ()
        """Of each text that `read` gives. A column comes once per variant: at most one of
        them has a text."""
        self.attributes: tuple[str, ...] = ()
        """Of each text that `read` gives."""
        self._pattern: re.Pattern[str] | None = None
        self._variants: dict[str, dict[_Variant, None]] = {}
        self._misses = 0
        self._learn_at = _LEARN_AFTER
        self._learnt_more = False

    def read(self, piece: str) -> tuple[str, str, tuple[str, ...]] | None:
        """Return number, attributes and texts of a row, given without its end tag.

        A number is ``""`` where rows do not say theirs, a text where a cell has none.
        ``None``: the row is another.
        """
        found = self._pattern.fullmatch(piece) if self._pattern else None
        if found is None:
            return None
        number, attributes, *_ = groups = found.groups("")
        return number, attributes, groups[2:]

    def learn(
        self,
        *,
        prefix: str,
        named: bool,
        columns: Sequence[str],
        attributes: Sequence[str],
        inlines: Sequence[str],
        texts: Sequence[str],
    ) -> None:
        """Take a well-formed row that did not fit.

        ``columns`` ascend; ``named``: it and its cells say where they are, or none does.
        """
        if len(columns) > _COLUMNS_MAX or (len(self._variants) >= _COLUMNS_MAX and named):
            return
        if not named and len(self._variants) != len(columns):
            # Cells are told by their place, so only rows of one length fit.
            self._variants = {column: {} for column in columns}
        for column, attribute, inline, text in zip(
            columns, attributes, inlines, texts, strict=True
        ):
            variants = self._variants.setdefault(column, {})
            variant = (attribute, ("is" if inline else "v") if text else "")
            if variant not in variants and len(variants) < _VARIANTS_MAX:
                variants[variant] = None
                self._learnt_more = True
        self._misses += 1
        if self._misses >= self._learn_at and self._learnt_more:
            self._learn_at *= 4
            self._learnt_more = False
            self._make(prefix, named=named)

    def _make(self, prefix: str, *, named: bool) -> None:
        p = re.escape(prefix)
        number = r' r="([0-9]{1,7})"' if named else "()"
        parts = [rf"\s*<{p}row{number}((?:\s[^<>/]*)?)>"]
        columns: list[str] = []
        attributes: list[str] = []
        for column in sorted(self._variants, key=lambda letters: (len(letters), letters)):
            variants = self._variants[column]
            reference = rf' r="{column}\1"' if named else ""
            forms = "|".join(_form(p, variant) for variant in variants)
            # A cell that is passed over lets no later column match, since each is named: a
            # row that does not fit is found out in few steps.
            parts.append(rf"(?:<{p}c{reference}(?:{forms})){'?' if named else ''}")
            valued = [attribute for attribute, form in variants if form]
            columns += [column] * len(valued)
            attributes += valued
        self._pattern = re.compile("".join(parts))
        self.columns, self.attributes = tuple(columns), tuple(attributes)


def _form(p: str, variant: _Variant) -> str:
    attributes, form = re.escape(variant[0]), variant[1]
    match form:
        case "v":
            formula = rf"(?:<{p}f(?:\s[^<>/]*)?(?:/>|>[^<]*</{p}f>))?"
            return rf"{attributes}>{formula}<{p}v>([^<]+)</{p}v></{p}c>"
        case "is":
            tag = rf'<{p}is><{p}t(?:\sxml:space="preserve")?>'
            return rf"{attributes}>{tag}([^<]+)</{p}t></{p}is></{p}c>"
        case _:
            return f"{attributes}/>"
