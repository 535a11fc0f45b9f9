"""An independent strict receiver, as a process: it notes whatever a sender does wrong.

    python -m tests.support.strict_receiver --database FILE [--port N] [--seed N] [--secret S]
    [--picky N]

Written from docs/receiver-contract.md alone, over asyncio streams; imports nothing of the
product. With a seed it misbehaves, by a plan that depends on the seed alone, never
more than three times in a row; every kind of fault comes before one comes again.

It prints one JSON object a line: ``{"port": …}`` first, then ``{"closed": id}`` for each
ingestion that ends, and ``{"at": phase}`` when it holds its breath. It takes orders on
standard input, and says ``{"obeyed": order}`` when one is in force: ``gate COUNT PHASE KIND``
stops it in a phase of the COUNT-th request from now whose kind contains KIND, until ``go`` or
another ``gate``; ``play FAULT`` has the next request meet this fault.
"""

import argparse
import asyncio
import json
import os
import random
import socket
import sys
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from pathlib import Path

from tests.support.strict_book import Answer, Book
from tests.support.strict_request import (
    ABORTED,
    CHUNK,
    COMPLETED,
    FAILED,
    Event,
    Request,
    Unreadable,
    faults,
    read,
)

PHASES = ("head", "body", "received", "committed", "acked")
LIES = ('"true"', "1", "nested", "other chunk", "500 with ack")
"""Answers that look like an ACK, and are none."""

BEFORE = ("500", "429", "503", "nack", "busy", "garbage", "empty", "drop", "damaged", *LIES)
"""Nothing is committed."""

AFTER = ("drop", "reset", "truncated", "drip", *LIES)
"""It is committed, but the sender does not learn it; from a drip it does."""

DECK = (*(f"before {one}" for one in BEFORE), *(f"after {one}" for one in AFTER), "forget")

IN_A_ROW_MAX = 3
FAULT_RATE = 0.3
HEAD_BYTES_MAX = 64 * 1024
GONE_S = 2.0
"""Time for the end of a dead sender's connection to arrive. Shorter than a living sender keeps
one that it does not use."""


class Broken(Exception):
    """The connection is to end here."""


@dataclass(slots=True)
class Gate:
    """Where to hold the breath."""

    count: int = 0
    phase: str = ""
    kind: str = ""
    open: asyncio.Event = field(default_factory=asyncio.Event)
    counted: int = 0
    """The last request that counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wire:
    """One connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    @property
    def gone(self) -> bool:
        return self.reader.at_eof() or self.writer.is_closing()

    async def answer(self, status: int, body: bytes, *fields: str, cut: int = 0) -> None:
        """Write an answer, without its last ``cut`` bytes."""
        reason = HTTPStatus(status).phrase
        lines = (f"HTTP/1.1 {status} {reason}", f"Content-Length: {len(body)}", *fields, "", "")
        octets = "\r\n".join(lines).encode() + body
        self.writer.write(octets[: len(octets) - cut])
        await self.writer.drain()


