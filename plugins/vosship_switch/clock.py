"""The switch's wall clock: epoch seconds to its local time and back into text, quickly.

It does not tell the time: every moment is given to it.
"""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

_EPOCH_ORDINAL = datetime(1970, 1, 1).toordinal()
_QUARTER_S = 900
"""Zones change their offset on quarter hours only, so one look-up serves a quarter."""

_MINUTES = tuple(f"{minute // 60:02d}:{minute % 60:02d}" for minute in range(1440))
_SECONDS = tuple(f":{second:02d}" for second in range(60))


class LocalClock:
    """Conversions in one zone, remembered per quarter hour and per day."""

    def __init__(self, zone: ZoneInfo) -> None:
        self._zone = zone
        self._offsets: dict[int, int] = {}
        self._days: dict[int, str] = {}

    def local_s(self, epoch_s: int) -> int:
        """The wall clock's reading as seconds since 1970-01-01 00:00 on that same clock."""
        quarter = epoch_s // _QUARTER_S
        offset = self._offsets.get(quarter)
        if offset is None:
            moment = datetime.fromtimestamp(quarter * _QUARTER_S, UTC).astimezone(self._zone)
            delta = moment.utcoffset()
            offset = self._offsets[quarter] = int(delta.total_seconds()) if delta is not None else 0
        return epoch_s + offset

    def text(self, epoch_ms: int) -> str:
        """`YYYY-MM-DD HH:MM:SS`, fractions cut off."""
        local = self.local_s(epoch_ms // 1000)
        number, second = divmod(local, 86_400)
        day = self._days.get(number)
        if day is None:
            day = self._days[number] = datetime.fromordinal(_EPOCH_ORDINAL + number).strftime("%Y-%m-%d ")
        return day + _MINUTES[second // 60] + _SECONDS[second % 60]
