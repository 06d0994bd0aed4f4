"""Finds calls in the days' files, newest first, while the agent goes on writing.

It writes nothing and computes no figures: `figures` does.

Every file is opened read-only. A file says when its calls were by its chunks, so that what cannot hold a call asked
for is not read; calls come out merged over files and chunks by a queue of whatever could hold the newest one, and so
a search for the newest hundred reads little of a day, and a search for everything holds a few chunks at a time.
"""

from __future__ import annotations

import heapq
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from vosship.errors import HaltedError, VosshipError
from vosship.query import (
    CALLEE_GATEWAYS,
    CALLEE_NUMBERS,
    CALLER_GATEWAYS,
    CALLER_NUMBERS,
    DIFFERENCES,
    IPS,
    RESEND,
    TIME_COLUMNS,
    Hit,
    Query,
)
from vosship_sqlite.chunks import PARTS, PREFIX_LENGTHS, fingerprint, prefix_fingerprint
from vosship_sqlite.columns import Rows, quote
from vosship_sqlite.writer import VERSION, foreign

_NAME = re.compile(r"(?P<index>.+-(?P<day>\d{4}\.\d{2}(\.\d{2})?))\.sqlite")
"""A day's file, or a month's (findings, differences of reconcile)."""

ZONE_MARGIN = timedelta(hours=14)
"""How far a zone's day may lie from the day in UTC (the zone database's extremes are -12 h and +14 h)."""


