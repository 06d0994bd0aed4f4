"""The views that are laid over attached days, as SQL.

It opens nothing: `days` does. Day `number` of the files shown is attached as `d<number>`.

    fields   every call under the documents' own field names: what panels are made of
    calls    every call in an operator's words
    recent   likewise, the newest calls only
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import NamedTuple
from zoneinfo import ZoneInfo

READABLE: tuple[tuple[str, str], ...] = (
    ("caller", "callerE164"), ("callee", "calleeE164"), ("gateway_in", "callerGatewayId"), ("gateway_out", "calleeGatewayId"),
    ("seconds", "holdTime"), ("end", "endReason"), ("reason", "end.text"), ("hung_up", "end.by"), ("country", "callee.country"),
    ("destination", "callee.destination"), ("customer", "caller.customer"), ("vendor", "callee.vendor"), ("ip_in", "callerIp"),
    ("ip_out", "calleeIp"), ("pdd_s", "callerPdd"), ("pdd_out_s", "calleePdd"), ("class", "end.class"),
    ("billing", "billing.account_type"), ("billing_mode", "billingMode"), ("switch", "switch"), ("channel", "channel"),
    ("tags", "tags"),
)  # fmt: skip
"""Columns of `calls` and `recent` after `call` and `stopped`, each with its field."""

_SECONDS = {"holdTime", "callerPdd", "calleePdd"}
_QUARTER_S = 900
"""Offsets of time zones change at quarters of an hour."""


class Day(NamedTuple):
    """An attached file: its index name and the columns it has."""

    name: str
    columns: tuple[str, ...]


def quote(name: str) -> str:
    """The name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def fields(days: Sequence[Day], offset: str) -> str:
    """Every call under the field names, beside `_local_ms` (the switch's clock) and `_newest_ms`, a bound on its chunk's times."""
    arms = []
    for number, day in enumerate(days):
        selected = [f"{_column(day, name)} AS {quote(name)}" for name in union(days)]
        arms.append(
            f"SELECT '{day.name}' AS _index, c.max_stop AS _newest_ms, k.\"@timestamp\" + 1000 * ({offset}) AS _local_ms, "
            f"{', '.join(selected)} {_from(number)}"
        )
    return " UNION ALL ".join(arms)


def calls(days: Sequence[Day], offset: str, since_ms: int = 0) -> str:
    """Every call that stopped since then (or a little before), in an operator's words."""
    arms = []
    known = union(days)
    for number, day in enumerate(days):
        selected = [
            f"'{day.name}!' || k.\"log.offset\" || '!' || k._id AS call",
            f"strftime('%Y-%m-%d %H:%M:%S', k.\"@timestamp\" / 1000 + ({offset}), 'unixepoch') AS stopped",
        ]
        for name, field in READABLE:
            if field in known:
                selected.append(f"{_column(day, field)}{' / 1000.0' if field in _SECONDS else ''} AS {quote(name)}")
        arms.append(f"SELECT {', '.join(selected)} {_from(number, since_ms)}")
    return " UNION ALL ".join(arms)


def union(days: Sequence[Day]) -> list[str]:
    """Columns that any of the days has, each once."""
    return list(dict.fromkeys(name for day in days for name in day.columns))


def _column(day: Day, name: str) -> str:
    return f"k.{quote(name)}" if name in day.columns else "NULL"


def _from(number: int, since_ms: int = 0) -> str:
    # CROSS JOIN fixes the order: chunks first, so that a condition on their times leaves whole chunks unread.
    condition = f" WHERE c.max_stop >= {since_ms}" if since_ms else ""
    return (
        f"FROM d{number}.chunks c CROSS JOIN d{number}.calls k "
        f'ON k._file = c.file AND k."log.offset" BETWEEN c.first AND c.last{condition}'
    )


def offset_sql(days: Sequence[str], zone: ZoneInfo) -> str:
    """Seconds that the zone is ahead of UTC at `k."@timestamp"`, for the times that these days (`2026-04-26`) can hold."""
    offsets: list[tuple[int, int]] = []
    for day in sorted(days):
        noon = int(datetime.fromisoformat(day).replace(hour=12, tzinfo=UTC).timestamp())
        for moment in range(noon - 2 * 86400, noon + 2 * 86400, _QUARTER_S):
            ahead = int((datetime.fromtimestamp(moment, zone).utcoffset() or timedelta()).total_seconds())
            if not offsets or (offsets[-1][1] != ahead and moment > offsets[-1][0]):
                offsets.append((moment, ahead))
    if len(offsets) < 2:
        return str(offsets[0][1] if offsets else 0)
    cases = " ".join(f'WHEN k."@timestamp" < {after[0] * 1000} THEN {before[1]}' for before, after in pairwise(offsets))
    return f"CASE {cases} ELSE {offsets[-1][1]} END"
