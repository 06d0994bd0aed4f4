"""Writes calls: one file a day and index name, durable before it says so, each document judged by itself.

It does not search; it runs on one thread, which its owner provides.

A crash leaves nothing half done: rows, chunks and fingerprints of a batch are one transaction in a write-ahead log that
is synced at every commit. A batch that spans two days is two transactions; sending it again is harmless.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing, suppress
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from vosship.errors import FatalError, HaltedError, UnavailableError, VosshipError
from vosship.events import DUPLICATE, STORED, Document, Outcome, Verdict
from vosship_sqlite.chunks import TABLES, Chunks
from vosship_sqlite.columns import Columns, MisfitError, Shape, quote

VERSION = 1
"""`user_version` of a day's file; raised when an older vosship could no longer read or write it."""

APPLICATION_ID = 0x564F5343
"""`application_id` of a day's file: the letters VOSC, so that no foreign database is ever written to."""

OPEN_DAYS = 4
"""Files held open for writing (chosen: two index names over midnight)."""

QUIET_S = 600.0
"""A file not written to for so long is closed, which puts its fingerprints together and folds its write-ahead log into it."""

PAGE_BYTES = 8192
"""Page of a day's file (chosen: holds a dozen rows, so that none spills over)."""

CACHE_KIB = 4096
"""Page cache of an open file (chosen: rows arrive in key order and touch few pages; four files stay under 16 MB)."""

BUSY_MS = 5000
"""How long a commit waits for another process's lock before the batch is to be sent again."""

REACH_DAYS = 2
"""How far a call's day may move when the zone is mended: zones reach from -12 h to +14 h, so that two can be 26 h apart."""


class Day:
    """One day's file, open for writing."""

    def __init__(self, path: Path, columns: Columns, synchronous: str) -> None:
        self.path = path
        self.written_at = 0.0
        self._columns = columns
        self._files: dict[str, int] = {}
        self._db = sqlite3.connect(path, timeout=BUSY_MS / 1000, isolation_level=None, check_same_thread=False)
        try:
            self._prepare(synchronous)
        except BaseException:
            self._db.close()
            raise
        self._chunks = Chunks(self._db, columns.shape)
        self._shape_to(columns.shape)

    def _shape_to(self, shape: Shape) -> None:
        self._shape = shape
        names = ", ".join(quote(name) for name in shape.names)
        into = f"INTO calls ({names}) VALUES ({', '.join('?' * len(shape.names))})"
        self._insert, self._replace = f"INSERT OR IGNORE {into}", f"INSERT OR REPLACE {into}"
        self._chunks.shape_to(shape)

    def _prepare(self, synchronous: str) -> None:
        db = self._db
        version = db.execute("PRAGMA user_version").fetchone()[0]
        if version > VERSION:
            raise HaltedError(
                f"{self.path} was written by a newer vosship (store version {version}, known here: {VERSION})",
                hint="upgrade vosship, or name another `directory` in the output's options",
            )
        db.execute(f"PRAGMA page_size = {PAGE_BYTES}")
        db.execute("PRAGMA journal_mode = WAL")
        db.execute(f"PRAGMA synchronous = {synchronous}")
        db.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        db.execute("BEGIN IMMEDIATE")
        known = {row[1] for row in db.execute("PRAGMA table_info(calls)")}
        if not known:
            if db.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
                raise HaltedError(f"{self.path} is a database, but not one of vosship", hint="move it away")
            db.execute(self._columns.create())
            for statement in TABLES.split(";"):
                db.execute(statement)
            db.execute(f"PRAGMA user_version = {VERSION}")
            db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        else:
            for name, kind in self._columns.types.items():
                if name not in known:
                    db.execute(f"ALTER TABLE calls ADD COLUMN {quote(name)} {kind}")
        db.execute("COMMIT")

    def store(self, documents: Sequence[Document], overwrite: bool) -> list[Outcome]:
        """One transaction; an outcome each, in order."""
        db = self._db
        db.execute("BEGIN IMMEDIATE")
        try:
            outcomes = self._store(documents, overwrite)
            db.execute("COMMIT")
        except BaseException:
            self._files.clear()
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise
        return outcomes

    def _store(self, documents: Sequence[Document], overwrite: bool) -> list[Outcome]:
        outcomes = [STORED] * len(documents)
        rows, places = self._rows(documents, outcomes)
        if overwrite:
            self._db.executemany(self._replace, rows)
            fresh = rows
        else:
            fresh = self._insert_new(rows, places, outcomes)
        if fresh:
            self._chunks.note(fresh)
        return outcomes

    def _rows(self, documents: Sequence[Document], outcomes: list[Outcome]) -> tuple[list[list[Any]], list[int]]:
        """Rows of one shape, and the place of each in the batch; what fits no column is rejected in `outcomes`."""
        columns = self._columns
        while True:
            if self._shape is not columns.shape:
                self._shape_to(columns.shape)
            rows: list[list[Any]] = []
            places: list[int] = []
            make, file, widened = self._shape.row, self._file, False
            for place, document in enumerate(documents):
                try:
                    rows.append(make(document, file(document.block.stream.base)))
                    places.append(place)
                except MisfitError as error:
                    widened = columns.widen(document.body)
                    if widened:
                        break
                    outcomes[place] = Outcome(Verdict.REJECTED, "mapping", str(error))
            if not widened:
                return rows, places

    def _insert_new(self, rows: list[list[Any]], places: list[int], outcomes: list[Outcome]) -> list[list[Any]]:
        db = self._db
        before = db.total_changes
        db.execute("SAVEPOINT rows")
        db.executemany(self._insert, rows)
        taken = db.total_changes - before
        if taken == len(rows):
            db.execute("RELEASE rows")
            return rows
        if taken == 0:
            db.execute("RELEASE rows")
            for place in places:
                outcomes[place] = DUPLICATE
            return []
        db.execute("ROLLBACK TO rows")
        db.execute("RELEASE rows")
        fresh = []
        for place, row in zip(places, rows, strict=True):
            if db.execute(self._insert, row).rowcount:
                fresh.append(row)
            else:
                outcomes[place] = DUPLICATE
        return fresh

    def _file(self, base: str) -> int:
        number = self._files.get(base)
        if number is None:
            self._db.execute("INSERT OR IGNORE INTO files (base) VALUES (?)", (base,))
            number = self._db.execute("SELECT number FROM files WHERE base = ?", (base,)).fetchone()[0]
            self._files[base] = number
        return number

    def gather(self) -> None:
        """See `Chunks.gather`."""
        self._chunks.gather()

    def close(self) -> None:
        """Fold the write-ahead log into the file, unless somebody is reading, and let go of it."""
        self._db.close()