class DayFile:
    """One day's file, open for reading."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.index = path.name.removesuffix(".sqlite")
        self.db = _connect(path)
        try:
            made = self.db.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
            version = self.db.execute("PRAGMA user_version").fetchone()[0]  # after it: a day that is being made gets both at once
            if made and not version:
                raise HaltedError(f"{path} is a database, but not one of vosship", hint="move it away")
            if version > VERSION:
                raise HaltedError(
                    f"{path} was written by a newer vosship (store version {version}, known here: {VERSION})",
                    hint="upgrade vosship",
                )
            self.columns = {row[1]: row[2] for row in self.db.execute("PRAGMA table_info(calls)")}
        except BaseException:
            self.db.close()
            raise

    def close(self) -> None:
        """Let go of the file; idempotent."""
        self.db.close()

    def where(self, query: Query) -> tuple[str, list[Any]]:
        """The condition on a row, with what is bound to it; the one translation of `query.matches` into SQL."""
        parts = _Condition(self.columns)
        time = quote(TIME_COLUMNS[query.time])
        if TIME_COLUMNS[query.time] in self.columns:
            parts.add(f"{time} >= ? AND {time} < ?", query.from_ms, query.to_ms)
        else:
            parts.add("0")
        parts.number(query.caller, CALLER_NUMBERS)
        parts.number(query.callee, CALLEE_NUMBERS)
        parts.number(query.number, (*CALLER_NUMBERS, *CALLEE_NUMBERS))
        parts.equal(query.caller_gateway, CALLER_GATEWAYS)
        parts.equal(query.callee_gateway, CALLEE_GATEWAYS)
        parts.equal(query.ip, IPS)
        parts.equal(query.end_reason, ("endReason",))
        hold = 'coalesce("holdTime", 0)' if "holdTime" in self.columns else "0"
        if query.answered is not None:
            parts.add(f"{hold} > 0" if query.answered else f"{hold} <= 0")
        if query.min_hold_ms:
            parts.add(f"{hold} >= ?", query.min_hold_ms)
        parts.equal(query.switch, ("switch",))
        if query.channel != "all":
            parts.equal(query.channel, ("channel",))
        if not query.resends:
            parts.add(f"""("tags" IS NULL OR instr("tags", '"{RESEND}"') = 0)""")
        return parts.text(), parts.bound

    def chunks(self, query: Query) -> list[tuple[int, int, int, int]]:
        """(newest stop, file, first, last) of every chunk that may hold calls asked for; none in a file just being made."""
        if not self.columns:
            return []
        conditions = [f"max_{query.time} >= ? AND min_{query.time} < ?"]
        bound: list[Any] = [query.from_ms, query.to_ms]
        for asked in (query.number, query.caller, query.callee):
            hashed = _hash(asked)
            if hashed is not None:
                conditions.append("number IN (SELECT chunk FROM fingerprints WHERE part = ? AND instr(hashes, ?) > 0)")
                bound += [hashed % PARTS, hashed.to_bytes(4, "little")]
        text = " AND ".join(conditions)
        return self.db.execute(f"SELECT max_stop, file, first, last FROM chunks WHERE {text}", bound).fetchall()


class _Condition:
    """Conditions that must all hold, over the columns a file has."""

    def __init__(self, columns: dict[str, str]) -> None:
        self._columns = columns
        self._parts: list[str] = []
        self.bound: list[Any] = []

    def add(self, text: str, *bound: Any) -> None:
        self._parts.append(text)
        self.bound += bound

    def equal(self, asked: str, names: tuple[str, ...]) -> None:
        if asked:
            self._any("{} = ?", (asked,), names)

    def number(self, asked: str, names: tuple[str, ...]) -> None:
        if asked.endswith("*"):
            self._any("substr({}, 1, ?) = ?", (len(asked) - 1, asked[:-1]), names)
        else:
            self.equal(asked, names)

    def _any(self, template: str, bound: tuple[Any, ...], names: tuple[str, ...]) -> None:
        known = [name for name in names if name in self._columns]
        self.add("(" + (" OR ".join(template.format(quote(name)) for name in known) or "0") + ")", *(bound * len(known)))

    def text(self) -> str:
        return " AND ".join(self._parts)


def _hash(asked: str) -> int | None:
    """The fingerprint that a chunk must have, if the number asked for is long enough to have one."""
    if not asked:
        return None
    if not asked.endswith("*"):
        return fingerprint(asked)
    length = max((length for length in PREFIX_LENGTHS if length < len(asked)), default=0)
    return prefix_fingerprint(asked[:length]) if length else None


def _connect(path: Path) -> sqlite3.Connection:
    """Open read-only, seeing what is still in the write-ahead log.

    A file whose log is folded in, in a directory this user may not write to, cannot have its shared memory made:
    nobody writes it then, and it is read as unchanging.
    """
    last: sqlite3.Error | None = None
    for mode in ("mode=ro", "mode=ro&immutable=1"):
        db = sqlite3.connect(
            f"{path.absolute().as_uri()}?{mode}", uri=True, isolation_level=None, timeout=5.0, check_same_thread=False
        )
        try:
            db.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        except sqlite3.OperationalError as error:
            db.close()
            last = error
            if Path(f"{path}-wal").exists():
                break
        else:
            return db
    assert last is not None
    raise last


def day_files(directory: Path, query: Query) -> list[tuple[int, Path]]:
    """The files that may hold calls asked for, newest day first, with the latest stop in epoch ms any call in them can have.

    The day in a name is the day of the stop in the switch's zone. A window over another time may reach into any
    file: their chunks say so without being read.
    """
    found = []
    for path in listed(directory):
        match = _NAME.fullmatch(path.name)
        if match is None:
            continue
        if (match["day"].count(".") == 1) != (query.channel == DIFFERENCES):
            continue
        span = _span_ms(match["day"])
        if span is None:
            continue
        first, last = span
        if query.time != "stop" or (last > query.from_ms and first < query.to_ms):
            found.append((last, path))
    return sorted(found, reverse=True)


def _span_ms(name: str) -> tuple[int, int] | None:
    """When a call of a day, or a month, can have stopped wherever the switch is; None for one the calendar does not have."""
    year, month, *days = map(int, name.split("."))
    try:
        day = datetime(year, month, days[0] if days else 1, tzinfo=UTC)
        end = day + timedelta(days=1) if days else (day + timedelta(days=31)).replace(day=1)
        return _ms(day - ZONE_MARGIN), _ms(end + ZONE_MARGIN)
    except (OverflowError, ValueError):
        return None


def listed(directory: Path) -> list[Path]:
    """What lies in the store; nothing where there is none yet. Raises HaltedError for one that this user may not list."""
    try:
        return list(directory.iterdir())
    except FileNotFoundError:
        return []
    except OSError as error:
        raise HaltedError(f"{directory} cannot be listed: {error.strerror}", hint="run as the agent's user") from error


def _ms(moment: datetime) -> int:
    return int(moment.timestamp()) * 1000


def search(directory: Path, query: Query) -> Iterator[Hit]:
    """Hits in the order of `query.sort_key`, at most `query.limit`. Raises VosshipError."""
    opened: list[DayFile] = []
    try:
        for number, hit in enumerate(_merged(directory, query, opened)):
            if query.limit is not None and number >= query.limit:
                return
            yield hit
    finally:
        for day in opened:
            day.close()


class _Source:
    """A day being read: its condition and its way from rows to documents."""

    def __init__(self, day: DayFile, query: Query) -> None:
        self.day = day
        self.rows = Rows(list(day.columns.items()))
        where, self._bound = day.where(query)
        place = {name: number + 1 for number, name in enumerate(self.rows.names)}
        self._key = (place["@timestamp"], place.get("log.file.path", 0), place["log.offset"])
        self._select = f'SELECT {self.rows.select} FROM calls WHERE _file = ? AND "log.offset" BETWEEN ? AND ? AND {where}'

    def read(self, file: int, first: int, last: int) -> Iterator[tuple[tuple[int, str, int, str], tuple[Any, ...]]]:
        """The rows of one chunk that match, each with its place in the order."""
        time, path, offset = self._key
        for row in self.day.db.execute(self._select, (file, first, last, *self._bound)):
            yield (-row[time], row[path] if path and row[path] is not None else "", row[offset], row[0]), row


def _merged(directory: Path, query: Query, opened: list[DayFile]) -> Iterator[Hit]:
    """Take whatever could hold the newest call next: a file gives its chunks, a chunk its rows, a row is a hit.

    Entries are (minus the newest time within, 0 for what must be looked into or 1 for a row, its place, ...), so that
    nothing comes out before all that could precede it was looked into.
    """
    queue: list[Any] = [(-last, 0, ("", 0, path.name), path, None) for last, path in day_files(directory, query)]
    heapq.heapify(queue)
    held: dict[DayFile, int] = {}
    while queue:
        _, kind, _, what, source = heapq.heappop(queue)
        if kind == 1:
            yield Hit(id=what[0], index=source.day.index, fields=source.rows.fields(what))
            continue
        path = what if isinstance(what, Path) else source.day.path
        try:
            if source is None:
                day = DayFile(path)
                opened.append(day)
                chunks = day.chunks(query)
                if not chunks:
                    day.close()
                    continue
                source = _Source(day, query)
                held[day] = len(chunks)
                for newest, file, first, last in chunks:
                    heapq.heappush(queue, (-newest, 0, ("", first, f"{path.name}/{file}"), (file, first, last), source))
            else:
                for key, row in source.read(*what):
                    heapq.heappush(queue, (key[0], 1, (*key[1:], source.day.index), row, source))
                held[source.day] -= 1
        except sqlite3.Error as error:
            raise _reading(error, path) from error
        if not held[source.day]:
            source.day.close()


def _reading(error: sqlite3.Error, path: Path) -> VosshipError:
    return foreign(error, path)


def days(directory: Path, query: Query) -> Iterator[DayFile]:
    """Each file that may hold calls asked for, open while it is the current one. Raises VosshipError."""
    for _, path in day_files(directory, query):
        try:
            with closing(DayFile(path)) as day:
                yield day
        except sqlite3.Error as error:
            raise _reading(error, path) from error
