"""Whatever is entrusted to the service stays out of its logs, at every level."""

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest

from app.control.keys import KEY_PREFIX, digest_of
from tests.support.processes import Service

MARK = "c4n4ry"
"""Part of everything planted."""

SECRET = f"{MARK}-signing-secret-of-32-bytes-".encode()
KEY = f"ackline_{MARK}-right-key"
NASTY_NAME = f"{MARK}\x1b[2J\x1b]0;owned\x07\r\n\x9b31m\u202e\u2028.json"
CODES = {"TRUNCATED", "DUPLICATE_HEADER", "AMBIGUOUS_RECORDS", "RECEIVER_REJECTED"}


class _Echo(BaseHTTPRequestHandler):
    """Answers with what it got, refuses twice, then acknowledges; ``/never`` always refuses."""

    refusals = 0

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        echo = f"{self.path} {self.headers} {body}"
        answer: tuple[int, dict[str, object]] = (200, {"ack": True})
        if self.path.startswith("/never"):
            answer = (400, {"detail": echo})
        elif type(self).refusals < 2:
            type(self).refusals += 1
            again: list[tuple[int, dict[str, object]]] = [
                (200, {"ack": False, "error": "NOT_YET", "message": echo}),
                (500, {"trace": echo}),
            ]
            answer = again[type(self).refusals - 1]
        content = json.dumps(answer[1]).encode()
        self.send_response(answer[0])
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
        pass


@contextmanager
def echoing() -> Iterator[str]:
    _Echo.refusals = 0
    with ThreadingHTTPServer(("127.0.0.1", 0), _Echo) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def planted(folder: Path) -> Iterator[tuple[str, str]]:
    """Make files that are delivered, and files that fail in ways that quote them."""
    texts = {
        "good.ndjson": f'{{"{MARK}-key":"{MARK}-value"}}\n' * 5,
        f"{MARK}-cut.json": f'[{{"a":"{MARK}"}},{{"{MARK}":',
        "headers.csv": f"{MARK},{MARK}\n1,2\n",
        "two.json": f'{{"{MARK}a":[{{"x":1}}],"{MARK}b":[{{"x":2}}]}}',
        "never.ndjson": f'{{"a":"{MARK}"}}\n',
        NASTY_NAME: f'[{{"a":"{MARK}"}}',
    }
    for name, text in texts.items():
        (folder / name).write_text(text)
        yield str(folder / name), name.rpartition(".")[2]


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_no_canary_is_found_in_any_log(tmp_path: Path, log_format: str) -> None:
    with echoing() as receiver:
        origin = f"http://{receiver}"
        service = Service(
            tmp_path,
            receiver,
            INGEST_LOG_LEVEL="debug",
            INGEST_LOG_FORMAT=log_format,
            INGEST_API_KEYS=json.dumps({"x": {"scope": "admin", "sha256": [digest_of(KEY)]}}),
            INGEST_SECRETS=json.dumps({origin: ["whsec_" + base64.b64encode(SECRET).decode()]}),
            INGEST_CALLBACK_HEADERS=json.dumps({origin: {"X-Token": f"{MARK}-header"}}),
        )
        with service, httpx.Client(base_url=service.url, trust_env=False, timeout=60) as http:
            codes = _use(http, tmp_path, origin)
            assert service.terminate() == 0

    assert codes >= CODES
    log = (tmp_path / "service.log").read_bytes().decode()
    lines = log.splitlines()
    for needle in (
        *(MARK, KEY, digest_of(KEY), base64.b64encode(SECRET).decode(), KEY_PREFIX),
        *("token=", "user:", "\x1b", "\x9b"),
    ):
        assert needle not in log, [line for line in lines if needle in line]
    assert all(line.isprintable() for line in lines)
    assert max(map(len, lines)) < 5000
    # It did log: a debug line for each chunk, and a reason for whatever stopped.
    assert sum("ChunkAcked" in line for line in lines) >= 1
    assert all(any(code in line for line in lines) for code in CODES)


def _use(http: httpx.Client, folder: Path, origin: str) -> set[str]:
    """Do all that could carry a canary into a log. Returns the codes that came of it."""
    for refused in (
        http.get("/api/ingestions"),
        http.get(f"/api/ingestions?api_key={MARK}", headers={"Authorization": f"Bearer {MARK}"}),
    ):
        assert refused.status_code == 401
    http.headers["Authorization"] = f"Bearer {KEY}"
    for path in (
        f"/api/{MARK}%1b%5b31m%0a",
        f"/api/ingestions/{MARK}",
        f"/api/ingestions?{MARK}={MARK}",
    ):
        assert http.get(path).status_code in (404, 422)
    ids: list[str] = []
    for file, kind in planted(folder):
        path = "/never" if "never" in file else "/in"
        body = {
            "file_path": file,
            "file_type": kind,
            "callback_url": f"{origin}{path}?token={MARK}",
            "metadata": {"a": MARK},
        }
        for wrong in (
            {"callback_url": f"http://user:{MARK}@127.0.0.1/"},
            {"file_path": f"/etc/{MARK}\x1b[31m"},
            {"file_path": f"{MARK}\udcff"},
            {MARK: MARK},
            {"file_type": MARK},
        ):
            answer = http.post("/api/ingest", content=json.dumps(body | wrong), headers=_JSON)
            assert 400 <= answer.status_code < 500, answer.text
        headers = {"Idempotency-Key": f"{MARK}-{len(ids)}"}
        answer = http.post("/api/ingest", json=body, headers=headers)
        assert answer.status_code == 202, answer.text
        ids.append(answer.json()["ingestion_id"])
    codes = set()
    for ingestion_id in ids:
        while (view := http.get(f"/api/ingestions/{ingestion_id}").json())["state"] in (
            *("QUEUED", "RUNNING", "WAITING", "COMPLETING"),
        ):
            pass
        codes.add(view["error"]["code"] if view["error"] else view["state"])
    return codes


_JSON = {"Content-Type": "application/json"}
