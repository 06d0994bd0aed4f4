"""The newest days of the store as one database that Datasette can serve, while the agent writes and days come and go.

A connection attaches the day files read-only and lays the `views` over them. It is never changed: every few seconds a new one takes
its place, which knows the newest day and the newest calls. It draws nothing (`charts`) and knows no HTTP (`pages`).
"""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

from datasette.database import Database, connections

from vosship.errors import HaltedError
from vosship_browse import functions, views

T = TypeVar("T")

DATABASE = "store"
"""The name of the one database, in every address."""

TABLES = ("recent", "calls", "fields")

DAYS_LIMIT = 10
"""Files shown at once: SQLite attaches no more than ten databases (its default of SQLITE_MAX_ATTACHED)."""

RECENT_CALLS = 100_000
"""Calls in `recent`. Chosen: sorted, counted and faceted in about a second."""

WINDOWS_H = (1, 6, 24, 168)
"""Windows that a dashboard offers, in hours."""

WINDOW_CALLS = 500_000
"""A dashboard opens with the longest window, up to a day, of no more calls than this. Chosen: a panel then takes two seconds
(measured 2026-11: 0.9 s for 300,000 calls; an hour's window of two days costs no more than the hour)."""

LOOK_EVERY_S = 5.0
"""How old the list of days and the newest call may be. Chosen: a page is hardly staler than an agent's batch."""

STEPS = 60
"""Steps of a chart's time axis, at most. Chosen: bars that can still be told apart on a telephone."""

_STEPS_MS = [1000 * seconds for seconds in (10, 60, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400)]

VERSION = 1
"""Version of the day files (`user_version`) that is understood here."""

DAY_FILE = re.compile(r"(?P<index>.+-(?P<day>\d{4}\.\d{2}\.\d{2}))\.sqlite")
"""A day file's name: index name and day."""


def day_files(directory: Path, until: str = "") -> list[tuple[str, Path]]:
    """(day, file) of the newest days, at most DAYS_LIMIT, newest first; `until` is the last day wanted, `2026-04-26`.

    None where there is no store yet. Raises HaltedError for one that this user may not list.
    """
    found = []
    try:
        paths = list(directory.iterdir())
    except FileNotFoundError:
        paths = []
    except OSError as error:
        raise HaltedError(f"{directory} cannot be listed: {error.strerror}", hint="run as the agent's user") from error
    for path in paths:
        match = DAY_FILE.fullmatch(path.name)
        day = _date(match["day"]) if match else ""
        if day and (not until or day <= until):
            found.append((day, path))
    return sorted(found, reverse=True)[:DAYS_LIMIT]


def _date(name: str) -> str:
    """A file's day as `2026-04-26`; empty for one the calendar does not have."""
    try:
        return datetime.strptime(name, "%Y.%m.%d").date().isoformat()
    except ValueError:
        return ""


class Connection(sqlite3.Connection):
    """A connection that remembers what is attached to it, and the bounds of the calls in there."""

    made_at: float = 0.0
    days: tuple[views.Day, ...] = ()
    chunks: tuple[tuple[int, int, int], ...] = ()
    """(newest stop, oldest stop, calls) of every run of lines, newest first."""
    newest_ms: int = 0
    oldest_ms: int = 0


