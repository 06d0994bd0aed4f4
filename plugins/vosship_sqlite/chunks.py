"""Which calls lie where in a day's file: runs of calls with the bounds of their times, and the hashes of their numbers.

It writes no calls and does not search: `writer` begins and ends the transactions, `reader` asks.

A *chunk* is a run of bytes of one CDR file with the bounds of its calls' times, at most CHUNK_CALLS calls where lines
arrive in order. Chunks of one file never overlap. They are what makes a search quick while the day is still being
written, when indexes on numbers would cost most: a time window skips chunks by their bounds, and a number is looked
for in the chunks' *fingerprints* (32-bit hashes of every number, and of its beginnings of PREFIX_LENGTHS).
"""

from __future__ import annotations

import sqlite3
import zlib
from array import array
from collections.abc import Sequence
from typing import Any

from vosship.query import CALLEE_NUMBERS, CALLER_NUMBERS, TIME_COLUMNS, TimeField
from vosship_sqlite.columns import Shape

CHUNK_CALLS = 4096
"""Calls a chunk (chosen: about 2 MB of rows, read in 5 ms; 250 chunks a million calls)."""

PARTS = 16
"""Fingerprints are kept apart by their lowest four bits: a search reads a sixteenth of them (chosen: one page each a batch)."""

PREFIX_LENGTHS = (7, 10)
"""Characters of a number hashed beside the whole, for searches by prefix (chosen: country and network, and a range of a
thousand numbers; shorter prefixes match so many calls that reading in time order finds enough at once)."""

GATHERED_CHUNKS = 16
"""A day of fewer chunks is not gathered (chosen: 65,000 calls, whose fingerprints of one part are 128 KB)."""

TIMES: tuple[TimeField, ...] = ("stop", "start", "answer")
"""Times whose bounds a chunk keeps."""

_FINGERPRINTS = "(part INTEGER NOT NULL, chunk INTEGER NOT NULL, hashes BLOB NOT NULL, PRIMARY KEY (part, chunk)) WITHOUT ROWID"

TABLES = f"""
CREATE TABLE files (number INTEGER PRIMARY KEY, base TEXT NOT NULL UNIQUE);
CREATE TABLE chunks (
  number INTEGER PRIMARY KEY, file INTEGER NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL, calls INTEGER NOT NULL,
  {", ".join(f"min_{name} INTEGER, max_{name} INTEGER" for name in TIMES)});
CREATE INDEX chunk_places ON chunks (file, first);
CREATE TABLE fingerprints {_FINGERPRINTS};
"""
"""What a day's file has beside its calls."""


def fingerprint(number: str) -> int:
    """The hash of a whole number."""
    return zlib.crc32(number.encode())


def prefix_fingerprint(beginning: str) -> int:
    """The hash of a number's beginning, of one of PREFIX_LENGTHS, apart from that of a whole number."""
    return zlib.crc32(beginning.encode(), 1)


