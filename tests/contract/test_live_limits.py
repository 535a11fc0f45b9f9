"""Every store holds a submission to the limits on live ingestions, also after a restart."""

from dataclasses import replace
from pathlib import Path

import pytest

from app.domain.access import LiveLimits
from app.domain.errors import Failure, LimitReached
from app.domain.ingestion import State
from app.ports import SubmitStatus, Submitted
from tests.support.builders import a_fingerprint, a_submission
from tests.support.stores import OpenStore, open_store

PAUSE = Failure(code="AUTH_FAILED", message="no", resumable=True)


async def submit(
    store: OpenStore,
    path: str,
    limits: LiveLimits,
    *,
    caller: str = "nightly",
    origin: str = "https://r.example:443",
    key: str | None = None,
    new_version: bool = False,
) -> Submitted:
    submission = replace(a_submission(path), caller=caller, callback_origin=origin)
    return await store.catalog.submit(
        submission,
        a_fingerprint(),
        new_version=new_version,
        idempotency=None if key is None else (key, "digest"),
        live=limits,
    )


async def refused(store: OpenStore, path: str, limits: LiveLimits, **members: str) -> str:
    with pytest.raises(LimitReached) as refusal:
        await submit(store, path, limits, **members)  # type: ignore[arg-type]
    assert refusal.value.retry_after_s > 0
    return refusal.value.code


async def ended(store: OpenStore, state: State = State.PAUSED) -> None:
    """Let the oldest live ingestion end."""
    ((lease, _),) = await store.ledger.claim(limit=1)
    await store.ledger.move(lease, state, failure=PAUSE)


async def test_a_caller_has_so_many_live_ingestions_and_no_more(store: OpenStore) -> None:
    two = LiveLimits(per_caller=2)
    await submit(store, "/a", two)
    await submit(store, "/b", two, origin="https://other.example:443")

    assert await refused(store, "/c", two) == "CALLER_LIMIT"
    assert (await submit(store, "/c", two, caller="weekly")).status is SubmitStatus.STARTED
    await ended(store)
    assert (await submit(store, "/d", two)).status is SubmitStatus.STARTED


async def test_an_origin_is_called_by_so_many_and_no_more(store: OpenStore) -> None:
    two = LiveLimits(per_origin=2)
    await submit(store, "/a", two)
    await submit(store, "/b", two, caller="weekly")

    assert await refused(store, "/c", two, caller="third") == "ORIGIN_LIMIT"
    assert (await submit(store, "/c", two, origin="https://r.example:444")).ingestion
    await ended(store)
    assert (await submit(store, "/d", two)).status is SubmitStatus.STARTED


async def test_without_keys_only_the_origin_is_limited(store: OpenStore) -> None:
    one = LiveLimits(per_caller=1, per_origin=3)
    for path in ("/a", "/b", "/c"):
        await submit(store, path, one, caller="")

    assert await refused(store, "/d", one, caller="") == "ORIGIN_LIMIT"


async def test_what_begins_nothing_new_is_not_limited(store: OpenStore) -> None:
    one = LiveLimits(per_caller=1, per_origin=1)
    first = await submit(store, "/a", one, key="k")

    assert (await submit(store, "/a", one)).status is SubmitStatus.ALREADY_RUNNING
    assert (await submit(store, "/a", one, key="k")).ingestion.id == first.ingestion.id
    with pytest.raises(LimitReached):
        await submit(store, "/a", one, new_version=True)


async def test_resuming_is_limited_and_counts_for_who_resumed(store: OpenStore) -> None:
    one = LiveLimits(per_caller=1)
    await submit(store, "/a", one, caller="weekly")
    await ended(store)
    await submit(store, "/b", one)

    assert await refused(store, "/a", one) == "CALLER_LIMIT"
    await ended(store)
    resumed = await submit(store, "/a", one, origin="https://moved.example:443")
    assert resumed.status is SubmitStatus.RESUMED
    kept = (await store.catalog.get(resumed.ingestion.id)).submission
    assert (kept.caller, kept.callback_origin) == ("nightly", "https://moved.example:443")
    assert await refused(store, "/c", one) == "CALLER_LIMIT"


async def test_a_refused_submission_leaves_nothing_behind(store: OpenStore) -> None:
    one = LiveLimits(per_caller=1)
    await submit(store, "/a", one)
    with pytest.raises(LimitReached):
        await submit(store, "/b", one, key="k")
    await ended(store)

    assert len((await store.catalog.page()).ingestions) == 1
    assert (await submit(store, "/b", one, key="k")).status is SubmitStatus.STARTED


async def test_the_count_survives_a_restart(tmp_path: Path) -> None:
    limits = LiveLimits(per_caller=1, per_origin=2)
    async with open_store("sqlite", tmp_path) as before:
        await submit(before, "/a", limits)
    async with open_store("sqlite", tmp_path) as after:
        assert await refused(after, "/b", limits) == "CALLER_LIMIT"
        await submit(after, "/b", limits, caller="weekly")
        assert await refused(after, "/c", limits, caller="third") == "ORIGIN_LIMIT"
