"""One breaker for each origin: who probes, who rests, and that nobody rests for ever."""

import asyncio
import random
from dataclasses import dataclass, field

import pytest

from app.domain.errors import Failure
from app.pipeline.origins import Origin, Origins, Turn
from tests.support.clocks import SteppedClock, quiet

AWAY = Failure(code="CONNECTION_FAILED", message="nobody listens", resumable=True)


@dataclass(eq=False)
class Visitor:
    """Stands for a run that rests, and does nothing until it is told."""

    name: str
    origin: Origin
    clock: SteppedClock
    turns: list[Turn] = field(default_factory=list)
    task: asyncio.Task[None] | None = None

    def rest(self) -> None:
        async def rest() -> None:
            try:
                while (turn := await self.origin.turn(self, self.clock)) is Turn.LOOK:
                    self.turns.append(turn)
                self.turns.append(turn)
            except asyncio.CancelledError:
                self.origin.leave(self)
                raise

        self.task = asyncio.ensure_future(rest())

    def fail(self, *, pause_s: float = 60.0, since: float | None = None) -> bool:
        now = self.clock.monotonic()
        began = now if since is None else since
        return self.origin.lost(self, AWAY, since=began, now=now, pause_s=pause_s)

    @property
    def probes(self) -> bool:
        return bool(self.turns) and self.turns[-1] is Turn.PROBE and self.origin.is_probed_by(self)


class Crowd:
    def __init__(self, size: int) -> None:
        self.clock = SteppedClock()
        self.origin = Origin()
        self.visitors = [Visitor(str(n), self.origin, self.clock) for n in range(size)]

    async def knock(self) -> None:
        """Have the first one find the receiver gone; then all rest, in order."""
        assert self.visitors[0].fail()
        for visitor in self.visitors:
            visitor.rest()
        await quiet()

    def probing(self) -> list[str]:
        return [visitor.name for visitor in self.visitors if visitor.probes]


async def test_one_probes_when_the_pause_is_over_and_the_others_rest() -> None:
    crowd = Crowd(5)
    await crowd.knock()

    await crowd.clock.run(59)
    assert crowd.probing() == []
    await crowd.clock.run(1)
    assert crowd.probing() == ["0"]
    await crowd.clock.run(3600)
    assert [visitor.turns for visitor in crowd.visitors[1:]] == [[]] * 4
    assert [crowd.origin.bars(visitor) for visitor in crowd.visitors] == [None] + [AWAY] * 4
    crowd.origin.answered(now=crowd.clock.monotonic())
    await quiet()


async def test_an_answer_to_the_probe_lets_everyone_go_on_at_once() -> None:
    crowd = Crowd(5)
    await crowd.knock()
    await crowd.clock.run(60)

    crowd.origin.answered(now=crowd.clock.monotonic())
    await quiet()

    assert [visitor.turns[-1] for visitor in crowd.visitors[1:]] == [Turn.FREE] * 4
    assert crowd.origin.bars(object()) is None


async def test_each_gets_its_turn_to_probe_and_all_look_at_their_time_in_between() -> None:
    crowd = Crowd(3)
    await crowd.knock()
    order = []
    for _ in range(7):
        await crowd.clock.run(60)
        [name] = crowd.probing()
        order.append(name)
        prober = crowd.visitors[int(name)]
        looks = [len(visitor.turns) for visitor in crowd.visitors]
        prober.fail()
        await quiet()
        prober.rest()
        assert [
            len(visitor.turns) - before
            for visitor, before in zip(crowd.visitors, looks, strict=True)
            if visitor is not prober
        ] == [1, 1]

    assert order == ["0", "1", "2", "0", "1", "2", "0"]
    crowd.origin.answered(now=crowd.clock.monotonic())
    await quiet()


