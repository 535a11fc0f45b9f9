"""What the tests of catalogs do again and again."""

from dataclasses import replace

from app.domain.errors import (
    Failure,
    Place,
)
from app.domain.ingestion import (
    Fingerprint,
    Ingestion,
    State,
    Submission,
)
from app.ports import Submitted
from tests.support.builders import (
    a_fingerprint,
    a_submission,
)
from tests.support.stores import OpenStore

AGAIN = Failure(
    code="TRUNCATED",
    message="ends early",
    remedy="Send it again.",
    resumable=True,
    place=Place(byte=7, line=2, record=1, cell="Products!C7"),
)
NEVER = replace(AGAIN, resumable=False, place=None)
RESUMABLE = [(State.FAILED, AGAIN), (State.PAUSED, NEVER), (State.QUARANTINED, NEVER)]


async def submit(
    store: OpenStore,
    submission: Submission | None = None,
    *,
    fingerprint: Fingerprint | None = None,
    new_version: bool = False,
    idempotency: tuple[str, str] | None = None,
) -> Submitted:
    return await store.catalog.submit(
        submission or a_submission(),
        fingerprint or a_fingerprint(),
        new_version=new_version,
        idempotency=idempotency,
    )


async def stopped(store: OpenStore, state: State, failure: Failure | None = None) -> Ingestion:
    lease = await store.start()
    if state is State.COMPLETED:
        await store.ledger.source_ended(lease, records_read=0)
    await store.ledger.move(lease, state, failure=failure)
    return await store.catalog.get(lease.ingestion_id)
