"""What a comparison found, as one struct: the shape of `reconcile --json`, and what the text and the page are made from.

It reads the tables that `comparison` left and formats nothing for people. It holds no clock: the same copies give the same report.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal
from zoneinfo import ZoneInfo

import msgspec

from vosship.documents import utc_text
from vosship.query import span_key
from vosship.standing import Gap
from vosship_reconcile.columns import FURTHER, TEXTS, Terms
from vosship_reconcile.comparison import CLASSES
from vosship_reconcile.staging import quoted

SAMPLES = 5
"""Calls shown of each class (chosen: enough to see a pattern, few enough to read)."""

DIFFERENCES = ("mismatched", "left_only", "right_only", "duplicate_left", "duplicate_right", "unparsable")
"""Classes that make two copies different."""

LAG_SHARES = (0.5, 0.95, 0.99, 1.0)

Verdict = Literal["equal", "different", "cannot_judge"]


class Span(msgspec.Struct, omit_defaults=True):
    """A gap within the window, for people and scripts. `calls`: the other side's calls in it that have no copy here."""

    from_: str = msgspec.field(name="from")
    to: str
    reason: str
    calls: int | None = None


class SideReport(msgspec.Struct):
    """One side's account of the window."""

    name: str
    records: int = 0
    seconds: float = 0.0
    gaps: list[Span] = []


class Weight(msgspec.Struct):
    """What a class weighs: calls, answered ones, seconds of conversation, and minutes of calls that somebody is charged for."""

    calls: int = 0
    answered: int = 0
    seconds: float = 0.0
    billable_minutes: float = 0.0


class Group(msgspec.Struct):
    """One hour or gateway: its calls by class (zero ones left out) and the share of them that is different."""

    key: str
    calls: int
    classes: dict[str, int]
    different_ratio: float
    disputed_seconds: float


class Lag(msgspec.Struct):
    """From a call's stop to its record's arrival, of the side that receives."""

    side: str
    records: int
    p50_ms: int
    p95_ms: int
    p99_ms: int
    max_ms: int


class Report(msgspec.Struct):
    """The whole report (contract, section 3)."""

    verdict: Verdict
    sentence: str
    window: dict[str, str]
    left: SideReport
    right: SideReport
    classes: dict[str, int]
    weights: dict[str, Weight]
    differing_fields: dict[str, int]
    compared: dict[str, Any]
    as_of: str | None
    grace_s: float
    lags: list[Lag]
    hours: list[Group]
    caller_gateways: list[Group]
    callee_gateways: list[Group]
    samples: dict[str, list[dict[str, Any]]]


def classes(db: Any) -> dict[str, int]:
    """How many calls each class has; a matched or mismatched pair is one call."""
    counted = dict.fromkeys(CLASSES, 0)
    for side, word, count in db.execute("SELECT side, class, count(*) FROM rest GROUP BY ALL ORDER BY ALL").fetchall():
        if word not in ("matched", "mismatched") or side == 0:
            counted[word] += count
    copies = db.execute("SELECT count(*) FROM copies WHERE side = 0").fetchone()[0]
    counted["matched"] += copies - db.execute("SELECT count(*) FROM rest WHERE side = 0").fetchone()[0]
    counted["unparsable"] = db.execute("SELECT count(*) FROM unread").fetchone()[0]
    return counted


_BILLED = "CASE WHEN coalesce(\"billingMode\", '-1') <> '-1' THEN \"holdTime\" ELSE 0 END"
_SUMS = f'count(*), count(*) FILTER ("holdTime" > 0), coalesce(sum("holdTime"), 0), coalesce(sum({_BILLED}), 0)'


def weights(db: Any) -> dict[str, Weight]:
    """What each class weighs; pairs by their left copy."""
    found: dict[str, Weight] = {}
    rest = db.execute(
        f"SELECT class, {_SUMS} FROM rest WHERE NOT (side = 1 AND class IN ('matched', 'mismatched')) GROUP BY class ORDER BY class"
    ).fetchall()
    whole = db.execute(f"SELECT {_SUMS} FROM copies WHERE side = 0").fetchone()
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
    ask = 'SELECT count(*), coalesce(sum("holdTime"), 0) FROM copies WHERE side = ?'
    count, hold_ms = db.execute(ask, [number]).fetchone()
    unread = db.execute("SELECT count(*) FROM unread WHERE side = ?", [number]).fetchone()[0]
    return SideReport(name, count + unread, int(hold_ms) / 1000)


def spans(db: Any, number: int, gaps: Sequence[Gap], from_ms: int, to_ms: int, zone: ZoneInfo) -> list[Span]:
    """The gaps of a side that meet the window, clipped to it, with what the other side has in them.

    A gap without an end on one side is left out where the other side has nothing in it: there both copies begin, or end.
    """
    found = []
    for gap in gaps:
        begin, end = max(from_ms, gap.from_ms or from_ms), min(to_ms, to_ms if gap.to_ms is None else gap.to_ms)
        if begin >= end:
            continue
        ask = 'SELECT count(*) FROM rest WHERE class = \'cannot_judge\' AND side = ? AND "stopTime" >= ? AND "stopTime" < ?'
        calls = db.execute(ask, [1 - number, begin, end]).fetchone()[0]
        if calls or (gap.from_ms is not None and gap.to_ms is not None):
            found.append(Span(_local(begin, zone), _local(end, zone), gap.reason, calls))
    return sorted(found, key=lambda span: (span.from_, span.to, span.reason))


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
    groups = _groups(db, '"stopTime" // 900000')
    merged: dict[str, Group] = {}
    for quarter, group in sorted(groups.items(), key=lambda item: int(item[0])):
        label = span_key("hour", int(quarter) * 900_000, zone)
        _merge(merged.setdefault(label, Group(label, 0, {}, 0.0, 0.0)), group)
    return [_finished(group) for group in merged.values()]


