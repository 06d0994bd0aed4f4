"""A rate deck in memory: the longest prefix of a number, in force at a time, found among hundreds of thousands.

It does not read files or know what the columns of a row mean.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

LONGEST = 15
"""Digits of the longest international number (ITU-T E.164, section 6.1)."""

ALWAYS = -(1 << 62)
NEVER = 1 << 62
"""Epoch seconds before and after every call."""

HEAD = 3
"""Digits whose first place in the order is remembered; measured 2026-11: 3 halves the comparisons, 4 is no faster."""

MAX_REMEMBERED = 16_384
"""Distinct number heads whose row is remembered, about 4 MB; then the memory is emptied."""

_POWERS = [10**digits for digits in range(LONGEST + 1)]


class Match(NamedTuple):
    """What a number matched: the prefix ("" when nothing) and its row's values, true for times in [since, until)."""

    since: int
    until: int
    prefix: str
    values: tuple[str, ...]


class DuplicateError(Exception):
    """A prefix stands twice with the same start: in these lines."""

    def __init__(self, prefix: str, first: int, second: int) -> None:
        super().__init__(prefix)
        self.prefix, self.first, self.second = prefix, first, second


class Builder:
    """Gathers rows and makes a Deck of them. A prefix is an integer here: its digits padded to 15, and its length."""

    def __init__(self, width: int) -> None:
        self._keys = array("Q")
        self._since = array("q")
        self._lines = array("I")
        self._columns = [array("I") for _ in range(width)]
        self._values: list[dict[str, int]] = [{} for _ in range(width)]

    def add(self, line: int, prefix: str, since: int, values: Sequence[str]) -> None:
        """Take one row; `prefix` is 1 to 15 digits."""
        self._keys.append(int(prefix) * _POWERS[LONGEST - len(prefix)] << 4 | len(prefix))
        self._since.append(since)
        self._lines.append(line)
        for column, known, value in zip(self._columns, self._values, values, strict=True):
            column.append(known.setdefault(value, len(known)))

    def build(self) -> Deck:
        """Order what was added. Raises DuplicateError."""
        keys, since = self._keys, self._since
        order = sorted(range(len(keys)), key=since.__getitem__)
        order.sort(key=keys.__getitem__)
        lines = self._lines
        for one, two in pairwise(order):
            if keys[one] == keys[two] and since[one] == since[two]:
                raise DuplicateError(text(keys[one]), *sorted((lines[one], lines[two])))
        return Deck(
            array("Q", map(keys.__getitem__, order)),
            array("q", map(since.__getitem__, order)),
            [array("I", map(column.__getitem__, order)) for column in self._columns],
            [list(known) for known in self._values],
        )


class Deck:
    """Prefixes in lexicographic order, each with the place of the next shorter one that it begins with.

    The longest match of a number is the last prefix not after it, or one of the shorter ones that prefix begins with:
    one binary search and a few steps, 24 bytes a row and 4 a column.
    """

    def __init__(self, keys: array[int], since: array[int], columns: list[array[int]], values: list[list[str]]) -> None:
        self._keys, self._since, self._columns, self._values = keys, since, columns, values
        self._shorter = _shorter(keys)
        self._longest = max((key & 15 for key in keys), default=0)
        steps = range(10**HEAD + 1)
        self._starts = array("I", [bisect_right(keys, (step * _POWERS[LONGEST - HEAD] << 4) - 1) for step in steps])
        self._remembered: dict[str, Match] = {}

    def __len__(self) -> int:
        return len(self._keys)

    def match(self, number: str, at: int) -> Match:
        """The longest prefix of `number` (digits) whose row is in force at `at` (epoch seconds)."""
        head = number[: self._longest]
        found = self._remembered.get(head)
        if found is None or not found.since <= at < found.until:
            found = self._find(head, at)
            if len(self._remembered) >= MAX_REMEMBERED:
                self._remembered.clear()
            self._remembered[head] = found
        return found

    def _find(self, head: str, at: int) -> Match:
        keys, since, shorter = self._keys, self._since, self._shorter
        if not head:
            return Match(ALWAYS, NEVER, "", ())
        padded = int(head) * _POWERS[LONGEST - len(head)]
        step = padded // _POWERS[LONGEST - HEAD]
        place = bisect_right(keys, padded << 4 | len(head), self._starts[step], self._starts[step + 1]) - 1
        until = NEVER
        while place >= 0:
            key = keys[place]
            unit = _POWERS[LONGEST - (key & 15)]
            if (key >> 4) // unit == padded // unit:
                if since[place] <= at:
                    values = tuple([known[column[place]] for known, column in zip(self._values, self._columns, strict=True)])
                    return Match(since[place], until, head[: key & 15], values)
                until = min(until, since[place])
                if place and keys[place - 1] == key:
                    place -= 1
                    continue
            place = shorter[place]
        return Match(ALWAYS, until, "", ())


def text(key: int) -> str:
    """The prefix as digits again."""
    return f"{key >> 4:0{LONGEST}}"[: key & 15]


def _shorter(keys: array[int]) -> array[int]:
    """For each place the last place of the longest other prefix that it begins with, or -1."""
    places = array("i", [-1]) * len(keys)
    above: list[tuple[int, int, int]] = []
    for place, key in enumerate(keys):
        padded, unit = key >> 4, _POWERS[LONGEST - (key & 15)]
        own = padded // unit
        while above and padded // above[-1][1] != above[-1][2]:
            above.pop()
        if above and above[-1][1] == unit:  # the same prefix, in force from another time on
            above.pop()
        places[place] = above[-1][0] if above else -1
        above.append((place, unit, own))
    return places
