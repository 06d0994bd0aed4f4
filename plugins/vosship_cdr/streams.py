"""What is remembered of each stream between its blocks: layout, column count, unit, and the dates it may hold.

It judges nothing: `recognition` and `units` do.
"""

from __future__ import annotations

import re
from collections import Counter
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from vosship.events import Stream
from vosship_cdr.layout import Layout, LayoutName
from vosship_cdr.units import UnitWatch, Verdict

REMEMBERED = 64
"""Chosen: streams remembered; files are read a few at a time, and one forgotten is recognised again from its next block."""

_NAMED_DATE = re.compile(r"(?<!\d)(20\d\d)(\d\d)(\d\d)(?:_?(\d\d))?")
_ALWAYS = 1 << 62


class StreamState:
    """One stream as far as its lines have shown it."""

    __slots__ = ("count", "earliest_s", "latest_s", "layout", "reason", "seen_to", "settled", "verdict", "votes", "watch")

    def __init__(self, earliest_s: int, latest_s: int, watch: UnitWatch | None) -> None:
        self.layout: Layout | None = None
        self.count = 0
        self.votes: Counter[int] = Counter()
        self.settled = False
        self.seen_to = 0
        """Lines before this offset have voted; one that is tried again alone must not vote twice."""
        self.reason = ""
        self.earliest_s = earliest_s
        self.latest_s = latest_s
        self.watch = watch
        self.verdict: Verdict = ""


class Streams:
    """The states of the streams being read, by name and generation."""

    def __init__(self, zone: ZoneInfo, max_skew_days: int, *, watch: bool) -> None:
        self._zone = zone
        self._skew = timedelta(days=max_skew_days)
        self._watch = watch
        self._states: dict[tuple[str, int], StreamState] = {}
        self.last_counts: dict[LayoutName, int] = {}
        """The column count last seen of each layout, for a last line that is all there is of its file."""

    def of(self, stream: Stream) -> StreamState:
        """The state of a stream; a new one when it is not known or no longer."""
        key = (stream.name, stream.generation)
        state = self._states.get(key)
        if state is None:
            if len(self._states) >= REMEMBERED:
                self._states.pop(next(iter(self._states)))
            state = self._states[key] = StreamState(*self._window(stream.base), UnitWatch() if self._watch else None)
        return state

    def _window(self, base: str) -> tuple[int, int]:
        match = _NAMED_DATE.search(base)
        if not self._skew or not match:
            return -_ALWAYS, _ALWAYS
        year, month, day, hour = (int(group or 0) for group in match.groups())
        try:
            named = datetime(year, month, day, hour, tzinfo=self._zone)
        except ValueError:
            return -_ALWAYS, _ALWAYS
        return int((named - self._skew).timestamp()), int((named + self._skew).timestamp()) + 3600
