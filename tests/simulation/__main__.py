"""``python -m tests.simulation``: a million schedules, or one with its trace."""

import argparse
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from os import cpu_count, nice

from tests.simulation.soak import Tally, replay_command, run, run_all, told

BATCH = 500
"""Schedules that one process runs before it says how it went."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, help="run this schedule alone and show its trace")
    parser.add_argument("--schedules", type=int, default=1_000_000)
    parser.add_argument("--start", type=int, default=0, help="the first seed")
    parser.add_argument("--workers", type=int, default=cpu_count() or 1)
    asked = parser.parse_args()
    if asked.seed is not None:
        return _replay(asked.seed)
    return _soak(asked.start, asked.schedules, asked.workers)


def _replay(seed: int) -> int:
    trace: list[str] = []
    outcome = run(seed, trace=trace)
    print("\n".join(trace))
    print(f"{outcome.steps} steps, {outcome.messages} messages, {outcome.seconds:.1f} virtual s")
    for state in outcome.states.items():
        print(*state)
    for accusation in outcome.accusations:
        print(f"BROKEN {accusation.rule}: {accusation.text}")
    return 1 if outcome.accusations else 0


def _soak(start: int, schedules: int, workers: int) -> int:
    began = time.monotonic()
    said_at = 0.0
    whole = Tally()
    end = start + schedules
    batches = [range(at, min(at + BATCH, end)) for at in range(start, end, BATCH)]
    with ProcessPoolExecutor(workers, initializer=nice, initargs=(5,)) as pool:
        for tally in pool.map(run_all, batches):
            whole.add(tally)
            for seed, text in tally.broken.items():
                print(f"BROKEN {text}\n       {replay_command(seed)}", flush=True)
            took = time.monotonic() - began
            if took - said_at > 10:
                said_at = took
                print(
                    f"{whole.schedules:>9,} schedules, {whole.schedules / took:,.0f}/s, "
                    f"{len(whole.broken)} broken",
                    flush=True,
                )
    if whole.broken:
        print(told(min(whole.broken)))
    took = time.monotonic() - began
    print(
        f"{whole.schedules:,} schedules ({whole.sqlite:,} on SQLite) in {took:,.0f} s with "
        f"{workers} workers, {whole.schedules / took:,.0f}/s: {whole.messages:,} messages, "
        f"{whole.steps:,} steps, {whole.virtual_s / 86_400:,.0f} virtual days"
    )
    print("ended as: " + _counted(whole.states))
    print("happened: " + _counted(whole.happened))
    print(f"broken: {len(whole.broken)}")
    return 1 if whole.broken else 0


def _counted(counts: "dict[str, int]") -> str:
    return ", ".join(f"{name} {count:,}" for name, count in sorted(counts.items()))


if __name__ == "__main__":
    sys.exit(main())
