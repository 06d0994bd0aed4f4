"""Output `sqlite`, the embedded store: calls in one SQLite file a day, searchable at once and without a server."""

from vosship_sqlite.store import Sqlite

__all__ = ["Sqlite"]
