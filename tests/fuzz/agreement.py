"""One file read in every way there is: whole or in crumbs, compiled or not, from the middle."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace

from app.decoders import native
from app.domain.budget import BLOCK_BYTES
from app.domain.errors import DecodeCode, DecodeError, Place
from app.domain.ingestion import DecodeOptions
from app.ports import Decoder
from tests.fuzz.case import Broken, Case
from tests.support.decoding import Decoded, decode
from tests.support.sources import BytesSource

MakeDecoder = Callable[[BytesSource, DecodeOptions, int], Decoder]
"""Source, options and block size → decoder."""

BLOCKS = (1, 2, 3, 7, 16, 61, 200, 1000, 4096)
SHORT = (None, 1, 3, 50)
"""Most bytes that one read of the source gives."""

BLOCK, SHORT_READ, LOOPS, CURSOR = 4, 5, 6, 7
"""Knobs; those before are the formats' own."""


@dataclass(slots=True)
class Outcome:
    """What a file gave."""

    options: DecodeOptions
    """With what was detected."""

    decoded: Decoded = field(default_factory=Decoded)

    @property
    def records(self) -> list[bytes]:
        return self.decoded.records

    @property
    def code(self) -> str | None:
        return self.decoded.code

    @property
    def place(self) -> Place | None:
        return self.decoded.error.place if self.decoded.error else None

    def facts(self) -> tuple[object, ...]:
        """Return all that must be the same however it is read."""
        decoded = self.decoded
        return self.options, decoded.records, decoded.unsafe, decoded.code, self.place


def read(
    make: MakeDecoder, source: BytesSource, options: DecodeOptions, block: int = BLOCK_BYTES
) -> Outcome:
    """Detect, then decode, as an ingestion does."""
    outcome = Outcome(options)
    try:
        decoder = make(source, options, block)
        outcome.options = options.with_detected(decoder.detect())
        decoder = make(source, outcome.options, block)
    except DecodeError as error:
        outcome.decoded.error = error
        return outcome
    outcome.decoded = decode(decoder)
    return outcome


def read_every_way(make: MakeDecoder, case: Case, options: DecodeOptions) -> Outcome:
    """Return what the file gives, which is the same in all ways, or raise `Broken`."""
    usual = read(make, BytesSource(case.content), options)
    check_error(usual)
    check_positions(usual, len(case.content))
    block, short = case.pick(BLOCK, BLOCKS), case.pick(SHORT_READ, SHORT)
    with without_compiled_loops():
        python = read(make, BytesSource(case.content), options)
    same("the compiled loops", usual, "Python", python)
    with without_compiled_loops() if case.knobs[LOOPS] % 2 else nullcontext():
        crumbs = read(make, BytesSource(case.content, short), options, block)
        same("one block", usual, f"blocks of {block}", crumbs)
        check_resume(make, case, usual, crumbs.decoded, block)
    return usual


def check_resume(
    make: MakeDecoder, case: Case, usual: Outcome, crumbs: Decoded, block: int
) -> None:
    """Go on from a cursor that either way of reading gave."""
    for decoded, other in ((usual.decoded, block), (crumbs, BLOCK_BYTES)):
        starts = [*decoded.cursors(), *decoded.ends()]
        if not starts:
            continue
        index, cursor = case.pick(CURSOR, starts)
        rest = decode(make(BytesSource(case.content), usual.options, other), cursor)
        check_rest(usual, index, rest)


def check_rest(usual: Outcome, index: int, rest: Decoded) -> None:
    """Compare what a resume at record ``index`` gave with what was left then."""
    expected: tuple[object, ...] = (usual.records[index:], usual.code, _later(usual.place, index))
    got = (rest.records, rest.code, rest.error.place if rest.error else None)
    if got != expected:
        raise Broken(f"resumed at record {index}: {got} instead of {expected}")
    unsafe = {at - index: count for at, count in usual.decoded.unsafe.items() if at >= index}
    if rest.unsafe != unsafe:
        raise Broken(f"resumed at record {index}: unsafe {rest.unsafe} instead of {unsafe}")


def _later(place: Place | None, index: int) -> Place | None:
    if place is None or place.record is None:
        return place
    return replace(place, record=place.record - index)


def check_error(outcome: Outcome, *, place_needed: bool = True) -> None:
    """Ask of an error that it has a known code, says something, and knows where."""
    error = outcome.decoded.error
    if error is None:
        return
    if error.code not in set(DecodeCode) or not error.message:
        raise Broken(f"{error!r} has the code {error.code!r}")
    if place_needed and error.place is None and error.code != DecodeCode.OPTION_INVALID:
        raise Broken(f"{error.code} has no place: {error.message}")


def check_positions(outcome: Outcome, size: int) -> None:
    """Ask of the progress that it never falls and never exceeds the file."""
    positions = [0, *(batch.position for batch in outcome.decoded.batches), size]
    if positions != sorted(positions):
        raise Broken(f"the positions {positions[:-1]} in {size} bytes")


def same(one: str, first: Outcome, other: str, second: Outcome) -> None:
    """Ask of two ways that they give the same."""
    if first.facts() != second.facts():
        raise Broken(f"{one}: {first.facts()[1:]}\n{other}: {second.facts()[1:]}")


@contextmanager
def without_compiled_loops() -> Iterator[None]:
    """Read as where no C compiler was."""
    library, native._library = native._library, None
    try:
        yield
    finally:
        native._library = library
