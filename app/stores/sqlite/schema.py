"""Numbered migrations: ``migrations/0001_what_it_does.sql`` and so on, each applied once."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

from app.domain.errors import SchemaTooNew, StoreError
from app.stores.sqlite.connection import Connection

_SCRIPTS = sorted(Path(__file__).with_name("migrations").glob("*.sql"))

VERSION = len(_SCRIPTS)
"""What ``PRAGMA user_version`` says in a database that this code wrote."""


async def migrate(connection: Connection) -> None:
    """Bring the database to `VERSION`, all or nothing.

    Raises
    ------
    SchemaTooNew
        A newer version of the service has been here; nothing was changed.
    """
    version = await connection.run(_version)
    await connection.run(_use_wal)
    if version < VERSION:
        await connection.write(_apply)


def _use_wal(db: sqlite3.Connection) -> None:
    """Let reads go on during writes. Kept in the file; cannot be set in a transaction."""
    (mode,) = db.execute("PRAGMA journal_mode = WAL").fetchone()
    if mode != "wal":
        raise StoreError(
            f"the database cannot use a write-ahead log (journal mode {mode})",
            remedy="Put the database on a local disk.",
        )


def _apply(db: sqlite3.Connection) -> None:
    # Read again: another process may have migrated while this one waited to write.
    for script in _SCRIPTS[_version(db) :]:
        for statement in _statements(script.read_text(encoding="utf-8")):
            db.execute(statement)
    db.execute(f"PRAGMA user_version = {VERSION}")


def _version(db: sqlite3.Connection) -> int:
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if version > VERSION:
        raise SchemaTooNew(
            f"the database has schema version {version}, this service knows {VERSION}",
            remedy="Start the newer version of the service, or restore an older backup.",
        )
    return int(version)


def _statements(script: str) -> Iterator[str]:
    """Split a script; ``executescript`` would end the transaction first."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
