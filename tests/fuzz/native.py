"""``python -m tests.fuzz.native``: fuzz the compiled scanners, under the compiler's sanitizers.

The judges of ``python -m tests.fuzz`` ask what records mean; this asks whether memory is safe,
whether a scan ends, and whether its counts fit, of some ten thousand texts a second.
``native_main.c`` is the program, ``native_text.h`` makes the texts, ``native_judge.h`` judges.
"""

import argparse
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from tests.fuzz.case import KNOBS
from tests.fuzz.seeds import csv_seeds, json_seeds, ndjson_seeds

SCANNERS = Path(__file__).parents[2] / "app" / "decoders" / "native"
MAIN = Path(__file__).with_name("native_main.c")
FLAGS = ("-std=c11", "-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")

_SHOWN = 4000
"""Characters of what a program said before it died, from the end."""

_BROKEN = re.compile(r"^BROKEN execution (\d+): (.*)$", re.MULTILINE)


class NoSanitizers(Exception):
    """Nothing here compiles C with sanitizers: the text says what stood in the way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Why a program did not get to its end."""

    execution: int | None
    """Its number; ``None``: the program did not say."""

    reason: str
    told: str
    """All that was said, by the program and by the sanitizers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """How a run ended."""

    executions: int
    seconds: float
    findings: Sequence[Finding]


def compile_fuzzer(
    folder: Path, *, scanners: Path = SCANNERS, flags: Sequence[str] = FLAGS
) -> Path:
    """Compile the program and the scanners into ``folder``, and write its files there.

    Raises
    ------
    NoSanitizers
        When not even an empty program can be compiled so, or it does not run.
    RuntimeError
        When it is these sources that do not compile.
    """
    compiler = shlex.split(os.environ.get("CC") or "cc")
    if not shutil.which(compiler[0]):
        raise NoSanitizers(f"there is no C compiler {compiler[0]!r}")
    folder.mkdir(parents=True, exist_ok=True)
    empty = folder / "empty.c"
    empty.write_text("int main(void) { return 0; }\n")
    command = [*compiler, *flags, "-o"]
    for trial in ([*command, folder / "empty", empty], [folder / "empty"]):
        status, told = _run(trial)
        if status:
            raise NoSanitizers(f"{' '.join(map(str, trial))}:\n{told.strip()[-_SHOWN:]}")
    program = folder / "native"
    status, told = _run([*command, program, f"-I{scanners}", MAIN, *sorted(scanners.glob("*.c"))])
    if status:
        raise RuntimeError(f"the fuzzer does not compile:\n{told}")
    for number, (kind, text) in enumerate(_texts()):
        (folder / f"{number:02}.{kind}").write_bytes(text)
    return program


def _texts() -> list[tuple[str, bytes]]:
    """Return what the judges start from, apart from texts of two bytes a character."""
    texts = [("json", raw[KNOBS:]) for seeds in (json_seeds, ndjson_seeds) for raw in seeds()]
    texts += [("csv", raw[KNOBS:]) for raw in csv_seeds()]
    return [(kind, text) for kind, text in texts if b"\0" not in text]


def fuzz(program: Path, *, seed: int, executions: int, workers: int = 1) -> Tally:
    """Run the executions ``seed``, ``seed + 1``, … in so many processes.

    A process ends at its first finding, and the others go on.
    """
    began = time.monotonic()
    starts = [seed + executions * part // workers for part in range(workers + 1)]
    texts = sorted(str(path) for path in program.parent.glob("[0-9]*.*"))
    made, findings = 0, []
    with ExitStack() as running:
        stretches = [
            (first, end, running.enter_context(_started([program, first, end - first, *texts])))
            for first, end in pairwise(starts)
        ]
        for first, end, process in stretches:
            told, _ = process.communicate()
            finding = _finding(process.returncode, told) if process.returncode else None
            if finding is None:
                made += end - first
                continue
            findings.append(finding)
            made += finding.execution - first + 1 if finding.execution is not None else 0
    return Tally(executions=made, seconds=time.monotonic() - began, findings=findings)


@contextmanager
def _started(command: Sequence[object]) -> Iterator[subprocess.Popen[str]]:
    """Run a program for as long as somebody waits for it."""
    process = subprocess.Popen(
        [str(part) for part in command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def _finding(status: int, told: str) -> Finding:
    broken = _BROKEN.search(told)
    if broken is None:
        return Finding(execution=None, reason=f"the program ended with status {status}", told=told)
    return Finding(execution=int(broken[1]), reason=broken[2], told=told)


def _run(command: Sequence[object]) -> tuple[int, str]:
    with _started(command) as process:
        told, _ = process.communicate()
    return process.returncode, told


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.native", description=__doc__)
    parser.add_argument("--executions", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1, help="of the first; each has the next one")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    asked = parser.parse_args()
    os.nice(5)
    with tempfile.TemporaryDirectory() as folder:
        try:
            program = compile_fuzzer(Path(folder))
        except NoSanitizers as missing:
            print(f"*** The compiled scanners are NOT fuzzed: ***\n{missing}", file=sys.stderr)
            return 2
        workers = max(1, min(asked.workers, asked.executions))
        tally = fuzz(program, seed=asked.seed, executions=asked.executions, workers=workers)
    for finding in tally.findings:
        print(f"BROKEN {finding.reason}\n{finding.told[-_SHOWN:]}")
        if finding.execution is not None:
            print(f"       python -m tests.fuzz.native --seed {finding.execution} --executions 1")
    print(
        f"native  {tally.executions:>9,} executions in {tally.seconds:,.0f} s "
        f"({tally.executions / tally.seconds:,.0f}/s), {len(tally.findings)} findings"
    )
    return 1 if tally.findings else 0


if __name__ == "__main__":
    sys.exit(main())
