"""What is loaded when, and what is not loaded at all: the start and the memory of a service."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import app.cli
from app.api import application
from app.cli import COMMANDS
from app.control.keys import Keyring

ROOT = Path(__file__).parents[2]

_SERVICE = """
import gc, json, sys
from app.cli import _loaded

def loaded():
    return [name for name, module in sys.modules.items() if module]

_loaded(["serve"])
delivery = loaded()
from app.control.keys import Keyring
from app.main import load_api
api = load_api(Keyring())
service = loaded()
frozen, collects = gc.get_freeze_count(), gc.isenabled()
print(json.dumps({
    "delivery": delivery, "service": service, "frozen": frozen, "collects": collects,
    "document": api.openapi(),
}))
"""

_READER = """
import json, sys
from app import reader_process
from app.domain.ingestion import FileType
for known in FileType:
    reader_process.decoder_of(known)
print(json.dumps([*sys.modules]))
"""


def told(program: str) -> Any:
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], cwd=ROOT, capture_output=True, check=False
    )
    assert ran.returncode == 0, ran.stderr.decode()
    return json.loads(ran.stdout)


@pytest.fixture(scope="module")
def service() -> Any:
    return told(_SERVICE)


def test_delivery_is_loaded_without_the_api_and_its_framework(service: Any) -> None:
    assert {"app.bootstrap", "app.main"} <= set(service["delivery"])
    assert not {"fastapi", "app.api"} & set(service["delivery"])


@pytest.mark.parametrize(
    "unused",
    [
        *("rich", "pygments", "app.cli.display"),  # what people at a terminal see
        *("httpx", "httpcore", "certifi", "h2", "socksio"),  # a client that it is not
        *("pydantic.v1", "app.samples.formats", "mock_receiver", "app.decoders"),
    ],
)
def test_the_service_does_not_load_what_it_does_not_use(service: Any, unused: str) -> None:
    assert "fastapi" in service["service"]
    assert unused not in service["service"]


def test_what_was_loaded_is_no_longer_looked_at_for_garbage(service: Any) -> None:
    assert service["collects"]
    assert service["frozen"] > len(service["service"])


def test_the_api_document_of_a_service_is_complete(service: Any) -> None:
    """What the framework needs for it is built for the first who asks."""
    assert service["document"] == json.loads(
        json.dumps(application.build(keyring=Keyring()).openapi())
    )


@pytest.mark.parametrize(
    "unused",
    [
        *("asyncio", "subprocess", "logging", "email"),
        *("ssl", "sqlite3", "pydantic", "httpx", "fastapi", "uvicorn", "typer"),
    ],
)
def test_a_reader_process_does_not_load_what_the_service_is_made_of(
    reader: list[str], unused: str
) -> None:
    assert "app.decoders.xlsx.decoder" in reader
    assert unused not in reader


@pytest.fixture(scope="module")
def reader() -> Any:
    return told(_READER)


def test_every_command_is_found() -> None:
    folder = Path(app.cli.__file__).parent
    files = {path.stem for path in folder.glob("*.py") if "def add_to(" in path.read_text()}
    assert files == {command.replace("-", "_") for command in COMMANDS}
