"""The memory of a strict receiver: what it holds, what it ever saw, what was wrong.

Durable, so that the receiver may be killed and started again. It does not survive a power
cut, only a kill: nothing is synced. Imports nothing of the product.
"""

import json
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.support.strict_request import (
    ABORTED,
    CHUNK,
    COMPLETED,
    Event,
    chain_next,
    chain_start,
    sha256,
)

_TABLES = """
    CREATE TABLE IF NOT EXISTS ingestion (
        id TEXT PRIMARY KEY, next_chunk INTEGER, chain TEXT, records INTEGER, state TEXT,
        forgot_at INTEGER DEFAULT 0);
    -- Everything that was ever seen under a webhook-id, for ever.
    CREATE TABLE IF NOT EXISTS seen (
        webhook_id TEXT PRIMARY KEY, ingestion TEXT, number INTEGER, body_sha TEXT,
        attempt INTEGER, settled INTEGER DEFAULT 0, constant TEXT);
    CREATE TABLE IF NOT EXISTS chunk (
        ingestion TEXT, number INTEGER, chain TEXT, records_end INTEGER, records BLOB,
        PRIMARY KEY (ingestion, number));
    CREATE TABLE IF NOT EXISTS request (
        n INTEGER PRIMARY KEY, ingestion TEXT, kind TEXT, number INTEGER, attempt INTEGER,
        fault TEXT, answer TEXT, needless INTEGER);
    CREATE TABLE IF NOT EXISTS anomaly (n INTEGER PRIMARY KEY, after_request INTEGER, text TEXT);
"""

Answer = dict[str, Any]


def is_refused(record: int, picky: int) -> bool:
    """Tell whether a receiver refuses a record of an ingestion (0-based)."""
    return picky > 0 and record % picky == picky - 1


