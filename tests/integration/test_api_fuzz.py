"""Whatever is asked, the answer is one of the documented ones: never a 5xx."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.api.models import IngestBody, IngestOptions, ListQuery
from app.api.problems import PROBLEMS
from app.control.submission import FILE_TYPE_NAMES
from tests.support.api import Desk, a_desk

ANY_TEXT = st.text(st.characters(codec=None), max_size=20)
"""Half characters included."""

ANY_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | ANY_TEXT
    | st.sampled_from(["utf-8", "hex", ";", "https://8.8.8.8/", "http://127.0.0.1:1/", "last"])
    | st.sampled_from(FILE_TYPE_NAMES),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(ANY_TEXT, inner, max_size=4)
        | st.dictionaries(st.sampled_from(list(IngestOptions.model_fields)), inner, max_size=4)
    ),
    max_leaves=12,
)
MEMBERS = st.dictionaries(
    st.sampled_from([*IngestBody.model_fields, "unknown"]), ANY_JSON, max_size=4
)


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., httpx.Response]:
    """Return what asks a fresh service one thing."""
    root = tmp_path_factory.mktemp("root")

    def ask(one: Callable[[Desk], Awaitable[httpx.Response]]) -> httpx.Response:
        async def once() -> httpx.Response:
            async with a_desk(root) as desk:
                return await one(desk)

        return asyncio.run(once())

    return ask


def is_documented(answer: httpx.Response) -> bool:
    if answer.is_success:
        return True
    problem = answer.json()
    return answer.status_code < 500 and PROBLEMS[problem["code"]].status == answer.status_code


@settings(max_examples=300, deadline=None)
@given(members=MEMBERS)
def test_no_body_makes_the_service_stumble(
    asked: Callable[..., httpx.Response], members: dict[str, Any]
) -> None:
    def post(desk: Desk) -> Awaitable[httpx.Response]:
        body = json.dumps(desk.a_body() | members)
        return desk.http.post(
            "/api/ingest", content=body, headers={"content-type": "application/json"}
        )

    assert is_documented(asked(post))


@settings(max_examples=100, deadline=None)
@given(content=st.binary(max_size=200))
def test_no_bytes_do_either(asked: Callable[..., httpx.Response], content: bytes) -> None:
    def post(desk: Desk) -> Awaitable[httpx.Response]:
        return desk.http.post(
            "/api/ingest", content=content, headers={"content-type": "application/json"}
        )

    assert is_documented(asked(post))


@settings(max_examples=200, deadline=None)
@given(
    query=st.lists(
        st.tuples(
            st.sampled_from([*ListQuery.model_fields, "unknown"]),
            st.text(max_size=20) | st.sampled_from(["QUEUED", "json", "1", "-1", "MQ", "OTk5"]),
        ),
        max_size=5,
    )
)
def test_no_query_does_either(
    asked: Callable[..., httpx.Response], query: list[tuple[str, str]]
) -> None:
    def get(desk: Desk) -> Awaitable[httpx.Response]:
        return desk.http.get(f"/api/ingestions?{urlencode(query)}")

    assert is_documented(asked(get))
