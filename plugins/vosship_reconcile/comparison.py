"""Which copies of two sides are the same call: an exact multiset match, then the remainder one to one, then classes.

It reads the tables that `staging` filled and leaves `rest` (every copy that is not simply matched, with its class) behind.
Nothing here depends on the order of rows: ties are broken by file, byte and id.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from vosship_reconcile.columns import DELAYS, TIMES, Terms
from vosship_reconcile.staging import COLUMNS, quoted

CLASSES = (
    "matched", "mismatched", "left_only", "right_only", "duplicate_left", "duplicate_right", "in_flight", "cannot_judge",
    "unparsable",
)  # fmt: skip

PAIRINGS: tuple[tuple[str, ...], ...] = (
    ("flowNo",),
    ("callerE164", "calleeE164", "startTime", "stopTime", "callerGatewayId", "calleeGatewayId"),
    ("callerE164", "calleeE164", "startTime", "callerGatewayId", "calleeGatewayId"),
    ("callerAccessE164", "calleeAccessE164", "startTime", "callerGatewayId"),
    ("callerE164", "calleeE164", "startTime"),
    ("callerE164", "calleeE164", "stopTime", "callerGatewayId"),
)
"""What two differing copies of one call still share, the surest first; each copy is paired once. A number is in all but the
first: a dialler makes many calls in one second that share all else. One of the two may be empty, as the switch writes it."""

_ORDER = "resend, arrival_ms, file, at_byte, id"
"""Which of equal copies is the call itself: the one that came first."""


class Side(msgspec.Struct, frozen=True, kw_only=True):
    """What the comparison must know of one side. `gaps`: spans of stop times (from, to; None: open) it may lack calls in."""

    repeats: bool = False
    gaps: Sequence[tuple[int | None, int | None]] = ()


def key(terms: Terms) -> str:
    """128 bits over all compared columns (RFC 1321): equal exactly where they are (the odds are 1e-24 at 20 million rows)."""
    parts = [_stepped(name, terms.time_step_ms) for name in TIMES]
    parts.append(_stepped("holdTime", terms.hold_step_ms))
    parts += [f"coalesce({quoted(name)}, '')" for name in terms.texts]
    return f"md5_number(concat_ws(chr(31), {', '.join(parts)}))"


def _stepped(name: str, step: int) -> str:
    return quoted(name) if step == 1 else f"({quoted(name)} // {step})"


def match(db: Any, terms: Terms, sides: tuple[Side, Side]) -> None:
    """Match equal copies, most of all; what is left goes to `rest`, surplus copies of a repeating side as its duplicates."""
    db.execute(
        f"CREATE TABLE unequal AS SELECT k, count(*) FILTER (side = 0) AS lefts, count(*) FILTER (side = 1) AS rights"
        f" FROM (SELECT side, {key(terms)} AS k FROM copies) GROUP BY k HAVING lefts <> rights"
    )
    names = ", ".join(quoted(name) for name in COLUMNS)
    repeats = f"CASE side WHEN 0 THEN {sides[0].repeats} ELSE {sides[1].repeats} END"
    db.execute(
        f"""CREATE TABLE rest AS
        WITH one AS (
            SELECT c.*, least(lefts, rights) AS pairs,
                row_number() OVER (PARTITION BY c.side, k ORDER BY {_ORDER}) AS place,
                count(*) FILTER (NOT resend) OVER (PARTITION BY c.side, k) AS firsts
            FROM (SELECT *, {key(terms)} AS k FROM copies) c JOIN unequal USING (k))
        SELECT {names},
            CASE WHEN {repeats} AND (pairs > 0 OR place > greatest(firsts, 1))
                 THEN CASE side WHEN 0 THEN 'duplicate_left' ELSE 'duplicate_right' END
                 ELSE CASE side WHEN 0 THEN 'left_only' ELSE 'right_only' END END AS class,
            row_number() OVER (ORDER BY side, "stopTime", "callerE164", "calleeE164", {_ORDER}) AS n,
            CAST(NULL AS BIGINT) AS pair, CAST(NULL AS VARCHAR) AS differs
        FROM one WHERE place > pairs"""
    )


def pair(db: Any, terms: Terms) -> None:
    """Pair what is left of both sides, one to one, and say which compared fields differ."""
    differing = (
        " || ".join(
            f"CASE WHEN l.{_of(name, terms)} IS DISTINCT FROM r.{_of(name, terms)} THEN '{name} ' ELSE '' END"
            for name in terms.names
        )
        .replace("l.(", "(l.")
        .replace("r.(", "(r.")
    )
    for names in PAIRINGS:
        if not all(name in terms.names for name in names):
            continue
        keys = ", ".join(quoted(name) if name not in TIMES else f"{_stepped(name, terms.time_step_ms)}" for name in names)
        known = " OR ".join(f"{quoted(name)} IS NOT NULL" for name in names if name not in TIMES and not name.endswith("GatewayId"))
        rank = '"stopTime", "holdTime", "endReason", n'
        db.execute(
            f"""CREATE OR REPLACE TEMP TABLE found AS
            WITH keyed AS (
                SELECT *, md5_number(concat_ws(chr(31), {_texts(keys)})) AS k FROM rest
                WHERE class IN ('left_only', 'right_only') AND ({known})),
            placed AS (SELECT *, row_number() OVER (PARTITION BY side, k ORDER BY {rank}) AS place FROM keyed)
            SELECT l.n AS l, r.n AS r, trim({differing}) AS differs
            FROM placed l JOIN placed r ON l.side = 0 AND r.side = 1 AND l.k = r.k AND l.place = r.place"""
        )
        for one, other in (("l", "r"), ("r", "l")):
            db.execute(
                f"UPDATE rest SET class = 'mismatched', pair = found.{other}, differs = found.differs"
                f" FROM found WHERE rest.n = found.{one}"
            )
    _forgive_delays(db, terms)


def _of(name: str, terms: Terms) -> str:
    step = terms.time_step_ms if name in TIMES else terms.hold_step_ms if name == "holdTime" else 1
    return _stepped(name, step)


def _texts(keys: str) -> str:
    return ", ".join(f"coalesce(CAST({one} AS VARCHAR), '')" for one in keys.split(", "))


def _forgive_delays(db: Any, terms: Terms) -> None:
    """Copies that differ only in delays which one of them has no columns for are the same call: an upgrade within the window."""
    if not set(DELAYS) <= set(terms.texts):
        return
    db.execute(
        """UPDATE rest SET class = 'matched' WHERE n IN (
            SELECT unnest([l.n, r.n]) FROM rest l JOIN rest r ON l.side = 0 AND l.pair = r.n
            WHERE l.class = 'mismatched' AND list_has_all(['callerPdd', 'calleePdd'], string_split(l.differs, ' '))
            AND (coalesce(l."callerPdd", l."calleePdd") IS NULL OR coalesce(r."callerPdd", r."calleePdd") IS NULL))"""
    )


def excuse(db: Any, sides: tuple[Side, Side], in_flight_from_ms: int | None) -> None:
    """Take out of the verdict what a gap of the other side, or the time that a call takes on its way, may explain."""
    for own, word in ((0, "left_only"), (1, "right_only")):
        for begin, end in sides[1 - own].gaps:
            db.execute(
                "UPDATE rest SET class = 'cannot_judge' WHERE class = ? AND (? IS NULL OR \"stopTime\" >= ?)"
                ' AND (? IS NULL OR "stopTime" < ?)',
                [word, begin, begin, end, end],
            )
    if in_flight_from_ms is not None:
        db.execute(
            "UPDATE rest SET class = 'in_flight' WHERE class IN ('left_only', 'right_only') AND \"stopTime\" >= ?",
            [in_flight_from_ms],
        )


def arrivals(db: Any, side: int, at_ms: int, *, before: bool, count: int, within_ms: int) -> tuple[int, int] | None:
    """Least and greatest time from stop to arrival of the copies that came last before a moment, or first after it."""
    sign, order = ("<=", "DESC") if before else (">=", "ASC")
    row = db.execute(
        f"""WITH near AS (
            SELECT arrival_ms, arrival_ms - "stopTime" AS lag FROM copies
            WHERE side = ? AND arrival_ms {sign} ? AND NOT resend ORDER BY arrival_ms {order}, lag LIMIT {count}),
        edge AS (SELECT {"max" if before else "min"}(arrival_ms) AS edge_ms FROM near)
        SELECT min(lag), max(lag) FROM near, edge WHERE abs(arrival_ms - edge_ms) <= {within_ms}""",
        [side, at_ms],
    ).fetchone()
    return None if row is None or row[0] is None else (row[0], row[1])
