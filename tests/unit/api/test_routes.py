"""What the framework does with the routes."""

from collections.abc import Iterator
from inspect import iscoroutinefunction

import pytest
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from app.api import health, ingestions

ROUTES = [
    route
    for router in (ingestions.router, health.router)
    for route in router.routes
    if isinstance(route, APIRoute)
]


def calls_of(dependant: Dependant) -> Iterator[object]:
    yield dependant.call
    for needed in dependant.dependencies:
        yield from calls_of(needed)


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
def test_a_request_is_answered_without_a_thread(route: APIRoute) -> None:
    """Each would cost as much as the rest of the request."""
    assert [call for call in calls_of(route.dependant) if not is_coroutine(call)] == []


def is_coroutine(call: object) -> bool:
    return iscoroutinefunction(call) or iscoroutinefunction(getattr(call, "__call__", None))  # noqa: B004
