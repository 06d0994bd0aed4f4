"""Which layout a stream is in and how many columns its lines have, judged from its lines.

It does not convert lines; where lines leave it open it says so rather than guess.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

import msgspec

from vosship_cdr.layout import COLUMNS, LAYOUTS, PIPE, Layout, LayoutName
from vosship_cdr.splitting import BOM, decode, split
from vosship_cdr.values import UnfitError

SAMPLE_LINES = 100
"""Chosen: lines looked at to recognise a stream; the count is the same through a file."""

SETTLED_LINES = 50
"""Chosen: lines after which a stream's column count is no longer voted on."""

ENDERS = frozenset(("0", "1", "2", ""))
PAYERS = frozenset(("0", "1", "2", ""))
MODES = frozenset(("-1", "0", "1", "2", "3", ""))
"""What the anchor columns can hold (2 in calleeBilling and billingMode as seen in the vendor's web API)."""

_TITLES = frozenset(name.lower() for name in COLUMNS) | {"callere164", "calleroute164", "calleeoute164"}
_TITLE_WORDS = 3
"""Chosen: a line with three column names for values is a title, no call."""

Fits = Callable[[str], object]
"""A conversion that raises UnfitError for what its column cannot hold."""


class Anchors(msgspec.Struct, frozen=True):
    """The columns of one layout whose values show whether a line's positions can be trusted."""

    layout: Layout
    time: Fits
    hold: Fits
    address: Fits

    def hold_in(self, parts: Sequence[str]) -> bool:
        """Whether every anchor column holds what it must: times, holdTime, who hung up, addresses, who is charged."""
        layout = self.layout
        try:
            for name in ("startTime", "stopTime"):
                self.time(parts[layout.index(name)])
            self.hold(parts[layout.index("holdTime")])
            for name in ("callerIp", "calleeIp"):
                self.address(parts[layout.index(name)])
        except UnfitError:
            return False
        if parts[layout.index("endDirection")].strip() not in ENDERS or parts[layout.index("billingMode")].strip() not in MODES:
            return False
        if layout.has("calleeBilling") and parts[layout.index("calleeBilling")].strip() not in PAYERS:
            return False
        delays = [parts[at].strip() for at in (layout.index("callerPdd"), layout.index("calleePdd")) if at < len(parts)]
        return all(not text or text.lstrip("-").isdecimal() for text in delays)

    def times_in(self, parts: Sequence[str]) -> bool:
        """Whether at least the two times stand where they should."""
        try:
            self.time(parts[self.layout.index("startTime")])
            self.time(parts[self.layout.index("stopTime")])
        except UnfitError:
            return False
        return True


class Recognised(msgspec.Struct, frozen=True):
    """What a sample showed: the layout, its column count, all lines by their count, and the reason in words."""

    layout: Layout
    count: int
    counted: Counter[int]
    reason: str

    @property
    def votes(self) -> int:
        """Lines that have the column count."""
        return self.counted[self.count]


def is_title(parts: Iterable[str]) -> bool:
    """Whether the texts are column names rather than values."""
    return sum(part.strip(' "').lower().replace("_", "") in _TITLES for part in parts) >= _TITLE_WORDS


def votes(lines: Sequence[bytes], layout: Layout, anchors: Anchors) -> Counter[int]:
    """How many of the lines have each column count; only lines whose anchors hold vote, or at least their times."""
    strong: Counter[int] = Counter()
    weak: Counter[int] = Counter()
    for line in lines[:SAMPLE_LINES]:
        try:
            parts = split(decode(line)[0].lstrip(BOM), layout.delimiter)
        except ValueError:
            continue
        if len(parts) < layout.least:
            continue
        if anchors.hold_in(parts):
            strong[len(parts)] += 1
        elif anchors.times_in(parts):
            weak[len(parts)] += 1
    return strong or weak


def recognise(
    lines: Sequence[bytes], anchors: dict[LayoutName, Anchors], known: Counter[int] | None = None, only: Layout | None = None
) -> Recognised | None:
    """The layout most lines fit, or None when no line fits any.

    `known` adds earlier votes on the column count of `only`. Of layouts with equal votes the one whose own column count is
    met exactly wins, then the first of the table.
    """
    best: tuple[int, bool, Recognised] | None = None
    for layout in (only,) if only else LAYOUTS.values():
        counted = Counter(known)  # first, so that of equal counts the one already taken stays
        counted.update(votes(lines, layout, anchors[layout.name]))
        if not counted:
            continue
        count, agreeing = counted.most_common(1)[0]
        exact = count == len(layout.columns) or (layout is PIPE and layout.least <= count <= len(layout.columns))
        total = sum(counted.values())
        seen = min(len(lines), SAMPLE_LINES)
        reason = f"{agreeing} of {max(total, seen)} lines fit {layout.name} with {count} columns"
        candidate = (total, exact, Recognised(layout, count, counted, reason))
        if best is None or candidate[:2] > best[:2]:
            best = candidate
    return best[2] if best else None
