"""Our calls against another carrier's file: clocks set by each other, calls paired within tolerances, money by destination.

It reads no file: `carrier_map` does. Nothing here depends on the order of rows.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from vosship_reconcile.carrier_map import CarrierMap, Theirs, rewriter
from vosship_reconcile.staging import Batch, insert_text, shown

ENOUGH_PAIRS = 5
"""Calls unique on both sides that must agree on a clock offset before it is believed (chosen: fewer may be chance)."""

ROUNDS = 50
"""Pairing is repeated while it finds anything; a cluster of redials needs as many rounds as it has calls (chosen bound)."""

OURS = {
    "n": "BIGINT", "caller": "VARCHAR", "callee": "VARCHAR", "at_ms": "BIGINT", "duration_ms": "BIGINT",
    "destination": "VARCHAR", "file": "VARCHAR", "at_byte": "BIGINT", "gateway": "VARCHAR",
}  # fmt: skip
THEIRS = {
    "n": "BIGINT", "caller": "VARCHAR", "callee": "VARCHAR", "at_ms": "BIGINT", "duration_ms": "BIGINT",
    "destination": "VARCHAR", "cost": "DECIMAL(18, 6)",
}  # fmt: skip


class Offset(msgspec.Struct, frozen=True):
    """Their clock less ours, from how many calls, and how far those lie from it at most."""

    seconds: float
    estimated: bool
    pairs: int
    spread_s: float
    note: str = ""


def create(db: Any) -> None:
    """Make the tables of both sides, and of rows that are no calls."""
    for name, columns in (("ours", OURS), ("theirs", THEIRS)):
        db.execute(f"CREATE TABLE {name} ({', '.join(f'{key} {kind}' for key, kind in columns.items())})")
    db.execute("CREATE TABLE unread (side VARCHAR, place VARCHAR, reason VARCHAR, line VARCHAR)")


def load_ours(db: Any, batches: Iterable[Batch], carrier: CarrierMap, name: str, work: Path) -> None:
    """Stage our answered calls that concern them."""
    ours = carrier.ours
    caller, callee = rewriter(ours.numbers.caller), rewriter(ours.numbers.callee)
    came, went = frozenset(ours.caller_gateways), frozenset(ours.callee_gateways)
    gateway = "calleeGatewayId" if went or not came else "callerGatewayId"

    def rows() -> Iterator[tuple[Any, ...]]:
        for batch in batches:
            for copy in batch:
                fields = copy.fields
                if copy.reason:
                    place = f"{fields.get('log.file.path')} byte {fields.get('log.offset')}"
                    db.execute("INSERT INTO unread VALUES (?, ?, ?, ?)", [name, place, copy.reason, shown(copy.line)])
                    continue
                at = fields.get("call.answered_at")
                outside = (came and fields.get("callerGatewayId") not in came) or (
                    went and fields.get("calleeGatewayId") not in went
                )
                if at is None or outside:
                    continue
                yield (
                    0, caller(fields.get(ours.caller, "")), callee(fields.get(ours.callee, "")), _ms(at), fields["holdTime"],
                    fields.get("callee.destination"), fields.get("log.file.path"), fields.get("log.offset"), fields.get(gateway),
                )  # fmt: skip

    _stage(db, "ours", OURS, rows(), work)
    db.execute(
        "CREATE OR REPLACE TABLE ours AS SELECT * REPLACE (row_number() OVER (ORDER BY at_ms, file, at_byte) AS n) FROM ours"
    )


def load_theirs(db: Any, rows: Iterable[Theirs], name: str, span: tuple[int, int], work: Path) -> None:
    """Stage their answered calls that lie in a span of their own clock."""

    def good() -> Iterator[tuple[Any, ...]]:
        for row in rows:
            if row.reason:
                db.execute("INSERT INTO unread VALUES (?, ?, ?, '')", [name, f"line {row.line}", row.reason])
            elif row.duration_ms > 0 and span[0] <= row.at_ms < span[1]:
                yield row.line, row.caller, row.callee, row.at_ms, row.duration_ms, row.destination, row.cost

    _stage(db, "theirs", THEIRS, good(), work)


def _stage(db: Any, table: str, columns: dict[str, str], rows: Iterable[Sequence[Any]], work: Path) -> None:
    path = work / f"{table}.tsv"
    with path.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
        csv.writer(file, delimiter="\t", lineterminator="\n").writerows(rows)
    if path.stat().st_size:
        insert_text(db, table, columns, path)
    path.unlink()


def estimate(db: Any, carrier: CarrierMap) -> Offset:
    """The clock offset: the commonest whole second among calls whose numbers are unique on both sides, refined by the median.

    A robust mode: calls that only look alike scatter, the true ones pile up.
    """
    if carrier.clock_offset_s is not None:
        return Offset(carrier.clock_offset_s, False, 0, 0.0)
    numbers = _numbers(carrier)
    unique = f"SELECT {numbers}, min(at_ms) AS at_ms FROM {{}} GROUP BY {numbers} HAVING count(*) = 1"
    db.execute(
        f"CREATE OR REPLACE TEMP TABLE apart AS SELECT t.at_ms - o.at_ms AS d FROM ({unique.format('ours')}) o"
        f" JOIN ({unique.format('theirs')}) t USING ({numbers})"
    )
    reach = round(carrier.tolerance.answer_s * 1000)
    best = db.execute(
        "SELECT a.s, count(*) AS c FROM (SELECT DISTINCT d // 1000 AS s FROM apart) a"
        f" JOIN apart b ON b.d BETWEEN a.s * 1000 - {reach} AND a.s * 1000 + {reach}"
        " GROUP BY a.s ORDER BY c DESC, abs(a.s), a.s LIMIT 1"
    ).fetchone()
    if best is None or best[1] < ENOUGH_PAIRS:
        return Offset(0.0, False, 0 if best is None else best[1], 0.0, "too few calls are unique on both sides to tell the clocks")
    near = f"FROM apart WHERE d BETWEEN {best[0] * 1000 - reach} AND {best[0] * 1000 + reach}"
    middle = db.execute(f"SELECT quantile_disc(d, 0.5) {near}").fetchone()[0]
    spread = db.execute(f"SELECT max(abs(d - {middle})) {near}").fetchone()[0]
    quarters = round(middle / 900_000)
    odd = quarters != 0 and abs(middle - quarters * 900_000) <= 60_000
    note = f"about {quarters * 15} minutes: is the map's `timezone` right?" if odd else ""
    return Offset(middle / 1000, True, best[1], spread / 1000, note)


def pair(db: Any, carrier: CarrierMap, offset: Offset) -> None:
    """Pair calls one to one: same numbers, nearest answer first; then without the caller's number, which carriers rewrite."""
    db.execute("CREATE TABLE pairs (o BIGINT, t BIGINT, caller_differs BOOLEAN)")
    passes = [("callee, caller", False), ("callee", True)] if carrier.columns.caller is not None else [("callee", False)]
    shift, reach = round(offset.seconds * 1000), round(carrier.tolerance.answer_s * 1000)
    for numbers, differs in passes:
        ask = _NEAREST.format(numbers=numbers, differs=differs, offset=shift, reach=reach)
        for _ in range(ROUNDS):
            if not db.execute(ask).fetchone()[0]:
                break


