"""Fuzz one format in a process of its own: ``python -m tests.fuzz.child``.

Guided by coverage where atheris is, by chance alone where it is not. Before a case is judged
it lies in the watched file, so that a crash or a hang of this process gives it away.
"""

import argparse
import importlib
import importlib.util
import signal
import sys
import time
import traceback
from collections.abc import Callable
from hashlib import sha256
from itertools import count
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from tests.fuzz.watched import HANG_S, Watched

if TYPE_CHECKING:
    from tests.fuzz.formats import Format

INSTRUMENTED = ["app.decoders", "app.domain.canonical", "app.domain.record_path"]


class Suspect:
    """Judges cases one after the other; keeps those that break the rule, one of a kind."""

    def __init__(self, kind: str, judge: "Callable[[bytes], None]", folder: Path) -> None:
        self._kind = kind
        self._judge = judge
        self._folder = folder
        self._watched = Watched(folder / f"{kind}.now")
        self._known: set[str] = set()

    def __call__(self, raw: bytes) -> None:
        """Judge one case, for at most `HANG_S` seconds of CPU, or die by a signal."""
        self._watched.begins(raw)
        signal.setitimer(signal.ITIMER_VIRTUAL, HANG_S)
        try:
            self._judge(raw)
        except Exception as error:
            self._keep(raw, error)
        finally:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)

    def _keep(self, raw: bytes, error: Exception) -> None:
        steps = traceback.extract_tb(error.__traceback__)[-2:]
        sort = f"{type(error).__name__} {[(step.filename, step.lineno) for step in steps]}"
        if sort in self._known:
            return
        self._known.add(sort)
        name = f"{self._kind}-{sha256(sort.encode()).hexdigest()[:8]}"
        (self._folder / name).write_bytes(raw)
        self._watched.found()
        print(f"BROKEN {type(error).__name__}: {error}"[:2000])
        print(f"       python -m tests.fuzz --replay {self._folder / name}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.child")
    parser.add_argument("format")
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--findings", type=Path, required=True)
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--runs", type=int, default=0, help="end after so many; 0: by time")
    asked = parser.parse_args()
    guided = importlib.util.find_spec("atheris") is not None
    chosen = _loaded(asked.format, guided=guided)
    suspect = Suspect(asked.format, _judging(chosen), asked.findings)
    if guided:
        _guided(asked, chosen, suspect)
    else:
        _by_chance(asked, chosen, suspect)


def _loaded(kind: str, *, guided: bool) -> "Format":
    if not guided:
        from tests.fuzz.formats import FORMATS

        return FORMATS[kind]
    atheris = importlib.import_module("atheris")
    with atheris.instrument_imports(include=INSTRUMENTED):
        from tests.fuzz.formats import FORMATS

        return FORMATS[kind]


def _judging(chosen: "Format") -> "Callable[[bytes], None]":
    from tests.fuzz.case import Case

    return lambda raw: chosen.judge(Case.of(raw))


def _guided(asked: argparse.Namespace, chosen: "Format", suspect: Suspect) -> None:
    """Never returns: libFuzzer ends the process."""
    atheris = importlib.import_module("atheris")
    from tests.fuzz.mutation import BYTES_MAX

    for number, raw in enumerate(chosen.seeds()):
        (asked.corpus / f"seed-{number}").write_bytes(raw)
    words = asked.findings / f"{asked.format}.words"
    words.write_text(
        "".join(
            '"' + "".join(f"\\x{byte:02x}" for byte in token) + '"\n' for token in chosen.tokens
        )
    )
    arguments = [
        *(sys.argv[0], str(asked.corpus), f"-dict={words}", f"-seed={asked.seed + 1}"),
        *(f"-max_total_time={int(asked.seconds)}", f"-max_len={BYTES_MAX}", "-timeout=3600"),
        *(f"-runs={asked.runs or -1}", "-print_final_stats=0", "-rss_limit_mb=0"),
        *(
            "-reload=0",
            f"-artifact_prefix={asked.findings}/libfuzzer-",
            "-handle_segv=0",
            "-handle_bus=0",
            "-handle_abrt=0",
            "-handle_fpe=0",
        ),
    ]
    atheris.Setup(arguments, suspect)
    atheris.Fuzz()


def _by_chance(asked: argparse.Namespace, chosen: "Format", suspect: Suspect) -> None:
    from tests.fuzz.mutation import mutated

    rng = Random(asked.seed)
    corpus = list(chosen.seeds())
    corpus += [path.read_bytes() for path in sorted(asked.corpus.iterdir())]
    for raw in corpus:
        suspect(raw)
    end = time.monotonic() + asked.seconds
    for run in count():
        if time.monotonic() >= end or (asked.runs and run >= asked.runs):
            return
        suspect(mutated(rng, corpus, chosen.tokens))


if __name__ == "__main__":
    main()
