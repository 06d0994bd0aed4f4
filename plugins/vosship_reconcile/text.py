"""A report as text for people: the verdict first, then counts, gateways, hours, delay, gaps and sample calls.

It decides nothing: every figure is the report's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from vosship_reconcile.comparison import CLASSES
from vosship_reconcile.shapes import Group, Report, SideReport

ROWS = 10
"""Gateways and hours shown (chosen: a screen; --json and --html have all)."""

MEANING = {
    "matched": "the same call on both sides",
    "mismatched": "one call, and a field differs",
    "left_only": "no copy on the right",
    "right_only": "no copy on the left",
    "duplicate_left": "a further equal copy on the left",
    "duplicate_right": "a further equal copy on the right",
    "in_flight": "ended less than the grace time before the last sign of life",
    "cannot_judge": "the other side has a gap there",
    "unparsable": "a line that cannot be read",
}


def lines(report: Report) -> Iterator[str]:
    """The report, a line at a time."""
    yield report.sentence
    yield ""
    yield f"window   {report.window['from']} to {report.window['to']} ({report.window['timezone']})"
    for word, side in (("left", report.left), ("right", report.right)):
        yield f"{word:<8} {side.name}: {side.records:,} records, {side.seconds:,.1f} s of conversation"
    precise = f"times to the {report.compared['time_resolution']}, holdTime to the {report.compared['hold_resolution']}"
    yield f"compared {len(report.compared['fields'])} fields, {precise}"
    if report.as_of:
        yield f"as of    {report.as_of}, grace {report.grace_s:g} s"
    yield ""
    yield from _classes(report)
    if report.differing_fields:
        yield ""
        yield "fields that differ: " + ", ".join(f"{name} {count:,}" for name, count in report.differing_fields.items())
    for lag in report.lags:
        yield ""
        yield (
            f"stop to arrival at {lag.side}, of {lag.records:,} records: median {_s(lag.p50_ms)}, 95 % {_s(lag.p95_ms)}, "
            f"99 % {_s(lag.p99_ms)}, most {_s(lag.max_ms)}"
        )
    for side in (report.left, report.right):
        yield from _gaps(side)
    if report.verdict != "equal":
        yield from _groups("by incoming gateway, worst first", report.caller_gateways)
        yield from _groups("by outgoing gateway, worst first", report.callee_gateways)
        yield from _groups("by hour, worst first", sorted(report.hours, key=lambda one: -one.different_ratio * one.calls))
    yield from _samples(report)


def _classes(report: Report) -> Iterator[str]:
    rows = [("", "calls", "answered", "seconds", "billable min", "")]
    for word in CLASSES:
        count, weight = report.classes[word], report.weights.get(word)
        if not count and word not in ("matched", "mismatched", "left_only", "right_only"):
            continue
        figures = ("", "", "") if weight is None else _figures(weight.answered, weight.seconds, weight.billable_minutes)
        rows.append((word, f"{count:,}", *figures, MEANING[word]))
    yield from table(rows)


def _figures(answered: int, seconds: float, minutes: float) -> tuple[str, str, str]:
    return f"{answered:,}", f"{seconds:,.1f}", f"{minutes:,.1f}"


def _gaps(side: SideReport) -> Iterator[str]:
    if side.gaps:
        yield ""
        yield f"gaps of {side.name}:"
    for gap in side.gaps:
        yield f"  {gap.from_} to {gap.to}: {gap.reason}; {gap.calls or 0:,} calls of the other side cannot be judged"


def _groups(title: str, groups: Sequence[Group]) -> Iterator[str]:
    bad = [group for group in groups if group.different_ratio or group.classes.get("cannot_judge")][:ROWS]
    if not bad:
        return
    yield ""
    yield f"{title}:"
    rows = [("", "calls", "different", "disputed s", "")]
    for group in bad:
        detail = ", ".join(f"{word} {count:,}" for word, count in group.classes.items() if word != "matched")
        share, seconds = f"{group.different_ratio:.2%}", f"{group.disputed_seconds:,.1f}"
        rows.append((group.key or "(none)", f"{group.calls:,}", share, seconds, detail))
    yield from table(rows)


def _samples(report: Report) -> Iterator[str]:
    for word, calls in report.samples.items():
        yield ""
        yield f"{word}, the first {len(calls)} of {report.classes[word]:,}:"
        for call in calls:
            yield f"  {place(call)}"
            if word == "unparsable":
                yield f"    {call['reason']}: {call['line']}"
                continue
            yield f"    {_call(call)}"
            if "other" in call:
                yield f"    {place(call['other'])}"
                for name in call["differs"]:
                    yield f"      {name}: {call.get(name, '(none)')} / {call['other'].get(name, '(none)')}"


def place(call: dict[str, Any]) -> str:
    """Where a copy is: file and byte, or the document's id."""
    name = f" id {call['_id']}" if "_id" in call else ""
    return f"{call['side']}: {call.get('file', '?')} byte {call.get('offset', '?')}{name}"


def _call(call: dict[str, Any]) -> str:
    gateways = f"{call.get('callerGatewayId', '')} > {call.get('calleeGatewayId', '')}"
    numbers = f"{call.get('callerE164', '')} > {call.get('calleeE164', '')}"
    return f"{call['stopTime']} {numbers}, {gateways}, {call['holdTime'] / 1000:g} s, reason {call.get('endReason', '')}"


def _s(ms: int) -> str:
    return f"{ms / 1000:,.1f} s"


def table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Rows in columns; the first and the last are words, the others figures."""
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    for row in rows:
        cells = [
            row[0].ljust(widths[0]),
            *[cell.rjust(width) for cell, width in zip(row[1:-1], widths[1:-1], strict=True)],
            row[-1],
        ]
        yield ("  " + "  ".join(cells)).rstrip()
