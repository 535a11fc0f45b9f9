"""``python -m tests.mutants``: plant each defect in a copy, and see that tests turn red."""

import argparse
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from os import cpu_count, nice

from tests.mutants.defects import DEFECTS, LISTED_MAX
from tests.mutants.planting import ROOT, Defect, NoPlace, places
from tests.mutants.trial import GREEN, Trial, try_out

OUTPUT_LINES = 30
"""What is shown of tests that should have ended in another way, from their end."""

ALL_TESTS = (
    "tests",
    # These fail at any edit of what they plant their own defects in, so they catch nothing.
    "--ignore=tests/mutants",
    "--ignore=tests/simulation/test_defects.py",
)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument(
        "--only", type=int, nargs="+", metavar="NUMBER", help="these defects, in all their forms"
    )
    parser.add_argument(
        "--all-tests", action="store_true", help="the whole suite, not the tests that should catch"
    )
    parser.add_argument("--workers", type=int, default=min(2, cpu_count() or 1))
    asked = parser.parse_args()
    defects = [d for d in DEFECTS if not asked.only or d.number in asked.only]
    if not defects:
        parser.error("there are no such defects")
    nice(5)
    return _try_all(defects, ALL_TESTS if asked.all_tests else (), asked.workers)


def _try_all(defects: Sequence[Defect], tests: Sequence[str], workers: int) -> int:
    began = time.monotonic()
    missed: list[Defect] = []
    with ThreadPoolExecutor(workers) as pool:
        # The same tests without a defect: otherwise nobody knows what made them red.
        selected = tests or tuple(dict.fromkeys(test for d in defects for test in d.tests))
        control = pool.submit(try_out, None, selected, to_the_end=True)
        trials = pool.map(partial(_attempt, tests=tests), defects)
        for defect, trial in zip(defects, trials, strict=True):
            if not _told(defect, trial):
                missed.append(defect)
        sound = _is_sound(control.result())
    print(summary(defects, missed))
    print(f"{len(defects)} forms, {workers} at a time, {time.monotonic() - began:,.0f} s")
    return 0 if sound and not missed else 1


def _attempt(defect: Defect, *, tests: Sequence[str]) -> Trial | NoPlace:
    try:
        return try_out(defect, tests or defect.tests)
    except NoPlace as error:
        return error


def _told(defect: Defect, trial: Trial | NoPlace) -> bool:
    """Print what became of a defect; tell whether it was caught."""
    if isinstance(trial, NoPlace):
        print(f"{defect.number:>3}  DOES NOT FIT       {defect.name}\n     {trial}", flush=True)
        return False
    verdict = "caught" if trial.is_red else "MISSED"
    print(f"{defect.number:>3}  {verdict}  {trial.seconds:>6.1f} s  {defect.name}")
    if defect.note:
        print(f"     ({defect.note})")
    for place in places(ROOT, defect):
        print(f"     {place}")
    if trial.is_red:
        print(f"     by {trial.failed[0]}", flush=True)
    else:
        print(f"     pytest ended with status {trial.status}\n{_end_of(trial)}", flush=True)
    return trial.is_red


def _is_sound(control: Trial) -> bool:
    if control.status == GREEN:
        print(f"     without any defect the same tests are green, {control.seconds:.1f} s")
        return True
    print(f"WITHOUT ANY DEFECT TESTS FAIL (status {control.status}): nothing is proven")
    print("\n".join(f"     {test}" for test in control.failed) or _end_of(control))
    return False


def _end_of(trial: Trial) -> str:
    return "\n".join(f"     | {line}" for line in trial.output.splitlines()[-OUTPUT_LINES:])


def summary(defects: Sequence[Defect], missed: Sequence[Defect]) -> str:
    """Count by number: a defect is caught when each of its forms is."""
    planted = {defect.number for defect in defects}
    caught = planted - {defect.number for defect in missed}
    listed = {number for number in planted if number <= LISTED_MAX}
    parts = []
    if listed:
        parts.append(f"{len(caught & listed)} of {len(listed)} caught")
    if further := planted - listed:
        parts.append(f"of further ones {len(caught & further)} of {len(further)} caught")
    return "; ".join(parts)


if __name__ == "__main__":
    sys.exit(main())