class Days(Database):  # type: ignore[misc]  # Datasette carries no types
    """Datasette's view of the days: three tables, each really a temporary view over what is attached."""

    def __init__(
        self, datasette: Any, directory: Path, zone: ZoneInfo, until: str = "", clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__(datasette, is_mutable=True, is_memory=True)
        self.directory = directory
        self.zone = zone
        self._until = until
        self._clock = clock

    def files(self) -> list[tuple[str, Path]]:
        """What is to be shown, newest first."""
        return day_files(self.directory, self._until)

    def connect(self, write: bool = False) -> Connection:
        """A connection with everything attached. Raises sqlite3.Error."""
        assert not write, "nothing is ever written"
        db = sqlite3.connect(":memory:", uri=True, check_same_thread=False, isolation_level=None, factory=Connection)
        functions.register(db)
        db.create_function("since_ms", 1, lambda hours: since_ms(db, hours), deterministic=True)
        db.create_function("since_local_ms", 1, lambda hours: since_ms(db, hours) + self._ahead_ms(db, hours), deterministic=True)
        db.create_function("step_ms", 1, lambda hours: step_ms(db, hours), deterministic=True)
        db.made_at = self._clock()
        files = self.files()
        for _, path in files:
            columns = _attach(db, path, f"d{len(db.days)}")
            if columns:
                db.days = (*db.days, views.Day(path.name.removesuffix(".sqlite"), columns))
        offset = views.offset_sql([day for day, _ in files], self.zone)
        since = _bounds(db)
        for name, sql in (("fields", views.fields(db.days, offset)), ("calls", views.calls(db.days, offset)),
                          ("recent", views.calls(db.days, offset, since))):  # fmt: skip
            db.execute(f"CREATE TEMP VIEW {name} AS {sql or 'SELECT NULL AS call, NULL AS stopped'}")
        db.execute("PRAGMA query_only = 1")
        return db

    def _ahead_ms(self, db: Connection, hours: Any) -> int:
        """How far the switch's clock is ahead of UTC when the window begins."""
        offset = datetime.fromtimestamp(since_ms(db, hours) / 1000, self.zone).utcoffset() or timedelta()
        return offset // timedelta(milliseconds=1)

    def survey(self) -> tuple[set[str], int]:
        """Fields that any of the files has a column for, and the longest of WINDOWS_H that holds no more than WINDOW_CALLS."""
        db = self.connect()
        try:
            fitting = [hours for hours in WINDOWS_H if _calls_since(db, since_ms(db, hours)) <= WINDOW_CALLS and hours <= 24]
            return set(views.union(db.days)), max(fitting, default=WINDOWS_H[0])
        finally:
            db.close()

    async def execute_fn(self, fn: Callable[[Connection], T]) -> T:
        """As Datasette does, on a connection that is not out of date."""

        def on_current(db: Connection) -> T:
            if self._clock() - db.made_at >= LOOK_EVERY_S:
                old, db = db, self.connect()
                self.ds._prepare_connection(db, self.name)
                setattr(connections, self.name, db)
                old.close()
            return fn(db)

        found: T = await super().execute_fn(on_current)
        return found

    async def attached_databases(self) -> list[Any]:
        """None to speak of: the days are reached through the tables."""
        return []

    async def table_names(self) -> list[str]:
        return list(TABLES)

    async def table_exists(self, table: str) -> bool:
        return table in TABLES

    async def hidden_table_names(self) -> list[str]:
        return []

    async def view_names(self) -> list[str]:
        return []

    async def table_counts(self, limit: int = 10) -> dict[str, int | None]:
        return dict.fromkeys(TABLES)

    async def primary_keys(self, table: str) -> list[str]:
        return ["call"] if table != "fields" else ["_index", "_file", "log.offset", "_id"]

    async def get_table_definition(self, table: str, type_: str = "table") -> None:
        """None: what the views are made of helps nobody who looks at calls."""

    async def get_view_definition(self, view: str) -> None:
        """None: they pass for tables, which can be sorted and paged."""

    async def get_all_foreign_keys(self) -> dict[str, dict[str, list[Any]]]:
        return {name: {"incoming": [], "outgoing": []} for name in TABLES}


def _attach(db: Connection, path: Path, name: str) -> tuple[str, ...]:
    """Attach read-only; the table's columns, or none (and nothing attached) where it cannot be shown (yet).

    A file whose write-ahead log is folded in, in a directory this user may not write to, is read as unchanging.
    """
    for mode in ("mode=ro", "mode=ro&immutable=1"):
        if mode.endswith("immutable=1") and Path(f"{path}-wal").exists():
            break
        try:
            db.execute(f"ATTACH ? AS {name}", (f"{path.absolute().as_uri()}?{mode}",))
        except sqlite3.Error:
            continue
        try:
            if db.execute(f"PRAGMA {name}.user_version").fetchone()[0] == VERSION:
                columns = tuple(row[1] for row in db.execute(f"PRAGMA {name}.table_info(calls)"))
                if columns:
                    return columns
        except sqlite3.Error:
            pass
        db.execute(f"DETACH {name}")
    return ()


def _bounds(db: Connection) -> int:
    """Note the bounds of all calls; the moment since which there are about RECENT_CALLS."""
    chunks: list[tuple[int, int, int]] = []
    for number in range(len(db.days)):
        found = db.execute(f"SELECT max_stop, min_stop, calls FROM d{number}.chunks WHERE max_stop IS NOT NULL")
        chunks += [(newest, oldest, calls) for newest, oldest, calls in found]
    db.chunks = tuple(sorted(chunks, reverse=True))
    db.newest_ms = db.chunks[0][0] if chunks else 0
    db.oldest_ms = min((oldest for _, oldest, _ in chunks), default=0)
    calls = 0
    for newest, _, count in db.chunks:
        calls += count
        if calls > RECENT_CALLS:
            return int(newest)
    return 0


def _calls_since(db: Connection, moment_ms: int) -> int:
    return sum(calls for newest, _, calls in db.chunks if newest >= moment_ms)


def since_ms(db: Connection, hours: Any) -> int:
    """The first moment of the last so many hours that there are calls of; without a number: of everything shown."""
    try:
        span_ms = int(float(hours) * 3_600_000)
    except (TypeError, ValueError):
        span_ms = 0
    return max(db.oldest_ms, db.newest_ms - span_ms) if span_ms > 0 else db.oldest_ms


def step_ms(db: Connection, hours: Any) -> int:
    """A round step of time, at most STEPS of which make the window."""
    span_ms = db.newest_ms - since_ms(db, hours)
    return next((step for step in _STEPS_MS if span_ms <= step * STEPS), _STEPS_MS[-1])
