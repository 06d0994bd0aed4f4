"""A rate deck in memory: the longest prefix of a number, in force at a time, found among hundreds of thousands.

It does not read files or know what the columns of a row mean.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Sequence
from itertools import pairwise

LONGEST = 15
"""Digits of the longest international number (ITU-T E.164, section 6.1)."""

ALWAYS = -(1 << 62)
NEVER = 1 << 62
"""Epoch seconds before and after every call."""

HEAD = 4
"""Digits for which the first place in the order is kept, so that a search compares a few dozen prefixes; chosen: 40 kB."""

MAX_REMEMBERED = 16384
"""Distinct number heads whose row is remembered, about 4 MB; then the memory is emptied."""

_POWERS = [10**digits for digits in range(LONGEST + 1)]
_STEP = 10 ** (LONGEST - HEAD)


Row = tuple[str, ...]

Match = tuple[int, int, str, Row, Row]
"""What a number matched, true for times from the first until before the second (epoch seconds): the prefix, its row and
its further cells; all empty when nothing matched. A plain tuple, because one is made for every number not remembered."""

NOTHING: Match = (ALWAYS, NEVER, "", (), ())


class DuplicateError(Exception):
    """A prefix stands twice with the same start: in these lines."""

    def __init__(self, prefix: str, first: int, second: int) -> None:
        super().__init__(prefix)
        self.prefix, self.first, self.second = prefix, first, second


class Builder:
    """Gathers rows and makes a Deck of them. A prefix is an integer here: its digits padded to 15, and its length."""

    def __init__(self, further: int = 0) -> None:
        self._keys = array("Q")
        self._since = array("q")
        self._lines = array("I")
        self._numbers = array("I")
        self._rows: dict[Row, int] = {}
        self._columns = [array("I") for _ in range(further)]
        self._cells: list[dict[str, int]] = [{} for _ in range(further)]

    def add(self, line: int, prefix: str, since: int, row: Row, further: Sequence[str] = ()) -> None:
        """Take one row; `prefix` is 1 to 15 digits. Many prefixes share a `row`; `further` cells may differ in each."""
        self._keys.append(int(prefix) * _POWERS[LONGEST - len(prefix)] << 4 | len(prefix))
        self._since.append(since)
        self._lines.append(line)
        self._numbers.append(self._rows.setdefault(row, len(self._rows)))
        for column, cells, cell in zip(self._columns, self._cells, further, strict=True):
            column.append(cells.setdefault(cell, len(cells)))

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
            array("I", map(self._numbers.__getitem__, order)),
            list(self._rows),
            [array("I", map(column.__getitem__, order)) for column in self._columns],
            [list(cells) for cells in self._cells],
        )


class Deck:
    """Prefixes in lexicographic order, each with the place of the next shorter one that it begins with.

    The longest match of a number is the last prefix not after it, or one of the shorter ones that prefix begins with:
    one binary search and a few steps, in 24 bytes a prefix and 4 for each further cell. Equal rows and cells are kept once.
    """

    def __init__(
        self,
        keys: array[int],
        since: array[int],
        numbers: array[int],
        rows: list[Row],
        columns: list[array[int]],
        cells: list[list[str]],
    ) -> None:
        self._keys, self._since, self._numbers, self._rows = keys, since, numbers, rows
        self._columns = list(zip(columns, cells, strict=True))
        self._shorter = _shorter(keys)
        self._longest = max((key & 15 for key in keys), default=0)
        self._starts = array("I", [bisect_right(keys, (step * _STEP << 4) - 1) for step in range(10**HEAD + 1)])
        self._remembered: dict[str, Match] = {}

    def __len__(self) -> int:
        return len(self._keys)

    def match(self, number: str, at: int) -> Match:
        """The longest prefix of `number` (digits) whose row is in force at `at` (epoch seconds)."""
        head = number[: self._longest]
        found = self._remembered.get(head)
        if found is None or not found[0] <= at < found[1]:
            found = self._find(head, at)
            if len(self._remembered) >= MAX_REMEMBERED:
                self._remembered.clear()
            self._remembered[head] = found
        return found

    def _find(self, head: str, at: int) -> Match:
        if not head:
            return NOTHING
        keys = self._keys
        length = len(head)
        padded = int(head) * _POWERS[LONGEST - length]
        step = padded // _STEP
        place = bisect_right(keys, padded << 4 | length, self._starts[step], self._starts[step + 1]) - 1
        until = NEVER
        while place >= 0:
            key = keys[place]
            # A key before the number in the order is its prefix when no more than the padding lies between them.
            if padded - (key >> 4) < _POWERS[LONGEST - (key & 15)]:
                since = self._since[place]
                if since <= at:
                    further = tuple([cells[column[place]] for column, cells in self._columns]) if self._columns else ()
                    return since, until, head[: key & 15], self._rows[self._numbers[place]], further
                until = min(until, since)
                if place and keys[place - 1] == key:
                    place -= 1
                    continue
            place = self._shorter[place]
        return ALWAYS, until, "", (), ()


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