class StrictReceiver:
    """Serves every connection of one listening socket."""

    def __init__(self, book: Book, *, seed: int | None, secret: str | None, lone: bool) -> None:
        self._book = book
        self._seed = seed
        self._secret = secret
        self._lone = lone
        """Whether two requests of one ingestion at a time are wrong."""
        self._plan = random.Random(seed)
        self._deck: list[str] = []
        self._orders: list[str] = []
        self._gate = Gate()
        self._heads = 0
        self._in_a_row: defaultdict[str, int] = defaultdict(int)
        self._in_flight: defaultdict[str, list[Wire]] = defaultdict(list)
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    def obey(self, order: str) -> None:
        match order.split():
            case ["gate", count, phase, kind]:
                self._gate.open.set()
                self._gate = Gate(int(count), phase, kind, counted=self._heads)
            case ["go"]:
                self._gate.open.set()
            case ["play", *words]:
                self._orders.append(" ".join(words))
            case _:
                raise ValueError(order)
        tell(obeyed=order.rstrip("\n"))

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        wire = Wire(reader=reader, writer=writer)
        try:
            while await self._request(wire):
                pass
        except (Broken, ConnectionError, asyncio.IncompleteReadError):
            pass
        except Exception as error:
            self._book.anomaly(f"the receiver itself failed: {error!r}")
            raise
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    async def _request(self, wire: Wire) -> bool:
        request = await self._read(wire)
        if request is None:
            return False
        try:
            event = read(request)
            for fault in faults(request, event, self._secret):
                self._book.anomaly(fault)
        except (Unreadable, ValueError, KeyError, TypeError) as error:
            self._book.anomaly(f"unreadable: {error!r}")
            await wire.answer(HTTPStatus.BAD_REQUEST, b"")
            return True
        await self._alone(wire, event.ingestion_id)
        self._in_flight[event.ingestion_id].append(wire)
        try:
            received = await self._settle(wire, request, event)
        finally:
            # At once: who has the answer may send the next event by another connection.
            self._in_flight[event.ingestion_id].remove(wire)
        if received:
            await self._pass("acked", event.kind)
        return True

    async def _read(self, wire: Wire) -> Request | None:
        try:
            head = await wire.reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError as error:
            if error.partial:
                raise
            return None
        self._heads += 1
        first, *rest = head.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
        method, _, version = first.split(" ")
        pairs = (line.partition(":") for line in rest)
        fields = [(name.lower(), value.strip()) for name, _, value in pairs]
        kind, length = dict(fields).get("ingest-event", ""), int(dict(fields)["content-length"])
        await self._pass("head", kind)
        body = await wire.reader.readexactly(length // 2)
        await self._pass("body", kind)
        body += await wire.reader.readexactly(length - len(body))
        return Request(method=method, version=version, fields=fields, body=body)

    async def _pass(self, phase: str, kind: str) -> None:
        """Pass a gate: count, and wait if this is the place."""
        gate = self._gate
        if gate.open.is_set() or not gate.count or gate.kind not in kind:
            return
        if gate.phase == phase and self._heads > gate.counted:
            gate.counted = self._heads
            gate.count -= 1
            if gate.count == 0:
                gate.phase = ""
                tell(at=phase)
                await gate.open.wait()

    async def _alone(self, wire: Wire, ingestion_id: str) -> None:
        """Contract 0.1: one event at a time for each ingestion."""
        others = [one for one in self._in_flight[ingestion_id] if one is not wire]
        deadline = asyncio.get_running_loop().time() + GONE_S
        while self._lone and (others := [one for one in others if not one.gone]):
            if asyncio.get_running_loop().time() >= deadline:
                self._book.anomaly(f"0.1: two requests of {ingestion_id} at the same time")
                break
            await asyncio.sleep(0.01)

    async def _settle(self, wire: Wire, request: Request, event: Event) -> bool:
        """Answer. Returns whether it was received before."""
        fault = self._misfortune(event)
        number = self._book.arrived(event, request.body, fault)
        began = self._book.state(event.ingestion_id)
        await self._pass("received", event.kind)
        if fault.startswith("before"):
            await self._instead(wire, fault.removeprefix("before "), event, number)
            return False
        async with self._locks[event.ingestion_id]:
            if fault == "forget":
                following = self._book.next_chunk(event.ingestion_id)
                self._book.forget(event.ingestion_id, down_to=self._plan.randrange(following))
            answer = self._book.receive(event, began=began)
        await self._pass("committed", event.kind)
        clean = fault in ("", "forget", "after drip")
        # Noted before it goes out: what is not noted could otherwise be killed with us.
        self._book.answered(number, event, answer, clean=clean)
        await self._answer(wire, fault.removeprefix("after "), event, answer)
        if clean and answer["ack"] and event.kind in (COMPLETED, FAILED, ABORTED):
            tell(closed=event.ingestion_id, kind=event.kind)
        return True

    def _misfortune(self, event: Event) -> str:
        """Draw what goes wrong; nothing, most of the time."""
        if self._orders:
            return self._orders.pop(0)
        row = self._in_a_row[event.ingestion_id]
        self._in_a_row[event.ingestion_id] = 0
        if self._seed is None or self._plan.random() >= FAULT_RATE or row >= IN_A_ROW_MAX:
            return ""
        if event.kind not in (CHUNK, COMPLETED):
            return ""
        self._deck = self._deck or self._plan.sample(DECK, len(DECK))
        fault = self._deck.pop()
        if fault == "forget" and not self._book.may_forget(event):
            self._deck.insert(0, fault)
            return ""
        self._in_a_row[event.ingestion_id] = row + 1
        return fault

    async def _instead(self, wire: Wire, fault: str, event: Event, number: int) -> None:
        """Answer without having received."""
        self._book.answered(number, event, {"before": fault}, clean=False)
        said: Answer = {"ack": False}
        status, fields = HTTPStatus.OK, []
        match fault:
            case "nack":
                pass
            case "500" | "401" | "410":
                status = HTTPStatus(int(fault))
            case "429" | "503":
                status = HTTPStatus(int(fault))
                fields = [f"Retry-After: {int(self._plan.random() < 0.1)}"]
            case "busy":
                said |= {"error": {"code": "BUSY", "message": "not now"}}
            case "damaged":
                said |= {"error": "CHECKSUM_MISMATCH", "checksum": "0" * 64}
            case "garbage":
                await wire.answer(status, b"<html>all is well</html>")
                return
            case "empty":
                await wire.answer(status, b"")
                return
            case "drop":
                raise Broken
            case _:
                await self._lie(wire, fault, event)
                return
        await wire.answer(status, json.dumps(said).encode(), *fields)

    async def _answer(self, wire: Wire, fault: str, event: Event, answer: Answer) -> None:
        """Answer, perhaps so that nobody can understand it."""
        body = json.dumps(answer).encode()
        match fault:
            case "" | "forget":
                await wire.answer(HTTPStatus.OK, body)
            case "drop":
                raise Broken
            case "reset":
                wire.writer.transport.abort()
                raise Broken
            case "truncated":
                await wire.answer(HTTPStatus.OK, body, cut=self._plan.randrange(1, len(body)))
                raise Broken
            case "drip":
                await wire.answer(HTTPStatus.OK, body, cut=len(body))
                for octet in body:
                    await asyncio.sleep(0.001)
                    wire.writer.write(bytes((octet,)))
                    await wire.writer.drain()
            case _:
                await self._lie(wire, fault, event)

    async def _lie(self, wire: Wire, fault: str, event: Event) -> None:
        status, said = HTTPStatus.OK, b'{"ack":true}'
        match fault:
            case '"true"':
                said = b'{"ack":"true"}'
            case "1":
                said = b'{"ack":1}'
            case "nested":
                said = b'{"answer":{"ack":true}}'
            case "other chunk":
                # To a completion there is no chunk to name: then it says nothing at all.
                other = f'{{"ack":true,"chunk_id":"{event.ingestion_id}:{event.number + 1}"}}'
                said = other.encode() if event.kind == CHUNK else b"{}"
            case "500 with ack":
                status = HTTPStatus.INTERNAL_SERVER_ERROR
            case _:
                raise ValueError(f"no such fault: {fault}")
        await wire.answer(status, said)


def tell(**words: object) -> None:
    """Say something to whoever started us."""
    os.write(1, json.dumps(words).encode() + b"\n")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--database", type=Path, required=True)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--seed", type=int, help="misbehave by this plan")
    parser.add_argument("--secret", help="every request must be signed with it")
    parser.add_argument("--picky", type=int, default=0, help="refuse one record in so many by name")
    parser.add_argument("--overlap", action="store_true", help="two senders at once are all right")
    return parser.parse_args()


async def serve(asked: argparse.Namespace) -> None:
    receiver = StrictReceiver(
        Book(asked.database, picky=asked.picky),
        seed=asked.seed,
        secret=asked.secret,
        lone=not asked.overlap,
    )
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    # Small, so that a sender is still sending while we hold our breath in the body.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
    listener.bind(("127.0.0.1", asked.port))
    await asyncio.start_server(receiver.connected, sock=listener, limit=HEAD_BYTES_MAX)
    tell(port=listener.getsockname()[1])
    orders = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        partial(asyncio.StreamReaderProtocol, orders), sys.stdin
    )
    while order := await orders.readline():
        receiver.obey(order.decode())


if __name__ == "__main__":
    asyncio.run(serve(arguments()))
