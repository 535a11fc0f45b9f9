"""Everything a schedule is made of, drawn from its seed before it begins.

Each schedule is hostile in a few ways of its own, not a little in all of them: two faults
that must meet do meet.
"""

from dataclasses import dataclass, field
from random import Random

from app.domain.budget import ChunkLimits
from tests.simulation.files import SourceFile, a_file
from tests.simulation.network import CALLBACK, FAULTS, POLITE_CALLBACK, Manners
from tests.simulation.workbook import a_workbook

EVENTS = (
    *("crash",) * 6,
    *("drain", "drain", "freeze", "freeze", "second service", "cancel"),
    *("replace", "rewrite", "swap", "vanish", "clock", "submit", "submit many", "new version"),
)
"""What can happen to a service or its surroundings; those named twice happen twice as often."""

ORIGINS_RATE = 0.1
"""How many plans deliver to two receivers, 0 … 1: one at fault, and one that never is. What
happens to the first must not touch the second."""

WORKBOOKS_RATE = 0.03
"""How many plans read an Excel workbook: it takes as long as three other files."""

STEPS = 500
"""Handles that a plain schedule runs, more or less: where events are put."""


@dataclass(slots=True, kw_only=True)
class Plan:
    """What is going to happen."""

    seed: int
    sqlite: bool
    files: list[SourceFile]
    limits: list[ChunkLimits]
    manners: Manners
    callbacks: list[str] = field(default_factory=list)
    """Where each file is delivered to; one for all of them when there is none."""

    begins_s: list[float] = field(default_factory=list)
    """When each file is submitted; all at once when this is empty."""

    events: list[tuple[int, str]] = field(default_factory=list)
    """After how many handles of the services what happens; the first last."""

    ends_s: float = 60.0
    """When the faults stop, in virtual seconds."""

    disk_slow_s: float = 0.0
    disk_rate: float = 0.0
    disk_outages: list[tuple[float, float]] = field(default_factory=list)
    reader_slow_s: float = 0.0
    reader_rate: float = 0.0
    services: int = 1


def planned(seed: int, *, sqlite: bool = False) -> Plan:
    """Draw a plan."""
    random = Random(seed)
    plan = _plain(random, seed, sqlite=sqlite)
    # Files that come on top, so that no plan does less because of them.
    if random.random() < WORKBOOKS_RATE:
        _add(plan, random, a_workbook(random, f"file{len(plan.files)}"))
    if random.random() < ORIGINS_RATE:
        plan.callbacks = [CALLBACK] * len(plan.files) + [POLITE_CALLBACK]
        # Later, or it would be done before anybody gave up the first receiver.
        plan.begins_s = [0.0] * len(plan.files) + [random.uniform(0.0, plan.ends_s)]
        _add(plan, random, a_file(random, f"file{len(plan.files)}"))
    # Who says no more than ``ack``, or answers what it has with where it is, cannot name any.
    if not (plan.manners.basic or plan.manners.refuses_duplicates):
        plan.manners.picky = random.choice((0, 0, 1, 2, 4))
    return plan


def _add(plan: Plan, random: Random, file: SourceFile) -> None:
    plan.files.append(file)
    plan.limits.append(some_limits(random))


def _plain(random: Random, seed: int, *, sqlite: bool) -> Plan:
    files = [a_file(random, f"file{n}") for n in range(random.choice((1, 1, 1, 1, 2, 3)))]
    faults = tuple(random.choices(FAULTS, k=random.randint(1, 5)))
    return Plan(
        seed=seed,
        sqlite=sqlite,
        files=files,
        limits=[some_limits(random) for _ in files],
        manners=Manners(
            basic=random.random() < 0.3,
            refuses_duplicates=random.random() < 0.2,
            faults=faults,
            rate=random.choice((0.0, 0.15, 0.3, 0.3, 0.6, 0.9)),
            slow_s=random.choice((0.0, 0.05, 2.0)),
        ),
        events=sorted(_events(random), reverse=True),
        ends_s=random.choice((20.0, 60.0, 60.0, 150.0)),
        disk_slow_s=random.choice((0.0, 0.0, 0.01, 1.0)),
        disk_rate=random.choice((0.0,) * 6 + (0.03, 0.2)),
        disk_outages=[
            (start, start + random.choice((0.5, 5.0, 30.0)))
            for start in ([random.uniform(0, 20)] if random.random() < 0.08 else [])
        ],
        reader_slow_s=random.choice((0.0, 0.0, 0.05, 1.0)),
        reader_rate=random.choice((0.0,) * 8 + (0.05, 0.3)),
        services=1 if random.random() < 0.9 else 2,
    )


def _events(random: Random) -> list[tuple[int, str]]:
    count = random.choice((0, 1, 1, 2, 2, 3, 5))
    # Squared: what happens early is rare only on a long way.
    return [(int(random.random() ** 2 * STEPS), random.choice(EVENTS)) for _ in range(count)]


def some_limits(random: Random) -> ChunkLimits:
    """Return limits under which every record fits."""
    return ChunkLimits(
        records=random.choice((0, 1, 2, 2, 3)), memory=random.choice((0, 0, 130, 260))
    )
