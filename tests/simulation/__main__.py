"""``python -m tests.simulation``: a million schedules, or one with its trace."""

import argparse
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from os import cpu_count, nice
from signal import SIG_IGN, SIGINT, signal

from tests.simulation.database import remove_database
from tests.simulation.soak import Tally, replay_command, run, run_all, told

BATCH = 250
"""Schedules that one process runs before it says how it went."""

SILENCE_S = 10.0
"""Between two lines of progress."""


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
    whole, reached, end = Tally(), start, start + schedules
    batches = [range(at, min(at + BATCH, end)) for at in range(start, end, BATCH)]
    began = said_at = now = time.monotonic()
    with ProcessPoolExecutor(workers, initializer=_begin) as pool:
        try:
            # In their order, so that one number says where to go on.
            for batch, tally in zip(batches, pool.map(_run_whole, batches), strict=True):
                whole.add(tally)
                reached = batch.stop
                for seed, text in tally.broken.items():
                    print(f"BROKEN {text}\n       {replay_command(seed)}", flush=True)
                now = time.monotonic()
                if now - said_at > SILENCE_S:
                    said_at = now
                    print(_progress(whole, schedules, now - began), flush=True)
        except KeyboardInterrupt:
            print("stopped: the batches under way end first, and do not count", flush=True)
        finally:
            pool.shutdown(cancel_futures=True)
    if whole.broken:
        print(told(min(whole.broken)))
        remove_database()
    print(_summary(whole, start, now - began, workers))
    if reached < end:
        print(f"go on: python -m tests.simulation --start {reached} --schedules {end - reached}")
    return 1 if whole.broken or reached < end else 0


def _begin() -> None:
    """Be a worker: leave Ctrl-C to the one who sums up, and the machine to others."""
    signal(SIGINT, SIG_IGN)
    nice(5)


def _run_whole(seeds: range) -> Tally:
    return run_all(seeds, broken_max=len(seeds))


def _progress(whole: Tally, schedules: int, took: float) -> str:
    rate = whole.schedules / took
    left_s = (schedules - whole.schedules) / rate
    return (
        f"{whole.schedules:>9,} of {schedules:,} schedules, {rate:,.0f}/s, "
        f"{left_s / 60:,.0f} min left, {len(whole.broken)} broken"
    )


def _summary(whole: Tally, start: int, took: float, workers: int) -> str:
    """Return the figures, with a row for the table of docs/reliability.md at their end."""
    rate = whole.schedules / took if took else 0.0
    command = f"python -m tests.simulation --start {start} --schedules {whole.schedules}"
    cells = (
        *(
            f"{datetime.now(tz=UTC):%Y-%m-%d}",
            f"`{command}`",
            f"{whole.schedules:,}",
            f"{whole.sqlite:,}",
        ),
        *(f"{whole.messages:,}", f"{whole.kills:,}", _counted(whole.states)),
        *(f"{took:,.0f} s, {rate:,.0f}/s with {workers} workers", str(len(whole.broken))),
    )
    return "\n".join(
        (
            f"{whole.steps:,} steps, {whole.virtual_s / 86_400:,.1f} virtual days",
            f"happened: {_counted(whole.happened)}",
            f"| {' | '.join(cells)} |",
        )
    )


def _counted(counts: "dict[str, int]") -> str:
    return ", ".join(f"{name} {count:,}" for name, count in sorted(counts.items()))


if __name__ == "__main__":
    sys.exit(main())
