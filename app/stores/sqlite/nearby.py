"""The event loop's own connection: small writes, while the disk is quick (ADR 17)."""

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from app.stores.sqlite.pragmas import prepare
from app.stores.sqlite.transactions import Write, commit_together, is_locked, tell

QUICK_S = 0.001
"""While a transaction takes longer, writes are for the thread."""

STALL_S = 0.01
"""A transaction that takes longer is not remembered longer either."""

FORGET = 0.9
"""What is left of the time of a slow transaction with each one after it."""

AT_ONCE_MAX = 8
"""More writes at once are for the thread: the event loop has others to serve."""

WRITES_MAX = 250
"""As many in a row; then one on the thread, which checkpoints if the log has become long. A write
changes two to six pages."""


class Nearby:
    """Writes that wait for the end of this round of the event loop, and how they are done.

    Made, and `note_on_thread` called, on the thread; all else on the event loop, and only
    while the thread is idle.
    """

    def __init__(self, path: Path, *, quick_s: float) -> None:
        """Open the database at ``path``; may wait for a lock. Raises what sqlite3 raises."""
        self._quick_s = quick_s
        self._took_s = STALL_S
        """How long a transaction takes: what the slow ones lately took counts for a while."""

        self._writes = 0
        """Here, since the last one on the thread that changed something."""

        self._waiting: list[Write[Any]] = []
        self._db: sqlite3.Connection | None = sqlite3.connect(
            path, isolation_level=None, check_same_thread=False
        )
        try:
            prepare(self._db, may_wait=False)
        except BaseException:
            self.close()
            raise

    def __len__(self) -> int:
        """Return how many writes wait."""
        return len(self._waiting)

    def takes_one(self) -> bool:
        """Tell whether a small write is to be done here now."""
        return (
            self._took_s <= self._quick_s
            and len(self._waiting) < AT_ONCE_MAX
            and self._writes < WRITES_MAX
            and self._db is not None
        )

    def add(self, write: Write[Any]) -> None:
        """Have a write done with the next `commit`; its caller waits to be told."""
        self._waiting.append(write)

    def commit(self) -> Sequence[Write[Any]]:
        """Do all that wait, and tell them; return those that another process's lock kept out."""
        group, self._waiting = self._waiting, []
        if not group or self._db is None:
            return group
        self._writes += len(group)
        self._note(commit_together(self._db, group))
        if self._db.in_transaction:
            self.close()  # It could not even roll back, and would keep its lock.
        if all(is_locked(write.error) for write in group):
            for write in group:
                write.start_over()
            return group
        tell(group)
        return ()

    def note_on_thread(self, took_s: float, *, changed: bool) -> None:
        """Learn how long a transaction on the thread took. On the thread.

        One that changed something also checkpoints, which says nothing of the disk.
        """
        checkpointed = changed and self._writes >= WRITES_MAX
        if changed:
            self._writes = 0
        if not checkpointed:
            self._note(took_s)

    def close(self) -> None:
        """Take no more writes."""
        db, self._db = self._db, None
        if db is not None:
            db.close()

    def _note(self, took_s: float) -> None:
        self._took_s = max(min(took_s, STALL_S), self._took_s * FORGET)
