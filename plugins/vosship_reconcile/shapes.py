"""The shapes of a report: what `reconcile --json` prints and the text and the page are made from.

They hold no behaviour.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

DIFFERENCES = ("mismatched", "left_only", "right_only", "duplicate_left", "duplicate_right", "unparsable")
"""Classes that make two copies different."""

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
    """The whole report."""

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
