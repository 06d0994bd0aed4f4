"""A `Query` in the words of a search cluster: its filter, its order, and the indices that may hold its calls.

It asks nothing: `searching` and `figures` do. What the filter must agree with is `vosship.query.matches`.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import Any

from vosship.query import (
    CALLEE_GATEWAYS,
    CALLEE_NUMBERS,
    CALLER_GATEWAYS,
    CALLER_NUMBERS,
    DIFFERENCES,
    IPS,
    RESEND,
    TIME_COLUMNS,
    Query,
)
from vosship_bulk.templates import PATTERNS

SERIES = tuple(pattern.removesuffix("*") for pattern in PATTERNS["vos3000-calls"])
"""What the names of indices with calls begin with, before their day."""

NAMED_DAYS = 40
"""A window of fewer days names each of its indices, a longer one asks all (chosen: 80 names are 2 KB of the 4 KB a request
line may have on both engines, and a month still asks no other month's shards)."""

ZONE_MARGIN = timedelta(hours=14)
"""How far a zone's day may lie from the day in UTC (the zone database's extremes are -12 h and +14 h)."""

ORDER: list[dict[str, Any]] = [
    {"@timestamp": {"order": "desc", "unmapped_type": "date"}},
    {"log.file.path": {"order": "asc", "unmapped_type": "keyword", "missing": "_first"}},
    {"log.offset": {"order": "asc", "unmapped_type": "long", "missing": 0}},
]
"""The order of `query.sort_key` up to the id, which an engine may be forbidden to sort by."""

ANSWERED: dict[str, Any] = {"range": {"holdTime": {"gt": 0}}}

_NOTHING: dict[str, Any] = {"match_none": {}}


DIFFERENCES_SERIES = "vos3000-reconcile-"
"""Differences are few: the months of them are always searched together."""


def indices(query: Query) -> str:
    """The index names and patterns of a request's path; the day in a name is the day of the stop in the switch's zone."""
    if query.channel == DIFFERENCES:
        return f"{DIFFERENCES_SERIES}*"
    if query.time == "stop" and query.to_ms - query.from_ms < NAMED_DAYS * 86_400_000:
        first = (datetime.fromtimestamp(query.from_ms / 1000, UTC) - ZONE_MARGIN).date()
        last = (datetime.fromtimestamp(query.to_ms / 1000, UTC) + ZONE_MARGIN).date()
        count = (last - first).days + 1
        days = [first + timedelta(days=number) for number in range(count)]
        return ",".join(f"{series}{day:%Y.%m.%d}" for series in SERIES for day in days)
    return ",".join(f"{series}*" for series in SERIES)


def condition(query: Query) -> dict[str, Any]:
    """The filter, without scores, of the calls asked for."""
    must: list[dict[str, Any]] = [span(query, query.from_ms, query.to_ms)]
    must_not: list[dict[str, Any]] = []
    numbers: list[tuple[str, tuple[str, ...]]] = [
        (query.caller, CALLER_NUMBERS),
        (query.callee, CALLEE_NUMBERS),
        (query.number, (*CALLER_NUMBERS, *CALLEE_NUMBERS)),
    ]
    words: list[tuple[str, tuple[str, ...]]] = [
        (query.caller_gateway, CALLER_GATEWAYS),
        (query.callee_gateway, CALLEE_GATEWAYS),
        (query.end_reason, ("endReason",)),
        (query.switch, ("switch",)),
        ("" if query.channel == "all" else query.channel, ("channel",)),
    ]
    must += [_any(_number(name, asked) for name in names) for asked, names in numbers if asked]
    must += [_any(_term(name, asked) for name in names) for asked, names in words if asked]
    if query.ip:
        must.append(_any(_term(name, query.ip) for name in IPS) if _is_address(query.ip) else _NOTHING)
    if query.answered is not None:
        (must if query.answered else must_not).append(ANSWERED)
    if query.min_hold_ms:
        must.append({"range": {"holdTime": {"gte": query.min_hold_ms}}})
    if not query.resends:
        must_not.append(_term("tags", RESEND))
    return {"bool": {"filter": must, "must_not": must_not}}


def span(query: Query, from_ms: int, to_ms: int) -> dict[str, Any]:
    """The condition that the query's own time lies from one moment up to, not including, another."""
    return {"range": {TIME_COLUMNS[query.time]: {"gte": from_ms, "lt": to_ms, "format": "epoch_millis"}}}


def _any(conditions: Iterable[dict[str, Any]]) -> dict[str, Any]:
    either = list(conditions)
    return either[0] if len(either) == 1 else {"bool": {"should": either, "minimum_should_match": 1}}


def _term(name: str, value: str) -> dict[str, Any]:
    return {"term": {name: {"value": value}}}


def _number(name: str, asked: str) -> dict[str, Any]:
    if not asked.endswith("*"):
        return _term(name, asked)
    return {"prefix": {name: {"value": asked[:-1]}}} if len(asked) > 1 else {"exists": {"field": name}}


def _is_address(text: str) -> bool:
    """Whether an `ip` field can be asked for it: it refuses other words, and would take a network for all its addresses."""
    try:
        ip_address(text)
    except ValueError:
        return False
    return "%" not in text
