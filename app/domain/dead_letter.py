"""What becomes of a record that nobody took."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """A record that the receiver refused by name, kept with its bytes and the reason.

    Contract 5.3: its chunk counts as delivered all the same.
    """

    record: int
    """0-based in the ingestion."""

    chunk_number: int
    content: bytes
    """Its JSON, exactly as it was sent."""

    code: str = ""
    """The receiver's, as are all below; empty where it said none."""

    message: str = ""
    path: str = ""
    retryable: bool = False
