"""What a sink knows of what arrived. No I/O, so that a test can show it failing."""

import re
from collections import Counter
from dataclasses import dataclass, field

import orjson

_CHUNK = re.compile(rb"\r\nwebhook-id: *chk_([0-9a-f]+)_(\d+)_\d+\r\n", re.IGNORECASE)
_KEY = re.compile(rb"\r\nidempotency-key: *([^\r\n]+)", re.IGNORECASE)
_SKU_PREFIX = len("SKU-")


@dataclass(slots=True)
class Tally:
    """Counts that cost next to nothing: what a timed run keeps."""

    requests: int = 0
    body_bytes: int = 0
    completed: int = 0
    """Of the requests, those that close an ingestion."""

    first_at: float = 0.0
    last_at: float = 0.0
    """When the first and the last request that carries records was there, whole."""

    def arrived(self, head: bytes, body_bytes: int, at: float) -> None:
        """Count one request."""
        self.requests += 1
        self.body_bytes += body_bytes
        if b"ingestion.completed" in head:
            self.completed += 1
        else:
            self.first_at = self.first_at or at
            self.last_at = at


@dataclass(slots=True)
class Chunks:
    """Which chunks of which ingestion came, by their ``webhook-id``."""

    seen: dict[str, Counter[int]] = field(default_factory=dict)
    """Ingestion → chunk number → times it came."""

    new_at: list[float] = field(default_factory=list)
    """When each chunk came that had not come before, in order of arrival."""

    def arrived(self, head: bytes, at: float) -> None:
        """Note one request; what carries no chunk is passed over."""
        if found := _CHUNK.search(head):
            numbers = self.seen.setdefault(found[1].decode(), Counter())
            number = int(found[2])
            if number not in numbers:
                self.new_at.append(at)
            numbers[number] += 1

    def missing(self) -> int:
        """Return how many chunks are missing below the highest that came."""
        return sum(max(numbers) + 1 - len(numbers) for numbers in self.seen.values())

    def duplicates(self) -> int:
        """Return how many times a chunk came that had come before."""
        return sum(numbers.total() - len(numbers) for numbers in self.seen.values())


@dataclass(slots=True)
class Records:
    """Which products came, by the number in their ``sku``."""

    times: Counter[int] = field(default_factory=Counter)
    """Product → times it came."""

    effects: Counter[int] = field(default_factory=Counter)
    """The same for a receiver that drops a request whose ``Idempotency-Key`` it knows."""

    keys: set[bytes] = field(default_factory=set)

    def arrived(self, head: bytes, body: bytes) -> None:
        """Note the records of one request: ``{"records": [{"sku": …}, …]}``."""
        members = orjson.loads(body)
        numbers = [int(record["sku"][_SKU_PREFIX:]) for record in members.get("records", ())]
        self.times.update(numbers)
        key = _KEY.search(head)
        if key is None or key[1] not in self.keys:
            self.effects.update(numbers)
        if key is not None:
            self.keys.add(key[1])

    def missing(self, records: int) -> int:
        """Return how many of products 0 … ``records`` - 1 never came."""
        return records - sum(number in self.times for number in range(records))

    def duplicates(self) -> int:
        """Return how many times a product came that had come before."""
        return self.times.total() - len(self.times)

    def effects_twice(self) -> int:
        """Return how many of those a receiver could not tell by a key."""
        return self.effects.total() - len(self.effects)


@dataclass(slots=True)
class Audit:
    """Everything a sink keeps; the parts that cost something only where asked for."""

    tally: Tally = field(default_factory=Tally)
    chunks: Chunks | None = None
    records: Records | None = None

    def arrived(self, head: bytes, body_bytes: int, body: bytes, at: float) -> None:
        """Note one request."""
        self.tally.arrived(head, body_bytes, at)
        if self.chunks is not None:
            self.chunks.arrived(head, at)
        if self.records is not None:
            self.records.arrived(head, body)

    def report(self, records: int) -> "Report":
        """Sum it up; ``records`` products were to come."""
        tally, chunks, products = self.tally, self.chunks, self.records
        return Report(
            requests=tally.requests,
            body_bytes=tally.body_bytes,
            completed=tally.completed,
            first_at=tally.first_at,
            last_at=tally.last_at,
            chunks_missing=chunks.missing() if chunks else 0,
            chunks_twice=chunks.duplicates() if chunks else 0,
            new_at=chunks.new_at if chunks else [],
            chunks_of=[len(numbers) for numbers in chunks.seen.values()] if chunks else [],
            records_missing=products.missing(records) if products else 0,
            records_twice=products.duplicates() if products else 0,
            effects_twice=products.effects_twice() if products else 0,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a sink answers when it is asked."""

    requests: int
    body_bytes: int
    completed: int
    first_at: float
    last_at: float
    chunks_missing: int
    chunks_twice: int
    new_at: list[float]
    chunks_of: list[int]
    """Different chunks of each ingestion."""

    records_missing: int
    records_twice: int
    effects_twice: int
