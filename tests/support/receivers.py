"""A strict receiver in memory: the algorithm of contract 8.4, and a script of what goes wrong."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TypeAlias

from app.domain.delivery import Answer, Message, NoAnswer, Reply, Silence

LOST = NoAnswer(Silence.CONNECTION_LOST, "connection reset")


class Crash(BaseException):
    """The process dies here."""


@dataclass(frozen=True, slots=True)
class Before:
    """This reply instead of receiving: the message never arrived."""

    reply: Reply


@dataclass(frozen=True, slots=True)
class After:
    """Receive, but let this reply reach the sender."""

    reply: Reply


@dataclass(frozen=True, slots=True)
class Do:
    """Do something first, then receive."""

    action: Callable[[], None]


Step: TypeAlias = Before | After | Do | type[Crash]


@dataclass
class StrictReceiver:
    """Receives as the contract says, and notes whatever the sender does wrong."""

    script: list[Step] = field(default_factory=list)
    """What happens to the first messages; then all goes well."""

    records: list[object] = field(default_factory=list)
    next_chunk: int = 0
    chain: str = ""
    completed: int = 0
    stopped: list[str] = field(default_factory=list)
    anomalies: list[str] = field(default_factory=list)
    seen: dict[int, bytes] = field(default_factory=dict)
    """Chunk number → its body, for ever."""

    posts: list[tuple[str, int]] = field(default_factory=list)
    """Event and attempt of every message that was sent."""

    in_flight: int = 0

    async def post(self, message: Message, *, attempt: int) -> Reply:
        self.posts.append((message.event, attempt))
        step = self.script.pop(0) if self.script else None
        match step:
            case Before(reply):
                self._look(message)
                return reply
            case After(reply):
                self._receive(message)
                return reply
            case Do(action):
                action()
                return self._receive(message)
            case None:
                return self._receive(message)
            case _:
                self._receive(message)
                raise Crash

    def forget(self, *, down_to: int = 0) -> None:
        """Lose what came with chunk ``down_to`` and after it."""
        keep = [json.loads(self.seen[number]) for number in range(down_to)]
        self.records = [record for body in keep for record in body["records"]]
        self.next_chunk = down_to
        self.chain = keep[-1]["chain"] if keep else ""

    def _receive(self, message: Message) -> Answer:
        body = self._look(message)
        match body["type"]:
            case "ingestion.chunk":
                return self._chunk(body, message)
            case "ingestion.completed":
                return self._completion(body)
            case other:
                self.stopped.append(str(other))
                return Answer(status=200, ack=True)

    def _look(self, message: Message) -> "dict[str, object]":
        body: dict[str, object] = json.loads(message.body)
        if body["type"] == "ingestion.chunk":
            number = body["chunk_number"]
            assert isinstance(number, int)
            if self.seen.setdefault(number, message.body) != message.body:
                self.anomalies.append(f"chunk {number} came with other bytes")
        return body

    def _chunk(self, body: "dict[str, object]", message: Message) -> Answer:
        number, start = body["chunk_number"], message.body.index(b',"records":') + 11
        assert isinstance(number, int)
        checksum = sha256(message.body[start:-1]).hexdigest()
        if checksum != body["checksum"]:
            self.anomalies.append(f"chunk {number} is damaged")
        if self.completed:
            self.anomalies.append(f"chunk {number} after the completion")
        if number < self.next_chunk:
            return Answer(status=200, ack=True, duplicate=True, next_chunk=self.next_chunk)
        if number > self.next_chunk:
            return Answer(
                status=409, ack=False, error="OUT_OF_ORDER_CHUNK", expected_chunk=self.next_chunk
            )
        before = self.chain or sha256(f"cj1-chain\n{body['ingestion_id']}".encode()).hexdigest()
        chain = sha256(f"{before}\n{checksum}".encode()).hexdigest()
        if chain != body["chain"] or body["record_offset"] != len(self.records):
            self.anomalies.append(f"chunk {number} does not follow")
        records = body["records"]
        assert isinstance(records, list)
        self.records += records
        self.next_chunk, self.chain = number + 1, chain
        return Answer(status=200, ack=True, chunk_number=number, next_chunk=number + 1)

    def _completion(self, body: "dict[str, object]") -> Answer:
        if self.completed:
            return Answer(status=409, ack=False, error="INGESTION_CLOSED")
        if body["total_chunks"] != self.next_chunk:
            return Answer(status=409, ack=False, error="INCOMPLETE", expected_chunk=self.next_chunk)
        if body["total_records"] != len(self.records) or (
            self.records and body["chain"] != self.chain
        ):
            self.anomalies.append("the completion does not balance")
        self.completed += 1
        return Answer(status=200, ack=True)
