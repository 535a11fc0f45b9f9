"""What JSON text means, by the standard library and the contract, for `json_judge`."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from decimal import MAX_PREC, Context, Decimal
from typing import TypeAlias

from app.domain.canonical import DuplicateKeys, Numbers
from app.domain.errors import DecodeCode
from app.domain.ingestion import DecodeOptions

LEVELS_MAX = 200
DIGITS_MAX = 4000

_DECIMALS = Context(prec=MAX_PREC)


class Number(str):
    """A number token."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Members:
    """An object, with the members it names twice."""

    pairs: "list[tuple[str, Tree]]"


Tree: TypeAlias = "Members | list[Tree] | str | bool | None"


def _no_constant(name: str) -> Tree:
    raise ValueError(name)


_DECODER = json.JSONDecoder(
    parse_int=Number, parse_float=Number, parse_constant=_no_constant, object_pairs_hook=Members
)


def parse(text: str) -> Tree:
    """Read a document. Raises `ValueError`."""
    tree: Tree = _DECODER.decode(text)
    return tree


@dataclass(slots=True)
class Written:
    """A record as it must arrive, or why it must not."""

    record: bytes = b""
    unsafe: int = 0
    refusals: set[str] = field(default_factory=set)


def written(tree: Tree, options: DecodeOptions) -> Written:
    """Write a record in canonical form (contract 6.2 to 6.5)."""
    found = Written()
    text = _text(tree, options, found, LEVELS_MAX)
    if not found.refusals:
        found.record = text.encode()
    return found


def _text(tree: Tree, options: DecodeOptions, found: Written, levels: int) -> str:
    match tree:
        case None | bool():
            return {None: "null", True: "true", False: "false"}[tree]
        case Number():
            return _number(tree, options, found)
        case str():
            if any("\ud800" <= character <= "\udfff" for character in tree):
                found.refusals.add(DecodeCode.RECORD_INVALID)
            return json.dumps(tree, ensure_ascii=False)
        case list() | Members() if not levels:
            found.refusals.add(DecodeCode.RECORD_TOO_DEEP)
            return ""
        case list():
            return "[" + ",".join([_text(each, options, found, levels - 1) for each in tree]) + "]"
        case Members(pairs):
            kept = dict(pairs)
            if len(kept) < len(pairs) and options.duplicate_keys is DuplicateKeys.REFUSE:
                found.refusals.add(DecodeCode.DUPLICATE_KEY)
            for dropped in _dropped(pairs):
                for token in _numbers(dropped):
                    _number(token, options, found)
            members = [
                f"{_text(key, options, found, 1)}:{_text(kept[key], options, found, levels - 1)}"
                for key in sorted(kept)
            ]
            return "{" + ",".join(members) + "}"


def _dropped(pairs: list[tuple[str, Tree]]) -> Iterator[Tree]:
    """Yield the values that a later member of the same name replaces."""
    last = {key: at for at, (key, _) in enumerate(pairs)}
    yield from (value for at, (key, value) in enumerate(pairs) if last[key] != at)


def _numbers(tree: Tree) -> Iterator[Number]:
    match tree:
        case Number():
            yield tree
        case Members(pairs):
            for _, value in pairs:
                yield from _numbers(value)
        case list():
            for value in tree:
                yield from _numbers(value)
        case str() | bool() | None:
            return


def _number(token: Number, options: DecodeOptions, found: Written) -> str:
    if len(token) > DIGITS_MAX:
        found.refusals.add(DecodeCode.NUMBER_TOO_LONG)
        return ""
    if set(token) <= set("-0123456789"):
        if abs(Decimal(token)) <= 2**53 - 1:
            return str(int(token))
    elif _is_safe_fraction(token):
        return repr(float(token))
    found.unsafe += 1
    match options.numbers:
        case Numbers.EXACT:
            return token
        case Numbers.STRING:
            return f'"{token}"'
        case Numbers.REJECT:
            found.refusals.add(DecodeCode.NUMBER_UNSAFE)
            return ""


def _is_safe_fraction(token: str) -> bool:
    if "e" in token or "E" in token:
        return False
    value = _DECIMALS.normalize(Decimal(token))
    if not value:
        return True
    digits = max(len(value.as_tuple().digits), value.adjusted() + 1)
    return digits <= 15 and Decimal("1e-4") <= abs(value) < Decimal("1e15")


# ---- where the records are


@dataclass(slots=True)
class Found:
    """The records of a document that is whole, and what stops them."""

    records: list[Tree] = field(default_factory=list)
    code: DecodeCode | None = None


def elements_before_a_fault(text: str) -> list[Tree]:
    """Return the elements of a top-level array that are complete.

    A number or a word is not, before a delimiter stands behind it.
    """
    at = _space(text, 0)
    elements: list[Tree] = []
    if text[at : at + 1] != "[":
        return []
    at = _space(text, at + 1)
    while True:
        try:
            tree, end = _DECODER.raw_decode(text, at)
        except (ValueError, StopIteration):
            return elements
        at = _space(text, end)
        delimiter = text[at : at + 1]
        if delimiter in {",", "]"} or text[end - 1] in {"}", "]", '"'}:
            elements.append(tree)
        if delimiter != ",":
            return elements
        at = _space(text, at + 1)


def spans(text: str) -> list[str]:
    """Return the texts of the elements of a top-level array, which is JSON."""
    at = _space(text, _space(text, 0) + 1)
    found: list[str] = []
    while text[at] not in ",]" or not found:
        if text[at] == "]":
            return found
        _, end = _DECODER.raw_decode(text, at)
        found.append(text[at:end])
        at = _space(text, end)
        if text[at] == ",":
            at = _space(text, at + 1)
        elif text[at] == "]":
            return found
    return found


def _space(text: str, at: int) -> int:
    while text[at : at + 1] in {" ", "\t", "\n", "\r"}:
        at += 1
    return at


def arrays_of_objects(tree: Tree) -> Iterator[list[Tree]]:
    """Yield those that are reached through objects alone."""
    if isinstance(tree, Members):
        for _, value in tree.pairs:
            yield from arrays_of_objects(value)
    elif isinstance(tree, list) and tree and isinstance(tree[0], Members):
        yield tree


def at_path(tree: Tree, members: Sequence[str], *, sole: bool) -> Found:
    """Follow members from the top, through arrays, in document order."""
    found = Found()
    matched = _follow(tree, members, found, sole=sole)
    if found.code is None and not matched:
        found.code = DecodeCode.NO_RECORDS_AT_PATH
    return found


def _follow(tree: Tree, members: Sequence[str], found: Found, *, sole: bool) -> bool:
    if found.code is not None:
        return False
    if not members:
        if not isinstance(tree, list):
            found.code = DecodeCode.NO_RECORDS_AT_PATH
            return False
        found.records += tree
        return True
    matched = False
    if isinstance(tree, Members):
        met = False
        for key, value in tree.pairs:
            if found.code is not None:
                break
            if key == members[0]:
                if met:
                    found.code = DecodeCode.AMBIGUOUS_RECORDS
                    break
                met = True
                matched |= _follow(value, members[1:], found, sole=sole)
            elif sole and any(arrays_of_objects(value)):
                found.code = DecodeCode.AMBIGUOUS_RECORDS
    elif isinstance(tree, list):
        for value in tree:
            matched |= _follow(value, members, found, sole=sole)
    return matched
