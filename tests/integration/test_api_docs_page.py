"""``/docs`` as a browser shows it, on a machine from which nothing can be reached."""

import asyncio
import json
import os
import re
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass
from html import unescape
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.integration.test_api_serving import Served, a_service

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
)

pytestmark = pytest.mark.skipif(
    not BROWSER,
    reason="NO BROWSER: nobody has looked at /docs. Debian, Ubuntu: apt install chromium",
)


@dataclass(frozen=True)
class Rendered:
    """What became of the page."""

    html: str
    complaints: list[str]
    """What its scripts wrote to the console."""
    requests: list[str]
    """What it asked for; what the browser wants for itself is not in it."""

    @property
    def text(self) -> str:
        return unescape(re.sub(r"<[^>]*>", "", self.html))

    def operations(self) -> set[str]:
        found = re.findall(
            r'opblock-summary-method">(\w+)<.*?data-path="([^"]+)"', self.html, re.DOTALL
        )
        return {f"{method} {path}" for method, path in found}


async def rendered(url: str, folder: Path) -> Rendered:
    """Let a browser render ``url``, in virtual time, with no name resolved but this machine's."""
    log = folder / "net.json"
    process = await asyncio.create_subprocess_exec(
        *(BROWSER, "--headless", "--disable-gpu", "--no-first-run", "--disable-sync"),
        *(
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-dev-shm-usage",
        ),
        *(["--no-sandbox"] if os.geteuid() == 0 else []),
        *(f"--user-data-dir={folder / 'profile'}", f"--log-net-log={log}"),
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
        *("--enable-logging=stderr", "--v=0", "--virtual-time-budget=30000", "--dump-dom", url),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        html, told = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    lines = told.decode("utf-8", "replace").splitlines()
    return Rendered(
        html=html.decode(),
        complaints=[line for line in lines if "CONSOLE" in line],
        requests=_requests(log),
    )


def _requests(log: Path) -> list[str]:
    """Return what the page asked for, out of the browser's log of its network."""
    text = log.read_text("utf-8")
    noted = json.loads(text if text.rstrip().endswith("}") else text.rstrip().rstrip(",") + "]}")
    started = noted["constants"]["logEventTypes"]["URL_REQUEST_START_JOB"]
    asked = [each.get("params", {}) for each in noted["events"] if each["type"] == started]
    # Only what the browser wants for itself has no origin.
    return [
        each["url"] for each in asked if each.get("initiator", "not an origin") != "not an origin"
    ]


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    async with a_service(tmp_path) as served:
        yield served


async def test_the_page_shows_every_operation_and_callback_and_asks_nobody_else(
    served: Served, tmp_path: Path
) -> None:
    document = (await served.http.get("/openapi.json")).json()
    expected = {
        f"{method.upper()} {path}"
        for group in ("paths", "webhooks")
        for path, methods in document[group].items()
        for method in methods
    }
    url = str(served.http.base_url)
    page = await rendered(f"{url}/docs", tmp_path)
    assert page.operations() == expected
    assert page.complaints == []
    hosts = {urlsplit(asked).netloc for asked in page.requests}
    assert hosts == {urlsplit(url).netloc}
    assert {urlsplit(asked).path for asked in page.requests} >= {
        *("/docs/swagger-ui-bundle.js", "/docs/swagger-ui.css", "/openapi.json")
    }


async def test_an_operation_is_shown_with_its_worked_examples(
    served: Served, tmp_path: Path
) -> None:
    document = (await served.http.get("/openapi.json")).json()
    operation = document["paths"]["/api/ingest"]["post"]
    examples = operation["requestBody"]["content"]["application/json"]["examples"]
    page = await rendered(f"{served.http.base_url}/docs#/ingestions/ingest", tmp_path)
    assert page.complaints == []
    for example in examples.values():
        assert example["summary"] in page.text
    first, *_ = examples.values()
    for name, value in first["value"].items():
        assert f'"{name}"' in page.text
        assert not isinstance(value, str) or value in page.text
    for status in operation["responses"]:
        assert f'data-code="{status}"' in page.html


async def test_a_callback_is_shown_with_its_worked_example(served: Served, tmp_path: Path) -> None:
    document = (await served.http.get("/openapi.json")).json()
    chunk = document["webhooks"]["ingestion.chunk"]["post"]["operationId"]
    page = await rendered(f"{served.http.base_url}/docs#/webhooks/{chunk}", tmp_path)
    assert page.complaints == []
    assert '"chunk_id"' in page.text