class Book:
    """One database; one user at a time."""

    def __init__(self, path: Path, *, picky: int = 0) -> None:
        """Open it. Of ``picky`` records the last is refused by name (5.3); 0: none is."""
        self._picky = picky
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = OFF")
        self._db.executescript(_TABLES)

    def anomaly(self, text: str) -> None:
        """Note that the sender did wrong."""
        self._db.execute(
            "INSERT INTO anomaly (after_request, text) SELECT COALESCE(MAX(n), 0), ? FROM request",
            (text,),
        )

    def arrived(self, event: Event, body: bytes, fault: str) -> int:
        """Note a request that came whole, whatever becomes of it. Returns its number."""
        constant = json.dumps(
            [event.members.get(name) for name in ("file_id", "timestamp", "metadata")]
        )
        row = (event.ingestion_id, event.kind, event.number, event.attempt, fault)
        self._db.execute("BEGIN IMMEDIATE")
        needless = self._compare(event, body, constant)
        cursor = self._db.execute(
            "INSERT INTO request (ingestion, kind, number, attempt, fault, needless) "
            "VALUES (?, ?, ?, ?, ?, ?)",
            (*row, needless),
        )
        self._db.execute("COMMIT")
        return cursor.lastrowid or 0

    def _compare(self, event: Event, body: bytes, constant: str) -> bool:
        """Compare with what came before. Returns whether it was settled already."""
        seen = self._db.execute(
            "SELECT body_sha, attempt, settled FROM seen WHERE webhook_id = ?", (event.webhook_id,)
        ).fetchone()
        if event.kind == CHUNK:
            other = self._db.execute(
                "SELECT constant FROM seen WHERE ingestion = ? AND number >= 0 LIMIT 1",
                (event.ingestion_id,),
            ).fetchone()
            if other is not None and other[0] != constant:
                self.anomaly(f"4.1: {constant} was {other[0]}")
        if seen is None:
            self._db.execute(
                "INSERT INTO seen VALUES (?, ?, ?, ?, ?, 0, ?)",
                (
                    *(event.webhook_id, event.ingestion_id, event.number),
                    *(sha256(body), event.attempt, constant),
                ),
            )
            return False
        body_sha, attempt, settled = seen
        if body_sha != sha256(body):
            self.anomaly(f"0.4: {event.webhook_id} came with other bytes")
        # 3.5: it grows, or a sender that was started again counts anew.
        if event.attempt <= attempt and event.attempt != 1:
            self.anomaly(f"3.5: attempt {event.attempt} of {event.webhook_id} after {attempt}")
        self._db.execute(
            "UPDATE seen SET attempt = ? WHERE webhook_id = ?", (event.attempt, event.webhook_id)
        )
        return bool(settled)

    def answered(self, request: int, event: Event, answer: Answer, *, clean: bool) -> None:
        """Note what was answered; ``clean`` when it went out whole and as it should."""
        self._db.execute("UPDATE request SET answer = ? WHERE n = ?", (json.dumps(answer), request))
        # One that was sent again and then met a fault has to be sent once more.
        self._db.execute(
            "UPDATE seen SET settled = ? WHERE webhook_id = ?",
            (clean and answer.get("ack") is True, event.webhook_id),
        )

    def may_forget(self, event: Event) -> bool:
        """Tell whether a forgetful moment now leaves the sender its progress since the last."""
        if event.kind not in (CHUNK, COMPLETED):
            return False
        following, _, _, state, forgot_at = self._row(event.ingestion_id)
        return state == "open" and following > forgot_at

    def forget(self, ingestion_id: str, *, down_to: int) -> None:
        """Lose what came with chunk ``down_to`` and after it (8.1)."""
        following = self._row(ingestion_id)[0]
        before = self._db.execute(
            "SELECT chain, records_end FROM chunk WHERE ingestion = ? AND number = ?",
            (ingestion_id, down_to - 1),
        ).fetchone()
        chain, records = before or (chain_start(ingestion_id), 0)
        self._db.execute("BEGIN IMMEDIATE")
        self._db.execute(
            "DELETE FROM chunk WHERE ingestion = ? AND number >= ?", (ingestion_id, down_to)
        )
        self._db.execute(
            "UPDATE seen SET settled = 0 WHERE ingestion = ? AND (number >= ? OR number < 0)",
            (ingestion_id, down_to),
        )
        self._save(ingestion_id, down_to, chain, records, "open", following)
        self._db.execute("COMMIT")

    def next_chunk(self, ingestion_id: str) -> int:
        return int(self._row(ingestion_id)[0])

    def state(self, ingestion_id: str) -> str:
        return self._row(ingestion_id)[3]

    def receive(self, event: Event, *, began: str = "open") -> Answer:
        """Take an event as 8.4, 8.5 and 8.6 say. What is acknowledged is committed.

        ``began`` is the state when the request came: one that the sender gave up may be
        overtaken by the next.
        """
        self._db.execute("BEGIN IMMEDIATE")
        try:
            match event.kind:
                case "ingestion.chunk":
                    answer = self._chunk(event, began)
                case "ingestion.completed":
                    answer = self._completion(event)
                case _:
                    answer = self._stop(event)
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")
        return answer

    def _chunk(self, event: Event, began: str) -> Answer:
        members, identity = event.members, event.ingestion_id
        following, chain, records, state, forgot_at = self._row(identity)
        if state != "open":
            if began == state:
                self.anomaly(f"chunk {event.number} came after the ingestion was {state}")
            return {"ack": False, "error": "INGESTION_CLOSED"}
        if event.number < following:
            known = {"duplicate": True, "next_chunk": following}
            return {"ack": True, **known, **self._refusals(members)}
        if event.number > following:
            if following > forgot_at or forgot_at == 0:
                self.anomaly(f"chunk {event.number} came, {following} is next")
            return {
                "ack": False,
                "error": "OUT_OF_ORDER_CHUNK",
                "expected_chunk": following,
                "chain": chain,
            }
        chain = chain_next(chain, members["checksum"])
        if members["chain"] != chain:
            self.anomaly(f"6.6: the chain of chunk {event.number} does not follow")
            return {"ack": False, "error": "CHAIN_MISMATCH"}
        if members["record_offset"] != records:
            self.anomaly(f"4.1: record_offset {members['record_offset']}, {records} are held")
        records += members["record_count"]
        self._db.execute(
            "INSERT INTO chunk VALUES (?, ?, ?, ?, ?)",
            (identity, event.number, chain, records, event.records),
        )
        self._save(identity, event.number + 1, chain, records, "open", forgot_at)
        return {
            "ack": True,
            "chunk_id": members["chunk_id"],
            "chunk_number": event.number,
            "checksum": members["checksum"],
            "next_chunk": event.number + 1,
            "accepted": members["record_count"],
            "duplicate": False,
            "protocol": "1",
            **self._refusals(members),
        }

    def _refusals(self, members: Mapping[str, Any]) -> Answer:
        """Name the records of a chunk that are refused: the same whenever it comes."""
        start, count = members["record_offset"], members["record_count"]
        places = [at for at in range(count) if is_refused(start + at, self._picky)]
        if not places:
            return {}
        rejected = [{"index": at, "code": "PICKY", "message": f"{start + at}"} for at in places]
        return {"accepted": count - len(places), "rejected": rejected}

    def _completion(self, event: Event) -> Answer:
        members, identity = event.members, event.ingestion_id
        following, chain, records, state, forgot_at = self._row(identity)
        if state not in ("open", "completed"):
            self.anomaly(f"a completion came after the ingestion was {state}")
            return {"ack": False, "error": "INGESTION_CLOSED"}
        if members["total_chunks"] > following:
            if following > forgot_at or forgot_at == 0:
                self.anomaly(f"4.4: total_chunks {members['total_chunks']} of {following}")
            return {"ack": False, "error": "INCOMPLETE", "expected_chunk": following}
        if (members["total_chunks"], members["chain"]) != (following, chain):
            self.anomaly(f"4.4: {members['total_chunks']} chunks, chain {members['chain']}")
            return {"ack": False, "error": "CHAIN_MISMATCH"}
        if members["total_records"] != records or members["counts"]["read"] != records:
            self.anomaly(f"4.4: {members['counts']}, but {records} records came")
        self._save(identity, following, chain, records, "completed", forgot_at)
        return {"ack": True, "next_chunk": following}

    def _stop(self, event: Event) -> Answer:
        members, identity = event.members, event.ingestion_id
        following, _, _, state, forgot_at = self._row(identity)
        # 4.5: what the sender says it delivered is what it had acknowledged. This receiver
        # may hold one chunk more, whose ACK was lost.
        number, told = members["next_chunk"], (members["chain"], members["records_delivered"])
        at = self._db.execute(
            "SELECT chain, records_end FROM chunk WHERE ingestion = ? AND number = ?",
            (identity, number - 1),
        ).fetchone() or (chain_start(identity), 0)
        if state != "open":
            self.anomaly(f"{event.kind} came after the ingestion was {state}")
        elif not following - 1 <= number <= max(following, forgot_at) or (
            number <= following and tuple(at) != told
        ):
            self.anomaly(f"4.5: stopped at chunk {number} with {told}; {following} is next")
        if event.kind == ABORTED:
            self._db.execute("UPDATE ingestion SET state = 'aborted' WHERE id = ?", (identity,))
        return {"ack": True}

    def _row(self, ingestion_id: str) -> tuple[int, str, int, str, int]:
        row: tuple[int, str, int, str, int] | None = self._db.execute(
            "SELECT next_chunk, chain, records, state, forgot_at FROM ingestion WHERE id = ?",
            (ingestion_id,),
        ).fetchone()
        return row or (0, chain_start(ingestion_id), 0, "open", 0)

    def _save(
        self,
        ingestion_id: str,
        following: int,
        chain: str,
        records: int,
        state: str,
        forgot_at: int,
    ) -> None:
        self._db.execute(
            "REPLACE INTO ingestion VALUES (?, ?, ?, ?, ?, ?)",
            (ingestion_id, following, chain, records, state, forgot_at),
        )


