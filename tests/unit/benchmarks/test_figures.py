"""Figures are measured, and shown as what they are."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import orjson
import pytest

from benchmarks.__main__ import PARTS, arguments, chosen
from benchmarks.running import family, spent, watching
from benchmarks.tables import END, START, Machine, Table, as_json, between_markers, shown

BURN = "import time\nwhile time.process_time() < 0.3: pass\n"
BELOW = f"import subprocess, sys, time\nsubprocess.run([sys.executable, '-c', {BURN!r}])\n"


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        *[(None, "–"), (1234567.8, "1,234,568"), (20.04, "20.0"), (1.5, "1.50"), (0.2004, "0.2")],
        *[(12_000, "12,000"), ("json", "json"), (0.0, "0")],
    ],
)
def test_a_cell_shows_three_digits(cell: str | float | None, text: str) -> None:
    assert shown(cell) == text


def test_a_table_has_a_column_for_every_figure_of_any_row() -> None:
    table = Table(part="x", title="X", rows=[{"a": "one", "b": 2}, {"a": "two", "c": 3.0}])
    assert table.markdown() == (
        "**X**\n\n| a | b | c |\n|---|---:|---:|\n| one | 2 | – |\n| two | – | 3.00 |\n"
    )


def test_few_laps_are_confessed() -> None:
    machine = Machine.here()
    assert "quick look" in machine.line(4)
    assert "quick look" not in machine.line(5)
    assert machine.date in machine.line(5)
    assert machine.processor in machine.line(5)


def test_the_readme_keeps_what_is_around_the_markers() -> None:
    text = f"above\n{START}\nold\n{END}\nbelow\n"
    assert between_markers(text, "new\n") == f"above\n{START}\nnew\n{END}\nbelow\n"
    with pytest.raises(SystemExit):
        between_markers("no markers", "new")


def test_programs_get_every_figure() -> None:
    machine = Machine.here()
    table = Table(part="x", title="X", rows=[{"a": 1.25}])
    told = orjson.loads(as_json(machine, 5, [table]))
    assert told["parts"]["x"]["rows"] == [{"a": 1.25}]
    assert (told["machine"]["date"], told["laps"]) == (machine.date, 5)


@pytest.mark.parametrize("part", PARTS)
def test_every_part_can_be_asked_for_alone(part: str) -> None:
    asked = arguments().parse_args([part, "--laps", "2", "--formats", "csv"])
    assert asked.parts == [part]
    assert (chosen(asked).laps, chosen(asked).formats) == (2, ("csv",))
    assert f"  {part} " in (arguments().description or "")


@contextmanager
def running(program: str) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            for pid in reversed(family(process.pid)):
                os.kill(pid, signal.SIGKILL)


def test_the_time_of_children_is_counted_while_they_live_and_after() -> None:
    with running(f"{BELOW}print()\nsys.stdout.flush()\ntime.sleep(60)") as process:
        assert process.stdout is not None
        alive = 0.0
        while not alive:
            alive = spent(process.pid).below
        process.stdout.readline()  # the child is gone
        assert spent(process.pid).below >= 0.25


def test_memory_of_children_is_counted() -> None:
    hold = "import sys, time; held = bytearray(b'x') * 50_000_000; print(); sys.stdout.flush(); "
    child = f"{hold} time.sleep(60)"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    with running(parent) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with watching(process.pid) as watched:
            while not watched.processes:
                time.sleep(0.01)
        assert watched.processes == 2
        assert 50 < watched.peak_mb() < 120
