"""The receivers printed in ``docs/receiver-contract.md`` work as they are printed.

PHP is not everywhere; where it is, its example is served and spoken to.
"""

import json
import re
import shutil
import socket
import sqlite3
import subprocess
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

import httpx
import pytest

from app.domain.chunk import Chunk
from app.domain.delivery import Message
from app.wire import chunk_message, completed_message
from app.wire.headers import request_headers
from tests.support.builders import an_ingestion
from tests.support.chunks import a_chunk, all_delivered, chunks
from tests.support.senders import KEY

CONTRACT = (Path(__file__).parents[2] / "docs" / "receiver-contract.md").read_text("utf-8")
SECRET = "whsec_" + b64encode(KEY).decode()
ARRAYS = (b'[{"a":{},"n":12345678901234567890123}]', b"[[],1.50]", '["é"]'.encode())

Post: TypeAlias = Callable[..., tuple[int, dict[str, object]]]
"""Post a message signed with secrets; ``body`` is what arrives instead of the message's own."""


def example(language: str) -> str:
    (found,) = re.findall(rf"^```{language}\n(.*?)^```$", CONTRACT, re.DOTALL | re.MULTILINE)
    return str(found)


@pytest.fixture
def python_receiver(tmp_path: Path) -> Iterator[Post]:
    names: dict[str, Callable[..., tuple[int, dict[str, object]]]] = {}
    exec(example("python"), names)  # our own page, run as printed
    with closing(sqlite3.connect(tmp_path / "receiver.db", isolation_level=None)) as db:
        db.execute(str(names["TABLE"]))

        def post(
            message: Message, secrets: list[bytes], *, body: bytes | None = None
        ) -> tuple[int, dict[str, object]]:
            made = request_headers(
                message, attempt=1, timestamp_s=int(time.time()), secrets=secrets
            )
            headers = {name.lower(): value for name, value in made.items()}
            return names["receive"](db, headers, body or message.body, SECRET, lambda records: None)

        yield post


@pytest.fixture
def php_receiver(tmp_path: Path) -> Iterator[Post]:
    php = shutil.which("php")
    if php is None or "pdo_sqlite" not in subprocess.check_output([php, "-m"], text=True):
        pytest.skip("there is no PHP with SQLite on this machine")
    script = tmp_path / "receiver.php"
    apply = "\nfunction apply_records(array $records): void {}\n"
    script.write_text(example("php") + apply, "utf-8")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with (
        subprocess.Popen(
            [php, "-S", f"127.0.0.1:{port}", script.name],
            cwd=tmp_path,
            env={"SECRET": SECRET},
            stderr=subprocess.PIPE,
        ) as server,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client,
    ):
        assert server.stderr is not None
        assert b"started" in server.stderr.readline()

        def post(
            message: Message, secrets: list[bytes], *, body: bytes | None = None
        ) -> tuple[int, dict[str, object]]:
            headers = request_headers(
                message, attempt=1, timestamp_s=int(time.time()), secrets=secrets
            )
            response = client.post("/", content=body or message.body, headers=headers)
            return response.status_code, json.loads(response.content)

        try:
            yield post
        finally:
            server.terminate()


@pytest.mark.parametrize("language", ["python", "php"])
def test_a_printed_receiver_follows_the_algorithm(
    language: str, request: pytest.FixtureRequest
) -> None:
    post: Post = request.getfixturevalue(f"{language}_receiver")
    sent = chunks(*ARRAYS)
    first, second, third = sent

    def chunk(one: Chunk) -> dict[str, object]:
        status, answer = post(chunk_message(an_ingestion(), one), [KEY])
        assert status == 200
        return answer

    def completed(all_of: list[Chunk]) -> dict[str, object]:
        return post(completed_message(all_delivered(an_ingestion(), all_of)), [KEY])[1]

    untrusted = post(chunk_message(an_ingestion(), first), [b"y" * 24])
    assert untrusted == (401, {"ack": False, "error": "SIGNATURE_INVALID"})
    assert post(chunk_message(an_ingestion(), first), [b"y" * 24, KEY])[0] == 200
    assert chunk(first) == {"ack": True, "duplicate": True, "next_chunk": 1}
    assert chunk(third) == {
        "ack": False,
        "error": "OUT_OF_ORDER_CHUNK",
        "expected_chunk": 1,
        "chain": first.ref.chain,
    }
    assert completed(sent)["error"] == "INCOMPLETE"
    assert chunk(a_chunk(1, b"[1]", after="0" * 64))["error"] == "CHAIN_MISMATCH"
    damaged = chunk_message(an_ingestion(), second)
    on_the_way = post(damaged, [KEY], body=damaged.body.replace(b"1.50", b"1.51"))
    assert on_the_way == (422, {"ack": False, "error": "CHECKSUM_MISMATCH"})
    damaged = replace(damaged, content=(damaged.body.replace(b"1.50", b"1.51"),))
    assert post(damaged, [KEY])[1]["error"] == "CHECKSUM_MISMATCH"
    assert chunk(second) == {"ack": True, "next_chunk": 2}
    assert chunk(third) == {"ack": True, "next_chunk": 3}
    assert completed(sent[:2])["error"] == "CHAIN_MISMATCH"
    assert completed(sent) == completed(sent) == {"ack": True, "next_chunk": 3}
    assert chunk(first)["error"] == "INGESTION_CLOSED"
