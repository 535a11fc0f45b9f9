"""``python -m benchmarks``: ackline against the naive pipeline, in turn, in one run."""

import argparse
import platform
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from app.samples.formats import SampleFormat, write
from benchmarks.end_to_end import compare, median


def main() -> None:
    """Measure and print a table in Markdown."""
    options = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    options.add_argument("--records", type=int, default=200_000, help="in each sample")
    options.add_argument("--chunk", type=int, default=1_000, help="records in a chunk")
    options.add_argument("--laps", type=int, default=5, help="of each, in turn")
    options.add_argument("--formats", nargs="+", default=["json", "ndjson", "csv"])
    chosen = options.parse_args()

    print(
        f"{datetime.now(UTC):%Y-%m-%d}, {platform.machine()}, Python {platform.python_version()}, "
        f"{chosen.records:,} records, chunks of {chosen.chunk:,}, median of {chosen.laps} laps\n"
    )
    print("| format | MB | ackline MB/s | records/s | CPU s/GB | peak MB | naive MB/s | ratio |")
    print("|---|---|---|---|---|---|---|---|")
    with TemporaryDirectory(prefix="ackline-bench-") as folder:
        for kind in map(SampleFormat, chosen.formats):
            file = Path(folder, f"sample.{kind}")
            with file.open("wb") as target:
                write(target, kind, records=chosen.records, progress=lambda _: None)
            megabytes = file.stat().st_size / 1e6
            ours, theirs = compare(file, chosen.chunk, chosen.laps)
            seconds, naive_seconds = (
                median(ours, lambda lap: lap.seconds),
                median(theirs, lambda lap: lap.seconds),
            )
            cpu = median(ours, lambda lap: lap.cpu_seconds) / megabytes * 1e3
            print(
                f"| {kind} | {megabytes:.0f} | {megabytes / seconds:.0f} "
                f"| {chosen.records / seconds:,.0f} | {cpu:.1f} "
                f"| {max(lap.peak_mb for lap in ours):.0f} | {megabytes / naive_seconds:.1f} "
                f"| {naive_seconds / seconds:.1f} × |",
                flush=True,
            )


if __name__ == "__main__":
    main()
