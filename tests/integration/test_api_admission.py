"""Too much at one time is refused with a code and a time to come back."""

from pathlib import Path

import httpx
import pytest

from app.control.admission import AdmissionPolicy
from app.control.keys import KeyEntry, Keyring, digest_of, new_key
from app.domain.access import Caller, LiveLimits, Scope
from tests.support.api import Desk, a_desk

KEY = new_key()
RING = Keyring(
    [KeyEntry(caller=Caller(name="nightly", scope=Scope.INGEST), digests=(digest_of(KEY),))]
)


async def submit(desk: Desk, name: str, callback: str | None = None) -> httpx.Response:
    body = desk.a_body(file_path=desk.a_file(name))
    body |= {} if callback is None else {"callback_url": callback}
    return await desk.http.post(
        "/api/ingest", json=body, headers={"Authorization": f"Bearer {KEY}"}
    )


def told(answer: httpx.Response) -> tuple[int, str, int]:
    assert answer.headers["content-type"] == "application/problem+json"
    return answer.status_code, answer.json()["code"], int(answer.headers["retry-after"])


async def test_too_many_submissions_in_a_minute(tmp_path: Path) -> None:
    async with a_desk(tmp_path, keyring=RING, policy=AdmissionPolicy(per_minute=2)) as desk:
        answers = [await submit(desk, f"{n}.json") for n in range(3)]

        assert [answer.status_code for answer in answers] == [202, 202, 429]
        assert told(answers[-1]) == (429, "RATE_LIMIT", 30)
        desk.clock.advance(30)
        assert (await submit(desk, "3.json")).status_code == 202


async def test_refused_submissions_count_as_well(tmp_path: Path) -> None:
    async with a_desk(tmp_path, keyring=RING, policy=AdmissionPolicy(per_minute=2)) as desk:
        codes = [(await submit(desk, "a.json", "nonsense")).json()["code"] for _ in range(3)]
        assert codes == ["URL_BLOCKED", "URL_BLOCKED", "RATE_LIMIT"]


async def test_too_many_live_ingestions_of_one_caller(tmp_path: Path) -> None:
    policy = AdmissionPolicy(live=LiveLimits(per_caller=1))
    async with a_desk(tmp_path, keyring=RING, policy=policy) as desk:
        await submit(desk, "a.json")
        answer = await submit(desk, "b.json", "http://127.0.0.1:9001/")

        assert told(answer) == (429, "CALLER_LIMIT", 30)
        assert len((await desk.store.page()).ingestions) == 1


@pytest.mark.parametrize(
    "callback",
    ["http://127.0.0.1:80/other", "HTTP://127.0.0.1/", "http://127.0.0.1?a=b", "http://127.0.0.1"],
)
async def test_too_many_live_ingestions_that_call_one_origin_however_it_is_written(
    tmp_path: Path, callback: str
) -> None:
    policy = AdmissionPolicy(live=LiveLimits(per_origin=1))
    async with a_desk(tmp_path, keyring=RING, policy=policy) as desk:
        assert (await submit(desk, "a.json", "http://127.0.0.1/x")).status_code == 202

        assert told(await submit(desk, "b.json", callback)) == (429, "ORIGIN_LIMIT", 30)
        assert (await submit(desk, "b.json", "http://127.0.0.1:81/")).status_code == 202


async def test_with_little_space_left_nothing_is_begun_and_readyz_says_so(tmp_path: Path) -> None:
    policy = AdmissionPolicy(disk_free_bytes_min=1 << 20)
    async with a_desk(tmp_path, keyring=RING, policy=policy) as desk:
        assert (await submit(desk, "a.json")).status_code == 202
        desk.disk_free_bytes = (1 << 20) - 1

        assert told(await submit(desk, "b.json"))[:2] == (503, "DISK_LOW")
        assert told(await desk.http.get("/readyz"))[:2] == (503, "DISK_LOW")
        assert (await desk.http.get("/healthz")).status_code == 200
        desk.disk_free_bytes += 1
        assert (await submit(desk, "b.json")).status_code == 202
        assert (await desk.http.get("/readyz")).status_code == 200
