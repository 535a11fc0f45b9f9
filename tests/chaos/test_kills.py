"""No kill loses or doubles a record: the siege (invariant 7, faults K1–K6, P4).

The service, its reader and the receiver are real processes. Kills are placed by the
receiver's progress, or at random moments; all of it follows from a seed, which a failing
test prints. ``ACKLINE_CHAOS_KILLS`` raises the number of kills over all formats,
``ACKLINE_CHAOS_SEED`` repeats a siege.
"""

import os
import random
import sqlite3
import time
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from tests.support.plain_readings import FILE_TYPES, decoded, in_source, received, sample
from tests.support.processes import Receiver, Service, kill_now, wait_until_gone
from tests.support.strict_book import is_refused
from tests.support.strict_receiver import PHASES

SEED = int(os.environ.get("ACKLINE_CHAOS_SEED") or random.randrange(2**32))
KILLS = int(os.environ.get("ACKLINE_CHAOS_KILLS") or 64)
EACH = KILLS // len(FILE_TYPES)

WEAPONS = {
    "at a request": 7,
    "at any moment": 3,
    "while it starts": 1,
    "reader": 2,
    "politely": 2,
}
"""How often each is drawn, of 15."""


class Siege:
    """One source, delivered again and again, while what delivers it is killed."""

    def __init__(self, folder: Path, kind: str, plan: random.Random) -> None:
        self.plan = plan
        self.kind = kind
        self.file = sample(
            folder, kind, records=plan.randrange(3_000, 9_000), seed=plan.randrange(99)
        )
        self.chunk = plan.randrange(50, 300)
        self.picky = plan.randrange(20, 90)
        """The receiver refuses one record in so many by name (contract 5.3)."""
        self.receiver = Receiver(folder, "--picky", str(self.picky), seed=plan.randrange(2**32))
        self.service = Service(folder, self.receiver.address)
        self.service.start()
        self.ingestions: list[str] = []
        self.readers: set[int] = set()
        self.kills = 0
        """Of the service: what may cost a resent chunk."""

    def submit(self) -> None:
        """Submit the file, after what came before has ended: one ingestion at a time."""
        for before in self.ingestions[-1:]:
            self.service.ended(before)
        self.ingestions.append(
            self.service.submit(
                self.file,
                FILE_TYPES[self.kind],
                self.receiver.url,
                chunk_size_by_records=self.chunk,
                re_ingestion=bool(self.ingestions),
            )
        )

    def strike(self) -> None:
        """Kill once. Afterwards the service runs, and was asked for nothing."""
        with self.receiver.reading() as book:
            if book.state(self.ingestions[-1])[0] == "completed":
                self.submit()
        self.readers.update(self.service.readers())
        weapons, weights = zip(*WEAPONS.items(), strict=True)
        match self.plan.choices(weapons, weights)[0]:
            case "at a request":
                self.reach(self.plan.choice(PHASES))
                self.service.kill()
                self.receiver.go()
            case "at any moment":
                time.sleep(self.plan.uniform(0, 0.5))
                self.service.kill()
            case "while it starts":
                self.service.kill()
                self.service.launch()
                time.sleep(self.plan.uniform(0, 0.8))
                self.service.kill()
                self.kills += 1
            case "reader":
                self.reach("received")
                for pid in self.service.readers():
                    self.readers.add(pid)
                    kill_now(pid)
                self.receiver.go()
                return
            case _:
                time.sleep(self.plan.uniform(0, 0.5))
                assert self.service.terminate() == 0
        self.kills += 1
        self.service.start()

    def reach(self, phase: str) -> None:
        """Go on to some request, and hold the receiver's breath there."""
        self.receiver.gate(self.plan.randrange(1, 15), phase)
        while "at" not in (said := self.receiver.said()):
            if said.get("closed") == self.ingestions[-1]:
                self.submit()

    def end(self) -> None:
        self.receiver.close()
        self.service.kill()


@pytest.mark.timeout(120 + 15 * EACH)
@pytest.mark.parametrize("kind", FILE_TYPES)
def test_no_kill_loses_or_doubles_a_record(tmp_path: Path, kind: str) -> None:
    print(f"to repeat: ACKLINE_CHAOS_SEED={SEED} ACKLINE_CHAOS_KILLS={KILLS}")
    siege = Siege(tmp_path, kind, random.Random(f"{SEED} {kind}"))
    try:
        siege.submit()
        for _ in range(EACH):
            siege.strike()
        ended = [siege.service.ended(one) for one in siege.ingestions]
        dead = [siege.service.dead_letters(one["ingestion_id"]) for one in ended]
        siege.readers.update(siege.service.readers())
        assert siege.service.terminate() == 0

        assert [(one["state"], one["error"]) for one in ended] == [("COMPLETED", None)] * len(ended)
        expected = in_source(siege.file)
        refused = [n for n in range(len(expected)) if is_refused(n, siege.picky)]
        for one, letters in zip(ended, dead, strict=True):
            assert one["counts"]["rejected_by_receiver"] == len(refused)
            assert [(one["record"], one["message"]) for one in letters] == [
                (n, str(n)) for n in refused
            ]
            assert [decoded(one["content"].encode()) for one in letters] == [
                expected[n] for n in refused
            ]
        with siege.receiver.reading() as book:
            assert book.anomalies() == []
            for one in ended:
                assert book.state(one["ingestion_id"])[0] == "completed"
                assert list(received(book.records(one["ingestion_id"]))) == expected
            assert book.needless() <= siege.kills
        assert siege.service.troubles() == []
        wait_until_gone(*siege.readers)
        with closing(sqlite3.connect(tmp_path / "ackline.db")) as database:
            assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    finally:
        siege.end()


@pytest.mark.timeout(240)
def test_no_kill_mixes_up_ingestions_that_run_side_by_side(tmp_path: Path) -> None:
    """More of them than may run at once; the first kills fall into the making of the database."""
    print(f"to repeat: ACKLINE_CHAOS_SEED={SEED}")
    plan = random.Random(f"{SEED} many")
    files = [
        sample(tmp_path, kind, records=plan.randrange(300, 1_000), seed=seed)
        for seed in range(2)
        for kind in FILE_TYPES
    ]
    with ExitStack() as stack:
        receiver = stack.enter_context(Receiver(tmp_path, seed=plan.randrange(2**32)))
        service = Service(tmp_path, receiver.address, INGEST_INGESTIONS_RUNNING_MAX="5")
        for _ in range(3):
            service.launch()
            time.sleep(plan.uniform(0.2, 0.9))
            service.kill()
        stack.enter_context(service)
        ingestions = [
            service.submit(
                *(file, FILE_TYPES[file.suffix.removeprefix(".")], receiver.url),
                chunk_size_by_records=plan.randrange(20, 80),
            )
            for file in files
        ]
        kills = 5
        for _ in range(kills):
            time.sleep(plan.uniform(0, 0.8))
            service.kill()
            service.start()

        assert {service.ended(one)["state"] for one in ingestions} == {"COMPLETED"}
        assert service.terminate() == 0
        with receiver.reading() as book:
            assert book.anomalies() == []
            for one, file in zip(ingestions, files, strict=True):
                assert list(received(book.records(one))) == in_source(file)
            assert book.needless() <= kills * 5
        assert service.troubles() == []