async def test_who_gives_up_while_it_watches_or_probes_leaves_the_probe_to_another() -> None:
    crowd = Crowd(3)
    await crowd.knock()
    watching, probing, last = crowd.visitors
    assert watching.task is not None
    watching.task.cancel()
    await quiet()
    await crowd.clock.run(60)
    assert probing.probes
    probing.origin.leave(probing)
    await quiet()

    assert last.probes  # at once: the time had come, and nothing is known to be sent
    assert not probing.probes


async def test_who_fails_while_others_get_answers_bears_it_alone() -> None:
    crowd = Crowd(2)
    unlucky, other = crowd.visitors
    crowd.origin.answered(now=5.0)

    assert not unlucky.fail(since=4.0)
    assert crowd.origin.bars(other) is None
    assert unlucky.fail(since=6.0)
    assert crowd.origin.bars(other) is AWAY


async def test_who_fails_late_changes_nothing_about_the_next_probe() -> None:
    crowd = Crowd(2)
    await crowd.knock()
    late = Visitor("late", crowd.origin, crowd.clock)

    assert late.fail(pause_s=3600.0)
    await crowd.clock.run(60)

    assert crowd.probing() == ["0"]
    assert crowd.origin.pauses == 1
    crowd.origin.answered(now=crowd.clock.monotonic())
    await quiet()


async def test_what_waited_before_a_restart_is_probed_at_once_and_only_then() -> None:
    crowd = Crowd(2)
    crowd.origin.suspect(AWAY, now=0.0)
    for visitor in crowd.visitors:
        visitor.rest()
    await quiet()
    assert crowd.probing() == ["0"]
    crowd.origin.answered(now=1.0)

    crowd.origin.suspect(AWAY, now=2.0)

    assert crowd.origin.bars(crowd.visitors[1]) is None
    await quiet()


@pytest.mark.parametrize("seed", range(150))
async def test_whatever_happens_at_most_one_probes_and_nobody_rests_for_ever(seed: int) -> None:
    plan = random.Random(seed)
    crowd = Crowd(plan.randrange(1, 6))
    await crowd.knock()
    for step in range(40):
        probing = [visitor for visitor in crowd.visitors if visitor.probes]
        assert len(probing) <= 1
        match plan.choice(["time", "fail", "give up", "cancel", "join", "answer"]):
            case "time":
                await crowd.clock.run(plan.uniform(0, 90))
            case "fail" if probing:
                probing[0].fail(pause_s=plan.uniform(0, 60))
                probing[0].rest()
            case "give up" if probing:
                crowd.origin.leave(probing[0])
            case "cancel":
                visitor = plan.choice(crowd.visitors)
                assert visitor.task is not None
                visitor.task.cancel()
            case "join":
                newcomer = Visitor(f"new {step}", crowd.origin, crowd.clock)
                if plan.random() < 0.5:
                    newcomer.fail(since=plan.uniform(0, crowd.clock.monotonic()))
                newcomer.rest()
                crowd.visitors.append(newcomer)
            case "answer" if plan.random() < 0.2:
                crowd.origin.answered(now=crowd.clock.monotonic())
        if plan.random() < 0.7:
            await quiet(5)

    for _ in crowd.visitors:  # the watch goes from one to the next; each sends one probe
        await crowd.clock.run(200)
        for visitor in crowd.visitors:
            if visitor.probes:
                crowd.origin.answered(now=crowd.clock.monotonic())
    await crowd.clock.run(200)
    assert all(visitor.task is not None and visitor.task.done() for visitor in crowd.visitors)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("https://a.example/x", "https://a.example:443/y?z=1", True),
        ("http://a.example/x", "http://A.example:80", True),
        ("http://[2001:db8::1]:8080/a", "http://[2001:DB8::1]:8080/b", True),
        ("https://a.example/x", "http://a.example/x", False),
        ("https://a.example/x", "https://a.example:8443/x", False),
        ("https://a.example/x", "https://b.example/x", False),
    ],
)
def test_an_origin_is_scheme_host_and_port(one: str, other: str, same: bool) -> None:
    origins = Origins()
    kept = origins.of(one)

    assert (origins.of(other) is kept) == same
