"""What the receiver holds, and what the sender may therefore do: the judge of a schedule.

It knows the contract and the source, and nothing of the service: no code of it, no state.
Invariants I1 to I7 are checked on every message, every answer and every write of progress;
I8 belongs to the schedule, which knows when the faults stopped.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, TypeAlias
from zlib import crc32

Answer: TypeAlias = dict[str, Any]

CHUNK = "ingestion.chunk"
COMPLETED = "ingestion.completed"
ABORTED = "ingestion.aborted"

EXCHANGE_S_MAX = 31.0
"""The deadline of the simulated service, and a little."""

RECORDS = b',"records":'


def digest(text: bytes) -> str:
    return sha256(text).hexdigest()


@dataclass(slots=True)
class Letter:
    """One message as it lies on the wire, read once however often it is sent."""

    body: bytes
    members: Mapping[str, Any]
    records: bytes
    """The value of ``records``, or nothing."""

    ingestion_id: str = field(init=False)
    kind: str = field(init=False)
    number: int = field(init=False)
    """The chunk, or one past the last for anything else."""

    text: str = field(init=False)

    def __post_init__(self) -> None:
        members = self.members
        self.ingestion_id, self.kind = members["ingestion_id"], members["type"]
        self.number = members.get("chunk_number", members.get("total_chunks", -1))
        is_chunk = self.kind == CHUNK
        self.text = f"chunk {self.number}" if is_chunk else self.kind.removeprefix("ingestion.")


def refused(record: bytes, picky: int) -> bool:
    """Tell whether a receiver that is picky refuses a record. Always the same."""
    return picky > 0 and crc32(record) % picky == 0


def opened(body: bytes) -> Letter:
    """Read a message as any receiver would: find, slice, parse the rest."""
    at = body.find(RECORDS)
    if at < 0:
        return Letter(body, json.loads(body), b"")
    return Letter(body, json.loads(body[:at] + b"}"), body[at + len(RECORDS) : -1])


@dataclass(slots=True)
class Shelf:
    """What the receiver durably holds of one ingestion, and what happened to it."""

    truth: Sequence[bytes]
    """The records of the source, each in canonical form, made without the service."""

    chain_start: str
    url: str
    """Where its messages must go."""

    rewritten: bool = False
    """The source was changed under the reader's hands: what is sent may be a mixture."""

    chains: list[str] = field(default_factory=list)
    """After each chunk that is held; its length is the next chunk."""

    ends: list[int] = field(default_factory=list)
    """Records held after each chunk."""

    closed: str = ""

    committed: dict[int, tuple[str, int]] = field(default_factory=dict)
    """Number → chain and record end of every chunk that was ever committed."""

    bodies: dict[tuple[int, int], bytes] = field(default_factory=dict)
    """Number and revision → the body, for ever (I3)."""

    heard: int = 0
    """Chunks before this one were acknowledged, and the sender heard it."""

    completion_heard: bool = False
    settled: set[bytes] = field(default_factory=set)
    """Bodies whose ACK was heard."""

    reached: int = 0
    """Progress that the service wrote last."""

    finished: bool = False
    """The service wrote COMPLETED."""

    stopped: bool = False
    """The service wrote that it works on this no more, and nobody asked it to go on."""

    tainted: bool = False
    """Holds records that are not the source's."""

    def chain(self) -> str:
        return self.chains[-1] if self.chains else self.chain_start

    def held(self) -> int:
        return self.ends[-1] if self.ends else 0


