"""Counts calls by key in each day's file; the figures themselves are defined in `vosship.query`.

It opens no file of its own and finds no single call.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from pathlib import Path
from zoneinfo import ZoneInfo

from vosship.query import KEYS, SPAN_MS, TIME_COLUMNS, Row, StatsQuery, Tally, pdd_bucket, rows, span_key
from vosship_sqlite.columns import quote
from vosship_sqlite.reader import DayFile, days
from vosship_sqlite.writer import foreign

_PDD = (("callerPdd", "caller_pdd"), ("calleePdd", "callee_pdd"))


def stats(directory: Path, query: StatsQuery) -> list[Row]:
    """The figures over all files, in the order of `query.rows`. Raises VosshipError."""
    tallies: dict[tuple[str, ...], Tally] = {}
    zone = ZoneInfo(query.timezone)
    for day in days(directory, query.calls):
        try:
            _count(day, query, zone, tallies)
        except sqlite3.Error as error:
            raise foreign(error, day.path) from error
    return rows(tallies)


def _count(day: DayFile, query: StatsQuery, zone: ZoneInfo, tallies: dict[tuple[str, ...], Tally]) -> None:
    calls = query.calls
    oldest_newest = day.db.execute(
        f"SELECT count(*) FROM chunks WHERE max_{calls.time} >= ? AND min_{calls.time} < ?", (calls.from_ms, calls.to_ms)
    ).fetchone()
    if not oldest_newest[0]:
        return
    where, bound = day.where(calls)
    keys = ", ".join(_key(word, day.columns, TIME_COLUMNS[calls.time]) for word in query.by)
    width = len(query.by)
    columns = {name: quote(name) if name in day.columns else "NULL" for name in ("holdTime", "billingMode", "end.code", "end.by")}
    hold = f"coalesce({columns['holdTime']}, 0)"
    numbers = ", ".join(str(number + 1) for number in range(width + 4))
    found = day.db.execute(
        f"SELECT {keys}, {hold} > 0, {columns['billingMode']}, {columns['end.code']}, {columns['end.by']}, count(*), sum({hold}) "
        f"FROM calls WHERE {where} GROUP BY {numbers}",
        bound,
    )
    names: dict[tuple[object, ...], Tally] = {}
    for row in found:
        tally = _tally(row[:width], query, zone, tallies, names)
        answered, billing_mode, code, by, number, hold_ms = row[width:]
        mode = None if billing_mode is None else int(billing_mode)
        tally.add(number, answered=bool(answered), billing_mode=mode, code=code, by=by, hold_ms=hold_ms)
    day.db.create_function("pdd_bucket", 1, pdd_bucket, deterministic=True)
    for column, attribute in _PDD:
        if column not in day.columns:
            continue
        found = day.db.execute(
            f"SELECT {keys}, pdd_bucket({quote(column)}) AS bucket, count(*) FROM calls "
            f"WHERE {where} AND {hold} > 0 AND {quote(column)} IS NOT NULL GROUP BY {numbers[: -len(', 1, 1, 1')]}",
            bound,
        )
        for row in found:
            tally = _tally(row[:width], query, zone, tallies, names)
            getattr(tally, attribute)[row[width]] += row[width + 1]


def _key(word: str, columns: Mapping[str, str], time: str) -> str:
    field = KEYS[word]
    if not field:
        return f"{quote(time)} / {SPAN_MS}"
    return quote(field) if field in columns else "NULL"


def _tally(
    raw: tuple[object, ...],
    query: StatsQuery,
    zone: ZoneInfo,
    tallies: dict[tuple[str, ...], Tally],
    names: dict[tuple[object, ...], Tally],
) -> Tally:
    tally = names.get(raw)
    if tally is None:
        words = []
        for word, value in zip(query.by, raw, strict=True):
            if not KEYS[word]:
                words.append(span_key(word, int(str(value)) * SPAN_MS, zone))
            else:
                words.append("" if value is None else str(value))
        tally = names[raw] = tallies.setdefault(tuple(words), Tally())
    return tally
