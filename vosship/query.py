"""What a search asks and what it answers, and the one definition of filters, order and figures that every store obeys.

It does not know how a store finds anything, nor how words on a command line become a query (see `window`).

Order: newest first by `@timestamp`; calls of the same millisecond by `log.file.path`, then `log.offset`, then id, each
ascending (`sort_key`). A document without a number in any field of a side has no number there; an absent `holdTime` is 0.
"""

from __future__ import annotations

import functools
import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Literal
from zoneinfo import ZoneInfo

import msgspec

TimeField = Literal["stop", "start", "answer"]


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """Which calls: a window over one of three times, and filters that must all hold.

    `from_ms` is inclusive, `to_ms` exclusive, both epoch milliseconds UTC. Numbers are exact, or a prefix with a
    trailing `*`; an empty string or None does not filter. `limit=None` means all. A store that is asked over a network
    gives at most `page_size` calls a request (fewer where it must); the answer does not depend on it.
    """

    from_ms: int
    to_ms: int
    time: TimeField = "stop"
    caller: str = ""
    callee: str = ""
    number: str = ""
    caller_gateway: str = ""
    callee_gateway: str = ""
    ip: str = ""
    end_reason: str = ""
    answered: bool | None = None
    min_hold_ms: int = 0
    switch: str = ""
    channel: str = "file"
    resends: bool = False
    limit: int | None = 100
    page_size: int = 10_000


class StatsQuery(msgspec.Struct, frozen=True, kw_only=True):
    """The calls of `calls` (its limit ignored), grouped by one or two of KEYS.

    `timezone` is that of the keys `hour`, `day`, `week` and `month`.
    """

    calls: Query
    by: tuple[str, ...]
    timezone: str = "UTC"


