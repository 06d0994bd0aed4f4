"""Sorts the lines of one gathered batch by a time each of them holds.

It changes no line and drops none: a line without a readable time stays behind the line it followed.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from itertools import pairwise
from typing import Literal
from zoneinfo import ZoneInfo

PIPE = {"start": 2, "stop": 3}
CSV = {46: {"start": 17, "stop": 18}, 52: {"start": 19, "stop": 20}, 62: {"start": 21, "stop": 22}}
"""Index of the times, for CSV by the number of columns (the layouts of the CDR domain sheet)."""

MILLISECONDS_FROM = 100_000_000_000
"""An epoch number at or above this counts milliseconds (as seconds it would lie in the year 5138)."""


class Sorter:
    """Sorts by `by`; `column` (1-based) overrides the column that the line's layout says."""

    def __init__(self, by: Literal["start", "stop"], column: int, timezone: str) -> None:
        self._by = by
        self._column = column
        zone = ZoneInfo(timezone)

        @lru_cache(maxsize=8192)
        def seconds(text: bytes) -> float | None:
            return _seconds(text, zone)

        self._seconds = seconds

    def sort(self, lines: Sequence[bytes]) -> list[bytes]:
        """The same lines, oldest first, equal times in their present order."""
        keys: list[float] = []
        before = float("-inf")
        for line in lines:
            at = self._time(line)
            before = before if at is None else at
            keys.append(before)
        if all(one <= other for one, other in pairwise(keys)):
            return list(lines)
        return [lines[place] for place in sorted(range(len(lines)), key=keys.__getitem__)]

    def _time(self, line: bytes) -> float | None:
        if line[:1] != b'"' and b"|" in line:
            fields = line.split(b"|")
            place = PIPE[self._by]
        else:
            fields = _csv(line)
            place = CSV.get(len(fields), {}).get(self._by, -1)
        if self._column:
            place = self._column - 1
        return self._seconds(fields[place]) if 0 <= place < len(fields) else None


def _csv(line: bytes) -> list[bytes]:
    if b'"' not in line:
        return line.split(b",")
    try:
        return [field.encode("latin-1") for field in next(csv.reader((line.decode("latin-1").rstrip("\r"),)))]
    except csv.Error:
        return []


def _seconds(text: bytes, zone: ZoneInfo) -> float | None:
    try:
        if text.isdigit():
            number = int(text)
            return number / 1000 if number >= MILLISECONDS_FROM else float(number)
        return datetime.fromisoformat(text.decode("ascii").strip()).replace(tzinfo=zone).timestamp()
    except (ValueError, OverflowError):
        return None
