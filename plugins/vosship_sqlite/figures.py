"""Counts calls by key in each day's file; the figures themselves are defined in `vosship.query`.

It finds no single call.

Unanswered calls are counted by SQLite on a thread of its own, answered ones, whose every duration and delay matters,
one by one here: both halves take about as long.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from vosship.query import KEYS, NER_SUCCESS, SPAN_MS, TIME_COLUMNS, Row, StatsQuery, Tally, pdd_bucket, rows, span_key
from vosship_sqlite.columns import quote
from vosship_sqlite.reader import DayFile, days
from vosship_sqlite.writer import foreign


def stats(directory: Path, query: StatsQuery) -> list[Row]:
    """The figures over all files, in the order of `query.rows`. Raises VosshipError."""
    counting = _Counting(query)
    with ThreadPoolExecutor(1, thread_name_prefix="sqlite-stats") as thread:
        for day in days(directory, query.calls):
            try:
                if day.chunks(query.calls):
                    unanswered = thread.submit(counting.unanswered, day.path)
                    counting.answered(day)
                    counting.enter(unanswered.result())
            except sqlite3.Error as error:
                raise foreign(error, day.path) from error
    return rows(counting.tallies)


class _Counting:
    """One `stats` under way: the tallies by key, and the way from a store's raw keys to them."""

    def __init__(self, query: StatsQuery) -> None:
        self.tallies: dict[tuple[str, ...], Tally] = {}
        self._query = query
        self._zone = ZoneInfo(query.timezone)
        self._time = TIME_COLUMNS[query.calls.time]

    def unanswered(self, path: Path) -> list[tuple[Any, ...]]:
        """Keys, calls, illegal ones and network successes among the legal, of unanswered calls; opens the file by itself."""
        with closing(DayFile(path)) as day:
            where, bound = day.where(self._query.calls)
            illegal = f"coalesce({_column(day, 'billingMode')} = -1, 0)"
            success = f"coalesce({_column(day, 'end.code')} IN ({', '.join(map(str, sorted(NER_SUCCESS)))}), 0)"
            keys = self._keys(day)
            return day.db.execute(
                f"SELECT {keys}, count(*), sum({illegal}), sum(NOT {illegal} AND {success}) FROM calls "
                f"WHERE {where} AND {_hold(day)} <= 0 GROUP BY {keys}",
                bound,
            ).fetchall()

    def enter(self, found: list[tuple[Any, ...]]) -> None:
        """Add what `unanswered` counted."""
        for *keys, calls, illegal, success in found:
            tally = self._tally(tuple(keys))
            tally.attempts += calls - illegal
            tally.illegal += illegal
            tally.network_success += success

    def answered(self, day: DayFile) -> None:
        """Count a day's answered calls."""
        where, bound = day.where(self._query.calls)
        keys = self._keys(day)
        columns = ", ".join((_hold(day), *(_column(day, name) for name in ("end.by", "callerPdd", "calleePdd"))))
        counts: dict[Any, tuple[list[int], Counter[Any], Counter[Any], Counter[Any]]] = {}
        single = len(self._query.by) == 1
        found = day.db.execute(f"SELECT {keys}, {columns} FROM calls WHERE {where} AND {_hold(day)} > 0", bound)
        for key, hold_ms, by, caller, callee in found if single else (((one, two), *rest) for one, two, *rest in found):
            if key in counts:
                holds, sides, caller_ms, callee_ms = counts[key]
            else:
                holds, sides, caller_ms, callee_ms = counts[key] = ([], Counter(), Counter(), Counter())
            holds.append(hold_ms)
            sides[by] += 1
            caller_ms[caller] += 1
            callee_ms[callee] += 1
        for key, (holds, by_whom, *pdd) in counts.items():
            tally = self._tally((key,) if single else key)
            tally.attempts += len(holds)
            tally.answered += len(holds)
            tally.network_success += len(holds)
            tally.hold_ms += sum(holds)
            for by, calls in by_whom.items():
                tally.hangups[by or ""] += calls
            for buckets, delays in zip((tally.caller_pdd, tally.callee_pdd), pdd, strict=True):
                for ms, calls in delays.items():
                    if ms is not None:
                        buckets[pdd_bucket(ms)] += calls

    def _keys(self, day: DayFile) -> str:
        return ", ".join(_column(day, KEYS[word]) if KEYS[word] else f"{quote(self._time)} / {SPAN_MS}" for word in self._query.by)

    def _tally(self, raw: tuple[Any, ...]) -> Tally:
        words = []
        for word, value in zip(self._query.by, raw, strict=True):
            if not KEYS[word]:
                words.append(span_key(word, value * SPAN_MS, self._zone))
            else:
                words.append("" if value is None else str(value))
        return self.tallies.setdefault(tuple(words), Tally())


def _column(day: DayFile, name: str) -> str:
    return quote(name) if name in day.columns else "NULL"


def _hold(day: DayFile) -> str:
    return f"coalesce({_column(day, 'holdTime')}, 0)"
