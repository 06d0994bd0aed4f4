"""A rate deck in memory: the longest prefix of a number, in force at a time, found among hundreds of thousands.

It does not read files or know what the columns of a row mean.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Generic, TypeVar

LONGEST = 15
"""Digits of the longest international number (ITU-T E.164, section 6.1)."""

ALWAYS = -(1 << 62)
"""Epoch seconds before every call."""

NEWEST = 1 << 61
"""Epoch seconds late enough for the newest row: for a record without a time."""

MAX_SHORT = 9
"""Digits that always fit the 32 bits of an array's `I`."""

HEAD = 6
"""Digits for which the first bound is kept, so that a search compares a few dozen; chosen: 4 MB."""

MAX_REMEMBERED = 8192
"""Places whose find is remembered, about 4 MB; then the memory is emptied. A switch's traffic meets a few thousand."""

_POWERS = [10**digits for digits in range(LONGEST + 1)]

Row = tuple[str, ...]

Found = TypeVar("Found")
"""What a user of the deck makes of a match."""

Shape = Callable[[str, Row, Sequence[str]], Found]
"""Makes it of the prefix that matched, its row and its further cells."""


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

    def build(self, shape: Shape[Found], nothing: Found) -> Deck[Found]:
        """Order what was added; `shape` makes what `match` gives, which is `nothing` without a row. Raises DuplicateError."""
        keys, since = self._keys, self._since
        order = sorted(range(len(keys)), key=since.__getitem__)
        order.sort(key=keys.__getitem__)
        lines = self._lines
        for one, two in pairwise(order):
            if keys[one] == keys[two] and since[one] == since[two]:
                raise DuplicateError(text(keys[one]), *sorted((lines[one], lines[two])))
        return Deck(
            shape,
            nothing,
            array("Q", map(keys.__getitem__, order)),
            array("q", map(since.__getitem__, order)),
            array("I", map(self._numbers.__getitem__, order)),
            list(self._rows),
            [array("I", map(column.__getitem__, order)) for column in self._columns],
            [list(cells) for cells in self._cells],
        )


class Deck(Generic[Found]):
    """Prefixes in lexicographic order, their versions in the order of their starts: a prefix's place is where it stands there.

    The numbers, as integers of as many digits as the longest prefix has, fall into spans in which the same prefix is the longest:
    one binary search finds it. Each place leads on to the next one to try, for a number that is shorter or a call that was
    earlier. All in 21 to 33 bytes a prefix and 4 for each further cell. Equal rows and cells are kept once.
    """

    def __init__(
        self,
        shape: Shape[Found],
        nothing: Found,
        keys: array[int],
        since: array[int],
        numbers: array[int],
        rows: list[Row],
        columns: list[array[int]],
        cells: list[list[str]],
    ) -> None:
        self._since, self._numbers, self._rows = since, numbers, rows
        self._shape, self._nothing = shape, nothing
        self._remembered: dict[int, Found] = {}
        self._columns = list(zip(columns, cells, strict=True))
        self._lengths = array("B", [key & 15 for key in keys])
        self._longest = max(self._lengths, default=1)
        # Up to nine digits fit 32 bits: half the memory, and integers that are quicker to compare.
        self._bounds = array("I" if self._longest <= MAX_SHORT else "Q")
        self._spans, self._next = _spans(keys, _POWERS[LONGEST - self._longest], self._bounds)
        head = min(HEAD, self._longest)
        self._step = _POWERS[self._longest - head]
        self._starts = _starts(self._bounds, self._step, 10**head)
        self._finds: list[Found | None] = [None] * len(self._spans)
        self.match = self._matching()

    def __len__(self) -> int:
        return len(self._lengths)

    def _matching(self) -> Callable[[str, int], Found]:
        # A closure, because what is looked up in `self` each time costs a sixth of the whole (measured 2026-11-20).
        longest, step, starts, bounds, finds, search = (
            self._longest, self._step, self._starts, self._bounds, self._finds, self._search,
        )  # fmt: skip

        def match(number: str, at: int) -> Found:
            """What the longest prefix of `number` (digits) gives whose row is in force at `at` (epoch seconds; 0: the newest)."""
            whole = len(number) >= longest
            value = int(number[:longest] if whole else number.ljust(longest, "0"))
            head = value // step
            span = bisect_right(bounds, value, starts[head], starts[head + 1]) - 1
            return (whole and finds[span]) or search(number, at, span)

        return match

    def _search(self, number: str, at: int, span: int) -> Found:
        """As `match`; what every whole number of the span gives at any time is kept in `finds`."""
        first = self._spans[span]
        place = self._in_force(first, len(number), at or NEWEST)
        found = self._nothing if place < 0 else self._remembered.get(place) or self._make(place, number)
        if len(number) >= self._longest and (first < 0 or self._since[first] == ALWAYS):
            self._finds[span] = found
        return found

    def _in_force(self, place: int, length: int, at: int) -> int:
        """The first place, from this one on, whose prefix is no longer than the number and whose row has begun."""
        while place >= 0 and (self._lengths[place] > length or self._since[place] > at):
            place = self._next[place]
        return place

    def _make(self, place: int, number: str) -> Found:
        further = [cells[column[place]] for column, cells in self._columns]
        found = self._shape(number[: self._lengths[place]], self._rows[self._numbers[place]], further)
        if len(self._remembered) >= MAX_REMEMBERED:
            self._remembered.clear()
            self._finds[:] = [None] * len(self._finds)
        self._remembered[place] = found
        return found


def text(key: int) -> str:
    """The prefix as digits again."""
    return f"{key >> 4:0{LONGEST}}"[: key & 15]


def _spans(keys: array[int], unit: int, bounds: array[int]) -> tuple[array[int], array[int]]:
    """Fill `bounds` with where each span begins, in `unit`s; return the place of each span's prefix, and for each place the next.

    The next is the version before of the same prefix, else the last version of the longest prefix that it begins with, or -1.
    """
    bounds.append(0)
    spans, following = array("i", [-1]), array("i")

    def begin(at: int, place: int) -> None:
        if bounds[-1] == at // unit:
            spans[-1] = place
        else:
            bounds.append(at // unit)
            spans.append(place)

    within: list[tuple[int, int]] = []
    before = -1
    for place, key in enumerate(keys):
        if key == before:
            following.append(place - 1)
            spans[-1] = place
            within[-1] = within[-1][0], place
            continue
        before, start = key, key >> 4
        while within and within[-1][0] <= start:
            end, _ = within.pop()
            begin(end, within[-1][1] if within else -1)
        following.append(within[-1][1] if within else -1)
        begin(start, place)
        within.append((start + _POWERS[LONGEST - (key & 15)], place))
    while within:
        end, _ = within.pop()
        begin(end, within[-1][1] if within else -1)
    return spans, following


def _starts(bounds: array[int], unit: int, steps: int) -> array[int]:
    """For each multiple of `unit` up to `steps` of them, how many bounds do not lie behind it."""
    starts = array("I")
    for count, bound in enumerate(bounds):
        behind = -(-bound // unit) - len(starts)
        if behind > 0:
            starts.extend(array("I", [count]) * behind)
    starts.extend(array("I", [len(bounds)]) * (steps + 1 - len(starts)))
    return starts
