"""Which columns two copies of a call are compared by, and at which resolution.

It reads no copy: `staging` fills the columns, `comparison` compares them.
"""

from __future__ import annotations

from collections.abc import Collection

import msgspec

TIMES = ("startTime", "stopTime")

TEXTS = (
    "callerE164", "calleeE164", "endReason", "endDirection", "callerGatewayId", "calleeGatewayId", "callerIp", "calleeIp",
    "callerAccessE164", "calleeAccessE164", "callerToGatewayE164", "calleeToGatewayE164", "calleeBilling", "billingMode",
    "callerPdd", "calleePdd",
)  # fmt: skip
"""The pipe layout's columns other than times and holdTime: every layout has them but for LACKS (domain: layouts)."""

FURTHER = ("flowNo", "feeTime", "fee", "customerAccount")
"""Columns of the CSV layouts that are compared where both copies have them (domain: layouts)."""

DELAYS = ("callerPdd", "calleePdd")
"""Absent from the pipe lines of older versions (domain: the record, 17 fields)."""

LACKS: dict[str, frozenset[str]] = {
    "pipe": frozenset(FURTHER),
    "csv-52": frozenset({"calleeBilling"}),
    "datagram-46": frozenset(),
    "table-current": frozenset({"calleeBilling"}),
}
"""Per layout what it has no column for."""

WHOLE_SECONDS_HOLD = frozenset({"csv-52", "datagram-46", "table-current"})
"""Layouts that write holdTime in whole seconds."""


class Seen(msgspec.Struct):
    """What one side's copies showed while they were staged."""

    layouts: set[str] = msgspec.field(default_factory=set)
    has_millis: bool = False
    """Whether any time had a fraction of a second."""
    has_delays: bool = False


class Terms(msgspec.Struct, frozen=True):
    """What is compared: times and holdTime in steps of so many milliseconds, and these text columns."""

    time_step_ms: int
    hold_step_ms: int
    texts: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Every compared field."""
        return (*TIMES, "holdTime", *self.texts)


def terms(left: Seen, right: Seen) -> Terms:
    """The common fields of two sides, at the coarser resolution of the two."""
    lacking = {name for side in (left, right) for layout in side.layouts for name in LACKS.get(layout, frozenset(FURTHER))}
    if not (left.has_delays and right.has_delays):
        lacking.update(DELAYS)
    millis = all(side.has_millis or _csv_only(side.layouts) for side in (left, right))
    seconds = any(layout in WHOLE_SECONDS_HOLD for side in (left, right) for layout in side.layouts)
    return Terms(
        time_step_ms=1 if millis else 1000,
        hold_step_ms=1000 if seconds else 1,
        texts=tuple(name for name in (*TEXTS, *FURTHER) if name not in lacking),
    )


def _csv_only(layouts: Collection[str]) -> bool:
    return bool(layouts) and all(layout in WHOLE_SECONDS_HOLD for layout in layouts)
