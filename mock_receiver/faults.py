"""Misbehaviour on request, the same in every run with the same seed.

A plan is written as a query string, on the callback URL, at ``/admin/faults`` or in
``RECEIVER_FAULTS``::

    seed=7&status_500=0.05&drop_after=@3,7,completed&delay=0.5&delay_ms=200

Every fault has a *when*: a probability from 0 to 1, or ``@`` and the places where it
happens: chunk numbers, or ``completed``, ``failed``, ``aborted``. At named places it
happens on the first ``attempts`` attempts only (default 1), or nothing would ever pass.

Whether a fault happens depends on the seed, the fault, the ingestion, the place and the
``Ingest-Attempt`` header, and on nothing else; ``forget`` alone also remembers, so that
state is lost once per place and not again after every rewind, and ``reject`` does not depend
on the attempt (contract 5.3).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from hashlib import sha256
from urllib.parse import parse_qsl


class Fault(StrEnum):
    """One way to misbehave. The value is its name in a plan."""

    ACK_FALSE = "ack_false"
    """Store nothing, answer 200 ``{"ack":false}``."""

    STATUS_429 = "status_429"
    """Store nothing, ask for ``retry_after`` seconds (default 1)."""

    STATUS_500 = "status_500"
    """Store nothing, answer an HTML error page."""

    DROP_BEFORE = "drop_before"
    """Store nothing, close the connection without an answer."""

    DROP_AFTER = "drop_after"
    """Store it, then close the connection without an answer."""

    GARBAGE = "garbage"
    """Store it, then answer something that is no ACK."""

    FORGET = "forget"
    """Store it, answer as usual, then lose everything about the ingestion. Once per place."""

    REJECT = "reject"
    """Store the chunk, and name one of its records as refused. The same on every attempt."""

    DELAY = "delay"
    """Answer ``delay_ms`` milliseconds late (default 1000), stored or not."""


STORES_NOTHING = frozenset({Fault.ACK_FALSE, Fault.STATUS_429, Fault.STATUS_500, Fault.DROP_BEFORE})

GARBAGE: Sequence[bytes] = (
    b"",
    b"<html><body>OK</body></html>",
    b'{"ack":"true"}',
    b'{"ack":1}',
    b'{"ack":null}',
    b'{"result":{"ack":true}}',
    b'[{"ack":true}]',
    b'{"ack":tr',
    b'{"ack":true}\xff',
    b"[" * 100_000,
)
"""Answers that come with 200 and are not an ACK. Contract 5.2."""

_NUMBERS = {"seed": 0, "attempts": 1, "retry_after": 1, "delay_ms": 1000}
_FAULTS = frozenset(fault.value for fault in Fault)
_PLACES = frozenset({"completed", "failed", "aborted"})


class PlanInvalid(ValueError):
    """The text is not a plan."""


@dataclass(frozen=True, slots=True)
class When:
    """In which cases a fault happens."""

    probability: float = 0.0
    places: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Plan:
    """What goes wrong, and when."""

    text: str = ""
    """As it was written."""

    seed: int = 0
    attempts: int = 1
    retry_after: int = 1
    """Seconds."""

    delay_ms: int = 1000
    faults: Mapping[Fault, When] = field(default_factory=dict)

    def at(self, ingestion_id: str, place: str, attempt: int) -> frozenset[Fault]:
        """Return the faults of one request. ``attempt`` is 1-based."""
        return frozenset(
            fault
            for fault, when in self.faults.items()
            if (place in when.places and attempt <= self.attempts)
            or self.draw(fault, ingestion_id, place, attempt) < when.probability
        )

    def draw(self, what: str, ingestion_id: str, place: str, attempt: int) -> float:
        """Return a number in [0, 1) that is the same in every run."""
        text = f"{self.seed}|{what}|{ingestion_id}|{place}|{attempt}"
        # 53 bits: as many as a float holds, so that the result is never rounded up to 1.
        return (int.from_bytes(sha256(text.encode()).digest()[:8]) >> 11) / 2**53


@lru_cache(maxsize=256)
def read_plan(text: str, *, strict: bool = True) -> Plan:
    """Read a plan. Not ``strict``: names that are none of ours are left alone.

    Raises
    ------
    PlanInvalid
        A name or a value is wrong.
    """
    faults: dict[Fault, When] = {}
    numbers = dict(_NUMBERS)
    for name, value in parse_qsl(text, keep_blank_values=True):
        if name in numbers:
            numbers[name] = _number(name, value)
        elif name in _FAULTS:
            faults[Fault(name)] = _when(name, value)
        elif strict:
            known = ", ".join([*Fault, *_NUMBERS])
            raise PlanInvalid(f"no fault is called {name!r}; there are {known}")
    return Plan(text=text if faults else "", faults=faults, **numbers)


def _number(name: str, value: str) -> int:
    if not (value.isascii() and value.isdigit() and len(value) <= 18):
        raise PlanInvalid(f"{name} is a whole number, not {value!r}")
    return int(value)


def _when(name: str, value: str) -> When:
    if value.startswith("@"):
        places = frozenset(value[1:].split(","))
        if not all(place.isdecimal() or place in _PLACES for place in places):
            raise PlanInvalid(f"{name} names a place that is no chunk number: {value!r}")
        return When(places=places)
    try:
        probability = float(value)
    except ValueError:
        probability = -1.0
    if not 0.0 <= probability <= 1.0:
        raise PlanInvalid(f"{name} is a probability or '@' and places, not {value!r}")
    return When(probability=probability)
