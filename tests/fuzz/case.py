"""A file and how it is read, out of the bytes that a fuzzer makes up."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")

KNOBS = 8
"""Bytes in front of the file. Each chooses something; none of them is an error."""


@dataclass(frozen=True, slots=True)
class Case:
    """What is judged."""

    knobs: bytes
    content: bytes

    @classmethod
    def of(cls, raw: bytes) -> "Case":
        """Read what a fuzzer made."""
        return cls(raw[:KNOBS].ljust(KNOBS, b"\0"), raw[KNOBS:])

    def pick(self, knob: int, choices: Sequence[T]) -> T:
        """Return what a knob stands at."""
        return choices[self.knobs[knob] % len(choices)]


class Broken(AssertionError):
    """The rule was broken: the text says how."""
