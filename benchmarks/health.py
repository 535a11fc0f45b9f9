"""How fast ``/healthz`` answers: idle, and while a file is delivered at full speed."""

import http.client
import threading
import time
from pathlib import Path
from statistics import median, quantiles
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

from benchmarks.options import Options, Samples
from benchmarks.receiving import running_sink
from benchmarks.running import now
from benchmarks.service import Request, RunningService, running_service
from benchmarks.tables import Row, Table

EVERY_S = 0.005
"""Between an answer and the next question: often enough for a 99th percentile in seconds."""

IDLE_S = 1.0


def measure(options: Options, samples: Samples) -> Table:
    """Ask again and again over one kept connection."""
    rows: list[Row] = []
    with (
        TemporaryDirectory(dir=samples.folder) as folder,
        running_sink() as sink,
        running_service(Path(folder, "ackline.db"), samples.folder) as service,
    ):
        for kind in (None, *options.formats):
            answers: list[list[float]] = []
            for _ in range(options.laps):
                over = threading.Event()
                asker = _Asker(service, over)
                asker.start()
                if kind is None:
                    time.sleep(IDLE_S)
                else:
                    file = samples.sized(kind, options.mb)[0]
                    sink.forget()
                    request = Request(file=file, url=sink.url, chunk_records=options.chunk)
                    service.until_completed(service.submit(request), sink)
                over.set()
                asker.join()
                if asker.failure is not None:
                    raise asker.failure
                answers.append(asker.milliseconds)
            rows.append(
                {
                    "meanwhile": str(kind or "idle"),
                    "answers": sum(map(len, answers)),
                    "p50 ms": median(median(lap) for lap in answers),
                    "p99 ms": median(
                        quantiles(lap, n=100, method="inclusive")[98] for lap in answers
                    ),
                    "slowest ms": max(map(max, answers)),
                }
            )
    return Table(
        part="health",
        title="Answers of /healthz",
        note="Asked over one kept connection by a client on the same cores, so its own waiting "
        "for a core counts. Percentiles of each lap, then their median.",
        rows=rows,
    )


class _Asker(threading.Thread):
    def __init__(self, service: RunningService, over: threading.Event) -> None:
        super().__init__()
        self.milliseconds: list[float] = []
        self.failure: Exception | None = None
        self._over = over
        self._host = urlsplit(service.address).netloc

    def run(self) -> None:
        try:
            self._ask()
        except Exception as failure:  # noqa: BLE001 - raised again by who waits for this thread
            self.failure = failure

    def _ask(self) -> None:
        connection = http.client.HTTPConnection(self._host, timeout=30)
        connection.connect()
        while not self._over.wait(EVERY_S):
            began = now()
            connection.request("GET", "/healthz")
            answer = connection.getresponse()
            answer.read()
            if answer.status != 200:
                raise RuntimeError(f"/healthz answered {answer.status}")
            self.milliseconds.append((now() - began) * 1e3)
        connection.close()
