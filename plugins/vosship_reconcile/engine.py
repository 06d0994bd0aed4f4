"""From two sources of copies to a report: stages both sides, compares them, and judges.

It reads no file and no store itself: it is given batches of copies and what their sources are known to lack.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from vosship.documents import utc_text
from vosship.plugin import Attendance
from vosship.standing import Gap
from vosship_reconcile import bulk, comparison, figures, report, staging
from vosship_reconcile.columns import Seen, terms
from vosship_reconcile.gaps import missed
from vosship_reconcile.shapes import DIFFERENCES, Report, SideReport, Verdict

GRACE_S = 300.0
"""How long a call may be on its way to either copy (chosen: several flushes of the switch, SS_CDR_FILE_WRITE_INTERVAL 60 s)."""


class SideSource(msgspec.Struct, kw_only=True):
    """One side to be compared. `gaps` may grow while `batches` are read; `alive_ms`: its last sign of life."""

    name: str
    batches: Iterable[staging.Batch]
    repeats: bool = False
    alive_ms: int | None = None
    gaps: list[Gap] = []
    attendances: list[Attendance] = []
    plain: bulk.Plain | None = None
    """Where both sides have it, it is read in place of `batches`."""


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """The question: a window of stop times in a zone; `as_of_ms` replaces the sources' last sign of life."""

    from_ms: int
    to_ms: int
    zone: ZoneInfo
    window: dict[str, str]
    grace_s: float = GRACE_S
    as_of_ms: int | None = None
    local: bulk.Span | None = None
    """The window in the switch's clock, where that is the same for both sides and did not change."""


class Comparison:
    """One comparison within a session; `run` once, then the tables hold every difference."""

    def __init__(self, db: Any, work: Any, asked: Asked, sides: tuple[SideSource, SideSource]) -> None:
        self._db, self._work, self._asked, self._sides = db, work, asked, sides
        self.names = (sides[0].name, sides[1].name)

    def run(self, told: Callable[[str, int], None] = lambda _what, _count: None) -> Report:
        """Stage, compare, judge. `told` hears what is going on."""
        db, asked = self._db, self._asked
        staging.create(db)
        batches = self._batches(told)
        seen = [self._stage(number, batches[number], told) for number in (0, 1)]
        common = terms(seen[0], seen[1])
        gaps = [self._gaps(number) for number in (0, 1)]
        sides = tuple(
            comparison.Side(repeats=side.repeats, gaps=[(gap.from_ms, gap.to_ms) for gap in known])
            for side, known in zip(self._sides, gaps, strict=True)
        )
        told("matching", 0)
        comparison.match(db, common, (sides[0], sides[1]))
        told("pairing", 0)
        comparison.pair(db, common)
        as_of_ms = asked.as_of_ms or max((side.alive_ms for side in self._sides if side.alive_ms is not None), default=None)
        grace_ms = round(asked.grace_s * 1000)
        comparison.excuse(db, (sides[0], sides[1]), None if as_of_ms is None else as_of_ms - grace_ms)
        told("counting", 0)
        return self._report(common, gaps, as_of_ms)

    def _batches(self, told: Callable[[str, int], None]) -> Sequence[Iterable[staging.Batch]]:
        left, right = self._sides
        if left.plain is not None and right.plain is not None and self._asked.local is not None:
            return bulk.match(self._db, (left.plain, right.plain), self._asked.local, told)
        return left.batches, right.batches

    def _stage(self, number: int, batches: Iterable[staging.Batch], told: Callable[[str, int], None]) -> Seen:
        side = self._sides[number]
        return staging.load(self._db, number, batches, self._work, lambda count: told(f"reading {side.name}", count))

    def _gaps(self, number: int) -> list[Gap]:
        side = self._sides[number]
        each = [missed(self._db, number, attendance) for attendance in side.attendances]
        return [*side.gaps, *_in_all(each)]

    def _report(self, common: Any, gaps: Sequence[Sequence[Gap]], as_of_ms: int | None) -> Report:
        db, asked = self._db, self._asked
        figures.add_up(db)
        counted = figures.classes(db)
        shown, span = [], (asked.from_ms, asked.to_ms)
        for number in (0, 1):
            one = figures.side(db, number, self.names[number])
            one.gaps = report.spans(db, (gaps[0], gaps[1]), number, span, asked.zone)
            shown.append(one)
        both = any(report.meets(one, two, span) for one in gaps[0] for two in gaps[1])
        verdict = judge(counted, both or not (shown[0].records or shown[1].records))
        return Report(
            verdict=verdict,
            sentence=sentence(verdict, counted, shown, both),
            window=asked.window,
            left=shown[0],
            right=shown[1],
            classes=counted,
            weights=figures.weights(db),
            differing_fields=figures.differing(db),
            compared=report.compared(common),
            as_of=None if as_of_ms is None else utc_text(as_of_ms / 1000),
            grace_s=asked.grace_s,
            lags=figures.lags(db, self.names),
            hours=figures.hours(db, asked.zone),
            caller_gateways=figures.gateways(db, "callerGatewayId"),
            callee_gateways=figures.gateways(db, "calleeGatewayId"),
            samples=report.samples(db, self.names),
        )


def judge(counted: dict[str, int], blind: bool) -> Verdict:
    """Differences outweigh what cannot be judged; `blind`: there is a span that neither side knows."""
    if any(counted[word] for word in DIFFERENCES):
        return "different"
    return "cannot_judge" if counted["cannot_judge"] or blind else "equal"


def sentence(verdict: Verdict, counted: dict[str, int], sides: Sequence[SideReport], both: bool) -> str:
    """The verdict in one line."""
    left, right = sides
    matched = f"{counted['matched']:,} calls agree"
    if not (left.records or right.records):
        return f"cannot judge: neither {left.name} nor {right.name} has a call in the window"
    if verdict == "equal":
        on_way = f"; {counted['in_flight']:,} still on their way" if counted["in_flight"] else ""
        return f"equal: all {matched}{on_way}"
    unjudged = f"{counted['cannot_judge']:,} calls lie in gaps" if counted["cannot_judge"] else "both sides have a gap at one time"
    if verdict == "cannot_judge":
        return f"cannot judge: {unjudged}; outside of them {matched}"
    words = {
        "mismatched": "differ in a field",
        "left_only": f"are in {left.name} only",
        "right_only": f"are in {right.name} only",
        "duplicate_left": f"stand twice in {left.name}",
        "duplicate_right": f"came twice to {right.name}",
        "unparsable": "lines cannot be read",
    }
    found = [f"{counted[word]:,} {text}" for word, text in words.items() if counted[word]]
    also = [unjudged] if counted["cannot_judge"] or both else []
    return f"different: {', '.join([*found, *also])}; {matched}"


def _in_all(each: Sequence[Sequence[Gap]]) -> list[Gap]:
    """Spans that lie in a gap of every receiver: one of two that was there is enough."""
    if not each:
        return []
    common = list(each[0])
    for other in each[1:]:
        common = [both for one in common for two in other if (both := _meet(one, two)) is not None]
    return common


def _meet(one: Gap, two: Gap) -> Gap | None:
    begins = [at for at in (one.from_ms, two.from_ms) if at is not None]
    ends = [at for at in (one.to_ms, two.to_ms) if at is not None]
    begin, end = max(begins, default=None), min(ends, default=None)
    if begin is not None and end is not None and begin >= end:
        return None
    return Gap(from_ms=begin, to_ms=end, reason=f"{one.reason}; {two.reason}")
