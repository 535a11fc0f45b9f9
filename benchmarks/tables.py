"""Figures as tables: for people, for the README, for programs."""

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeAlias

import orjson

Cell: TypeAlias = str | int | float | None
Row: TypeAlias = dict[str, Cell]

START = "<!-- benchmark:start -->"
END = "<!-- benchmark:end -->"
LAPS_WANTED = 5
"""Below it a median says little; the output then says so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """What one part found out."""

    part: str
    title: str
    note: str = ""
    rows: list[Row] = field(default_factory=list)

    def markdown(self) -> str:
        """Return the table under its title."""
        lines = [f"**{self.title}**", ""]
        if self.rows:
            names = list(dict.fromkeys(name for row in self.rows for name in row))
            texts = all(isinstance(row.get(names[0]), str) for row in self.rows)
            marks = ["---" if texts else "---:", *["---:"] * (len(names) - 1)]
            lines += [_line(names), f"|{'|'.join(marks)}|"]
            lines += [_line([shown(row.get(name)) for name in names]) for row in self.rows]
            lines += [""]
        return "\n".join([*lines, *([self.note, ""] if self.note else [])])


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def shown(cell: Cell) -> str:
    """Return a cell as a person wants it: three digits that count, thousands apart."""
    match cell:
        case None:
            return "–"
        case float() if abs(cell) >= 100:
            return f"{cell:,.0f}"
        case float() if abs(cell) >= 10:
            return f"{cell:.1f}"
        case float():
            return f"{cell:.2f}" if abs(cell) >= 1 else f"{cell:.3g}"
        case int():
            return f"{cell:,}"
        case _:
            return cell


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """Where and when: without it no figure means anything."""

    date: str
    processor: str
    cores: int
    memory_gb: float
    system: str
    python: str

    @classmethod
    def here(cls) -> "Machine":
        """Look at this machine."""
        fields = Path("/proc/cpuinfo").read_text().splitlines()
        models = [line.partition(": ")[2] for line in fields if line.startswith("model name")]
        return cls(
            date=f"{datetime.now(UTC):%Y-%m-%d}",
            processor=models[0] if models else platform.machine(),
            cores=len(os.sched_getaffinity(0)),
            memory_gb=round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
            system=f"{platform.system()} {platform.release().split('-')[0]}",
            python=platform.python_version(),
        )

    def line(self, laps: int) -> str:
        """Return it as a sentence."""
        few = "" if laps >= LAPS_WANTED else f" – a quick look, **fewer than {LAPS_WANTED} laps**"
        return (
            f"{self.date}, {self.processor}, {self.cores} cores, {self.memory_gb} GB, "
            f"{self.system}, Python {self.python}; medians of {laps} laps in turn{few}."
        )


def as_json(machine: Machine, laps: int, tables: Sequence[Table]) -> bytes:
    """Return everything for programs."""
    return orjson.dumps(
        {"machine": machine, "laps": laps, "parts": {table.part: table for table in tables}},
        option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE,
    )


def between_markers(text: str, content: str) -> str:
    """Return a document with ``content`` between the benchmark's markers."""
    before, start, rest = text.partition(START)
    _, end, after = rest.partition(END)
    if not start or not end:
        raise SystemExit(f"the document has no {START} … {END}")
    return f"{before}{START}\n{content.strip()}\n{END}{after}"
