"""What lies between sender and receiver, and how the receiver behaves: badly.

The real `HttpReceiver` posts into `Network`, which is a transport. Every answer is a
status, headers and bytes, so that the service's own reading of answers is under test too.
"""

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from email.utils import formatdate
from random import Random

from app.receiver.exchange import ConnectionLost, Endpoint, NotConnected, NotHttp, Received
from tests.simulation.book import CHUNK, COMPLETED, Answer, Book, Letter
from tests.simulation.virtual import OutsideLoop, ProcessLoop, Time

CALLBACK = "http://receiver.example/chunks"
POLITE_CALLBACK = "http://polite.example/chunks"
"""Another origin, at which nothing ever goes wrong."""

DEADLINE_S = 30.0
"""What the simulated service gives one exchange."""

RETRY_AFTER_S_MAX = 3600.0
"""Contract 7.1."""

NO_ACKS = (
    b"<html>OK</html>",
    b"",
    b"null",
    b"[]",
    b'{"ack":"true"}',
    b'{"ack":1}',
    b'{"ack":null}',
    b'{"result":{"ack":true}}',
    b'{"ok":true}',
    b'{"ack":tru',
    b"\xff\xfe\x00",
    b'{"ack":false}',
    b'{"ack":false,"error":"DATABASE_ON_FIRE"}',
)
"""Bodies of a 200 that acknowledge nothing (R6, R7)."""

STOPS = {
    "302": "REDIRECTED",
    "400": "RECEIVER_REJECTED",
    "401": "AUTH_FAILED",
    "410": "RECEIVER_GONE",
    "413": "CHUNK_TOO_LARGE",
    "VALIDATION_FAILED": "VALIDATION_FAILED",
    "REJECTED_INGESTION": "REJECTED_INGESTION",
    "OUT_OF_ORDER_CHUNK": "OUT_OF_ORDER_CHUNK",
}
"""Refusals that end an ingestion → the code it ends with."""

FAULTS = (
    # The message is never taken.
    *("refused", "reset", "swallowed", "status", "busy", "no ack", "damaged", "here"),
    "other chunk",
    # It is taken, and that does not become known.
    *("lost", "silent", "endless", "garbled", "failed", "contradicted"),
    # It is taken after everybody gave up, twice, or slowly.
    *("late", "twice", "dripping"),
    # The receiver is not where the sender is.
    *("forget", "rewind", "stop"),
)
"""What can happen to a message."""

_TO_STOPS = frozenset({"refused", "reset", "swallowed", "status"})
"""What can happen to a message whose answer nobody waits for."""


@dataclass(slots=True, kw_only=True)
class Manners:
    """How a receiver behaves, for better and for worse."""

    basic: bool = False
    """Its ACK says ``ack`` and nothing else (contract 2)."""

    refuses_duplicates: bool = False
    """Answers a chunk that it has with the one it expects, and its chain (8.2)."""

    picky: int = 0
    """Of how many records it refuses one by name (5.3); 0: takes all."""

    faults: tuple[str, ...] = ()
    rate: float = 0.0
    """How many of the messages meet one of the faults, 0 … 1."""

    slow_s: float = 0.0
    """Longest time on the way, there or back."""