class Writer:
    """All days that are being written, on one thread."""

    def __init__(self, directory: Path, columns: Columns, now: Callable[[], float], synchronous: str = "FULL") -> None:
        self._directory = directory
        self._columns = columns
        self._now = now
        self._synchronous = synchronous
        self._days: dict[str, Day] = {}

    def store(self, batch: Sequence[Document], overwrite: bool = False) -> list[Outcome]:
        """Blocks until every day's part of the batch is on disk. Raises what `foreign` gives."""
        outcomes: list[Outcome] = [STORED] * len(batch)
        for index, places in _by_index(batch).items():
            path = self._directory / f"{index}.sqlite"
            try:
                day = self._day(index, path)
                found = day.store([batch[place] for place in places], overwrite)
            except sqlite3.Error as error:
                self._forget(index)
                raise foreign(error, path) from error
            for place, outcome in zip(places, found, strict=True):
                outcomes[place] = outcome
            if overwrite:
                self._remove_elsewhere(index, [batch[place] for place in places if outcomes[place] is STORED])
        self._close_quiet()
        return outcomes

    def _remove_elsewhere(self, index: str, documents: Sequence[Document]) -> None:
        """Remove what these calls left in the days around when a mended zone moved them; a crash before leaves both, until
        they are overwritten again."""
        for path in _neighbours(self._directory, index):
            try:
                with closing(sqlite3.connect(path, timeout=BUSY_MS / 1000, isolation_level=None)) as db:
                    numbers: dict[str, int] = dict(db.execute("SELECT base, number FROM files"))
                    rows = [
                        (numbers[document.block.stream.base], document.offset, document.id)
                        for document in documents
                        if document.block.stream.base in numbers
                    ]
                    if rows:
                        db.execute("BEGIN IMMEDIATE")
                        db.executemany('DELETE FROM calls WHERE _file = ? AND "log.offset" = ? AND _id = ?', rows)
                        db.execute("COMMIT")
            except sqlite3.Error as error:
                raise foreign(error, path) from error

    def _day(self, index: str, path: Path) -> Day:
        day = self._days.pop(index, None)
        if day is None:
            day = Day(path, self._columns, self._synchronous)
            while len(self._days) >= OPEN_DAYS:
                self._retire(next(iter(self._days)))
        self._days[index] = day
        day.written_at = self._now()
        return day

    def _close_quiet(self) -> None:
        limit = self._now() - QUIET_S
        for index in [index for index, day in self._days.items() if day.written_at < limit]:
            self._retire(index)

    def _retire(self, index: str) -> None:
        """Close a day that nothing is expected for; on a full disk or a locked file its fingerprints stay as they lie."""
        with suppress(sqlite3.Error):
            self._days[index].gather()
        self._forget(index)

    def _forget(self, index: str) -> None:
        day = self._days.pop(index, None)
        if day is not None:
            day.close()

    def close(self) -> None:
        """Close every day."""
        for index in list(self._days):
            self._forget(index)


def _neighbours(directory: Path, index: str) -> list[Path]:
    """The files there are of the days around; none for a name that is no day's."""
    series, _, day = index.rpartition("-")
    try:
        middle = date(*map(int, day.split(".")))
    except (ValueError, TypeError):
        return []
    days = [middle + timedelta(days=far) for far in range(-REACH_DAYS, REACH_DAYS + 1) if far]
    return [path for each in days if (path := directory / f"{series}-{each:%Y.%m.%d}.sqlite").exists()]


def _by_index(batch: Sequence[Document]) -> dict[str, Iterable[int]]:
    found: dict[str, list[int]] = {}
    for place, document in enumerate(batch):
        found.setdefault(document.index, []).append(place)
    return dict(found)


def foreign(error: sqlite3.Error, path: Path) -> VosshipError:
    """SQLite's error as one of ours, by what helps."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_FULL:
        return FatalError(f"no space left for {path}", hint="nothing is lost: positions were not moved; free space, start again")
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return FatalError(f"{path} is damaged: {error}", hint="move the file away; `vosship reship` fills that day again")
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH):
        return HaltedError(f"{path} cannot be opened: {error}", hint="check the owner and mode of the store's directory")
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return UnavailableError(f"{path} is locked by another process", hint="which one: `fuser` or `lsof` on the file")
    return UnavailableError(f"{path}: {error}", hint="check the disk: `dmesg`, `df`")
