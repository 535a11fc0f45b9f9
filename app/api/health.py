"""``/healthz`` and ``/readyz``: for whoever runs the service."""

from fastapi import APIRouter

from app.api import examples
from app.api.deps import IngestionsDep
from app.api.problems import documented
from app.api.views import Health, Ready

router = APIRouter(tags=["health"])


@router.get(
    "/healthz",
    operation_id="healthz",
    summary="Does it live?",
    response_description="The event loop turns.",
    responses={
        200: {"content": {"application/json": {"examples": examples.LIVE}}},
        **documented("INTERNAL"),
    },
)
async def healthz() -> Health:
    """Answer. Touches nothing: restart the service when this fails."""
    return Health()


@router.get(
    "/readyz",
    operation_id="readyz",
    summary="Can it take work?",
    response_description="The store can be written and chunks are being delivered.",
    responses={
        200: {"content": {"application/json": {"examples": examples.READY}}},
        **documented("NOT_READY", "DISK_LOW", "STORE_UNAVAILABLE", "INTERNAL"),
    },
)
async def readyz(ingestions: IngestionsDep) -> Ready:
    """Write to the store and ask for the delivery side. Send no traffic while this fails."""
    await ingestions.ready()
    return Ready()
