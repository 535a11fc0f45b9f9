"""Who may ask for what: keys, scopes, and one answer to everybody else."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.api import application
from app.api.authentication import RequireKey
from app.control.keys import KeyEntry, Keyring, digest_of, new_key
from app.domain.access import Caller, Scope
from app.domain.identity import IngestionId
from tests.support.api import Desk, a_desk

READ, INGEST, OTHER, ADMIN, RETIRED = (new_key() for _ in range(5))
SCOPES = {READ: Scope.READ, INGEST: Scope.INGEST, OTHER: Scope.INGEST, ADMIN: Scope.ADMIN}
RING = Keyring(
    KeyEntry(caller=Caller(name=f"caller-{n}", scope=scope), digests=(digest_of(key),))
    for n, (key, scope) in enumerate(SCOPES.items())
)
ABSENT = "/api/ingestions/" + "0" * 64
GUARDED = [
    ("GET", "/api/ingestions"),
    ("GET", ABSENT),
    ("POST", ABSENT + "/cancel"),
    ("POST", "/api/ingest"),
    ("GET", "/api/none"),
    ("GET", "/"),
    ("GET", "/metrics"),
    ("GET", "/docss/x"),
    ("OPTIONS", "/api/ingest"),
    ("GET", "//healthz"),
    ("GET", "/healthz/"),
    ("GET", "/docs/../api/ingestions"),
]


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with a_desk(tmp_path, keyring=RING) as made:
        yield made


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


async def test_requests_without_a_key_are_logged_at_intervals_and_nothing_of_what_came(
    caplog: pytest.LogCaptureFixture,
) -> None:
    times = iter((5.0, 6.0, 14.9, 15.0))
    guarded = RequireKey(application.build(keyring=RING), keyring=RING, monotonic=times.__next__)
    slip = READ[:-1]
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(guarded), base_url="http://localhost"
    ) as http:
        for _ in range(4):
            await http.get(f"/api/ingestions?{slip}", headers=bearer(slip))

    lines = [line for line in caplog.records if line.name == "ackline.api"]
    assert [(line.levelname, line.getMessage()) for line in lines] == [
        ("WARNING", "no valid API key in 1 requests, the last from 127.0.0.1"),
        ("WARNING", "no valid API key in 3 requests, the last from 127.0.0.1"),
    ]


async def submit(desk: Desk, key: str, name: str = "products.json") -> httpx.Response:
    body = desk.a_body(file_path=desk.a_file(name))
    return await desk.http.post("/api/ingest", json=body, headers=bearer(key))


async def submitted(desk: Desk, key: str, name: str = "products.json") -> IngestionId:
    answer = await submit(desk, key, name)
    assert answer.status_code == 202, answer.text
    return IngestionId(answer.json()["ingestion_id"])


@pytest.mark.parametrize(("method", "path"), GUARDED)
async def test_without_a_key_there_is_one_answer_to_everything(
    desk: Desk, method: str, path: str
) -> None:
    answer = await desk.http.request(method, path, content=b"{", headers={"Content-Type": "a/b"})

    assert (answer.status_code, answer.json()["code"]) == (401, "UNAUTHENTICATED")
    assert answer.headers["www-authenticate"] == 'Bearer realm="ackline"'
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": ""},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer "},
        {"Authorization": f"Basic {READ}"},
        {"Authorization": READ},
        {"Authorization": f"Bearer {RETIRED}"},
        {"Authorization": f"Bearer {READ}x"},
        {"Authorization": f"Bearer {digest_of(READ)}"},
        {"Authorization": f"Bearer {READ}, Bearer {READ}"},
        {"X-API-Key": READ},
        {"Cookie": f"api_key={READ}"},
    ],
    ids=lambda headers: str(headers)[:40],
)
async def test_whatever_is_wrong_with_a_key_the_answer_is_the_same(
    desk: Desk, headers: dict[str, str]
) -> None:
    plain = await desk.http.get("/api/ingestions")
    answer = await desk.http.get("/api/ingestions", headers=headers)

    assert answer.status_code == 401
    assert (answer.content, answer.headers) == (plain.content, plain.headers)


async def test_two_keys_at_once_and_bytes_that_are_no_text_are_no_key(desk: Desk) -> None:
    for value in ([b"Bearer " + READ.encode()] * 2, [b"Bearer \xff\xfe"]):
        headers = [(b"Authorization", one) for one in value]
        assert (await desk.http.get("/api/ingestions", headers=headers)).status_code == 401


async def test_a_key_in_the_address_is_no_key(desk: Desk) -> None:
    for name in ("api_key", "access_token", "key"):
        assert (await desk.http.get(f"/api/ingestions?{name}={READ}")).status_code == 401


async def test_the_name_of_the_scheme_is_read_in_any_case(desk: Desk) -> None:
    for value in (f"bearer {READ}", f"BEARER  {READ} "):
        answer = await desk.http.get("/api/ingestions", headers={"Authorization": value})
        assert answer.status_code == 200


@pytest.mark.parametrize(
    "path", ["/healthz", "/readyz", "/docs", "/openapi.json", "/docs/swagger-ui.css"]
)
async def test_what_orchestrators_ask_and_the_document_are_open(desk: Desk, path: str) -> None:
    assert (await desk.http.get(path)).status_code == 200


@pytest.mark.parametrize("key", SCOPES)
async def test_every_scope_looks(desk: Desk, key: str) -> None:
    assert (await desk.http.get("/api/ingestions", headers=bearer(key))).status_code == 200
    assert (await desk.http.get(ABSENT, headers=bearer(key))).status_code == 404


@pytest.mark.parametrize("key", SCOPES)
async def test_reading_is_not_submitting(desk: Desk, key: str) -> None:
    answer = await submit(desk, key)

    if SCOPES[key] is Scope.READ:
        assert (answer.status_code, answer.json()["code"]) == (403, "SCOPE_INSUFFICIENT")
        assert (await desk.store.page()).ingestions == []
    else:
        assert answer.status_code == 202


@pytest.mark.parametrize(
    ("key", "status"), [(READ, 403), (OTHER, 403), (INGEST, 202), (ADMIN, 202)]
)
async def test_who_submitted_a_file_cancels_it_and_an_admin_does(
    desk: Desk, key: str, status: int
) -> None:
    ingestion_id = await submitted(desk, INGEST)
    path = f"/api/ingestions/{ingestion_id}"
    answer = await desk.http.post(f"{path}/cancel", headers=bearer(key))

    assert answer.status_code == status
    state = (await desk.http.get(path, headers=bearer(key))).json()["state"]
    assert state == ("ABORTED" if status == 202 else "QUEUED")


async def test_what_was_submitted_before_there_were_keys_is_cancelled_by_an_admin(
    tmp_path: Path,
) -> None:
    async with a_desk(tmp_path) as before:
        ingestion_id = await before.submitted()
        async with a_desk(tmp_path, catalog=before.store, keyring=RING) as desk:
            path = f"/api/ingestions/{ingestion_id}/cancel"
            assert (await desk.http.post(path, headers=bearer(INGEST))).status_code == 403
            assert (await desk.http.post(path, headers=bearer(ADMIN))).status_code == 202


async def test_callers_choose_their_idempotency_keys_for_themselves(desk: Desk) -> None:
    answers = []
    for key, name in ((INGEST, "a.json"), (OTHER, "b.json"), (INGEST, "a.json")):
        body = desk.a_body(file_path=desk.a_file(name))
        headers = bearer(key) | {"Idempotency-Key": "import-1"}
        answers.append(await desk.http.post("/api/ingest", json=body, headers=headers))

    ids = [answer.json()["ingestion_id"] for answer in answers]
    assert [answer.status_code for answer in answers] == [202, 202, 202]
    assert ids[0] == ids[2] != ids[1]


async def test_no_answer_holds_a_key_or_its_digest(desk: Desk) -> None:
    for key in (INGEST, RETIRED):
        for answer in (
            await submit(desk, key),
            await desk.http.get("/api/ingestions", headers=bearer(key)),
            await desk.http.get(f"/api/{key}", headers=bearer(INGEST)),
        ):
            text = str(answer.headers) + answer.text.replace(f"/api/{key}", "")
            assert key not in text
            assert digest_of(key) not in text


# ---- the document


def document() -> dict[str, Any]:
    return application.build(keyring=RING).openapi()


def test_the_document_says_what_needs_a_key_and_how_to_send_it() -> None:
    made = document()
    (name,) = made["components"]["securitySchemes"]
    scheme = made["components"]["securitySchemes"][name]
    assert (scheme["type"], scheme["scheme"]) == ("http", "bearer")
    for path, methods in made["paths"].items():
        for method, operation in methods.items():
            declared = operation.get("security", [])
            wanted: list[dict[str, list[str]]] = [{name: []}] if path.startswith("/api/") else []
            assert declared == wanted, f"{method} {path}"
            assert ("401" in operation["responses"]) is bool(wanted), f"{method} {path}"
            for event in operation.get("callbacks", {}).values():
                assert "security" not in json.dumps(event)


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "localhost:8080",
        "LOCALHOST",
        "127.0.0.1",
        "127.0.0.2:80",
        "[::1]",
        "[::1]:8080",
    ],
)
async def test_without_keys_this_machine_may_ask(tmp_path: Path, host: str) -> None:
    async with a_desk(tmp_path) as desk:
        answer = await desk.http.get("/api/ingestions", headers={"Host": host})
    assert answer.status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        *("attacker.example", "attacker.example:8080", "localhost.attacker.example", "10.0.0.1"),
        *("127.0.0.1.nip.io", "[::ffff:10.0.0.1]", "", "localhost@x", "[::1", "127.0.0.1:80:80"),
    ],
)
async def test_without_keys_a_name_made_to_point_here_may_not(tmp_path: Path, host: str) -> None:
    """A page in a browser on this machine, whose own name was rebound to 127.0.0.1."""
    async with a_desk(tmp_path) as desk:
        body = desk.a_body(file_path=desk.a_file("products.json"))
        answer = await desk.http.post("/api/ingest", json=body, headers={"Host": host})
        probe = await desk.http.get("/healthz", headers={"Host": host})
        kept = await desk.http.get("/api/ingestions")

    assert (answer.status_code, answer.json()["code"]) == (421, "HOST_REFUSED")
    assert probe.status_code == 200
    assert kept.json()["ingestions"] == []


async def test_with_keys_any_name_will_do(desk: Desk) -> None:
    headers = bearer(READ) | {"Host": "ackline.example"}
    assert (await desk.http.get("/api/ingestions", headers=headers)).status_code == 200
