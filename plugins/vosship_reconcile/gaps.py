"""When a receiver was away, in terms of the calls it can have missed: its clock's spans into spans of stop times.

It does not find absences (the input does) and judges nothing.

A call arrives some time after it stopped: moments when all is well, minutes when the switch had to queue, months when a day is
played back. So each edge of an absence is moved by the delay of the calls that arrived next to it.
"""

from __future__ import annotations

from typing import Any

from vosship.plugin import Attendance
from vosship.standing import Gap
from vosship_reconcile.comparison import arrivals

NEIGHBOURS = 50
"""Arrivals beside an absence that tell the delay (chosen: more than a switch reorders; see the simulator's reach of 40)."""

NEIGHBOURS_MS = 60_000
"""And how far from each other they may lie (chosen: a delay of an hour ago says nothing)."""


IN_FLIGHT_MS = 2000
"""What was sent and had not been kept when a receiver died (chosen: a second on the way, and stops are whole seconds)."""


def missed(db: Any, side: int, attendance: Attendance) -> list[Gap]:
    """The spans of stop times whose calls cannot have arrived. `first_at` 0: the source began before anybody remembers."""
    first_ms, last_ms = round(attendance.first_at * 1000), round(attendance.last_at * 1000)
    found: list[Gap] = []
    if first_ms:
        lags = _lags(db, side, first_ms, before=False)
        begins = first_ms if lags is None else first_ms - lags[1]
        found.append(Gap(from_ms=None, to_ms=begins, reason="before the receiver's first sign of life"))
    for begin, end in attendance.absences:
        away_ms, back_ms = round(begin * 1000), round(end * 1000)
        lags = _lags(db, side, away_ms, before=True)
        start = None if lags is None else away_ms - lags[0] - IN_FLIGHT_MS
        text = f"the receiver was away for {(back_ms - away_ms) / 1000:.1f} s"
        # The least delay after it: what was in flight when it began is sent again first, and is older than what was dropped.
        back = _lags(db, side, back_ms, before=False)
        found.append(Gap(from_ms=start, to_ms=back_ms if back is None else back_ms - back[0], reason=text))
    lags = _lags(db, side, last_ms, before=True)
    edge = last_ms if lags is None else last_ms - lags[0]
    found.append(Gap(from_ms=edge + 1, to_ms=None, reason="after the receiver's last sign of life"))
    return found


def _lags(db: Any, side: int, at_ms: int, *, before: bool) -> tuple[int, int] | None:
    return arrivals(db, side, at_ms, before=before, count=NEIGHBOURS, within_ms=NEIGHBOURS_MS)
