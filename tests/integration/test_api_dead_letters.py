"""The records that a receiver refused, over the API."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.control.keys import KeyEntry, Keyring, digest_of, new_key
from app.domain.access import Caller, Scope
from app.domain.identity import IngestionId
from tests.support.api import Desk, a_desk
from tests.support.builders import a_chunk_ref, dead_letters_of

READ, OWN, OTHER, ADMIN = (new_key() for _ in range(4))
SCOPES = {READ: Scope.READ, OWN: Scope.INGEST, OTHER: Scope.INGEST, ADMIN: Scope.ADMIN}
RING = Keyring(
    KeyEntry(caller=Caller(name=f"caller-{n}", scope=scope), digests=(digest_of(key),))
    for n, (key, scope) in enumerate(SCOPES.items())
)


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with a_desk(tmp_path) as made:
        yield made


async def refused(desk: Desk, count: int) -> IngestionId:
    """Have one ingestion with a chunk of five records, some of them refused."""
    ingestion_id = await desk.submitted()
    await desk.acked(await desk.claimed(), records=5, refused=count)
    return ingestion_id


async def test_each_is_shown_with_its_bytes_and_the_reason(desk: Desk) -> None:
    ingestion_id = await refused(desk, 2)
    view = (await desk.http.get(f"/api/ingestions/{ingestion_id}")).json()

    answer = await desk.http.get(view["links"]["dead_letters"])

    assert answer.status_code == 200
    assert view["counts"]["rejected_by_receiver"] == 2
    assert answer.json() == {
        "dead_letters": [
            {
                "record": one.record,
                "chunk_number": 0,
                "code": one.code,
                "message": one.message,
                "path": one.path,
                "retryable": one.retryable,
                "content": one.content.decode(),
            }
            for one in dead_letters_of(a_chunk_ref(ingestion_id), 2)
        ],
        "next": None,
    }


async def test_they_come_in_pages_that_link_to_each_other(desk: Desk) -> None:
    path = f"/api/ingestions/{await refused(desk, 5)}/dead-letters"

    found: list[int] = []
    following: str | None = f"{path}?limit=2"
    for _ in range(3):
        assert following is not None
        answer = await desk.http.get(following)
        found += [one["record"] for one in answer.json()["dead_letters"]]
        links = answer.headers["link"]
        assert links.startswith(f'<{path}?limit=2>; rel="first"')
        following = answer.json()["next"]
        assert (f'<{following}>; rel="next"' in links) is (following is not None)

    assert (found, following) == ([0, 1, 2, 3, 4], None)


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ("limit=0", 422, "REQUEST_INVALID"),
        ("limit=201", 422, "REQUEST_INVALID"),
        ("cursor=?", 422, "CURSOR_INVALID"),
        ("record=1", 422, "REQUEST_INVALID"),
    ],
)
async def test_a_bad_query_is_refused(desk: Desk, query: str, status: int, code: str) -> None:
    answer = await desk.http.get(f"/api/ingestions/{await refused(desk, 1)}/dead-letters?{query}")
    assert (answer.status_code, answer.json()["code"]) == (status, code)


async def test_what_does_not_exist_has_none(desk: Desk) -> None:
    answer = await desk.http.get(f"/api/ingestions/{'0' * 64}/dead-letters")
    assert (answer.status_code, answer.json()["code"]) == (404, "INGESTION_NOT_FOUND")


async def test_records_are_for_whom_they_belong_to(tmp_path: Path) -> None:
    """They are what the file holds: a key that may only look does not see them."""
    async with a_desk(tmp_path, keyring=RING) as desk:
        body = desk.a_body(file_path=desk.a_file())
        own = {"Authorization": f"Bearer {OWN}"}
        answer = await desk.http.post("/api/ingest", json=body, headers=own)
        path = answer.json()["links"]["dead_letters"]

        async def status(key: str) -> int:
            headers = {"Authorization": f"Bearer {key}"}
            return (await desk.http.get(path, headers=headers)).status_code

        assert [await status(key) for key in (READ, OWN, OTHER, ADMIN)] == [403, 200, 403, 200]
        assert (await desk.http.get(path)).status_code == 401