class Hit(msgspec.Struct, frozen=True):
    """One document as indexed, with where it is."""

    id: str
    index: str
    fields: dict[str, Any]


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One line of `stats`; the units are in the names."""

    key: str
    keys: tuple[str, ...] = ()
    """The parts of `key`, one for each word of `--by`; empty where the calls have no such field."""
    attempts: int = 0
    illegal: int = 0
    answered: int = 0
    asr_ratio: float | None = None
    ner_ratio: float | None = None
    acd_s: float | None = None
    minutes: float = 0.0
    caller_pdd_ms_p50: float | None = None
    caller_pdd_ms_p95: float | None = None
    callee_pdd_ms_p50: float | None = None
    callee_pdd_ms_p95: float | None = None
    hangups: dict[str, int] = {}
    """Answered calls by who ended them."""
    caveats: list[str] = []


TIME_COLUMNS: Mapping[TimeField, str] = {"stop": "@timestamp", "start": "startTime", "answer": "call.answered_at"}
"""The field that a window is laid over. `answer` finds answered calls only."""

CALLER_NUMBERS = ("callerE164", "callerAccessE164", "callerToGatewayE164", "caller.number", "caller.number_sent")
CALLEE_NUMBERS = ("calleeE164", "calleeAccessE164", "calleeToGatewayE164", "callee.number", "callee.number_sent")
CALLER_GATEWAYS = ("callerGatewayId", "caller.gateway.name")
CALLEE_GATEWAYS = ("calleeGatewayId", "callee.gateway.name")
IPS = ("callerIp", "calleeIp")
"""Any of these fields may match; a field that the schema lacks matches nothing."""

RESEND = "resend"
"""Tag of a record that the switch sent again: left out unless asked for."""

DIFFERENCES = "reconcile"
"""Channel of what `reconcile --index` writes, in indices by month. These are no calls: a search meets them only when it names
this channel, `all` does not."""

KEYS: Mapping[str, str] = {
    "caller_gateway": "callerGatewayId",
    "callee_gateway": "calleeGatewayId",
    "caller_country": "caller.country",
    "callee_country": "callee.country",
    "destination": "callee.destination",
    "customer": "caller.customer",
    "vendor": "callee.vendor",
    "end_reason": "endReason",
    "end_by": "end.by",
    "billing_mode": "billingMode",
    "hour": "",
    "day": "",
    "week": "",
    "month": "",
    "ip": "callerIp",
    "switch": "switch",
}
"""What `stats` groups by, with its field; those without one are calendar spans of the window's own time, for which a
store groups by `SPAN_MS` and lets `span_key` name the span."""

SPAN_MS = 900_000
"""A quarter of an hour: every zone's offset since 1972 is a multiple of it, Liberia's before May 1972 apart."""

NER_SUCCESS: frozenset[int] = frozenset(
    {
        486, 600,  # user busy
        480, 487,  # no answer, given up while ringing
        603,  # refused by the user
        404, 410, 484,  # no such number, changed, incomplete: the network did its part (by choice)
        -7,  # vendor: the caller hung up before an answer (by choice)
        17, 18, 19, 21,  # Q.850: busy, no user responding, no answer, rejected
        1, 22, 28,  # Q.850: no such number, changed, incomplete (by choice, as 404, 410, 484)
    }
)  # fmt: skip
"""`end.code` of unanswered calls that count as network success in the NER (ITU-T E.425: user busy, no answer, refusal).
408 is a failure of the network: that it rang cannot be shown from the record."""


def _edges(limit: int) -> tuple[int, ...]:
    edges, edge = [0], 1
    while edge <= limit:
        edges.append(edge)
        edge = max(edge + 1, edge * 101 // 100)
    return tuple(edges)


PDD_EDGES: tuple[int, ...] = _edges(3_600_000)
"""Lower bounds in ms of the buckets that percentiles are read from, by whole-number arithmetic so that every store has
the same: 0, then each 1 % above the last (rounded down, at least 1 ms), to an hour; the last holds all above."""


@functools.lru_cache(maxsize=65536)
def pdd_bucket(ms: int) -> int:
    """The number of the bucket that holds `ms`; below 0 counts as 0."""
    return max(0, bisect_right(PDD_EDGES, ms) - 1)


def pdd_value(bucket: int) -> float:
    """What is reported for a bucket: the middle of the whole milliseconds it holds."""
    last = PDD_EDGES[bucket + 1] - 1 if bucket + 1 < len(PDD_EDGES) else PDD_EDGES[bucket]
    return (PDD_EDGES[bucket] + last) / 2


def percentile(buckets: Mapping[int, int], share: float) -> float | None:
    """The value at or below which `share` of the counted calls lie (nearest rank); None where none were counted."""
    rank = math.ceil(sum(buckets.values()) * share)
    seen = 0
    for bucket in sorted(buckets):
        seen += buckets[bucket]
        if seen >= rank:
            return pdd_value(bucket)
    return None


def span_key(word: str, ms: int, zone: ZoneInfo) -> str:
    """The name of the calendar span that holds `ms`: an hour carries its offset, so that one that occurs twice is two."""
    local = datetime.fromtimestamp(ms // 1000, UTC).astimezone(zone)
    if word == "hour":
        return local.replace(minute=0, second=0).isoformat(timespec="minutes")
    if word == "day":
        return f"{local:%Y-%m-%d}"
    if word == "week":
        year, week, _ = local.isocalendar()
        return f"{year}-W{week:02d}"
    return f"{local:%Y-%m}"


DIGITS = 9
"""Figures after the point: at six a ratio such as 79/289 is off by more than a millionth of itself (chosen)."""


class Tally(msgspec.Struct):
    """Counts of one group of calls; whole numbers only, so that merging is exact in any order.

    `illegal`: billingMode -1 and unanswered, and no `attempts` then; `answered`: holdTime above 0; `network_success`:
    answered, or an attempt whose `end.code` is in NER_SUCCESS; `hold_ms`, `hangups` (by `end.by`) and PDD (by
    `pdd_bucket`) are of answered calls only: an unanswered call's PDD is another quantity and would be mixed in.
    """

    attempts: int = 0
    illegal: int = 0
    answered: int = 0
    network_success: int = 0
    hold_ms: int = 0
    hangups: Counter[str] = msgspec.field(default_factory=Counter)
    caller_pdd: Counter[int] = msgspec.field(default_factory=Counter)
    callee_pdd: Counter[int] = msgspec.field(default_factory=Counter)

    def count(self, fields: Mapping[str, Any]) -> None:
        """Count one document: what every store's own counting must agree with."""
        hold_ms = fields.get("holdTime", 0)
        if hold_ms <= 0 and fields.get("billingMode") == -1:
            self.illegal += 1
            return
        self.attempts += 1
        if hold_ms <= 0:
            self.network_success += fields.get("end.code") in NER_SUCCESS
            return
        self.answered += 1
        self.network_success += 1
        self.hold_ms += hold_ms
        self.hangups[fields.get("end.by", "")] += 1
        if "callerPdd" in fields:
            self.caller_pdd[pdd_bucket(fields["callerPdd"])] += 1
        if "calleePdd" in fields:
            self.callee_pdd[pdd_bucket(fields["calleePdd"])] += 1

    def merge(self, other: Tally) -> None:
        """Add another group's counts to these."""
        self.attempts += other.attempts
        self.illegal += other.illegal
        self.answered += other.answered
        self.network_success += other.network_success
        self.hold_ms += other.hold_ms
        self.hangups.update(other.hangups)
        self.caller_pdd.update(other.caller_pdd)
        self.callee_pdd.update(other.callee_pdd)

    def row(self, keys: tuple[str, ...]) -> Row:
        """The figures; a ratio over nothing is None."""
        return Row(
            key=" | ".join(keys),
            keys=keys,
            attempts=self.attempts,
            illegal=self.illegal,
            answered=self.answered,
            asr_ratio=_ratio(self.answered, self.attempts),
            ner_ratio=_ratio(self.network_success, self.attempts),
            acd_s=_ratio(self.hold_ms, self.answered * 1000),
            minutes=round(self.hold_ms / 60_000, DIGITS),
            caller_pdd_ms_p50=percentile(self.caller_pdd, 0.50),
            caller_pdd_ms_p95=percentile(self.caller_pdd, 0.95),
            callee_pdd_ms_p50=percentile(self.callee_pdd, 0.50),
            callee_pdd_ms_p95=percentile(self.callee_pdd, 0.95),
            hangups=dict(sorted(self.hangups.items())),
        )


