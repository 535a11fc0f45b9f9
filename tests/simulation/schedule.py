"""Run one schedule: services that are killed, frozen and drained over one store.

First the storm, as planned; then calm, in which everything must come to a good end within
twice the longest backoff (I8); then the books are closed.
"""

from collections import Counter
from dataclasses import dataclass

from app.domain.ingestion import LIVE
from tests.simulation.engine import POLICY, seeded
from tests.simulation.network import DEADLINE_S
from tests.simulation.person import Person
from tests.simulation.plan import Plan
from tests.simulation.rows import LEASE_S
from tests.simulation.services import Services
from tests.simulation.virtual import ProcessLoop, pick
from tests.simulation.world import Accusation, World

STEPS_MAX = 60_000
"""Handles after which a schedule counts as a loop that never rests."""

STRIDE = 4
"""Handles of one process in a row, at most: to ask who is next costs as much as a handle."""

WORK_S = 15.0
"""What the work itself may take once nothing goes wrong, beside the waiting."""

ROUNDS_MAX = 6
"""Submissions after which a file must have arrived, once nothing goes wrong."""


@dataclass(slots=True, kw_only=True)
class Outcome:
    """How a schedule went."""

    accusations: list[Accusation]
    states: dict[str, str]
    steps: int
    messages: int
    kills: int
    """Service processes that ended as ``kill -9`` ends them."""

    seconds: float
    happened: Counter[str]


class Schedule:
    """One plan, carried out."""

    def __init__(self, plan: Plan, *, trace: list[str] | None = None) -> None:
        self._plan = plan
        self._world = World(plan, trace)
        self._person = Person(self._world)
        # The person looks over the shoulder of every disk, and stirs whoever has one.
        self._services = Services(self._world, self._person)
        self._person.stir = self._services.stir
        self._events = list(plan.events)
        self._happened: Counter[str] = Counter()
        self._steps = 0

    def run(self) -> Outcome:
        """Carry it out, and tell of the breaches."""
        world, person = self._world, self._person
        with seeded(self._plan.seed), ProcessLoop.found_quickly():
            try:
                self._live_through()
            finally:
                self._services.remove_all()
                world.rows.close()
        return Outcome(
            accusations=world.accusations,
            states={str(one): state for one, state in person.states.items()},
            steps=self._steps,
            messages=world.book.messages,
            kills=self._services.kills,
            seconds=world.time.now,
            happened=self._happened,
        )

    def _live_through(self) -> None:
        begins_s = self._plan.begins_s or [0.0] * len(self._world.files)
        for path, begin_s in zip(self._world.files, begins_s, strict=True):
            if begin_s:
                self._person.submit_in(begin_s, path)
            else:
                self._person.submit(path)
        for _ in range(self._plan.services):
            self._services.start()
        self._go_on(until_s=self._plan.ends_s)
        if not self._world.accusations:
            self._come_to_rest()
        if not self._world.accusations:
            self._close_the_books()

    def _go_on(self, *, until_s: float) -> None:
        """Run until every ingestion rests, or the time is over, or something broke."""
        world, person, loops, events = self._world, self._person, self._services.loops, self._events
        outside, time = world.outside.loop, world.time
        while (person.live or person.errands) and not world.accusations and time.now <= until_s:
            loop = pick(loops, time, world.random)
            if loop is None:
                return world.accuse("I8", "nothing will ever happen again")
            if loop is outside:
                loop.run(1)
                continue
            stride = min(STRIDE, max(1, events[-1][0] - self._steps)) if events else STRIDE
            self._steps += loop.run(stride)
            if events and self._steps >= events[-1][0]:
                self._happen(events.pop()[1])
            if loop.troubles:
                world.accuse("bug", loop.troubles[0])
            if self._steps > STEPS_MAX:
                world.accuse("I8", f"{STEPS_MAX} steps in {time.now:.0f} s: it never rests")
        return None

    def _happen(self, event: str) -> None:
        self._happened[event] += 1
        world, person, services = self._world, self._person, self._services
        awake = services.awake()
        process = world.random.choice(awake) if awake else None
        file = world.random.choice(list(world.files.values()))
        match event:
            case "crash" if process:
                services.kill(process)
            case "drain" if process:
                services.drain(process)
            case "freeze" if process:
                services.freeze(process)
            case "second service":
                services.start()
            case "cancel":
                person.cancel(world.random.choice(list(person.states)))
            case "replace":
                person.change(file, in_place=False)
            case "rewrite":
                person.change(file, in_place=True)
            case "swap":
                services.kill_all()
                person.swap(file)
            case "vanish":
                world.note(f"{file.path} is gone")
                file.missing = file.vanished = True
                for_s = world.random.choice((1.0, 30.0))
                world.outside.loop.call_later(for_s, setattr, file, "missing", False)
            case "clock":
                world.clock_was_set = True
                world.clock.wrong_s += world.random.choice((-86_400.0, 86_400.0, 3_000.0))
            case "submit":
                person.submit(file.path)
            case "submit many":
                for _ in range(5):
                    person.submit(file.path)
            case "new version" if not (file.changed or file.missing):
                person.submit(file.path, new_version=True)
            case _:
                pass  # There is nothing left for it to happen to.

    def _come_to_rest(self) -> None:
        """Let nothing go wrong any more; everything must end soon (I8)."""
        world, person = self._world, self._person
        self._events.clear()
        world.grow_calm()
        self._services.restore()
        for _ in range(ROUNDS_MAX):
            longest_s = self._go_on_for_all()
            late = [state for state in person.states.values() if state in LIVE]
            if late and not world.accusations:
                world.accuse("I8", f"{len(late)} live {2 * longest_s:.0f} s after the faults ended")
            if world.accusations or not person.submit_what_stopped():
                return
        world.accuse("I8", f"not completed after {ROUNDS_MAX} submissions: {person.states}")

    def _go_on_for_all(self) -> float:
        """Go on for as long as anything may rightly take; return the longest of these times.

        It may grow meanwhile: an answer that was due when the calm began may ask for an hour.
        """
        world = self._world
        policy = (POLICY.probe_s_max, POLICY.backoff_s_max, LEASE_S, DEADLINE_S)
        known_s, longest_s = 0.0, max(*policy, world.outside.longest_s)
        while known_s < longest_s:
            known_s = longest_s
            self._go_on(until_s=world.time.now + 2 * longest_s + WORK_S)
            longest_s = max(longest_s, world.outside.longest_s)
        return longest_s

    def _close_the_books(self) -> None:
        world = self._world
        self._services.remove_all()
        # What was late arrives now, at a receiver whose sender is gone.
        while (loop := pick([world.outside.loop], world.time, world.random)) is not None:
            loop.run(1)
        self._person.close_the_books()
        # Each of them may cost every ingestion one message that was settled already.
        disruptions = self._services.disruptions + self._person.cancellations()
        reasons = disruptions * len(self._person.states) + world.weather.failures
        if world.book.needless > reasons:
            world.accuse(
                "resent",
                f"{world.book.needless} settled messages were sent again, "
                f"{reasons} times there was a reason",
            )