class Book:
    """Everything sent, committed, answered and heard.

    ``accuse`` is told of every breach, with the invariant's name.
    """

    def __init__(self, accuse: Callable[[str, str], None]) -> None:
        self._accuse = accuse
        self.picky = 0
        """Of how many records the receiver refuses one; 0: takes all."""
        self.shelves: dict[str, Shelf] = {}
        self._letters: dict[bytes, Letter] = {}
        self._on_the_wire: dict[tuple[str, str], int] = {}
        self._not_before: dict[tuple[str, str], float] = {}
        self.unaware: set[str] = set()
        """Processes whose lease may have run out: they need not know yet what others did."""
        self.messages = 0
        self.needless = 0
        """Messages sent again although their ACK had been heard."""

    def expect(self, ingestion_id: str, truth: Sequence[bytes], url: str) -> None:
        """Open a shelf for an ingestion."""
        if ingestion_id not in self.shelves:
            start = digest(b"cj1-chain\n" + ingestion_id.encode())
            self.shelves[ingestion_id] = Shelf(truth, start, url)

    def letter(self, body: bytes) -> Letter:
        """Read a message, once."""
        letter = self._letters.get(body)
        if letter is None:
            letter = self._letters[body] = opened(body)
        return letter

    # ---- what is sent

    def sent(self, process: str, body: bytes, now: float) -> Letter:
        """Take a message the moment it leaves the sender."""
        letter = self.letter(body)
        self.messages += 1
        shelf = self.shelves[letter.ingestion_id]
        on_the_wire = (process, letter.ingestion_id)
        self._on_the_wire[on_the_wire] = self._on_the_wire.get(on_the_wire, 0) + 1
        if self._on_the_wire[on_the_wire] > 1:
            self._accuse("order", f"{letter.text} left while another message was in flight")
        if letter.kind == CHUNK:
            self._check_chunk(letter, shelf)
        elif letter.kind == COMPLETED:
            self._check_completion(letter, shelf)
        if letter.kind in (CHUNK, COMPLETED):
            if shelf.finished and process not in self.unaware:
                self._accuse("I6", f"{letter.text} was sent after COMPLETED was stored")
            if shelf.stopped and process not in self.unaware:
                self._accuse("stop", f"{letter.text} was sent after the ingestion had stopped")
            if now < self._not_before.pop(on_the_wire, 0.0) - 1e-6:
                self._accuse("R4", f"{letter.text} came before Retry-After was over")
            if body in shelf.settled and process not in self.unaware:
                # Once: what is sent again may need several attempts again.
                shelf.settled.discard(body)
                self.needless += 1
        return letter

    def addressed(self, letter: Letter, url: str) -> None:
        """Look where a message goes."""
        if url != self.shelves[letter.ingestion_id].url:
            self._accuse("wire", f"{letter.text} goes to {url}")

    def back(self, process: str, letter: Letter, *, waited_s: float) -> None:
        """Note that the sender has done with a message, with or without an answer."""
        on_the_wire = (process, letter.ingestion_id)
        if on_the_wire not in self._on_the_wire:
            return  # The process is dead.
        self._on_the_wire[on_the_wire] -= 1
        if waited_s > EXCHANGE_S_MAX and process not in self.unaware:
            self._accuse("R1", f"{letter.text} was waited for {waited_s:.0f} s")

    def forget_process(self, process: str) -> None:
        """A killed process waits for nothing any more."""
        for key in [key for key in self._on_the_wire if key[0] == process]:
            del self._on_the_wire[key]

    def excuse_waits(self, of: str) -> None:
        """Forget what a process or an ingestion was asked to wait for.

        A process that met a failing store looks its progress up again at once; a person who
        submits a file again wants to see at once.
        """
        for key in [key for key in self._not_before if of in key]:
            del self._not_before[key]

    def _check_chunk(self, letter: Letter, shelf: Shelf) -> None:
        members, number = letter.members, letter.number
        key = (number, members["revision"])
        if shelf.bodies.setdefault(key, letter.body) != letter.body:
            self._accuse("I3", f"{letter.text} was sent with other bytes than before")
        if number > shelf.heard:
            self._accuse("I2", f"{letter.text} left before the ACK of chunk {number - 1}")
        if members["chunk_id"] != f"{letter.ingestion_id}:{number}":
            self._accuse("wire", f"{letter.text} is called {members['chunk_id']}")
        if members["checksum"] != digest(letter.records):
            self._accuse("wire", f"the checksum of {letter.text} is not of its bytes")
        start = members["record_offset"]
        end = start + members["record_count"]
        right = b"[" + b",".join(shelf.truth[start:end]) + b"]"
        if (letter.records != right or end == start) and not shelf.rewritten:
            self._accuse("I1", f"{letter.text} is not records {start} to {end} of the source")

    def _check_completion(self, letter: Letter, shelf: Shelf) -> None:
        members, counts = letter.members, letter.members["counts"]
        total = members["total_chunks"]
        chain, end = shelf.committed.get(total - 1, (shelf.chain_start, 0))
        if total > shelf.heard:
            self._accuse("I6", f"the completion left before the ACK of chunk {total - 1}")
        if members["total_records"] != end or total != len(shelf.committed):
            self._accuse(
                "I5",
                f"the completion says {members['total_records']} records in {total} chunks, "
                f"acknowledged were {end} in {len(shelf.committed)}",
            )
        if members["chain"] != chain:
            self._accuse("wire", "the chain of the completion is not that of the chunks")
        accounted = counts["delivered"] + counts["filtered"] + counts["dead_lettered"]
        if counts["read"] != accounted or counts["delivered"] != members["total_records"]:
            self._accuse("I7", f"the completion does not balance: {counts}")
        if counts["read"] != len(shelf.truth):
            self._accuse("I1", f"{counts['read']} records were read of {len(shelf.truth)}")
        if shelf.tainted:
            self._accuse("I1", "a mixture of two sources was completed")

    # ---- what the receiver does: contract 8.4 to 8.6

    def receive(self, letter: Letter, *, refuses_duplicates: bool) -> Answer:
        """Take a message that arrived, whenever that is. What is acknowledged is committed."""
        shelf = self.shelves[letter.ingestion_id]
        match letter.kind:
            case "ingestion.chunk":
                return self._chunk(letter, shelf, refuses_duplicates=refuses_duplicates)
            case "ingestion.completed":
                return self._completion(letter, shelf)
            case kind:
                if kind == ABORTED:
                    shelf.closed = "aborted"
                return {"ack": True}

    def _chunk(self, letter: Letter, shelf: Shelf, *, refuses_duplicates: bool) -> Answer:
        members, number, following = letter.members, letter.number, len(shelf.chains)
        if shelf.closed:
            return {"ack": False, "error": "INGESTION_CLOSED"}
        if number < following and not refuses_duplicates:
            refusals = self._refusals(letter, shelf)
            return {"ack": True, "duplicate": True, "next_chunk": following, **refusals}
        if number != following:
            return {
                "ack": False,
                "error": "OUT_OF_ORDER_CHUNK",
                "expected_chunk": following,
                "chain": shelf.chain(),
            }
        chain = digest(f"{shelf.chain()}\n{members['checksum']}".encode())
        if members["chain"] != chain or members["record_offset"] != shelf.held():
            self._accuse("I1", f"{letter.text} does not follow what is held")
            return {"ack": False, "error": "CHAIN_MISMATCH"}
        end = shelf.held() + members["record_count"]
        if letter.records != b"[" + b",".join(shelf.truth[shelf.held() : end]) + b"]":
            shelf.tainted = True
        if shelf.committed.setdefault(number, (chain, end)) != (chain, end):
            self._accuse("I3", f"{letter.text} was committed with other content before")
        shelf.chains.append(chain)
        shelf.ends.append(end)
        return {
            "ack": True,
            "chunk_id": members["chunk_id"],
            "chunk_number": number,
            "checksum": members["checksum"],
            "next_chunk": number + 1,
            "accepted": members["record_count"],
            "duplicate": False,
            **self._refusals(letter, shelf),
        }

    def _refusals(self, letter: Letter, shelf: Shelf) -> Answer:
        """Name the records that are refused, as 5.3 has it; also of a duplicate."""
        start, count = letter.members["record_offset"], letter.members["record_count"]
        records = shelf.truth[start : start + count]
        places = [i for i, record in enumerate(records) if refused(record, self.picky)]
        if not places:
            return {}
        named = [{"index": place, "code": "PICKY"} for place in places]
        return {"accepted": count - len(named), "rejected": named}

    def _completion(self, letter: Letter, shelf: Shelf) -> Answer:
        members, following = letter.members, len(shelf.chains)
        if shelf.closed == "aborted":
            return {"ack": False, "error": "REJECTED_INGESTION"}
        if members["total_chunks"] > following:
            return {"ack": False, "error": "INCOMPLETE", "expected_chunk": following}
        if members["total_chunks"] != following or members["chain"] != shelf.chain():
            self._accuse("I6", "the completion does not close what is held")
            return {"ack": False, "error": "CHAIN_MISMATCH"}
        shelf.closed = "completed"
        return {"ack": True, "next_chunk": following}

    def forget(self, ingestion_id: str, down_to: int) -> None:
        """Lose what came with chunk ``down_to`` and after it (8.1)."""
        shelf = self.shelves[ingestion_id]
        del shelf.chains[down_to:], shelf.ends[down_to:]
        shelf.closed = "" if shelf.closed == "completed" else shelf.closed
        shelf.settled.clear()

    # ---- what the sender hears, and writes down

    def hears(self, letter: Letter, answer: Answer) -> None:
        """Note a true answer that the sender has read to its last byte."""
        shelf = self.shelves[letter.ingestion_id]
        if letter.kind == CHUNK and answer["ack"] is True:
            shelf.heard = max(shelf.heard, letter.number + 1)
            shelf.settled.add(letter.body)
        elif letter.kind == COMPLETED and answer["ack"] is True:
            shelf.completion_heard = True
            shelf.settled.add(letter.body)
        elif answer.get("error") == "OUT_OF_ORDER_CHUNK" and "chain" in answer:
            shelf.heard = max(shelf.heard, answer["expected_chunk"])

    def told_to_wait(self, process: str, letter: Letter, until: float) -> None:
        """Note that the sender has read a Retry-After."""
        self._not_before[process, letter.ingestion_id] = until

    def asked_back(self, ingestion_id: str) -> None:
        """Note that the receiver asked for chunks again that it had acknowledged."""
        self.shelves[ingestion_id].settled.clear()

    def written(
        self, ingestion_id: str, write: str, *, reached: int, delivered: int, state: str
    ) -> None:
        """Look at the progress after a write of the service."""
        shelf = self.shelves[ingestion_id]
        if reached > shelf.heard:
            self._accuse("I4", f"{write}: progress is {reached}, acknowledged is {shelf.heard}")
        _, end = shelf.committed.get(reached - 1, ("", 0))
        if delivered != end:
            self._accuse("I5", f"{write}: {delivered} records count as delivered, {end} are")
        if reached < shelf.reached and write != "rewind":
            self._accuse("I4", f"{write}: progress fell from {shelf.reached} to {reached}")
        shelf.reached = reached
        if state == "COMPLETED" and not shelf.finished:
            shelf.finished = True
            if not shelf.completion_heard:
                self._accuse("I6", "COMPLETED was stored before its ACK was heard")

    def buried(
        self, ingestion_id: str, write: str, *, counted: int, kept: Sequence[tuple[int, bytes]]
    ) -> None:
        """Look at the dead letters after a write: those of every chunk that is progress."""
        shelf = self.shelves[ingestion_id]
        _, end = shelf.committed.get(shelf.reached - 1, ("", 0))
        taken = enumerate(shelf.truth[:end])
        right = [(place, record) for place, record in taken if refused(record, self.picky)]
        if (counted, kept) != (len(right), right) and not shelf.rewritten:
            self._accuse(
                "I1", f"{write}: {counted} refused records count, {kept} are kept, of {right}"
            )

    # ---- at the end

    def closing(self, ingestion_id: str, state: str, *, total: int, read: int | None) -> None:
        """Compare the end of an ingestion with what is held."""
        shelf = self.shelves[ingestion_id]
        held = shelf.held()
        if state == "COMPLETED":
            if (total, read) != (len(shelf.truth), len(shelf.truth)):
                self._accuse("I7", f"COMPLETED with {total} of {read} records; {len(shelf.truth)}")
            if shelf.closed != "completed" or held != len(shelf.truth):
                self._accuse("I1", f"COMPLETED, and the receiver holds {held} records")