def _ratio(part: int, whole: int) -> float | None:
    return round(part / whole, DIGITS) if whole else None


def rows(tallies: Mapping[tuple[str, ...], Tally]) -> list[Row]:
    """The lines of `stats`, ordered by key."""
    return [tallies[keys].row(keys) for keys in sorted(tallies)]


def sort_key(hit: Hit) -> tuple[int, str, int, str]:
    """The order of hits; documents without a time come last (no window finds them)."""
    fields = hit.fields
    return (
        -epoch_ms(fields.get("@timestamp") or "1970-01-01T00:00:00Z"),
        fields.get("log.file.path", ""),
        fields.get("log.offset", 0),
        hit.id,
    )


def epoch_ms(text: str) -> int:
    """Epoch milliseconds of a document's time (`2026-04-26T06:00:00.000Z`)."""
    moment = datetime.fromisoformat(text)
    return int(moment.timestamp()) * 1000 + moment.microsecond // 1000


def matches(query: Query, fields: Mapping[str, Any]) -> bool:
    """Whether a document is among the calls asked for: what every store's own filter must agree with."""
    time = fields.get(TIME_COLUMNS[query.time])
    if time is None or not query.from_ms <= epoch_ms(time) < query.to_ms:
        return False
    hold = fields.get("holdTime", 0)
    return (
        _number(query.caller, fields, CALLER_NUMBERS)
        and _number(query.callee, fields, CALLEE_NUMBERS)
        and _number(query.number, fields, (*CALLER_NUMBERS, *CALLEE_NUMBERS))
        and _equal(query.caller_gateway, fields, CALLER_GATEWAYS)
        and _equal(query.callee_gateway, fields, CALLEE_GATEWAYS)
        and _equal(query.ip, fields, IPS)
        and _equal(query.end_reason, fields, ("endReason",))
        and (query.answered is None or (hold > 0) == query.answered)
        and hold >= query.min_hold_ms
        and _equal(query.switch, fields, ("switch",))
        and (query.channel == "all" or _equal(query.channel, fields, ("channel",)))
        and (query.resends or RESEND not in fields.get("tags", ()))
    )


def _number(asked: str, fields: Mapping[str, Any], names: Iterable[str]) -> bool:
    if not asked.endswith("*"):
        return _equal(asked, fields, names)
    return any(fields.get(name, "").startswith(asked[:-1]) for name in names if name in fields)


def _equal(asked: str, fields: Mapping[str, Any], names: Iterable[str]) -> bool:
    return not asked or any(fields.get(name) == asked for name in names)
