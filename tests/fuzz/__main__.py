"""``python -m tests.fuzz``: fuzz the decoders, or judge one file again."""

import argparse
import importlib.util
import sys
from os import nice
from pathlib import Path

from tests.fuzz.watch import fuzz

KINDS = ("json", "ndjson", "csv", "xlsx")
FOLDER = Path(".fuzz")

ALONE = """\
*** atheris is not here: the files are changed by chance alone, and no coverage guides. ***
*** `make fuzz` installs it where there is one for this Python and machine.             ***"""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--format", choices=KINDS, help="only this one")
    parser.add_argument("--seconds", type=float, default=300, help="for each format")
    parser.add_argument("--corpus", type=Path, default=FOLDER / "corpus", help="kept between runs")
    parser.add_argument("--findings", type=Path, default=FOLDER / "findings")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--runs", type=int, default=0, help="end after so many; 0: by time alone")
    parser.add_argument("--replay", type=Path, help="judge this case again")
    asked = parser.parse_args()
    if asked.replay is not None:
        return _replay(asked.replay, asked.format)
    nice(5)
    if importlib.util.find_spec("atheris") is None:
        print(ALONE, flush=True)
    found = 0
    for kind in (asked.format,) if asked.format else KINDS:
        tally = fuzz(
            kind,
            seconds=asked.seconds,
            corpus=asked.corpus / kind,
            findings=asked.findings,
            seed=asked.seed,
            runs=asked.runs,
        )
        found += tally.findings
        print(
            f"{kind:<7} {tally.runs:>9,} executions in {tally.seconds:,.0f} s "
            f"({tally.runs / tally.seconds:,.0f}/s), {tally.findings} findings"
            + (f", {tally.coverage}" if tally.coverage else ""),
            flush=True,
        )
    return 1 if found else 0


def _replay(path: Path, kind: str | None) -> int:
    from tests.fuzz.case import Case
    from tests.fuzz.formats import FORMATS

    chosen = FORMATS[kind or path.name.partition("-")[0]]
    case = Case.of(path.read_bytes())
    print(f"knobs {list(case.knobs)}, {len(case.content)} bytes: {case.content[:2000]!r}")
    chosen.judge(case)
    print("The rule holds.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