class Chunks:
    """The chunks of one day's file."""

    def __init__(self, db: sqlite3.Connection, shape: Shape) -> None:
        self._db = db
        self.shape_to(shape)

    def shape_to(self, shape: Shape) -> None:
        """Rows look like this from here on."""
        self._numbers = [shape.place[name] for name in (*CALLER_NUMBERS, *CALLEE_NUMBERS) if name in shape.place]
        self._times = [shape.place.get(TIME_COLUMNS[name]) for name in TIMES]

    def note(self, rows: list[list[Any]]) -> None:
        """Enter rows into chunks, a chunk for each run of CHUNK_CALLS lines of one file; within the caller's transaction."""
        rows.sort(key=_place)
        start = 0
        while start < len(rows):
            end = start + 1
            file = rows[start][0]
            while end < len(rows) and end - start < CHUNK_CALLS and rows[end][0] == file:
                end += 1
            while end < len(rows) and rows[end][:2] == rows[end - 1][:2]:
                end += 1
            self._chunk(file, rows[start:end])
            start = end

    def _chunk(self, file: int, rows: list[list[Any]]) -> None:
        """One chunk more, or those it touches made into one, or the one before it made longer while that is short."""
        columns = list(zip(*rows, strict=True))
        first, last, calls = rows[0][1], rows[-1][1], len(rows)
        bounds: list[int | None] = []
        for place in self._times:
            times = [] if place is None else [time for time in columns[place] if time is not None]
            bounds += [min(times), max(times)] if times else [None, None]
        db = self._db
        touched = db.execute("SELECT * FROM chunks WHERE file = ? AND first <= ? AND last >= ?", (file, last, first)).fetchall()
        if not touched:
            before = db.execute(
                "SELECT * FROM chunks WHERE file = ? AND first < ? ORDER BY first DESC LIMIT 1", (file, first)
            ).fetchone()
            touched = [before] if before is not None and before[4] + calls <= CHUNK_CALLS else []
        for other in touched:
            first, last, calls = min(first, other[2]), max(last, other[3]), calls + other[4]
            bounds = [_bound(number, one, two) for number, (one, two) in enumerate(zip(bounds, other[5:], strict=True))]
        number = touched[0][0] if touched else None
        for other in touched[1:]:
            db.execute(
                f"INSERT INTO fingerprints SELECT part, ?, hashes FROM fingerprints WHERE chunk = ? {_APPEND}", (number, other[0])
            )
            db.execute("DELETE FROM fingerprints WHERE chunk = ?", (other[0],))
            db.execute("DELETE FROM chunks WHERE number = ?", (other[0],))
        values = (number, file, first, last, calls, *bounds)
        number = db.execute(f"INSERT OR REPLACE INTO chunks VALUES ({', '.join('?' * len(values))})", values).lastrowid
        parts = self._fingerprints(columns)
        db.executemany(
            f"INSERT INTO fingerprints VALUES (?, ?, ?) {_APPEND}",
            [(part, number, array("I", hashes).tobytes()) for part, hashes in enumerate(parts) if hashes],
        )

    def _fingerprints(self, columns: Sequence[Sequence[Any]]) -> list[list[int]]:
        numbers: set[Any] = set()
        for place in self._numbers:
            numbers.update(columns[place])
        numbers.discard(None)
        prefixes = {number[:length] for length in PREFIX_LENGTHS for number in numbers if len(number) >= length}
        parts: list[list[int]] = [[] for _ in range(PARTS)]
        for hashed in {*map(fingerprint, numbers), *map(prefix_fingerprint, prefixes)}:
            parts[hashed % PARTS].append(hashed)
        return parts

    def gather(self) -> None:
        """Put the fingerprints side by side in the file, in the order a search reads them, unless they lie so already.

        While a day is written they come to lie between its calls, a page here and a page there: a search of a finished
        day then reads 300 places a million calls, each a seek. The pages given up are used by the next calls; that
        there still are some says that it was done. Raises sqlite3.Error, with nothing changed.
        """
        db = self._db
        count = db.execute("SELECT count(*) FROM chunks").fetchone()[0]
        free = db.execute("PRAGMA freelist_count").fetchone()[0]
        if count < GATHERED_CHUNKS or free > count:
            return
        db.execute("BEGIN IMMEDIATE")
        try:
            db.execute(f"CREATE TABLE gathered {_FINGERPRINTS}")
            db.execute("INSERT INTO gathered SELECT * FROM fingerprints ORDER BY part, chunk")
            db.execute("DROP TABLE fingerprints")
            db.execute("ALTER TABLE gathered RENAME TO fingerprints")
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise


_APPEND = "ON CONFLICT (part, chunk) DO UPDATE SET hashes = CAST(hashes || excluded.hashes AS BLOB)"
"""Joining two blobs gives text in SQLite, in which no hash would be found again."""


def _place(row: Sequence[Any]) -> tuple[int, int]:
    return row[0], row[1]


def _bound(number: int, one: int | None, two: int | None) -> int | None:
    if one is None or two is None:
        return two if one is None else one
    return max(one, two) if number % 2 else min(one, two)
