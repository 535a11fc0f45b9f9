"""Progress in one SQLite file: any number of processes on one machine, no server."""

from app.stores.sqlite.store import SqliteStore

__all__ = ["SqliteStore"]
