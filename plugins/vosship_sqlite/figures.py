"""Counts calls by key in each day's file; the figures themselves are defined in `vosship.query`.

It finds no single call.

SQLite counts, a run of chunks at a time and two runs at once: each of two threads, on a connection of its own, takes the next
run that is left. Only chunks that may hold calls asked for are read, so that an hour of a day, or one number, costs its share
of the day.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
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

RUN_CHUNKS = 4
"""Chunks counted in one go (chosen: 16,000 calls sort within SQLite's 2 MB; 65,000 go by way of temporary files)."""

_whole_numbers = msgspec.json.Decoder(list[int]).decode

_Groups = dict[tuple[Any, ...], Tally]
"""By the raw keys."""

_Run = tuple[int, int, int]
"""File, first and last byte."""


def stats(directory: Path, query: StatsQuery) -> list[Row]:
    """The figures over all files, in the order of `query.rows`. Raises VosshipError."""
    counting = _Counting(query)
    with ThreadPoolExecutor(THREADS, thread_name_prefix="sqlite-stats") as threads:
        for day in days(directory, query.calls):
            try:
                runs = _runs(day, query.calls)
                left = iter(runs)
                counts = min(THREADS, len(runs))
                for groups in threads.map(counting.count, [day.path] * counts, [left] * counts):
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

    def count(self, path: Path, runs: Iterator[_Run]) -> _Groups:
        """Count runs of a file, which is opened anew, until the iterator is empty: it may be shared with another thread."""
        found: _Groups = {}
        with closing(DayFile(path)) as day:
            select = self._select(day)
            where, bound = day.where(self._query.calls)
            groups = ", ".join(str(place + 1) for place in range(len(self._query.by)))
            text = f'{select} FROM calls WHERE _file = ? AND "log.offset" BETWEEN ? AND ? AND {where} GROUP BY {groups}'
            for run in runs:
                for *key, calls, illegal, success, hold_ms, enders, caller_pdd, callee_pdd in day.db.execute(text, (*run, *bound)):
                    tally = found.setdefault(tuple(key), Tally())
                    tally.illegal += illegal
                    tally.attempts += calls - illegal
                    tally.network_success += success
                    if enders is None:
                        continue
                    tally.hold_ms += hold_ms
                    for ender, answered in Counter(enders.split(",")).items():
                        tally.answered += answered
                        tally.network_success += answered
                        tally.hangups[bytes.fromhex(ender).decode()] += answered
                    if caller_pdd:
                        tally.caller_pdd.update(map(pdd_bucket, _whole_numbers(f"[{caller_pdd}]")))
                    if callee_pdd:
                        tally.callee_pdd.update(map(pdd_bucket, _whole_numbers(f"[{callee_pdd}]")))
        return found

    def _select(self, day: DayFile) -> str:
        """Keys, calls, illegal ones, unanswered ones of network success; then of answered ones: duration, who ended each, delays.

        Who ended a call stands there as hexadecimal digits, in which there is no comma.
        """
        answered, illegal = f"{_column(day, 'holdTime')} > 0", f"{_column(day, 'billingMode')} = -1"
        success = f"{_column(day, 'end.code')} IN ({', '.join(map(str, sorted(NER_SUCCESS)))})"
        ender, *delays = (
            f"group_concat(CASE WHEN {answered} THEN {each} END)"
            for each in (f"hex({_column(day, 'end.by')})", _column(day, "callerPdd"), _column(day, "calleePdd"))
        )
        return (
            f"SELECT {self._keys(day)}, count(*), count(CASE WHEN {answered} THEN NULL WHEN {illegal} THEN 1 END), "
            f"count(CASE WHEN {answered} OR {illegal} THEN NULL WHEN {success} THEN 1 END), "
            f"sum(CASE WHEN {answered} THEN {_column(day, 'holdTime')} END), {ender}, {', '.join(delays)}"
        )

    def enter(self, groups: _Groups) -> None:
        """Add what `count` found."""
        for keys, tally in groups.items():
            self._tally(keys).merge(tally)

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
