"""What a search asks and what it answers (shapes only, shared by every store), and the definitions of the figures.

It does not know how a store finds anything.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

TimeField = Literal["stop", "start", "answer"]


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """Which calls: a window over one of three times, and filters that must all hold.

    `from_ms` is inclusive, `to_ms` exclusive, both epoch milliseconds UTC. Numbers are exact, or a prefix with a
    trailing `*`; an empty string or None does not filter. `limit=None` means all.
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


class StatsQuery(msgspec.Struct, frozen=True, kw_only=True):
    """The calls of `calls` (its limit ignored), grouped by one or two keys of the contract's list."""

    calls: Query
    by: tuple[str, ...]


class Hit(msgspec.Struct, frozen=True):
    """One document as indexed, with where it is."""

    id: str
    index: str
    fields: dict[str, Any]


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One line of `stats`; the units are in the names (contract, section 3)."""

    key: str
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
    caveats: list[str] = []
