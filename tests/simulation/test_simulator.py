"""The simulation itself: it repeats itself, it crashes everywhere, and its judge is its own."""

import ast
import json
import time
from pathlib import Path
from random import Random

import pytest

from app.domain.budget import ChunkLimits
from app.domain.ingestion import FileType
from tests.simulation import book, soak
from tests.simulation.files import SourceFile, a_file
from tests.simulation.network import Manners
from tests.simulation.plan import Plan, planned
from tests.simulation.schedule import Outcome, Schedule
from tests.simulation.workbook import Workbook


def a_plan(*, sqlite: bool = False, manners: Manners | None = None) -> Plan:
    """Return one file of three chunks and nothing that goes wrong."""
    content = b'{"n":0}\n{"n":1}\n{"n":2}\n{"n":3}\n{"n":4}\n'
    truth = content.splitlines()
    file = SourceFile("file0", FileType.NDJSON, content, truth, poison=False)
    return Plan(
        seed=7,
        sqlite=sqlite,
        files=[file],
        limits=[ChunkLimits(records=2)],
        manners=manners or Manners(),
    )


def carried_out(plan: Plan) -> Outcome:
    outcome = Schedule(plan).run()
    assert outcome.accusations == []
    return outcome


@pytest.mark.parametrize("seed", [3, 4, 20, 41, 56, 225])
def test_a_seed_gives_the_same_trace_every_time(seed: int) -> None:
    first: list[str] = []
    second: list[str] = []
    soak.run(seed, trace=first)
    soak.run(seed, trace=second)
    assert first == second
    assert len(first) > 5


@pytest.mark.parametrize("sqlite", [False, True], ids=["memory", "sqlite"])
@pytest.mark.parametrize("event", ["crash", "drain", "freeze"])
def test_a_plain_delivery_survives_it_at_every_await(event: str, sqlite: bool) -> None:
    steps = carried_out(a_plan(sqlite=sqlite)).steps
    assert steps > 40
    for step in range(steps):
        plan = a_plan(sqlite=sqlite)
        plan.events = [(step, event)]
        assert list(carried_out(plan).states.values()) == ["COMPLETED"], step


@pytest.mark.parametrize("fault", ["lost", "silent", "failed", "contradicted", "late", "twice"])
def test_a_crash_at_every_await_around_an_ack_that_does_not_arrive(fault: str) -> None:
    manners = Manners(faults=(fault,), rate=0.4)
    steps = carried_out(a_plan(manners=manners)).steps
    for step in range(min(steps, 150)):  # Beyond, it only waits.
        plan = a_plan(manners=manners)
        plan.events = [(step, "crash")]
        carried_out(plan)


def test_a_schedule_takes_no_real_time() -> None:
    began = time.monotonic()
    outcome = carried_out(a_plan(manners=Manners(faults=("busy", "swallowed"), rate=0.9)))
    assert outcome.seconds > 60
    assert time.monotonic() - began < outcome.seconds / 10


def test_an_hour_that_is_asked_for_after_the_calm_began_is_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    schedule = Schedule(a_plan())
    waits: list[float] = []

    def go_on(*, until_s: float) -> None:
        waits.append(until_s - schedule._world.time.now)
        schedule._world.outside.longest_s = 3600.0  # an answer that was under way says so

    monkeypatch.setattr(schedule, "_go_on", go_on)
    assert schedule._go_on_for_all() == 3600
    assert len(waits) == 2
    assert waits[0] < 2 * 3600 <= waits[1]


def test_the_judge_shares_no_code_with_the_service() -> None:
    tree = ast.parse(Path(book.__file__).read_text("utf-8"))
    imported = [
        name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in (
            [node.module] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names]
        )
    ]
    assert imported
    assert [
        name for name in imported if str(name).startswith(("app", "mock_receiver", "tests"))
    ] == []


def test_a_workbook_arrives_killed_at_every_await() -> None:
    def plan() -> Plan:
        made = a_plan()
        made.files = [Workbook("file0", [("n1", "w1"), ("n2", "w2"), ("n3", "w3")])]
        return made

    for step in range(carried_out(plan()).steps):
        killed = plan()
        killed.events = [(step, "crash")]
        assert list(carried_out(killed).states.values()) == ["COMPLETED"], step


def test_some_plans_deliver_to_two_receivers_and_some_read_a_workbook() -> None:
    plans = [planned(seed) for seed in range(400)]
    assert any(len(set(plan.callbacks)) == 2 for plan in plans)
    assert any(isinstance(file, Workbook) for plan in plans for file in plan.files)


def test_a_settled_message_counts_as_needless_once_until_it_is_settled_again() -> None:
    judge = book.Book(lambda rule, text: pytest.fail(f"{rule}: {text}", pytrace=False))
    judge.expect("one", [], "http://receiver.example/")
    counts = {"read": 0, "delivered": 0, "filtered": 0, "dead_lettered": 0}
    body = {"type": book.COMPLETED, "ingestion_id": "one", "total_chunks": 0, "total_records": 0}
    body |= {"counts": counts, "chain": judge.shelves["one"].chain_start}
    waste = []
    for is_heard in (True, False, False, True, True):
        letter = judge.sent("service 1", json.dumps(body).encode(), 0.0)
        if is_heard:
            judge.hears(letter, {"ack": True})
        judge.back("service 1", letter, waited_s=0.0)
        waste.append(judge.needless)
    assert waste == [0, 1, 1, 1, 2]


def test_a_file_is_made_in_every_format_and_sometimes_broken() -> None:
    files = [a_file(Random(seed), "file0") for seed in range(300)]
    assert {file.file_type for file in files} == {FileType.NDJSON, FileType.JSON, FileType.CSV}
    assert any(file.poison for file in files)
    assert any(not file.truth for file in files)
