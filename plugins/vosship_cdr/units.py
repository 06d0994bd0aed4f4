"""Whether holdTime can be in the unit it is read in: conversation never lasts longer than the call it was part of.

It does not decide what happens on a contradiction.
"""

from __future__ import annotations

from typing import Literal

ENOUGH = 20
"""Chosen: informative calls that decide a stream with a share of SHARE."""

ENOUGH_UNANIMOUS = 5
"""Chosen: fewer calls decide when not one disagrees; five answered calls in a row that all ended within 60 ms do not occur."""

SHARE_PERCENT = 80
"""Chosen: a clock that was set during some calls leaves their times senseless; the rest must still decide."""

LAST_CALL = 200
"""Chosen: a stream still undecided after so many calls holds neither pattern; it is not looked at further."""

SPAN_S = 5
"""Chosen: a call must span so long between start and stop to tell seconds from milliseconds."""

Verdict = Literal["", "ms", "s", "unclear"]


class UnitWatch:
    """Counts, over the answered calls of one stream, which unit the written holdTime can be.

    A number above stop - start (in seconds, plus one for truncation) cannot be seconds. One at or below it would, as
    milliseconds, be a conversation of a few hundredths of a second: possible once, not in call after call.
    """

    __slots__ = ("as_ms", "as_s")

    def __init__(self) -> None:
        self.as_ms = 0
        self.as_s = 0

    def look(self, hold: int, span_s: int) -> None:
        """Take in one answered call: holdTime as written and stop - start."""
        if span_s < SPAN_S:
            return
        if hold <= span_s + 1:
            self.as_s += 1
        elif hold > 2 * (span_s + 1):
            self.as_ms += 1

    def verdict(self) -> Verdict:
        """The unit the numbers fit; "" while there are too few, `unclear` when they never will agree."""
        calls = self.as_ms + self.as_s
        for unit, share in (("ms", self.as_ms), ("s", self.as_s)):
            if (calls >= ENOUGH and share * 100 >= calls * SHARE_PERCENT) or (calls >= ENOUGH_UNANIMOUS and share == calls):
                return "ms" if unit == "ms" else "s"
        return "unclear" if calls >= LAST_CALL else ""

    def leaning(self) -> Literal["", "ms", "s"]:
        """The unit every informative call so far fits, however few; "" when none did or they differ."""
        if self.as_ms and not self.as_s:
            return "ms"
        return "s" if self.as_s and not self.as_ms else ""

    def evidence(self) -> str:
        """The count in words, for a message."""
        return f"of {self.as_ms + self.as_s} answered calls {self.as_s} fit seconds and {self.as_ms} fit milliseconds"
