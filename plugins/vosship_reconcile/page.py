"""A report as one self-contained page that can be printed or sent: verdict, chart by hour, tables, sample calls.

It decides nothing: every figure is the report's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from typing import Any

from vosship_reconcile.comparison import CLASSES
from vosship_reconcile.markup import page, table
from vosship_reconcile.shapes import Group, Report
from vosship_reconcile.text import MEANING, place

COLOURS = {
    "mismatched": "#0072b2", "left_only": "#d55e00", "right_only": "#cc79a7", "duplicate_left": "#8c6d31",
    "duplicate_right": "#56b4e9", "in_flight": "#b8c0c8", "cannot_judge": "#f0c95c",
}  # fmt: skip
"""Told apart by the colour-blind and in grey (after M. Okabe and K. Ito, Color Universal Design, 2008)."""

WIDTH, HEIGHT, LEFT, BOTTOM, TOP, WIDEST = 1000, 260, 56, 34, 12, 120
"""The chart's measures in its own units; WIDEST: an hour's share of the width at most."""


def render(report: Report) -> str:
    """The page."""
    return page(f"Reconciliation of {report.left.name} and {report.right.name}", _body(report))


def _body(report: Report) -> Iterator[str]:
    window = report.window
    yield f"<h1>{escape(report.left.name)} against {escape(report.right.name)}</h1>"
    yield f'<div class="quiet">{escape(window["from"])} to {escape(window["to"])}, {escape(window["timezone"])}</div>'
    yield f'<div class="verdict {report.verdict}">{escape(report.sentence)}</div>'
    yield table(
        ("Copy", "Records", "Seconds of conversation", "Gaps"),
        [(side.name, f"{side.records:,}", f"{side.seconds:,.1f}", str(len(side.gaps))) for side in (report.left, report.right)],
        (1, 2, 3),
    )
    yield "<h2>Calls by class</h2>"
    yield table(("Class", "Calls", "Answered", "Seconds", "Billable minutes", "Meaning"), _classes(report), (1, 2, 3, 4))
    yield "<h2>Differences by hour</h2>"
    yield chart(report.hours)
    if report.differing_fields:
        yield "<h2>Fields that differ</h2>"
        yield table(("Field", "Calls"), [(name, f"{count:,}") for name, count in report.differing_fields.items()], (1,))
    yield from _gaps(report)
    for title, groups in (("incoming", report.caller_gateways), ("outgoing", report.callee_gateways)):
        bad = [group for group in groups if len(group.classes) > ("matched" in group.classes)]
        if bad:
            yield f"<h2>By {title} gateway, worst first</h2>"
            yield table(("Gateway", "Calls", "Different", "Disputed seconds", "Classes"), map(_group, bad), (1, 2, 3))
    if report.lags:
        yield "<h2>From stop to arrival</h2>"
        rows = [
            (lag.side, f"{lag.records:,}", *[f"{ms / 1000:,.1f} s" for ms in (lag.p50_ms, lag.p95_ms, lag.p99_ms, lag.max_ms)])
            for lag in report.lags
        ]
        yield table(("Copy", "Records", "Median", "95 %", "99 %", "Most"), rows, (1, 2, 3, 4, 5))
    yield from _samples(report)
    fields, compared = ", ".join(report.compared["fields"]), report.compared
    yield (
        f'<p class="quiet">Compared: {escape(fields)}; times to the {compared["time_resolution"]}, holdTime to the '
        f"{compared['hold_resolution']}. As of {escape(report.as_of or 'no known time')}, grace {report.grace_s:g} s.</p>"
    )


def _classes(report: Report) -> Iterator[tuple[str, ...]]:
    for word in CLASSES:
        weight = report.weights.get(word)
        figures = ("", "", "")
        if weight is not None:
            figures = (f"{weight.answered:,}", f"{weight.seconds:,.1f}", f"{weight.billable_minutes:,.1f}")
        yield word, f"{report.classes[word]:,}", *figures, MEANING[word]


def _group(group: Group) -> tuple[str, ...]:
    detail = ", ".join(f"{word} {count:,}" for word, count in group.classes.items() if word != "matched")
    return group.key or "(none)", f"{group.calls:,}", f"{group.different_ratio:.2%}", f"{group.disputed_seconds:,.1f}", detail


def _gaps(report: Report) -> Iterator[str]:
    rows = [
        (side.name, gap.from_, gap.to, gap.reason, f"{gap.calls or 0:,}")
        for side in (report.left, report.right)
        for gap in side.gaps
    ]
    if rows:
        yield "<h2>Gaps: what cannot be judged</h2>"
        yield table(("Copy", "From", "To", "Why", "Calls of the other copy"), rows, (4,))


def _samples(report: Report) -> Iterator[str]:
    for word, calls in report.samples.items():
        yield f"<h2>{escape(word)}: the first {len(calls)} of {report.classes[word]:,}</h2>"
        if word == "unparsable":
            yield table(("Place", "Reason", "Line"), [(place(call), call["reason"], call["line"]) for call in calls])
        else:
            yield table(("Stop (UTC)", "Caller", "Called", "Gateways", "Seconds", "Reason", "Place"), map(_call, calls), (4,))


def _call(call: dict[str, Any]) -> tuple[str, ...]:
    where = [place(call)]
    if "other" in call:
        other = call["other"]
        where.append(place(other))
        where += [f"{name}: {call.get(name, '(none)')} / {other.get(name, '(none)')}" for name in call["differs"]]
    gateways = f"{call.get('callerGatewayId', '')} › {call.get('calleeGatewayId', '')}"
    seconds, reason = f"{call['holdTime'] / 1000:g}", str(call.get("endReason", ""))
    return call["stopTime"], call.get("callerE164", ""), call.get("calleeE164", ""), gateways, seconds, reason, "; ".join(where)


def chart(hours: Sequence[Group]) -> str:
    """Stacked bars, one an hour, of every call that is not simply matched; drawn to scale, titles on hover."""
    words = [word for word in COLOURS if any(group.classes.get(word) for group in hours)]
    if not words:
        return '<p class="quiet">No hour has a difference.</p>'
    most = max(sum(group.classes.get(word, 0) for word in words) for group in hours)
    top = _round_up(most)
    step = min((WIDTH - LEFT) / len(hours), WIDEST)
    drawn = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="Differences by hour" font-size="11" fill="#59636e">']
    for share in (0, 0.5, 1):
        y = _y(share * top, top)
        drawn.append(f'<line x1="{LEFT}" x2="{WIDTH}" y1="{y:.1f}" y2="{y:.1f}" stroke="#d8dee4"/>')
        drawn.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{share * top:,.0f}</text>')
    every = max(1, round(len(hours) / 12))
    for number, group in enumerate(hours):
        x, base = LEFT + number * step, 0
        for word in words:
            count = group.classes.get(word, 0)
            if count:
                upper, lower = _y(base + count, top), _y(base, top)
                drawn.append(
                    f'<rect x="{x + step * 0.1:.1f}" y="{upper:.1f}" width="{step * 0.8:.1f}" height="{lower - upper:.1f}"'
                    f' fill="{COLOURS[word]}"><title>{escape(group.key)}: {word} {count:,}</title></rect>'
                )
                base += count
        if number % every == 0:
            label = f"{group.key[8:10]}. {group.key[11:13]}h" if len(hours) > 24 else group.key[11:16]
            drawn.append(f'<text x="{x + step / 2:.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{label}</text>')
    legend = "".join(f'<span class="key" style="background:{COLOURS[word]}"></span>{word}' for word in words)
    return f"<figure>{''.join(drawn)}</svg><figcaption>{legend}</figcaption></figure>"


def _y(value: float, top: float) -> float:
    return TOP + (HEIGHT - BOTTOM - TOP) * (1 - value / top)


def _round_up(value: int) -> int:
    """The next number at which a scale can end: 2, 4, 6, 10 times a power of ten."""
    size = 1
    while True:
        for factor in (2, 4, 6, 10):
            if value <= factor * size:
                return factor * size
        size *= 10
