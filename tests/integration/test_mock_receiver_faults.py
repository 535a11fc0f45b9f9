"""The reference receiver misbehaves as it is told, and the same way every time."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
import uvicorn

from mock_receiver.faults import GARBAGE, read_plan
from mock_receiver.main import ConnectionDropped, Settings, create_app
from tests.support.chunks import a_chunk, chunks
from tests.support.senders import Sender, receiver

ARRAYS = (b'[{"a":1}]', b'[{"b":1.10}]', '[{"c":"é"}]'.encode())


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(database=tmp_path / "receiver.db")


@pytest.fixture
async def sender(settings: Settings) -> AsyncIterator[Sender]:
    async with receiver(settings) as sender:
        yield sender


async def test_a_fault_that_stores_nothing_passes_on_the_second_attempt(sender: Sender) -> None:
    first, second, third = chunks(*ARRAYS)
    query = "ack_false=@0&status_500=@1&status_429=@2&retry_after=7"
    assert (await sender.chunk(first, query=query)).json()["ack"] is False
    assert (await sender.client.get("/ingestions")).json() == []
    assert (await sender.chunk(first, attempt=2, query=query)).json()["duplicate"] is False
    assert (await sender.chunk(second, query=query)).status_code == 500
    await sender.chunk(second, attempt=2, query=query)
    held_back = await sender.chunk(third, query=query)
    assert (held_back.status_code, held_back.headers["retry-after"]) == (429, "7")


async def test_garbage_comes_after_the_chunk_was_stored(sender: Sender) -> None:
    (chunk,) = chunks(ARRAYS[0])
    garbage = (await sender.chunk(chunk, query="garbage=1")).content
    assert garbage in GARBAGE
    assert (await sender.chunk(chunk, attempt=2)).json()["duplicate"] is True


async def test_a_record_is_refused_by_name_whenever_its_chunk_comes(sender: Sender) -> None:
    """Contract 5.3: a duplicate's answer names it again."""
    chunk = a_chunk(records=b"[1,2,3]", count=3)
    first = (await sender.chunk(chunk, query="reject=@0&seed=4")).json()
    again = (await sender.chunk(chunk, attempt=2, query="reject=@0&seed=4")).json()
    [named] = first["rejected"]
    assert (first["ack"], first["accepted"], again["duplicate"]) == (True, 2, True)
    assert again["rejected"] == [named]
    assert named["index"] in (0, 1, 2)
    assert "rejected" not in (await sender.chunk(chunk, attempt=3)).json()


async def test_state_is_lost_once_per_place_even_across_a_restart(settings: Settings) -> None:
    sent = chunks(*ARRAYS)
    async with receiver(settings) as sender:
        assert (await sender.chunk(sent[0], query="forget=@0")).json()["ack"] is True
        assert (await sender.client.get("/ingestions")).json() == []
    async with receiver(settings) as sender:
        await sender.chunk(sent[0], query="forget=@0")
        assert (await sender.holding())["next_chunk"] == 1


async def test_a_plan_is_set_shown_and_cleared(sender: Sender) -> None:
    plan = "seed=1&ack_false=1"
    assert (await sender.client.post(f"/admin/faults?{plan}")).json() == {"faults": plan}
    assert (await sender.client.get("/admin/faults")).json() == {"faults": plan}
    assert (await sender.chunk(a_chunk())).json()["error"] == "FAULT_INJECTED"
    assert (await sender.client.delete("/admin/faults")).json() == {"faults": ""}
    assert (await sender.chunk(a_chunk())).json()["ack"] is True
    assert (await sender.client.post("/admin/faults?nonsense=1")).status_code == 422
    assert (await sender.chunk(a_chunk(), query="ack_false=nonsense")).status_code == 400


async def test_two_runs_with_one_seed_misbehave_alike(tmp_path: Path) -> None:
    plan = read_plan("seed=3&ack_false=0.2&status_500=0.2&status_429=0.2&garbage=0.2")
    runs: list[list[bytes]] = []
    for run in ("first", "second"):
        answers: list[bytes] = []
        async with receiver(Settings(database=tmp_path / f"{run}.db", faults=plan)) as sender:
            for chunk in chunks(*(b"[%d]" % number for number in range(10))):
                answers += [
                    (await sender.chunk(chunk, attempt=attempt)).content for attempt in (1, 2, 3)
                ]
        runs.append(answers)
    assert runs[0] == runs[1]
    assert len(set(runs[0])) > 10


async def test_a_delayed_answer_is_late_by_what_was_asked(
    sender: Sender, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr("mock_receiver.main.asyncio.sleep", sleep)
    answer = await sender.chunk(a_chunk(), query="delay=1&delay_ms=250")
    assert (answer.json()["ack"], slept) == (True, [0.25])


async def test_where_a_connection_cannot_be_dropped_the_request_fails(sender: Sender) -> None:
    with pytest.raises(ConnectionDropped):
        await sender.chunk(a_chunk(), query="drop_after=1")


@asynccontextmanager
async def served(settings: Settings, http: str) -> AsyncIterator[Sender]:
    """Run the receiver under uvicorn on a free port."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(create_app(settings), http=http, log_level="error", lifespan="on")
    server = uvicorn.Server(config)
    async with asyncio.TaskGroup() as tasks:
        serving = tasks.create_task(server.serve(sockets=[listener]))
        port = listener.getsockname()[1]
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            yield Sender(client, "/callback/of/any/depth")
        server.should_exit = True
        await serving


@pytest.mark.parametrize("http", ["httptools", "h11"])
async def test_a_dropped_connection_has_no_answer_and_leaves_the_server_alive(
    settings: Settings, http: str, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = chunks(*ARRAYS[:2])
    async with served(settings, http) as sender:
        with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
            await sender.chunk(first, query="drop_before=@0")
        assert (await sender.client.get("/ingestions")).json() == []
        with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
            await sender.chunk(first, query="drop_after=@0")
        assert (await sender.chunk(first, attempt=2)).json()["duplicate"] is True
        assert (await sender.chunk(second)).json()["next_chunk"] == 2
    assert not caplog.records
