"""``/healthz`` stays quick while files are decoded as fast as it goes (fault P6).

The receiver does nothing but acknowledge. What is the machine's doing does not count: a
service that has nothing to do is asked in turns with the one that works, and of the time that an
answer took, that for which a thread of the service, or we, could have run and were not let.
"""

import os
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from statistics import quantiles

import httpx
import pytest

from benchmarks.receiving import RunningSink, running_sink
from tests.support.plain_readings import sample
from tests.support.processes import PATIENCE_S, Service

REQUESTS = 200
P99_S_MAX = 0.2
SIDE_BY_SIDE = 2
"""Ingestions at a time, so that one is being decoded while another begins or ends."""

RECORDS = 30_000
"""In a file: about 15 MB of JSON."""


def kept_waiting_s(*pids: int) -> float:
    """Return how long the threads of some processes have waited for a processor, all together."""
    waited_ns = 0
    for pid in pids:
        for path in Path(f"/proc/{pid}/task").glob("*/schedstat"):
            with suppress(OSError):  # it has just ended
                waited_ns += int(path.read_text().split()[1])
    return waited_ns / 1e9


class Prober:
    """Asks one service how it is, by a new connection each time, as a probe does."""

    def __init__(self, service: Service) -> None:
        self._url = f"{service.url}/healthz"
        self._pids = (service.pid, os.getpid())
        self._took_s: list[float] = []

    def probe(self) -> None:
        start, waited_s = time.perf_counter(), kept_waiting_s(*self._pids)
        answer = httpx.get(self._url, timeout=PATIENCE_S, trust_env=False, verify=False)
        waited_s = kept_waiting_s(*self._pids) - waited_s
        self._took_s.append(time.perf_counter() - start - waited_s)
        assert answer.status_code == 200

    @property
    def p99_s(self) -> float:
        return quantiles(self._took_s, n=100, method="inclusive")[-1]


def probe(working: Service, idle: Service, sink: RunningSink, file: Path) -> tuple[float, int]:
    """Ask while the file is delivered again and again.

    Returns the time of 99 of 100 answers beyond the idle service's, and the ingestions.
    """
    kind = file.suffix.removeprefix(".")
    asked, beside = Prober(working), Prober(idle)
    live: list[str] = []
    ended: list[str] = []
    for number in range(REQUESTS):
        if number % 5 == 0:
            ended += [one for one in live if working.show(one)["state"] == "COMPLETED"]
            live = [one for one in live if one not in ended]
            while len(live) < SIDE_BY_SIDE:
                anew = bool(live or ended)
                live.append(working.submit(file, kind, sink.url, re_ingestion=anew))
        asked.probe()
        beside.probe()
    print(f"{kind}: {asked.p99_s:.3f} s, idle {beside.p99_s:.3f} s; ended meanwhile: {len(ended)}")
    for one in live + ended:
        shown = working.ended(one)
        assert (shown["state"], shown["counts"]["delivered"]) == ("COMPLETED", RECORDS)
    return asked.p99_s - beside.p99_s, len(live + ended)


@pytest.mark.timeout(300)
def test_healthz_is_quick_while_files_are_decoded(tmp_path: Path, stack: ExitStack) -> None:
    sink = stack.enter_context(running_sink(audit="chunks"))
    limits = {"INGEST_INGESTIONS_RUNNING_MAX": str(SIDE_BY_SIDE)}
    working = stack.enter_context(Service(tmp_path, sink.address, **limits))
    (tmp_path / "idle").mkdir()
    idle = stack.enter_context(Service(tmp_path / "idle", sink.address))
    ingestions = 0
    for kind in ("json", "ndjson", "csv"):
        file = sample(tmp_path, kind, records=RECORDS)
        p99_s, count = probe(working, idle, sink, file)
        assert p99_s < P99_S_MAX
        ingestions += count
    report = sink.report()
    assert (report.chunks_missing, report.chunks_twice) == (0, 0)
    assert len(report.chunks_of) == ingestions
    assert working.troubles() == idle.troubles() == []
