"""How fast an ingestion goes and when it will be done. Pure: an ingestion and a time in."""

from dataclasses import dataclass
from datetime import datetime

from app.domain.ingestion import LIVE, Ingestion, State

_WHOLE = frozenset({State.COMPLETING, State.COMPLETED})
"""States in which the whole source has been delivered."""

_UNFINISHED_MAX = 0.999
"""Highest fraction in any other state: what FAILED must never be read as done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """Progress over the source's bytes. What cannot be known is ``None``, never a guess."""

    fraction: float
    """Source bytes delivered and acknowledged, of all. 0 … 1."""

    bytes_per_s: float | None = None
    """Source bytes per second, from the first start to the last ACK, pauses included."""

    records_per_s: float | None = None
    """Records per second, over the same time."""

    eta_s: float | None = None
    """Seconds to the end at that rate; only while it is RUNNING."""

    ack_age_s: float | None = None
    """Seconds since the last ACK; only while the service works on it."""


def pace_of(ingestion: Ingestion, *, now: datetime) -> Pace:
    """Compute the pace of ``ingestion`` as of ``now`` (aware UTC)."""
    position, size = ingestion.progress.position, ingestion.fingerprint.size
    fraction = _fraction(ingestion)
    bytes_per_s = _rate(ingestion, position)
    eta_s = None
    if ingestion.state is State.RUNNING and bytes_per_s:
        eta_s = max(0, size - position) / bytes_per_s
    ack_age_s = None
    if ingestion.acked_at is not None and ingestion.state in LIVE:
        ack_age_s = max(0.0, (now - ingestion.acked_at).total_seconds())
    return Pace(
        fraction=fraction,
        bytes_per_s=bytes_per_s,
        records_per_s=_rate(ingestion, ingestion.progress.records_delivered),
        eta_s=eta_s,
        ack_age_s=ack_age_s,
    )


def _fraction(ingestion: Ingestion) -> float:
    if ingestion.state in _WHOLE:
        # The bytes after the last record (a bracket, white space) are in no chunk.
        return 1.0
    size = ingestion.fingerprint.size
    return min(_UNFINISHED_MAX, ingestion.progress.position / size) if size else 0.0


def _rate(ingestion: Ingestion, amount: int) -> float | None:
    if ingestion.started_at is None or ingestion.acked_at is None:
        return None
    elapsed_s = (ingestion.acked_at - ingestion.started_at).total_seconds()
    # The wall clock may have been set back in between.
    return amount / elapsed_s if elapsed_s > 0 else None
