"""The service as a process, and what is asked of it."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from pydantic import BaseModel

from benchmarks.receiving import RunningSink
from benchmarks.running import first_line, now, python

FILE_TYPES = {".json": "json", ".ndjson": "ndjson", ".csv": "csv", ".xlsx": "excel"}
LIVE = {"QUEUED", "RUNNING", "WAITING", "COMPLETING"}
GLANCE_S = 0.5
"""How long the end is waited for before a look at whether there was a failure instead."""

READY_S = 30.0


class Refused(Exception):
    """The service does not take what was asked."""


class Failed(Exception):
    """An ingestion ended, but not well."""


class _Counts(BaseModel):
    delivered: int


class Shown(BaseModel):
    """What the API shows of an ingestion, as far as it matters here."""

    state: str
    counts: _Counts
    chunks_acked: int
    error: object = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A file to deliver."""

    file: Path
    url: str
    chunk_records: int
    verbatim: bool = False


class RunningService:
    """A client of one service."""

    def __init__(self, pid: int, address: str) -> None:
        self.pid = pid
        self.address = address
        self._http = httpx.Client(base_url=address, timeout=60, trust_env=False)

    def close(self) -> None:
        """Hang up."""
        self._http.close()

    def until_ready(self) -> None:
        """Return when it takes work."""
        deadline = now() + READY_S
        while now() < deadline:
            try:
                if self._http.get("/readyz").is_success:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.002)
        raise RuntimeError("the service does not become ready")

    def submit(self, request: Request) -> str:
        """Ask for a new version of a file; raises `Refused`."""
        body: dict[str, object] = {
            "file_path": str(request.file),
            "file_type": FILE_TYPES[request.file.suffix],
            "callback_url": request.url,
            "chunk_size_by_records": request.chunk_records,
            "re_ingestion": True,
        }
        if request.verbatim:
            body["options"] = {"canonical": False}
        response = self._http.post("/api/ingest", json=body)
        if not response.is_success:
            problem = response.json()
            raise Refused(f"{problem.get('code')}: {problem.get('detail')}")
        return str(response.json()["ingestion_id"])

    def show(self, ingestion_id: str) -> Shown:
        """Look at an ingestion."""
        response = self._http.get(f"/api/ingestions/{ingestion_id}")
        return Shown.model_validate_json(response.raise_for_status().content)

    def check(self, ingestion_id: str) -> Shown:
        """Look at an ingestion that must go well; raises `Failed`."""
        shown = self.show(ingestion_id)
        if shown.state != "COMPLETED" and shown.state not in LIVE:
            raise Failed(f"{ingestion_id} is {shown.state}: {shown.error}")
        return shown

    def until_told(self, ingestion_id: str, sink: RunningSink) -> None:
        """Return when the completion has arrived at the sink; raises `Failed`. No polling."""
        while not sink.wait(timeout_s=GLANCE_S, completed=1):
            self.check(ingestion_id)

    def until_completed(self, ingestion_id: str, sink: RunningSink | None = None) -> Shown:
        """Return when the ingestion is COMPLETED; raises `Failed`.

        With a sink, nobody polls the service before the completion arrived there.
        """
        if sink is not None:
            self.until_told(ingestion_id, sink)
        while (shown := self.check(ingestion_id)).state != "COMPLETED":
            time.sleep(GLANCE_S / 10 if sink is None else 0.002)
        return shown


@contextmanager
def running_service(
    database: Path,
    *roots: Path,
    wait_ready: bool = True,
    group: Path | None = None,
    **settings: str,
) -> Iterator[RunningService]:
    """Run a service on a port from the kernel; it says itself which one it got.

    ``group`` is the control group that it shall live in.
    """
    with python(
        *(("benchmarks.confined", str(group)) if group else ()),
        *("app.cli", "serve", "--port", "0"),
        INGEST_DATABASE_PATH=str(database),
        INGEST_SOURCE_ROOTS=json.dumps([str(root) for root in roots]),
        INGEST_CALLBACK_ALLOW='["127.0.0.1"]',
        INGEST_LOG_LEVEL="error",
        **settings,
    ) as process:
        service = RunningService(process.pid, first_line(process).rpartition(" ")[2])
        try:
            if wait_ready:
                service.until_ready()
            yield service
        finally:
            service.close()


def takes_verbatim(service: RunningService, file: Path, sink: RunningSink) -> str:
    """Return why the service has no verbatim mode; empty when it has one."""
    try:
        request = Request(file=file, url=sink.url, chunk_records=1_000, verbatim=True)
        service.until_completed(service.submit(request), sink)
    except (Refused, Failed) as error:
        return str(error)
    finally:
        sink.forget()
    return ""
