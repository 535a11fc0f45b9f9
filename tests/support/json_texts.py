"""Random JSON texts for property tests: every spelling a writer may choose."""

from collections.abc import Sequence
from random import Random

from hypothesis import strategies as st

_INTEGERS = (
    st.integers(-1000, 1000).map(str)
    | st.integers(-(2**70), 2**70).map(str)
    | st.sampled_from(["-0", "9007199254740991", "9007199254740992", "-9007199254740993"])
)
_FRACTIONS = st.tuples(
    _INTEGERS,
    st.text("0123456789", min_size=1, max_size=20),
    st.sampled_from(["", "", "e5", "E-3"]),
).map(lambda parts: f"{parts[0]}.{parts[1]}{parts[2]}") | st.sampled_from(
    ["0.0001", "0.00001", "20.00", "1.50", "1e5", "0.30000000000000004", "-0.0", "1e400", "0e0"]
)


class Number(str):
    """A number token."""

    __slots__ = ()


def values() -> st.SearchStrategy[object]:
    """Give JSON values whose numbers are `Number` tokens."""
    text = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.sampled_from(
        [
            '},{"id":',
            "],[",
            "\\",
            '"',
            "12e5, ",
            "\u2028",
            "1e5",
            "}",
            "\0",
            "é" * 3,
            "9f86d081e884c7d6",
        ]
    )
    scalars = st.none() | st.booleans() | text | (_INTEGERS | _FRACTIONS).map(Number)
    return st.recursive(
        scalars,
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(text | st.sampled_from(["id", "v"]), inner, max_size=4)
        ),
        max_leaves=12,
    )


def records() -> st.SearchStrategy[Sequence[object]]:
    """Give the records of a file: alike, as most are, or not."""
    alike = st.fixed_dictionaries(
        {"id": _INTEGERS.map(Number), "v": values(), "of": st.just([{"id": Number("1")}] * 2)}
    )
    return st.lists(alike, max_size=12) | st.lists(values(), max_size=12)


class Writer:
    """Write values as JSON text, with white space and escapes at random."""

    def __init__(self, random: Random, *, compact: bool = False, line_feeds: bool = True) -> None:
        self._random = random
        self._compact = compact
        self._blanks = " \t\r\n" if line_feeds else " \t\r"

    def write(self, value: object) -> str:
        """Return the text of a value."""
        if isinstance(value, Number):
            return str(value)
        if isinstance(value, str):
            return self._string(value)
        if isinstance(value, list):
            return "[" + self.joined([self.write(element) for element in value]) + "]"
        if isinstance(value, dict):
            members = [
                f"{self._string(key)}{self.blank()}:{self.blank()}{self.write(element)}"
                for key, element in value.items()
            ]
            return "{" + self.joined(members) + "}"
        return {None: "null", True: "true", False: "false"}[value]  # type: ignore[index]

    def joined(self, parts: list[str]) -> str:
        """Put commas and blanks between the parts, and blanks around them."""
        separator = f"{self.blank()},{self.blank()}"
        return self.blank() + separator.join(parts) + self.blank()

    def blank(self) -> str:
        """Return some white space, or none."""
        if self._compact:
            return ""
        return "".join(self._random.choices(self._blanks, k=self._random.choice([0, 0, 1, 3])))

    def _string(self, text: str) -> str:
        return '"' + "".join(map(self._character, text)) + '"'

    def _character(self, character: str) -> str:
        short = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "/": "\\/"}.get(character)
        if short is not None and (character != "/" or self._random.random() < 0.5):
            return short
        if character >= " " and self._random.random() < 0.8:
            return character
        units = character.encode("utf-16-be")
        return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))
