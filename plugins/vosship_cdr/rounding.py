"""Conversation time into billed seconds by a named rule: whole-number arithmetic only.

It does not choose a rule: no default is safe, so without one there are no billed seconds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from vosship.errors import ConfigError

Rule = Literal["threshold", "nearest", "up"]
Round = Callable[[int], int]
"""Milliseconds of conversation into billed seconds; an unanswered call bills 0."""


class RoundingRule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One rule: `threshold` (a fraction of a second at or above `value_ms` rounds up), `nearest` or `up` (to `value_ms`)."""

    rule: Annotated[Rule, Meta(description="threshold, nearest or up")]
    value_ms: Annotated[int, Meta(description="the rule's value in milliseconds", ge=1, le=3_600_000)]
    minimum_s: Annotated[int, Meta(description="an answered call bills at least this", ge=0, le=86_400)] = 0
    increment_s: Annotated[int, Meta(description="what is over the minimum bills in steps of this", ge=1, le=86_400)] = 1


class Rounding(RoundingRule, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The switch's rule, and other rules for single gateways."""

    side: Annotated[Literal["caller", "callee"], Meta(description="which side's gateway chooses among `gateways`")] = "caller"
    gateways: Annotated[dict[str, RoundingRule], Meta(description="gateway id: its own rule")] = {}


def rounder(rule: RoundingRule, path: str = "rounding") -> Round:
    """The function a rule stands for. Raises ConfigError when its value cannot give whole seconds."""
    value, minimum, step = rule.value_ms, rule.minimum_s, rule.increment_s
    if rule.rule == "threshold" and value > 999:
        raise ConfigError(
            f"a threshold of {value} ms is more than a fraction of a second",
            path=f"{path}.value_ms",
            hint="threshold takes 1 to 999; rule: nearest takes 1000 or 6000",
        )
    if rule.rule != "threshold" and value % 1000:
        raise ConfigError(
            f"rounding to {value} ms gives no whole seconds", path=f"{path}.value_ms", hint="a multiple of 1000; or rule: threshold"
        )

    def plain(hold_ms: int) -> int:
        if rule.rule == "threshold":
            return hold_ms // 1000 + (hold_ms % 1000 >= value)
        if rule.rule == "nearest":
            return (hold_ms + value // 2) // value * value // 1000
        return -(-hold_ms // value) * value // 1000

    def billed(hold_ms: int) -> int:
        if hold_ms <= 0:
            return 0
        over = max(plain(hold_ms) - minimum, 0)
        return minimum + -(-over // step) * step

    return billed
