"""Who is alive: service processes, each known by a locked file and a sign of life.

A worker keeps ``<database>.workers/<its id>`` locked as long as it lives, so after
``kill -9`` the kernel itself says that it is gone, at once. A worker that hangs keeps its
lock, but stops prolonging its time; when that is over its ingestions are free as well.
Both use nothing that a changed wall clock could disturb.
"""

import fcntl
import json
import os
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

Uptime = Callable[[], float]


def uptime() -> float:
    """Seconds since boot: the same for all processes, never set, runs on during suspend."""
    # Linux alone has a clock that counts suspended time; elsewhere the nearest one.
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class Worker:
    """This process, as others see it. All methods block, for microseconds."""

    def __init__(self, folder: Path, *, lease_s: float, uptime: Uptime = uptime) -> None:
        self.id = uuid4().hex
        self._folder = folder
        self._lease_s = lease_s
        self.uptime = uptime
        self._boot_id = _boot_id()
        self._file: int | None = None

    def join(self, db: sqlite3.Connection) -> None:
        """Begin to live, and sweep up after those that died."""
        self._lock()
        self.prolong(db)
        living = [path.name for path in self._folder.iterdir() if self._is_locked(path.name)]
        db.execute(
            "DELETE FROM workers WHERE id NOT IN (SELECT value FROM json_each(?))",
            (json.dumps(living),),
        )

    def prolong(self, db: sqlite3.Connection) -> float:
        """Be alive for another lease time; return the uptime at which it ends."""
        self._lock()
        alive_until = self.uptime() + self._lease_s
        db.execute(
            """
            INSERT INTO workers (id, boot_id, alive_until) VALUES (?, ?, ?)
                ON CONFLICT (id) DO UPDATE SET alive_until = excluded.alive_until
            """,
            (self.id, self._boot_id, alive_until),
        )
        return alive_until

    def is_alive(self, db: sqlite3.Connection, worker_id: str) -> bool:
        """Say whether a worker, this one or another, still holds its leases."""
        if worker_id == self.id:
            return True
        row = db.execute(
            "SELECT boot_id, alive_until FROM workers WHERE id = ?", (worker_id,)
        ).fetchone()
        return (
            row is not None
            and row["boot_id"] == self._boot_id
            and row["alive_until"] > self.uptime()
            and self._is_locked(worker_id)
        )

    def leave(self, db: sqlite3.Connection) -> None:
        """Give every lease back."""
        db.execute("UPDATE ingestions SET lease_owner = NULL WHERE lease_owner = ?", (self.id,))
        db.execute("DELETE FROM workers WHERE id = ?", (self.id,))

    def unlock(self) -> None:
        """Die, as far as others can see."""
        if self._file is None:
            return
        (self._folder / self.id).unlink(missing_ok=True)
        # Explicitly: a child forked without exec would keep a merely closed lock alive.
        fcntl.flock(self._file, fcntl.LOCK_UN)
        os.close(self._file)
        self._file = None

    def _lock(self) -> None:
        """Hold the lock, again if somebody deleted its file."""
        path = self._folder / self.id
        while not self._is_in_place(path):
            if self._file is not None:
                os.close(self._file)
            self._folder.mkdir(exist_ok=True)
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            # Another worker's sweep can find the file before it is locked and delete it:
            # hence the loop.
            fcntl.flock(self._file, fcntl.LOCK_EX)

    def _is_in_place(self, path: Path) -> bool:
        if self._file is None:
            return False
        try:
            return os.path.samestat(path.stat(), os.fstat(self._file))
        except FileNotFoundError:
            return False

    def _is_locked(self, worker_id: str) -> bool:
        path = self._folder / worker_id
        try:
            file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            # Shared: two processes that look at the same time do not take each other for it.
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            path.unlink(missing_ok=True)
        except BlockingIOError:
            return True
        finally:
            os.close(file)
        return False


def _boot_id() -> str:
    """Name this run of the machine; where it has no name, the locks alone decide."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""
