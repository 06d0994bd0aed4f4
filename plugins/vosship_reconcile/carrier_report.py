"""What stands between us and another carrier: the report's figures, and the same as text, page and CSV.

It reads the table that `carrier.classify` left and pairs nothing.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Any

import msgspec

from vosship.documents import utc_text
from vosship.errors import FatalError
from vosship_reconcile.carrier import Offset
from vosship_reconcile.markup import page, table
from vosship_reconcile.shapes import SideReport, Verdict
from vosship_reconcile.text import table as columns

SAMPLES = 5

CLASSES = ("matched", "mismatched", "left_only", "right_only", "duplicate_left", "duplicate_right", "in_flight", "unparsable")
"""As of every reconciliation; the ones that have no meaning here stay 0."""

DESTINATIONS = 50
"""Destinations reported, worst first (chosen: more than anybody disputes)."""


class Destination(msgspec.Struct):
    """One destination: calls on both sides, minutes on each, and what is in dispute."""

    destination: str
    calls: int
    left_minutes: float
    right_minutes: float
    disputed_calls: int
    disputed_seconds: float
    disputed_money: str


class CarrierReport(msgspec.Struct):
    """The report, with clock offset and money."""

    verdict: Verdict
    sentence: str
    window: dict[str, str]
    left: SideReport
    right: SideReport
    classes: dict[str, int]
    clock_offset: Offset
    tolerance: dict[str, float]
    currency: str
    disputed_seconds: float
    disputed_money: str
    charged: str
    destinations: list[Destination]
    samples: dict[str, list[dict[str, Any]]]


def build(db: Any, names: Sequence[str], window: dict[str, str], offset: Offset, tolerance: Any, currency: str) -> CarrierReport:
    """Everything that is to be said."""
    counted = dict.fromkeys(CLASSES, 0)
    counted.update(db.execute("SELECT class, count(*) FROM judged GROUP BY class ORDER BY class").fetchall())
    counted["unparsable"] = db.execute("SELECT count(*) FROM unread").fetchone()[0]
    left_count, left_ms, right_count, right_ms, seconds, money, charged = db.execute(
        "SELECT count(o), coalesce(sum(our_ms), 0), count(t), coalesce(sum(their_ms), 0),"
        " coalesce(sum(disputed_ms) FILTER (class <> 'matched'), 0), coalesce(sum(money), 0), coalesce(sum(cost), 0) FROM judged"
    ).fetchone()
    left, right = SideReport(names[0], left_count, int(left_ms) / 1000), SideReport(names[1], right_count, int(right_ms) / 1000)
    different = any(counted[word] for word in ("mismatched", "left_only", "right_only", "unparsable"))
    verdict: Verdict = "different" if different else "equal" if left_count else "cannot_judge"
    report = CarrierReport(
        verdict, "", window, left, right, counted, offset, msgspec.to_builtins(tolerance), currency, int(seconds) / 1000,
        _money(money), _money(charged), _destinations(db), _samples(db),
    )  # fmt: skip
    report.sentence = _sentence(report)
    return report


def _sentence(report: CarrierReport) -> str:
    counted, right = report.classes, report.right.name
    if report.verdict == "cannot_judge":
        return f"cannot judge: neither copy has an answered call of {right} in the window"
    if report.verdict == "equal":
        return f"equal: all {counted['matched']:,} calls agree within the tolerances"
    words = {
        "mismatched": "differ",
        "left_only": f"are not in {right}",
        "right_only": f"are in {right} only",
        "unparsable": "lines cannot be read",
    }
    found = ", ".join(f"{counted[word]:,} {text}" for word, text in words.items() if counted[word])
    money = f" and {report.disputed_money} {report.currency}".rstrip()
    return f"different: {found}; {counted['matched']:,} agree; {report.disputed_seconds:,.1f} s{money} in dispute"


def _destinations(db: Any) -> list[Destination]:
    ask = f"""SELECT destination, count(*), coalesce(sum(our_ms), 0) / 60000, coalesce(sum(their_ms), 0) / 60000,
            count(*) FILTER (class <> 'matched'), coalesce(sum(disputed_ms) FILTER (class <> 'matched'), 0) / 1000, sum(money)
        FROM judged GROUP BY destination ORDER BY sum(money) DESC, 6 DESC, destination LIMIT {DESTINATIONS}"""
    return [
        Destination(name, calls, round(float(ours), 3), round(float(theirs), 3), disputed, round(float(seconds), 3), _money(money))
        for name, calls, ours, theirs, disputed, seconds, money in db.execute(ask).fetchall()
    ]


_FIELDS = (
    "class", "differs", "at_ms", "destination", "our_caller", "our_callee", "our_at", "our_ms", "gateway", "file", "at_byte",
    "their_caller", "their_callee", "their_at", "their_ms", "cost", "money", "t",
)  # fmt: skip
_TITLES = {
    "our_ms": "our_duration_ms", "their_ms": "their_duration_ms", "at_byte": "offset", "money": "disputed_money", "t": "line",
}  # fmt: skip


def rows(db: Any, word: str, limit: int | None = None) -> Iterator[dict[str, Any]]:
    """The calls of one class, the most money first."""
    names = ", ".join(_FIELDS)
    ask = f"SELECT {names} FROM judged WHERE class = ? ORDER BY money DESC, disputed_ms DESC, at_ms, o, t"
    found = db.cursor().execute(ask if limit is None else f"{ask} LIMIT {limit}", [word])
    while batch := found.fetchmany(10_000):
        for row in batch:
            cells = zip(_FIELDS, row, strict=True)
            yield {_TITLES.get(name, name): _shown(name, value) for name, value in cells if value not in (None, "")}


def _shown(name: str, value: Any) -> Any:
    if name in ("at_ms", "our_at", "their_at"):
        return utc_text(value / 1000)
    return _money(value) if name in ("cost", "money") else value


def _samples(db: Any) -> dict[str, list[dict[str, Any]]]:
    found = {word: list(rows(db, word, SAMPLES)) for word in ("mismatched", "left_only", "right_only")}
    bad = db.execute(f"SELECT side, place, reason, line FROM unread ORDER BY ALL LIMIT {SAMPLES}").fetchall()
    found["unparsable"] = [dict(zip(("side", "place", "reason", "line"), row, strict=True)) for row in bad]
    return {word: shown for word, shown in found.items() if shown}


def write(path: Path, db: Any) -> None:
    """Every difference as CSV. Raises FatalError when it cannot be written."""
    titles = [_TITLES.get(name, name) for name in _FIELDS]
    try:
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, titles)
            writer.writeheader()
            for word in ("mismatched", "left_only", "right_only"):
                writer.writerows(rows(db, word))
    except OSError as error:
        raise FatalError(f"cannot write {path}: {error.strerror}", hint="--csv names another file") from error


def clock(offset: Offset) -> str:
    """The clock offset in words."""
    if not offset.estimated:
        return f"their clock: {offset.seconds:+.1f} s{'; ' + offset.note if offset.note else ' as the map says'}"
    note = f" ({offset.note})" if offset.note else ""
    return f"their clock less ours: {offset.seconds:+.3f} s, from {offset.pairs:,} calls within {offset.spread_s:.1f} s{note}"


def lines(report: CarrierReport) -> Iterator[str]:
    """The report as text."""
    yield report.sentence
    yield ""
    yield f"window   {report.window['from']} to {report.window['to']} ({report.window['timezone']}), by answer"
    for word, side in (("left", report.left), ("right", report.right)):
        yield f"{word:<8} {side.name}: {side.records:,} answered calls, {side.seconds:,.1f} s"
    yield f"charged  {report.charged} {report.currency}; in dispute {report.disputed_money} {report.currency}"
    yield clock(report.clock_offset)
    yield ""
    yield from columns([(word, f"{count:,}", "") for word, count in report.classes.items() if count])
    yield ""
    yield "by destination, worst first:"
    yield from columns([(*_DESTINATION_TITLES, ""), *[(*_destination(one), "") for one in report.destinations]])
    for word, calls in report.samples.items():
        yield ""
        yield f"{word}, the first {len(calls)} of {report.classes[word]:,}:"
        for call in calls:
            yield "  " + ", ".join(f"{name} {value}" for name, value in call.items() if name != "class")


_DESTINATION_TITLES = ("destination", "calls", "our min", "their min", "disputed", "disputed s", "money")


def _destination(one: Destination) -> tuple[str, ...]:
    figures = f"{one.calls:,}", f"{one.left_minutes:,.1f}", f"{one.right_minutes:,.1f}", f"{one.disputed_calls:,}"
    return one.destination or "(none)", *figures, f"{one.disputed_seconds:,.1f}", one.disputed_money


def render(report: CarrierReport) -> str:
    """The report as one self-contained page."""
    return page(f"{report.left.name} against {report.right.name}", _body(report))


def _body(report: CarrierReport) -> Iterator[str]:
    yield f"<h1>{escape(report.left.name)} against {escape(report.right.name)}</h1>"
    window = report.window
    when = f"calls answered {window['from']} to {window['to']}, {window['timezone']}"
    yield f'<div class="quiet">{escape(when)}</div>'
    yield f'<div class="verdict {report.verdict}">{escape(report.sentence)}</div>'
    yield f"<p>{escape(clock(report.clock_offset))}</p>"
    sides = [(side.name, f"{side.records:,}", f"{side.seconds:,.1f}") for side in (report.left, report.right)]
    yield table(("Copy", "Answered calls", "Seconds"), sides, (1, 2))
    yield "<h2>Calls by class</h2>" + table(
        ("Class", "Calls"), [(word, f"{count:,}") for word, count in report.classes.items()], (1,)
    )
    yield f"<h2>By destination, worst first ({escape(report.currency or 'money')})</h2>"
    yield table(_DESTINATION_TITLES, map(_destination, report.destinations), (1, 2, 3, 4, 5, 6))
    for word, calls in report.samples.items():
        yield f"<h2>{escape(word)}: the first {len(calls)} of {report.classes[word]:,}</h2>"
        names = list(dict.fromkeys(name for call in calls for name in call if name != "class"))
        yield table(names, [[str(call.get(name, "")) for name in names] for call in calls])


def _money(value: Any) -> str:
    """An amount to six places, without trailing zeros beyond cents: text, so that nothing is rounded on its way."""
    text = f"{value:.6f}".rstrip("0")
    whole, _, fraction = text.partition(".")
    return f"{whole}.{fraction.ljust(2, '0')}"
