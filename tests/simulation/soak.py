"""Run many schedules, and say what broke and how to see it again."""

import gc
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from tests.simulation.plan import planned
from tests.simulation.schedule import Outcome, Schedule

SQLITE_EVERY = 20
"""One seed in so many runs on the real SQLite store, at a tenth of the speed."""

GARBAGE_EVERY = 10
"""Schedules between two garbage collections: half of the time goes there otherwise."""

TRACE_LINES = 120
"""What is shown of a trace, from its end."""


@dataclass(slots=True)
class Tally:
    """What many schedules came to. Two can be added."""

    schedules: int = 0
    sqlite: int = 0
    steps: int = 0
    messages: int = 0
    kills: int = 0
    virtual_s: float = 0.0
    states: Counter[str] = field(default_factory=Counter)
    happened: Counter[str] = field(default_factory=Counter)
    broken: dict[int, str] = field(default_factory=dict)
    """Seed → the first rule that it broke, and how."""

    def take(self, seed: int, outcome: Outcome) -> None:
        self.schedules += 1
        self.sqlite += on_sqlite(seed)
        self.steps += outcome.steps
        self.messages += outcome.messages
        self.kills += outcome.kills
        self.virtual_s += outcome.seconds
        self.states.update(outcome.states.values())
        self.happened.update(outcome.happened)
        if outcome.accusations:
            first = outcome.accusations[0]
            self.broken[seed] = f"{first.rule}: {first.text}"

    def add(self, other: "Tally") -> None:
        self.schedules += other.schedules
        self.sqlite += other.sqlite
        self.steps += other.steps
        self.messages += other.messages
        self.kills += other.kills
        self.virtual_s += other.virtual_s
        self.states.update(other.states)
        self.happened.update(other.happened)
        self.broken.update(other.broken)


def on_sqlite(seed: int) -> bool:
    """Tell which store a seed runs on."""
    return seed % SQLITE_EVERY == 0


def run(seed: int, *, trace: list[str] | None = None) -> Outcome:
    """Run one schedule."""
    return Schedule(planned(seed, sqlite=on_sqlite(seed)), trace=trace).run()


def run_all(seeds: Iterable[int], *, broken_max: int = 3) -> Tally:
    """Run schedules until so many broke."""
    tally = Tally()
    was_enabled = gc.isenabled()
    # What was there before is not looked at again with each collection.
    gc.freeze()
    gc.disable()
    try:
        for seed in seeds:
            tally.take(seed, run(seed))
            if len(tally.broken) >= broken_max:
                break
            if tally.schedules % GARBAGE_EVERY == 0:
                gc.collect()
    finally:
        gc.unfreeze()
        if was_enabled:
            gc.enable()
    return tally


def replay_command(seed: int) -> str:
    return f"python -m tests.simulation --seed {seed}"


def told(seed: int) -> str:
    """Run a schedule once more; return what happened in it, and the command that shows it."""
    trace: list[str] = []
    outcome = run(seed, trace=trace)
    cut = [f"… {len(trace) - TRACE_LINES} lines before"] if len(trace) > TRACE_LINES else []
    breaches = [f"{accusation.rule}: {accusation.text}" for accusation in outcome.accusations]
    return "\n".join((*cut, *trace[-TRACE_LINES:], *breaches, f"replay: {replay_command(seed)}"))