def gateways(db: Any, column: str, most: int = 25) -> list[Group]:
    """By gateway, worst first: the most disputed seconds, then the most different calls."""
    groups = [_finished(group) for group in _groups(db, f"coalesce({quoted(column)}, '')").values()]
    groups.sort(key=lambda one: (-one.disputed_seconds, -one.different_ratio * one.calls, one.key))
    return groups[:most]


def _groups(db: Any, expression: str) -> dict[str, Group]:
    found: dict[str, Group] = {}
    ask = f"SELECT {expression} AS k, count(*) FROM copies WHERE side = 0 GROUP BY k ORDER BY k"
    for word, count in db.execute(ask).fetchall():
        found[str(word)] = Group(str(word), 0, {"matched": count}, 0.0, 0.0)
    ask = f'SELECT {expression} AS k, side, class, count(*), sum("holdTime") FROM rest GROUP BY ALL ORDER BY ALL'
    for word, number, kind, count, hold_ms in db.execute(ask).fetchall():
        group = found.setdefault(str(word), Group(str(word), 0, {}, 0.0, 0.0))
        if kind == "matched":
            continue
        if number == 0:
            group.classes["matched"] = group.classes.get("matched", 0) - count
        elif kind == "mismatched":
            continue
        group.classes[kind] = group.classes.get(kind, 0) + count
        if kind in ("left_only", "right_only", "duplicate_left", "duplicate_right"):
            group.disputed_seconds += int(hold_ms) / 1000
    ask = (
        f'SELECT l.k, sum(abs(l."holdTime" - r."holdTime")) FROM (SELECT *, {expression} AS k FROM rest) l JOIN rest r ON l.pair = r.n'
        " WHERE l.side = 0 AND l.class = 'mismatched' GROUP BY l.k ORDER BY l.k"
    )
    for word, hold_ms in db.execute(ask).fetchall():
        found[str(word)].disputed_seconds += int(hold_ms) / 1000
    return found


def _merge(into: Group, group: Group) -> None:
    for word, count in group.classes.items():
        into.classes[word] = into.classes.get(word, 0) + count
    into.disputed_seconds += group.disputed_seconds


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


_SHOWN = ("stopTime", "startTime", "holdTime", *TEXTS, *FURTHER, "file", "at_byte", "arrival_ms", "id")


def rows(db: Any, word: str, names: Sequence[str], limit: int | None = None) -> Iterator[dict[str, Any]]:
    """The copies of one class, in time; a mismatched pair is its left copy, with the right one and what differs."""
    if word == "unparsable":
        ask = "SELECT side, file, at_byte, reason, line FROM unread ORDER BY ALL"
        for number, file, at_byte, reason, line in _fetched(db, ask, limit):
            yield {"side": names[number], "file": file, "offset": at_byte, "reason": reason, "line": line}
        return
    shown = ", ".join(f"{{}}.{quoted(name)}" for name in _SHOWN)
    if word == "mismatched":
        ask = (
            f"SELECT {shown.replace('{}', 'l')}, {shown.replace('{}', 'r')}, l.differs FROM rest l JOIN rest r ON l.pair = r.n"
            " WHERE l.side = 0 AND l.class = 'mismatched' ORDER BY l.n"
        )
        for row in _fetched(db, ask, limit):
            one, other = row[: len(_SHOWN)], row[len(_SHOWN) : -1]
            yield {**_fields(one), "side": names[0], "differs": row[-1].split(" "), "other": {"side": names[1], **_fields(other)}}
        return
    ask = f"SELECT {shown.replace('{}', 'c')}, c.side FROM rest c WHERE class = '{word}' ORDER BY \"stopTime\", n"
    for row in _fetched(db, ask, limit):
        yield {**_fields(row[:-1]), "side": names[row[-1]]}


def _fetched(db: Any, ask: str, limit: int | None) -> Iterator[Sequence[Any]]:
    found = db.cursor().execute(ask if limit is None else f"{ask} LIMIT {limit}")
    while batch := found.fetchmany(10_000):
        yield from batch


def _fields(row: Sequence[Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in zip(_SHOWN, row, strict=True):
        if value is None:
            continue
        if name in ("stopTime", "startTime"):
            found[name] = utc_text(value / 1000)
        elif name == "arrival_ms":
            found["forward.received_at"] = utc_text(value / 1000)
        else:
            found[{"at_byte": "offset", "id": "_id"}.get(name, name)] = value
    return found


def samples(db: Any, names: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """The first few calls of each class that has any; matched ones need no showing."""
    found = {word: list(rows(db, word, names, SAMPLES)) for word in CLASSES if word != "matched"}
    return {word: shown for word, shown in found.items() if shown}


def compared(terms: Terms) -> dict[str, Any]:
    """What was compared, and how finely."""
    return {
        "fields": list(terms.names),
        "time_resolution": "ms" if terms.time_step_ms == 1 else "s",
        "hold_resolution": "ms" if terms.hold_step_ms == 1 else "s",
    }


def _local(at_ms: int, zone: ZoneInfo) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(at_ms / 1000, UTC).astimezone(zone).isoformat(timespec="seconds")
