"""What it costs, measured: ``python -m benchmarks [part …]``.

Everything that is compared takes turns in one run, on the same generated files, with a lean
sink as the receiver; a ratio is the median of the ratios within each turn. Without a part,
all of them are measured.

  throughput  end to end, every format, against the naive pipeline and the floor
  chunks      the same at several chunk sizes
  delays      a receiver that takes its time
  memory      peak of all service processes, by size of the file
  resume      SIGKILL in the middle: time until the first new chunk, nothing missing
  health      how fast /healthz answers meanwhile
  many        many ingestions at once to slow receivers
  stages      what each step costs alone
  start       start-up, and what an idle service takes
"""

import argparse
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import gettempdir

from app.samples.formats import SampleFormat
from benchmarks import health, many, memory, resume, stages, starting, throughput
from benchmarks.options import Options, Samples, samples
from benchmarks.running import end_tidily, now
from benchmarks.tables import Machine, Table, as_json, between_markers

README = Path(__file__).parents[1] / "README.md"
IN_README = ("throughput", "chunks", "delays", "memory", "resume", "health", "many", "start")

PARTS: Mapping[str, Callable[[Options, Samples], Table]] = {
    "throughput": throughput.formats,
    "chunks": throughput.chunks,
    "delays": throughput.delays,
    "memory": memory.measure,
    "resume": resume.measure,
    "health": health.measure,
    "many": many.measure,
    "stages": stages.measure,
    "start": starting.measure,
}


def main() -> None:
    """Measure, and print tables in Markdown."""
    end_tidily()
    parser = arguments()
    asked = parser.parse_args()
    if asked.laps < 1:
        parser.error("there is no median of no laps")
    options = chosen(asked)
    machine = Machine.here()
    told = sys.stderr if asked.json == "-" else sys.stdout
    print(f"{machine.line(options.laps)}\n", file=told, flush=True)
    tables = []
    with samples(options) as made:
        for part in asked.parts or PARTS:
            began = now()
            tables.append(PARTS[part](options, made))
            print(f"{tables[-1].markdown()}\n", file=told, flush=True)
            print(f"{part}: {now() - began:.0f} s", file=sys.stderr, flush=True)
    if asked.json == "-":
        sys.stdout.buffer.write(as_json(machine, options.laps, tables))
    elif asked.json:
        Path(asked.json).write_bytes(as_json(machine, options.laps, tables))
    if asked.write_readme:
        parts = [table.markdown() for table in tables if table.part in IN_README]
        content = "\n".join([f"{machine.line(options.laps)}\n", *parts])
        text = README.read_text(encoding="utf-8")
        README.write_text(between_markers(text, content), encoding="utf-8")


def arguments() -> argparse.ArgumentParser:
    """Return what can be asked for."""
    options = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    options.add_argument("parts", nargs="*", metavar="part", choices=[[], *PARTS])
    add = options.add_argument
    add("--laps", type=int, default=5, help="turns; fewer than 5 is a quick look (%(default)s)")
    add("--mb", type=float, default=50, help="of each sample; of XLSX, unpacked (%(default)s)")
    add("--chunk", type=int, default=1_000, help="records in a chunk (%(default)s)")
    add("--formats", nargs="+", choices=[*SampleFormat], default=[*SampleFormat])
    add("--chunk-sizes", type=int, nargs="+", default=[10, 100, 1_000, 10_000], help="chunks")
    add("--delays-ms", type=float, nargs="+", default=[0, 20], help="delays")
    add("--memory-mb", type=float, nargs="+", default=[20, 100], help="memory: sizes of files")
    add("--kernel-limit-mb", type=int, help="memory: the service in a control group (root)")
    add("--resume-mb", type=float, default=100, help="resume: size of the file (%(default)s)")
    add("--places", type=int, nargs="+", default=[5, 50, 95], help="resume: percent of the file")
    add("--ingestions", type=int, nargs="+", default=[1, 10, 100, 1_000], help="many")
    add("--window-s", type=float, default=15, help="many: how long each is watched (%(default)s)")
    add("--memory-limit-mb", type=int, default=0, help="many: stop above it (half the machine's)")
    add("--no-verbatim", action="store_true", help="throughput: without verbatim mode")
    add("--naive-by-line", action="store_true", help="throughput: naive reads NDJSON by json.loads")
    add("--scratch", type=Path, default=Path(gettempdir()), help="where files are made, removed")
    add("--json", metavar="FILE", help="write figures for programs; - for standard output")
    add("--write-readme", action="store_true", help="put the tables into README.md")
    return options


def chosen(asked: argparse.Namespace) -> Options:
    """Return the options of the command line."""
    return Options(
        scratch=asked.scratch,
        laps=asked.laps,
        mb=asked.mb,
        chunk=asked.chunk,
        formats=tuple(map(SampleFormat, asked.formats)),
        chunk_sizes=tuple(asked.chunk_sizes),
        delays_ms=tuple(asked.delays_ms),
        memory_mb=tuple(asked.memory_mb),
        kernel_limit_mb=asked.kernel_limit_mb,
        resume_mb=asked.resume_mb,
        places=tuple(asked.places),
        ingestions=tuple(asked.ingestions),
        window_s=asked.window_s,
        memory_limit_mb=asked.memory_limit_mb or many.half_of_the_machine_mb(),
        verbatim=not asked.no_verbatim,
        naive_by_line=asked.naive_by_line,
    )


if __name__ == "__main__":
    main()