class Reading:
    """The same database, for whoever wants to know how it went."""

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(f"file:{path}?mode=ro", uri=True)

    def close(self) -> None:
        self._db.close()

    def anomalies(self) -> list[str]:
        rows = self._db.execute("SELECT after_request, text FROM anomaly ORDER BY n")
        return [f"after request {number}: {text}" for number, text in rows]

    def state(self, ingestion_id: str) -> tuple[str, int, int]:
        """Return the state, the chunks and the records."""
        row: tuple[str, int, int] | None = self._db.execute(
            "SELECT state, next_chunk, records FROM ingestion WHERE id = ?", (ingestion_id,)
        ).fetchone()
        return row or ("open", 0, 0)

    def records(self, ingestion_id: str) -> Iterator[bytes]:
        """Yield the arrays of the chunks that are held, in order."""
        rows = self._db.execute(
            "SELECT records FROM chunk WHERE ingestion = ? ORDER BY number", (ingestion_id,)
        )
        for (records,) in rows:
            yield records

    def needless(self) -> int:
        """Count the requests whose event had been answered well the last time."""
        (count,) = self._db.execute("SELECT COALESCE(SUM(needless), 0) FROM request").fetchone()
        return int(count)

    def requests(self, kind: str = "%") -> list[tuple[int, int]]:
        """Return chunk number and attempt of every request of a kind that came whole."""
        rows = self._db.execute(
            "SELECT number, attempt FROM request WHERE kind LIKE ? ORDER BY n", (kind,)
        )
        return [(int(number), int(attempt)) for number, attempt in rows]

    def faults(self) -> dict[str, int]:
        """Count the faults that were played."""
        rows = self._db.execute(
            "SELECT fault, COUNT(*) FROM request WHERE fault != '' GROUP BY fault"
        )
        return {str(fault): int(count) for fault, count in rows}
