"""The use cases where a seam misbehaves."""

import asyncio
import threading
from typing import cast

import pytest

from app.control import ingestions
from app.control.ingestions import Ingestions
from app.control.submission import SubmitRequest
from app.domain.access import ANONYMOUS
from app.domain.budget import ChunkLimits
from app.domain.errors import CallbackRefused, NotReady, SourceCode, SourceError
from app.domain.ingestion import Fingerprint
from app.ports import Source
from app.stores.memory import MemoryStore
from tests.support.builders import a_fingerprint
from tests.support.clocks import ManualClock


class OneSource:
    """A ``Sources`` with one source; showing it may wait."""

    def __init__(self, shown: threading.Event) -> None:
        self._shown = shown
        self.thread = ""

    def locate(self, file_path: str) -> Source:
        return cast("Source", self)  # nothing else of a source is asked for

    def fingerprint(self) -> Fingerprint:
        self.thread = threading.current_thread().name
        assert self._shown.wait(10)
        return a_fingerprint()


class Refusing:
    async def check(self, url: str) -> str:
        raise CallbackRefused("no")


class Allowing:
    async def check(self, url: str) -> str:
        return "https://r.example:443"


class StuckStore(MemoryStore):
    async def ready(self) -> None:
        await asyncio.Event().wait()


REQUEST = SubmitRequest(file_path="/a", file_type="json", callback_url="https://r.example/")


def use_cases(
    store: MemoryStore, source: OneSource, callbacks: Allowing | Refusing | None = None
) -> Ingestions:
    return Ingestions(
        catalog=store,
        sources=source,
        callbacks=callbacks or Allowing(),
        defaults=ChunkLimits(records=10),
        clock=ManualClock(),
    )


async def test_a_source_is_looked_at_off_the_event_loop() -> None:
    shown = threading.Event()
    source = OneSource(shown)
    submitting = asyncio.create_task(
        use_cases(MemoryStore(clock=ManualClock()), source).submit(REQUEST, caller=ANONYMOUS)
    )
    # The loop turns while the source hangs; only then may it show itself.
    while not source.thread:
        await asyncio.sleep(0)
    shown.set()

    await submitting
    assert source.thread != threading.main_thread().name


async def test_a_source_that_hangs_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingestions, "FINGERPRINT_S_MAX", 0.01)
    shown = threading.Event()
    with pytest.raises(SourceError) as refusal:
        await use_cases(MemoryStore(clock=ManualClock()), OneSource(shown)).submit(
            REQUEST, caller=ANONYMOUS
        )
    shown.set()

    assert refusal.value.code == SourceCode.SOURCE_UNAVAILABLE


async def test_nothing_is_stored_for_a_refused_callback() -> None:
    store, shown = MemoryStore(clock=ManualClock()), threading.Event()
    shown.set()
    with pytest.raises(CallbackRefused):
        await use_cases(store, OneSource(shown), Refusing()).submit(REQUEST, caller=ANONYMOUS)

    assert (await store.page()).ingestions == []


async def test_a_store_that_takes_no_write_is_not_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingestions, "READY_S_MAX", 0.01)
    with pytest.raises(NotReady):
        await use_cases(StuckStore(clock=ManualClock()), OneSource(threading.Event())).ready()