_NEAREST = """
INSERT INTO pairs WITH close AS (
    SELECT o.n AS o, t.n AS t, abs(t.at_ms - {offset} - o.at_ms) AS apart, abs(t.duration_ms - o.duration_ms) AS longer
    FROM (SELECT * FROM ours ANTI JOIN pairs ON n = o) o JOIN (SELECT * FROM theirs ANTI JOIN pairs ON n = t) t USING ({numbers})
    WHERE abs(t.at_ms - {offset} - o.at_ms) <= {reach}),
ranked AS (
    SELECT *, row_number() OVER (PARTITION BY o ORDER BY apart, longer, t) AS for_us,
        row_number() OVER (PARTITION BY t ORDER BY apart, longer, o) AS for_them FROM close)
SELECT o, t, {differs} FROM ranked WHERE for_us = 1 AND for_them = 1
"""
"""Pairs that are each other's nearest."""


def classify(db: Any, carrier: CarrierMap, offset: Offset, from_ms: int, to_ms: int) -> None:
    """Leave the table `judged`: every call of the window once, with its class, what differs, and what is in dispute.

    In dispute: of a call that only they have, all of it; of one whose duration differs, their surplus and its share of the cost.
    """
    shift, tolerated = round(offset.seconds * 1000), round(carrier.tolerance.duration_s * 1000)
    where = "coalesce(nullif(t.destination, ''), o.destination, left(coalesce(t.callee, o.callee), 4), '')"
    surplus = "greatest(t.duration_ms - o.duration_ms, 0)"
    db.execute(
        f"""CREATE TABLE judged AS
        SELECT *, CASE class
                WHEN 'right_only' THEN coalesce(cost, 0)
                WHEN 'mismatched' THEN coalesce(cost * surplus_ms / their_ms, 0)::DECIMAL(18, 6) ELSE 0 END AS money,
            CASE class WHEN 'right_only' THEN their_ms WHEN 'left_only' THEN our_ms ELSE abs(their_ms - our_ms) END AS disputed_ms
        FROM (SELECT o.n AS o, t.n AS t, {where} AS destination, o.duration_ms AS our_ms, t.duration_ms AS their_ms, t.cost AS cost,
                o.at_ms AS our_at, t.at_ms AS their_at, o.caller AS our_caller, t.caller AS their_caller, o.callee AS our_callee,
                t.callee AS their_callee, o.file AS file, o.at_byte AS at_byte, o.gateway AS gateway, {surplus} AS surplus_ms,
                coalesce(o.at_ms, t.at_ms - {shift}) AS at_ms,
                CASE WHEN t.n IS NULL THEN 'left_only' WHEN o.n IS NULL THEN 'right_only'
                     WHEN caller_differs OR abs(t.duration_ms - o.duration_ms) > {tolerated} THEN 'mismatched'
                     ELSE 'matched' END AS class,
                concat_ws(' ', CASE WHEN abs(t.duration_ms - o.duration_ms) > {tolerated} THEN 'duration' END,
                    CASE WHEN caller_differs THEN 'caller' END) AS differs
            FROM ours o FULL JOIN pairs ON pairs.o = o.n FULL JOIN theirs t ON pairs.t = t.n)
        WHERE at_ms >= {from_ms} AND at_ms < {to_ms}"""
    )


def _numbers(carrier: CarrierMap) -> str:
    return "callee, caller" if carrier.columns.caller is not None else "callee"


def _ms(text: str) -> int:
    from vosship.query import epoch_ms

    return epoch_ms(text)
