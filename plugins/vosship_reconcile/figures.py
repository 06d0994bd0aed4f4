"""The figures of a comparison: calls, seconds and minutes by class, by hour and by gateway, and the delay of arrival.

It reads the tables `copies`, `bulk` and `rest`, and decides nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from zoneinfo import ZoneInfo

from vosship.query import SPAN_MS, span_key
from vosship_reconcile.comparison import CLASSES
from vosship_reconcile.shapes import DIFFERENCES, Group, Lag, SideReport, Weight
from vosship_reconcile.staging import quoted

LAG_SHARES = (0.5, 0.95, 0.99, 1.0)

GATEWAYS = 25
"""Gateways reported (chosen: every one of a usual switch; of a large one those that matter)."""

_BILLED = "CASE WHEN coalesce(\"billingMode\", '-1') <> '-1' THEN \"holdTime\" ELSE 0 END"
_SUMS = (
    'count(*) AS calls, count(*) FILTER ("holdTime" > 0) AS answered, coalesce(sum("holdTime"), 0) AS hold_ms,'
    f" coalesce(sum({_BILLED}), 0) AS billed_ms"
)
_TOTALS = "coalesce(sum(calls), 0), coalesce(sum(answered), 0), coalesce(sum(hold_ms), 0), coalesce(sum(billed_ms), 0)"
_ONE_SIDED = ("left_only", "right_only", "duplicate_left", "duplicate_right")


def add_up(db: Any) -> None:
    """Make the table `sums`: both sides' copies, those matched in bulk included, by quarter of an hour and gateways."""
    names = f'"stopTime" // {SPAN_MS} AS quarter, "callerGatewayId", "calleeGatewayId"'
    db.execute(
        f"CREATE TABLE sums AS SELECT side, {names}, {_SUMS} FROM copies GROUP BY ALL"
        " UNION ALL SELECT s.side, b.* FROM bulk b, (VALUES (0), (1)) s(side)"
    )


def classes(db: Any) -> dict[str, int]:
    """How many calls each class has; a matched or mismatched pair is one call."""
    counted = dict.fromkeys(CLASSES, 0)
    for number, word, count in db.execute("SELECT side, class, count(*) FROM rest GROUP BY ALL ORDER BY ALL").fetchall():
        if word not in ("matched", "mismatched") or number == 0:
            counted[word] += count
    lefts = db.execute("SELECT coalesce(sum(calls), 0) FROM sums WHERE side = 0").fetchone()[0]
    counted["matched"] += int(lefts) - db.execute("SELECT count(*) FROM rest WHERE side = 0").fetchone()[0]
    counted["unparsable"] = db.execute("SELECT count(*) FROM unread").fetchone()[0]
    return counted


def weights(db: Any) -> dict[str, Weight]:
    """What each class weighs; pairs by their left copy."""
    found: dict[str, Weight] = {}
    rest = db.execute(
        f"SELECT class, {_SUMS} FROM rest WHERE NOT (side = 1 AND class IN ('matched', 'mismatched')) GROUP BY class ORDER BY class"
    ).fetchall()
    whole = db.execute(f"SELECT {_TOTALS} FROM sums WHERE side = 0").fetchone()
    apart = db.execute(f"SELECT {_SUMS} FROM rest WHERE side = 0 AND class <> 'matched'").fetchone()
    found["matched"] = _weight([one - other for one, other in zip(whole, apart, strict=True)])
    for word, *sums in rest:
        if word != "matched":
            found[word] = _weight(sums)
    return {word: found[word] for word in CLASSES if word in found}


def _weight(sums: Sequence[Any]) -> Weight:
    calls, answered, hold_ms, billed_ms = (int(one) for one in sums)
    return Weight(calls, answered, hold_ms / 1000, round(billed_ms / 60_000, 3))


def side(db: Any, number: int, name: str) -> SideReport:
    """Records (unreadable lines counted too) and seconds of one side."""
    count, _, hold_ms, _ = db.execute(f"SELECT {_TOTALS} FROM sums WHERE side = ?", [number]).fetchone()
    unread = db.execute("SELECT count(*) FROM unread WHERE side = ?", [number]).fetchone()[0]
    return SideReport(name, int(count) + unread, int(hold_ms) / 1000)


