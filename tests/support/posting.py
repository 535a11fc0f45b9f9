"""A real receiver client and a message for it, with what no test cares about filled in."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from ssl import SSLContext

from app.domain.delivery import Message
from app.receiver.egress import EgressPolicy, Resolve, resolve
from app.receiver.http import HttpReceiver, OriginSettings
from tests.support.clocks import ManualClock

INGESTION_ID = "8d0f3c6a5b1e4d7f" * 4
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def a_message(url: str, body: bytes = b'{"records":[]}') -> Message:
    """Return chunk 0 of an ingestion."""
    return Message(
        url=url,
        event="ingestion.chunk",
        message_id=f"chk_{INGESTION_ID}_0_0",
        idempotency_key=f"{INGESTION_ID}:0",
        content=(body,),
    )


def a_receiver(
    *,
    allow: Sequence[str] = ("127.0.0.1",),
    resolve: Resolve = resolve,
    origins: Mapping[str, OriginSettings] | None = None,
    deadline_s: float = 60.0,
    tls: SSLContext | None = None,
) -> HttpReceiver:
    """Return a client that may call loopback."""
    return HttpReceiver(
        egress=EgressPolicy(allow=allow, resolve=resolve),
        clock=ManualClock(NOW),
        origins=origins,
        deadline_s=deadline_s,
        tls=tls,
    )
