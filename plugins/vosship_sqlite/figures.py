"""Counts calls by key in each day's file; the figures themselves are defined in `vosship.query`.

It finds no single call.

SQLite counts, a run of chunks at a time and two runs at once, each on a thread and a connection of its own. Only chunks that may
hold calls asked for are read, so that an hour of a day, or one number, costs its share of the day.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from vosship.query import KEYS, NER_SUCCESS, SPAN_MS, TIME_COLUMNS, Query, Row, StatsQuery, Tally, pdd_bucket, rows, span_key
from vosship_sqlite.columns import quote
from vosship_sqlite.reader import DayFile, days
from vosship_sqlite.writer import foreign

THREADS = 2
"""Runs counted at once. Chosen: the machine is the switch's."""

RUN_CHUNKS = 16
"""Chunks counted in one go: 65,000 calls, whose delays are held as text, a few MB. Chosen: a day of a million takes 1.10 s of CPU,
1.37 s chunk by chunk and 1.08 s as a whole (measured 2026-11-20)."""

_FAILED, _SUCCESS, _ILLEGAL = 0, 1, 2
"""Kinds of unanswered calls: a failure, one that counts as network success, no attempt. An answered call's kind is who ended it."""


class _Group(msgspec.Struct):
    """What was counted of one kind of calls of one key; delays by their milliseconds as text."""

    calls: int = 0
    hold_ms: int = 0
    caller_pdd: Counter[str] = msgspec.field(default_factory=Counter)
    callee_pdd: Counter[str] = msgspec.field(default_factory=Counter)


_Groups = dict[tuple[Any, ...], _Group]
"""By the raw keys and, behind them, the kind."""

_Run = tuple[int, int, int]
"""File, first and last byte."""


def stats(directory: Path, query: StatsQuery) -> list[Row]:
    """The figures over all files, in the order of `query.rows`. Raises VosshipError."""
    counting = _Counting(query)
    with ThreadPoolExecutor(THREADS, thread_name_prefix="sqlite-stats") as threads:
        for day in days(directory, query.calls):
            try:
                runs = _runs(day, query.calls)
                shares = [share for number in range(THREADS) if (share := runs[number::THREADS])]
                for groups in threads.map(counting.count, [day.path] * len(shares), shares):
                    counting.enter(groups)
            except sqlite3.Error as error:
                raise foreign(error, day.path) from error
    return rows(counting.tallies)


def _runs(day: DayFile, query: Query) -> list[_Run]:
    """The chunks that may hold calls asked for, neighbours together."""
    wanted = {(file, first): last for _, file, first, last in day.chunks(query)}
    if not wanted:
        return []
    runs: list[_Run] = []
    length = 0
    for place in day.db.execute("SELECT file, first FROM chunks ORDER BY file, first"):
        last = wanted.get(place)
        if last is None:
            length = 0
            continue
        if 0 < length < RUN_CHUNKS and runs[-1][0] == place[0]:
            runs[-1] = (*runs[-1][:2], last)
        else:
            runs.append((*place, last))
            length = 0
        length += 1
    return runs


class _Counting:
    """One `stats` under way: the tallies by key, and the way from a store's raw keys to them."""

    def __init__(self, query: StatsQuery) -> None:
        self.tallies: dict[tuple[str, ...], Tally] = {}
        self._query = query
        self._zone = ZoneInfo(query.timezone)
        self._time = TIME_COLUMNS[query.calls.time]

    def count(self, path: Path, runs: Iterable[_Run]) -> _Groups:
        """Count runs of a file, which is opened anew; changes nothing, so that it may run beside itself."""
        found: _Groups = {}
        with closing(DayFile(path)) as day:
            select = self._select(day)
            where, bound = day.where(self._query.calls)
            groups = ", ".join(str(place + 1) for place in range(len(self._query.by) + 1))
            text = f'{select} FROM calls WHERE _file = ? AND "log.offset" BETWEEN ? AND ? AND {where} GROUP BY {groups}'
            for run in runs:
                for *key, calls, hold_ms, caller_pdd, callee_pdd in day.db.execute(text, (*run, *bound)):
                    group = found.setdefault(tuple(key), _Group())
                    group.calls += calls
                    group.hold_ms += hold_ms
                    if caller_pdd:
                        group.caller_pdd.update(caller_pdd.split(","))
                    if callee_pdd:
                        group.callee_pdd.update(callee_pdd.split(","))
        return found

    def _select(self, day: DayFile) -> str:
        hold = f"coalesce({_column(day, 'holdTime')}, 0)"
        successes = ", ".join(map(str, sorted(NER_SUCCESS)))
        kind = (
            f"CASE WHEN {hold} > 0 THEN coalesce({_column(day, 'end.by')}, '') "
            f"WHEN {_column(day, 'billingMode')} = -1 THEN {_ILLEGAL} "
            f"WHEN {_column(day, 'end.code')} IN ({successes}) THEN {_SUCCESS} ELSE {_FAILED} END"
        )
        delays = [f"group_concat(CASE WHEN {hold} > 0 THEN {_column(day, name)} END)" for name in ("callerPdd", "calleePdd")]
        return f"SELECT {self._keys(day)}, {kind}, count(*), sum({hold}), {', '.join(delays)}"

    def enter(self, groups: _Groups) -> None:
        """Add what `count` found."""
        for (*keys, kind), group in groups.items():
            tally = self._tally(keys)
            if kind == _ILLEGAL:
                tally.illegal += group.calls
                continue
            tally.attempts += group.calls
            if kind == _FAILED:
                continue
            tally.network_success += group.calls
            if kind == _SUCCESS:
                continue
            tally.answered += group.calls
            tally.hold_ms += group.hold_ms
            tally.hangups[kind] += group.calls
            for buckets, delays in ((tally.caller_pdd, group.caller_pdd), (tally.callee_pdd, group.callee_pdd)):
                for ms, calls in delays.items():
                    buckets[pdd_bucket(int(ms))] += calls

    def _keys(self, day: DayFile) -> str:
        return ", ".join(_column(day, KEYS[word]) if KEYS[word] else f"{quote(self._time)} / {SPAN_MS}" for word in self._query.by)

    def _tally(self, raw: Sequence[Any]) -> Tally:
        words = []
        for word, value in zip(self._query.by, raw, strict=True):
            if not KEYS[word]:
                words.append(span_key(word, value * SPAN_MS, self._zone))
            else:
                words.append("" if value is None else str(value))
        return self.tallies.setdefault(tuple(words), Tally())


def _column(day: DayFile, name: str) -> str:
    return quote(name) if name in day.columns else "NULL"
