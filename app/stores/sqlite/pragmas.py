"""How a connection is set up."""

import sqlite3

BUSY_TIMEOUT_MS = 5_000
"""How long a write waits for another process's write. A write takes about 1 ms."""

WAL_PAGES_MAX = 1_000
"""Pages (4 KiB) in the write-ahead log after which a commit also checkpoints."""

WAL_BYTES_MAX = 16 * 1024 * 1024
"""What the write-ahead log is cut back to after a checkpoint, should it ever be larger."""

_ALWAYS = (
    "PRAGMA foreign_keys = ON",
    # FULL, not NORMAL: after a power loss NORMAL can forget a stage that had returned.
    # Source: https://www.sqlite.org/pragma.html#pragma_synchronous
    "PRAGMA synchronous = FULL",
    f"PRAGMA journal_size_limit = {WAL_BYTES_MAX}",
)


def prepare(db: sqlite3.Connection, *, read_only: bool = False, may_wait: bool = True) -> None:
    """Set up a new connection; one that may not wait leaves locks and checkpoints to others.

    It may until this returns: a new database is locked while another process sets it up, and
    the pragmas read it.
    """
    db.row_factory = sqlite3.Row
    db.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
    db.execute(f"PRAGMA wal_autocheckpoint = {WAL_PAGES_MAX if may_wait else 0}")
    for pragma in _ALWAYS:
        db.execute(pragma)
    if read_only:
        db.execute("PRAGMA query_only = ON")
    if not may_wait:
        db.execute("PRAGMA busy_timeout = 0")
