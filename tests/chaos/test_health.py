"""``/healthz`` stays quick while files are decoded as fast as it goes (fault P6).

The receiver does nothing but acknowledge. A service that has nothing to do is asked in
turns with the one that works: how long that one takes is the machine's doing.
"""

import time
from contextlib import ExitStack
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


class Prober:
    """Asks one service how it is, by a new connection each time, as a probe does."""

    def __init__(self, service: Service) -> None:
        self._url = f"{service.url}/healthz"
        self._took_s: list[float] = []

    def probe(self) -> None:
        start = time.perf_counter()
        answer = httpx.get(self._url, timeout=PATIENCE_S, trust_env=False, verify=False)
        self._took_s.append(time.perf_counter() - start)
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
