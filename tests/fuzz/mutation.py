"""What is done to a file where no coverage guides: changes at random, from a seed."""

from collections.abc import Sequence
from random import Random

from tests.fuzz.case import KNOBS

BYTES_MAX = 16 * 1024
_NUMBERS = (b"0", b"-1", b"255", b"65536", b"9007199254740993", b"1e400", b"2147483648")


def mutated(rng: Random, corpus: Sequence[bytes], tokens: Sequence[bytes]) -> bytes:
    """Return a case made out of one of the corpus, or of two."""
    text = bytearray(rng.choice(corpus))
    for knob in range(KNOBS):
        if rng.random() < 0.4:
            text[knob] = rng.randrange(256)
    for _ in range(rng.choice([0, 1, 1, 1, 2, 2, 3, 5, 9])):
        _change(rng, text, corpus, tokens)
    return bytes(text[:BYTES_MAX])


def _change(rng: Random, text: bytearray, corpus: Sequence[bytes], tokens: Sequence[bytes]) -> None:
    at = rng.randrange(KNOBS, max(len(text), KNOBS) + 1)
    length = rng.choice([1, 1, 2, 4, 9, 30, 200])
    match rng.randrange(9):
        case 0 if at < len(text):
            text[at] ^= 1 << rng.randrange(8)
        case 1:
            text[at:at] = rng.randbytes(rng.choice([1, 1, 2, 4]))
        case 2:
            del text[at : at + length]
        case 3 | 4:
            text[at:at] = rng.choice(tokens)
        case 5:
            token = rng.choice(tokens)
            text[at : at + len(token)] = token
        case 6:
            start = rng.randrange(KNOBS, len(text) + 1)
            text[at:at] = text[start : start + length] * rng.choice([1, 1, 2, 20])
        case 7:
            other = rng.choice(corpus)
            start = rng.randrange(KNOBS, len(other) + 1)
            text[at:] = other[start:]
        case _:
            text[at:at] = rng.choice(_NUMBERS)