@dataclass(slots=True)
class Reply:
    """What comes back, and what is true once it was read."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    pause_s: float = 0.0
    """Before each byte of the body; for ever when `endless`."""

    endless: bool = False
    read: Callable[[], None] = lambda: None
    """Called when the sender has read it to its end."""

    async def come(self) -> None:
        """Take the time that its body takes."""
        if self.pause_s:
            for _ in self.body:
                await asyncio.sleep(self.pause_s)
            while self.endless:
                await asyncio.sleep(self.pause_s)
        self.read()


class Outside:
    """The receiver and the network in front of it: the same for all processes."""

    def __init__(
        self,
        *,
        book: Book,
        manners: Manners,
        random: Random,
        time: Time,
        wall_s: float,
        note: Callable[[str], None],
        tracing: bool,
    ) -> None:
        self.book = book
        self.manners = manners
        self.random = random
        self.time = time
        self.note = note
        self.tracing = tracing
        """Somebody reads the notes; the frequent ones are not worded otherwise."""
        self.loop = OutsideLoop(time)  # type: ignore[abstract] # no I/O
        self.calm = False
        """Nothing goes wrong any more."""
        self.wall_s = wall_s
        """Unix time at the start of the schedule."""
        self.provoked: dict[str, int] = {}
        """Code of a failure → how often the receiver gave reason for it."""
        self.went_back: set[str] = set()
        """Ingestions whose chunks were asked for again."""
        self.longest_s = 0.0
        """Longest time that was asked for by Retry-After."""

    def fault_for(self, letter: Letter, url: str) -> str:
        manners, random = self.manners, self.random
        if self.calm or url == POLITE_CALLBACK or random.random() >= manners.rate:
            return ""
        fault = manners.faults[int(random.random() * len(manners.faults))]
        if letter.kind not in (CHUNK, COMPLETED) and fault not in _TO_STOPS:
            return ""
        return fault

    def transit_s(self) -> float:
        return 0.001 if self.calm else self.random.random() ** 4 * self.manners.slow_s

    def provoke(self, code: str) -> None:
        self.provoked[code] = self.provoked.get(code, 0) + 1

    # ---- what a message leads to

    def outcome(self, process: str, letter: Letter, fault: str) -> Reply | Exception | None:
        """Return what comes back for a message that arrives; ``None``: nothing ever."""
        random, book = self.random, self.book
        match fault:
            case "reset":
                return ConnectionLost("reset before it was taken")
            case "swallowed":
                return None
            case "status":
                body = random.choice((b"", b"<html>", b'{"ack":true}'))
                return Reply(random.choice((500, 502, 504, 408, 425)), body)
            case "busy":
                return self._busy(process, letter)
            case "no ack":
                return Reply(random.choice((200, 201)), random.choice(NO_ACKS))
            case "damaged":
                self.provoke("CHECKSUM_MISMATCH")
                return _json(200, {"ack": False, "error": "CHECKSUM_MISMATCH"})
            case "here" if letter.kind == CHUNK:
                refusal = {"error": "OUT_OF_ORDER_CHUNK", "expected_chunk": letter.number}
                return _json(409, {"ack": False, **refusal})
            case "other chunk":
                return _json(200, {"ack": True, **self._lie(letter)})
            case "stop":
                return self._stop()
            case "rewind" if letter.number > 0 and not book.shelves[letter.ingestion_id].closed:
                self.provoke("REWIND_LOOP")
                book.asked_back(letter.ingestion_id)
                self.went_back.add(letter.ingestion_id)
                error = "OUT_OF_ORDER_CHUNK" if letter.kind == CHUNK else "INCOMPLETE"
                expected = random.randrange(letter.number)
                return _json(409, {"ack": False, "error": error, "expected_chunk": expected})
            case "late":
                self.loop.call_later(DEADLINE_S * random.uniform(1, 3), self._late, letter)
                return None
            case "forget":
                return self._forget(letter)
            case _:
                return self._taken(letter, fault)

    def _taken(self, letter: Letter, fault: str) -> Reply | Exception | None:
        """The message is taken; what of the truth comes back?"""
        random = self.random
        truth = self._receive(letter)
        true = self._true(letter, truth)
        match fault:
            case "lost":
                return random.choice((ConnectionLost("reset"), NotHttp("cut off")))
            case "silent":
                return None
            case "endless":
                return Reply(200, true.body, pause_s=random.choice((0.5, 4.0)), endless=True)
            case "garbled":
                return Reply(200, true.body[: random.randrange(len(true.body))])
            case "failed":
                return Reply(random.choice((500, 502)), random.choice((b'{"ack":true}', b"<html>")))
            case "contradicted" if truth["ack"]:
                return _json(200, {**truth, **self._lie(letter)})
            case "twice":
                again = self._true(letter, self._receive(letter))
                return random.choice((true, again))
            case "dripping":
                true.pause_s = DEADLINE_S / 2 / len(true.body)
                return true
            case _:
                return true

    def _receive(self, letter: Letter) -> Answer:
        return self.book.receive(letter, refuses_duplicates=self.manners.refuses_duplicates)

    def _true(self, letter: Letter, truth: Answer) -> Reply:
        said = {"ack": True} if self.manners.basic and truth["ack"] else truth
        status = 200 if truth["ack"] or self.random.random() < 0.3 else 409
        reply = _json(status, said)
        reply.read = lambda: self.book.hears(letter, truth)
        return reply

    def _late(self, letter: Letter) -> None:
        if not self.too_late(letter):
            self.note(f"{letter.text} arrives late")
            self._receive(letter)

    def too_late(self, letter: Letter) -> bool:
        """Tell whether a message whose sender is gone would do what no sender can undo.

        A completion from before the receiver asked for chunks again would close the ingestion
        under them: two faults at once (docs/reliability.md, what is not promised).
        """
        return letter.kind != CHUNK and letter.ingestion_id in self.went_back

    def _forget(self, letter: Letter) -> Reply:
        shelf = self.book.shelves[letter.ingestion_id]
        held = len(shelf.chains)
        down_to = self.random.randrange(held + 1)
        # What the service has put down as COMPLETED nobody will send again: a receiver that
        # loses it then, because somebody who was frozen comes late, loses it for ever.
        if down_to < held and not shelf.finished:
            self.provoke("REWIND_LOOP")
            self.went_back.add(letter.ingestion_id)
            self.note(f"the receiver forgets chunk {down_to} and all after it")
            self.book.forget(letter.ingestion_id, down_to)
        if down_to == 0 and self.random.random() < 0.5:
            return _json(404, {"ack": False, "error": "UNKNOWN_INGESTION"})
        return self._true(letter, self._receive(letter))

    def _busy(self, process: str, letter: Letter) -> Reply:
        random = self.random
        status, body = random.choice(
            (
                (429, b""),
                (503, b"<html>"),
                (409, b'{"ack":false,"error":"BUSY"}'),
                (200, b'{"ack":false,"error":"LOCKED"}'),
            )
        )
        seconds = random.choice((0, 1, 7, 7, 40))
        if random.random() < 0.02:
            seconds = 10**8
        now = int(self.wall_s + self.time.now)
        after = random.choice((str(seconds), formatdate(now + seconds, usegmt=True), "", "soon"))
        reply = Reply(status, body, {"Retry-After": after, "Date": formatdate(now, usegmt=True)})
        if after not in ("", "soon"):
            waits = min(seconds, RETRY_AFTER_S_MAX)
            self.longest_s = max(self.longest_s, waits)
            reply.read = lambda: self.book.told_to_wait(process, letter, self.time.now + waits)
        return reply

    def _stop(self) -> Reply:
        name = self.random.choice(list(STOPS))
        self.provoke(STOPS[name])
        if name.isdigit():
            headers = {"Location": "http://elsewhere.example/"} if name == "302" else {}
            return Reply(int(name), b'{"ack":true}' if name != "413" else b"", headers)
        return _json(200, {"ack": False, "error": name})

    def _lie(self, letter: Letter) -> Answer:
        """Return evidence that belongs to another chunk."""
        number = letter.number
        lies: list[Answer] = [
            {"chunk_id": f"{letter.ingestion_id}:{number + 1}"},
            {"chunk_number": number + 1},
            {"checksum": "0" * 64},
            {"next_chunk": number + 99},
            {"next_chunk": "1"},
        ]
        if letter.kind == CHUNK:
            lies.append({"accepted": 10**6, "duplicate": False})
        return self.random.choice(lies)


class Network:
    """What one process sees of the outside. A ``Transport``."""

    def __init__(self, outside: Outside, *, name: str, loop: ProcessLoop) -> None:
        self._outside = outside
        self._name = name
        self._loop = loop
        self.cut_off = False
        """The process is dead."""

    async def exchange(
        self, endpoint: Endpoint, head: bytes, content: Sequence[bytes], *, until: float
    ) -> Received:
        outside = self._outside
        letter = outside.book.letter(b"".join(content))
        request, *fields = head.decode().split("\r\n")
        url = f"{endpoint.scheme}://{endpoint.host}{request.split()[1]}"
        outside.book.addressed(letter, url)
        fault = outside.fault_for(letter, url)
        if outside.tracing:
            (attempt,) = (one for one in fields if one.startswith("Ingest-Attempt: "))
            outside.note(f"{self._name} sends {letter.text}, {attempt} {fault and f'({fault})'}")
        if fault == "refused":
            raise NotConnected("nobody listens")
        coming: asyncio.Future[Reply | Exception] = self._loop.create_future()
        outside.loop.call_later(outside.transit_s(), self._arrive, letter, fault, coming)
        async with asyncio.timeout_at(until):
            reply = await coming
            if isinstance(reply, Exception):
                raise reply
            await reply.come()
        headers = [(name.encode(), value.encode()) for name, value in reply.headers.items()]
        return Received(reply.status, headers, reply.body)

    async def aclose(self) -> None:
        """Nothing is held."""

    def _arrive(
        self, letter: Letter, fault: str, coming: "asyncio.Future[Reply | Exception]"
    ) -> None:
        outside = self._outside
        if self.cut_off or coming.done():
            if outside.random.random() < 0.5 or outside.too_late(letter):
                return  # It had not left yet when the sender died or gave up.
            if fault == "forget":
                fault = ""  # The next sender may have heard already that all is complete.
        reply = outside.outcome(self._name, letter, fault)
        if reply is None:
            return
        if outside.tracing:
            outside.note(f"{self._name} is answered {_shown(reply)} to {letter.text}")
        outside.loop.call_later(outside.transit_s(), self._bring, reply, coming)

    def _bring(self, reply: Reply | Exception, coming: "asyncio.Future[Reply | Exception]") -> None:
        if not self.cut_off and not coming.done():
            coming.set_result(reply)


def _json(status: int, answer: Answer) -> Reply:
    return Reply(status, json.dumps(answer).encode())


def _shown(reply: Reply | Exception) -> str:
    if isinstance(reply, Exception):
        return repr(reply)
    return f"{reply.status} {reply.body[:120]!r}{' for ever' if reply.endless else ''}"
