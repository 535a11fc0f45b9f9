"""Rows and columns as a sheet calls them."""

from collections.abc import Sequence
from functools import lru_cache

ROWS_MAX = 1_048_576
"""Source: the limits of Excel; so is the next."""

COLUMNS_MAX = 16_384


@lru_cache(maxsize=COLUMNS_MAX)
def column_number(letters: str) -> int:
    """Return the 1-based number of a column: ``A`` → 1, ``XFD`` → 16384."""
    number = 0
    for letter in letters:
        number = number * 26 + ord(letter) - 64
    return number


def column_letters(number: int) -> str:
    """Return the letters of a column: 1 → ``A``."""
    letters = ""
    while number:
        number, letter = divmod(number - 1, 26)
        letters = chr(65 + letter) + letters
    return letters


def resolved(columns: tuple[str, ...]) -> tuple[str, ...] | None:
    """Return the column of every cell of a row; ``""`` stands for the one after the last.

    ``None``: two cells are in one column, or one is beyond the last.
    """
    numbers: Sequence[int] = list(map(column_number, columns))
    if numbers == sorted(set(numbers)) and numbers[0] and numbers[-1] <= COLUMNS_MAX:
        return columns
    counted: list[int] = []
    for number in numbers:
        counted.append(number or (counted[-1] + 1 if counted else 1))
    if len(set(counted)) != len(counted) or max(counted) > COLUMNS_MAX:
        return None
    return tuple(map(column_letters, counted))
