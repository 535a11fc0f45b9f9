"""Watch a fuzzing process: start it again when it dies, and keep what it died of."""

import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from tests.fuzz.watched import Watched

_COVERAGE = re.compile(r"\bcov: \d+ ft: \d+ corp: \d+")
_DEATHS_MAX = 20
_HANGS = signal.SIGVTALRM


@dataclass(slots=True, kw_only=True)
class Tally:
    """How a format fared."""

    runs: int
    seconds: float
    findings: int
    coverage: str
    """As libFuzzer says it; empty where nothing guides."""


def fuzz(kind: str, *, seconds: float, corpus: Path, findings: Path, seed: int, runs: int) -> Tally:
    """Fuzz one format for so long, in as many processes as it takes."""
    corpus.mkdir(parents=True, exist_ok=True)
    findings.mkdir(parents=True, exist_ok=True)
    now = findings / f"{kind}.now"
    now.unlink(missing_ok=True)
    watched = Watched(now)
    began = time.monotonic()
    deaths, coverage = 0, ""
    while (left := seconds - (time.monotonic() - began)) > 0 and deaths < _DEATHS_MAX:
        command = [sys.executable, "-m", "tests.fuzz.child", kind, f"--seconds={left}"]
        command += [f"--seed={seed + deaths}", f"--findings={findings}", f"--corpus={corpus}"]
        with (findings / f"{kind}.log").open("w+") as log:
            code = subprocess.run([*command, f"--runs={runs}"], stderr=log, check=False).returncode
            log.seek(0)
            told = log.read()
        coverage = ["", *_COVERAGE.findall(told)][-1]
        if code == 0:
            break
        deaths += 1
        _keep(kind, code, watched.case(), findings, told)
    counted, found = watched.counts()
    watched.close()
    now.unlink()
    return Tally(
        runs=counted,
        seconds=time.monotonic() - began,
        findings=found + deaths,
        coverage=coverage,
    )


def _keep(kind: str, code: int, case: bytes, findings: Path, told: str) -> None:
    what = "hang" if code == -_HANGS else "crash"
    path = findings / f"{kind}-{what}-{sha256(case).hexdigest()[:8]}"
    path.write_bytes(case)
    how = signal.Signals(-code).name if code < 0 else f"status {code}"
    print(f"BROKEN {what}: the process ended with {how}\n{told[-2000:]}")
    print(f"       python -m tests.fuzz --replay {path}", flush=True)
