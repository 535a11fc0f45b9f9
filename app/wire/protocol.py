"""The words both sides of the contract share."""

from enum import StrEnum

PROTOCOL = "1"
"""Version of the contract. Contract 3 and 4."""

RECORDS_MEMBER = b',"records":'
"""What stands before the last member of a chunk body, and nowhere before. Contract 4.2."""


class EventType(StrEnum):
    """What a POST tells the receiver. Contract 0.1."""

    CHUNK = "ingestion.chunk"
    COMPLETED = "ingestion.completed"
    FAILED = "ingestion.failed"
    ABORTED = "ingestion.aborted"