def lags(db: Any, names: Sequence[str]) -> list[Lag]:
    """The delay of each side that receives."""
    found = []
    for number, name in enumerate(names):
        row = db.execute(
            f'SELECT count(*), quantile_disc(arrival_ms - "stopTime", {list(LAG_SHARES)}) FROM copies'
            " WHERE side = ? AND arrival_ms IS NOT NULL AND NOT resend",
            [number],
        ).fetchone()
        if row[0]:
            found.append(Lag(name, row[0], *row[1]))
    return found


def hours(db: Any, zone: ZoneInfo) -> list[Group]:
    """By hour of the stop, in time."""
    merged: dict[str, Group] = {}
    quarters = _groups(db, "quarter", f'"stopTime" // {SPAN_MS}')
    for quarter, group in sorted(quarters.items(), key=lambda item: int(item[0])):
        label = span_key("hour", int(quarter) * SPAN_MS, zone)
        into = merged.setdefault(label, Group(label, 0, {}, 0.0, 0.0))
        for word, count in group.classes.items():
            into.classes[word] = into.classes.get(word, 0) + count
        into.disputed_seconds += group.disputed_seconds
    return [_finished(group) for group in merged.values()]


def gateways(db: Any, column: str) -> list[Group]:
    """By gateway, worst first: the most disputed seconds, then the most different calls."""
    word = f"coalesce({quoted(column)}, '')"
    groups = [_finished(group) for group in _groups(db, word, word).values()]
    groups.sort(key=lambda one: (-one.disputed_seconds, -one.different_ratio * one.calls, one.key))
    return groups[:GATEWAYS]


def _groups(db: Any, of_sums: str, of_copies: str) -> dict[str, Group]:
    """By a word of `sums` and the same word of single copies. Pairs count where their left copy is."""
    found: dict[str, Group] = {}
    for word, count in db.execute(f"SELECT {of_sums} AS k, sum(calls) FROM sums WHERE side = 0 GROUP BY k ORDER BY k").fetchall():
        found[str(word)] = Group(str(word), 0, {"matched": int(count)}, 0.0, 0.0)
    ask = (
        f'SELECT {of_copies} AS k, side, class, count(*), sum("holdTime") FROM rest'
        " WHERE class <> 'matched' GROUP BY ALL ORDER BY ALL"
    )
    for word, number, kind, count, hold_ms in db.execute(ask).fetchall():
        group = found.setdefault(str(word), Group(str(word), 0, {}, 0.0, 0.0))
        if number == 0:
            group.classes["matched"] = group.classes.get("matched", 0) - count
        elif kind == "mismatched":
            continue
        group.classes[kind] = group.classes.get(kind, 0) + count
        if kind in _ONE_SIDED:
            group.disputed_seconds += int(hold_ms) / 1000
    ask = (
        f'SELECT l.k, sum(abs(l."holdTime" - r."holdTime")) FROM (SELECT *, {of_copies} AS k FROM rest) l'
        " JOIN rest r ON l.pair = r.n WHERE l.side = 0 AND l.class = 'mismatched' GROUP BY l.k ORDER BY l.k"
    )
    for word, hold_ms in db.execute(ask).fetchall():
        found[str(word)].disputed_seconds += int(hold_ms) / 1000
    return found


def _finished(group: Group) -> Group:
    group.classes = {word: group.classes[word] for word in CLASSES if group.classes.get(word)}
    group.calls = sum(group.classes.values())
    different = sum(count for word, count in group.classes.items() if word in DIFFERENCES)
    group.different_ratio = round(different / group.calls, 6) if group.calls else 0.0
    group.disputed_seconds = round(group.disputed_seconds, 3)
    return group


def differing(db: Any) -> dict[str, int]:
    """How many mismatched pairs differ in each field, most first."""
    ask = (
        "SELECT word, count(*) AS c FROM (SELECT unnest(string_split(differs, ' ')) AS word FROM rest"
        " WHERE side = 0 AND class = 'mismatched') GROUP BY word ORDER BY c DESC, word"
    )
    return dict(db.execute(ask).fetchall())
