"""What all in a schedule share: time, chance, the receiver, the disk, the files, the book."""

from dataclasses import dataclass
from random import Random

from tests.simulation.book import Book
from tests.simulation.disk import Weather
from tests.simulation.engine import START, VirtualClock
from tests.simulation.files import Files
from tests.simulation.network import Outside
from tests.simulation.plan import Plan
from tests.simulation.rows import MemoryRows, Rows, SqliteRows
from tests.simulation.virtual import Time


@dataclass(frozen=True, slots=True)
class Accusation:
    """A breach: which rule, and how."""

    rule: str
    text: str


class World:
    """The surroundings of the services, made from a plan."""

    def __init__(self, plan: Plan, trace: list[str] | None) -> None:
        self._trace = trace
        self.plan = plan
        self.random = Random(plan.seed + 1)
        self.time = Time()
        self.clock = VirtualClock(self.time)
        self.book = Book(self.accuse)
        self.book.picky = plan.manners.picky
        self.outside = Outside(
            book=self.book,
            manners=plan.manners,
            random=self.random,
            time=self.time,
            wall_s=START.timestamp(),
            note=self.note,
            tracing=trace is not None,
        )
        self.weather = Weather(
            random=self.random,
            time=self.time,
            slow_s=plan.disk_slow_s,
            rate=plan.disk_rate,
            outages=plan.disk_outages,
        )
        self.files = Files({file.path: file for file in plan.files})
        rows = SqliteRows if plan.sqlite else MemoryRows
        self.rows: Rows = rows(self.time, self.clock)
        self.accusations: list[Accusation] = []
        self.reader_deaths = 0
        self.clock_was_set = False

    def note(self, text: str) -> None:
        """Write a line of the trace, if there is one."""
        if self._trace is not None:
            self._trace.append(f"{self.time.now:9.3f} s  {text}")

    def accuse(self, rule: str, text: str) -> None:
        """Tell of a breach; the schedule ends with it."""
        self.note(f"BREACH of {rule}: {text}")
        self.accusations.append(Accusation(rule, text))

    def reader_pause_s(self) -> float:
        slow_s = self.plan.reader_slow_s
        return self.random.random() ** 4 * slow_s if slow_s else 0.0

    def reader_dies(self) -> bool:
        died = self.plan.reader_rate > 0.0 and self.random.random() < self.plan.reader_rate
        self.reader_deaths += died
        return died

    def grow_calm(self) -> None:
        """Let nothing go wrong any more."""
        self.note("---- calm")
        plan, weather = self.plan, self.weather
        self.outside.calm = True
        weather.rate, weather.slow_s, weather.outages = 0.0, 0.0, ()
        plan.reader_rate, plan.reader_slow_s = 0.0, 0.0
        for file in plan.files:
            file.missing = False
