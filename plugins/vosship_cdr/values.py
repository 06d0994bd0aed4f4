"""Texts of a line into values of a document, each distinct text converted once: times, addresses, numbers, codes.

It does not know columns or layouts, nor what becomes of a line whose text cannot be converted.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from ipaddress import ip_address
from math import isfinite
from typing import Generic, Literal, TypeVar
from zoneinfo import ZoneInfo

T = TypeVar("T")

Times = Literal["auto", "text", "epoch_s", "epoch_ms"]

MEMO_ENTRIES = 5_000
"""Chosen: an hour has 3,600 distinct seconds and a switch a few thousand peers; 5,000 times take about 2 MB."""

LONG_MIN, LONG_MAX = -(2**63), 2**63 - 1
"""What a `long` field of either search engine can hold."""

EARLIEST_MS = 0
"""1970-01-01: earlier times are no calls, and not every store takes negative epoch times."""

LATEST_MS = 253_402_300_799_999
"""9999-12-31T23:59:59.999Z, the last time that can be written in the documents' format."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TEXT_TIME = re.compile(r"(\d{4})[-/](\d{1,2})[-/](\d{1,2})[ T](\d{1,2}):(\d{2}):(\d{2})(?:[.,](\d{1,6}))?", re.ASCII)
_SECONDS_OF_MINUTE = frozenset(f"{second:02d}" for second in range(60))
_EPOCH_TIME = re.compile(r"\d{1,15}", re.ASCII)
_WHOLE = re.compile(r"[+-]?\d{1,19}")
_EPOCH_S_DIGITS = range(9, 11)
"""Digits of epoch seconds between 1973 and 2286."""
_EPOCH_MS_DIGITS = range(12, 14)
"""Digits of epoch milliseconds between 1973 and 2286."""


class UnfitError(ValueError):
    """A text that cannot be what its column should hold; the caller decides what that means for the line."""


class Memo(dict[str, T], Generic[T]):
    """Converted values by their text; a text that does not fit raises UnfitError each time and is not remembered."""

    __slots__ = ("_convert",)

    def __init__(self, convert: Callable[[str], T]) -> None:
        super().__init__()
        self._convert = convert

    def __missing__(self, text: str) -> T:
        value = self._convert(text)
        if len(self) >= MEMO_ENTRIES:
            self.clear()
        self[text] = value
        return value


class Minutes(dict[int, str]):
    """Minutes since 1970 as the beginning of a written time, up to the seconds: `2026-04-26T06:00:`."""

    __slots__ = ()

    def __missing__(self, minute: int) -> str:
        if len(self) >= MEMO_ENTRIES:
            self.clear()
        text = self[minute] = (_EPOCH + timedelta(minutes=minute)).isoformat()[:17]
        return text


SECONDS: tuple[str, ...] = tuple(f"{second:02d}." for second in range(60))
"""The seconds of a written time, with the point."""

MILLIS: tuple[str, ...] = tuple(f"{ms:03d}Z" for ms in range(1000))
"""The end of a written time, by its milliseconds."""


Instant = tuple[str, str, int, int, tuple[str, ...]]
"""A time: as written (UTC), its day in the switch's zone (`2026.04.26`), epoch seconds, epoch ms, tags."""


class Clock:
    """Converts a switch's times. Text is local time of `zone`; epoch numbers are told apart by their digits in `auto`.

    A local time that occurs twice when clocks go back is taken as the first and tagged `time_ambiguous`; one that never
    occurs is shifted forward by the gap and tagged `time_skipped`.
    """

    def __init__(self, zone: ZoneInfo, times: Times = "auto") -> None:
        self._zone = zone
        self._times = times
        self._minutes: dict[str, Instant] = {}
        self._utc_minutes: dict[int, tuple[str, str]] = {}
        # Only where a text can be a time at all: then the seconds of a known minute are added to it (measured: 1 us, not 8).
        self._by_minute = times in ("auto", "text")

    def convert(self, text: str) -> Instant:
        """The instant of one text. Raises UnfitError for what is no time, and before 1970 or after 9999."""
        if len(text) == 13 and self._times in ("auto", "epoch_ms") and text.isascii() and text.isdecimal():
            return self._instant(int(text), ())
        if self._by_minute and len(text) == 19 and text[16] == ":" and (second := text[17:]) in _SECONDS_OF_MINUTE:
            minute = text[:17]
            base = self._minutes.get(minute)
            if base is None:
                try:
                    base = self._minute(minute)
                except UnfitError:
                    self._general(text)  # what is said names the time as written, not its minute
                    raise
            written_minute, day, at_s, at_ms, tags = base
            added_s = int(second)
            return f"{written_minute[:17]}{second}.000Z", day, at_s + added_s, at_ms + added_s * 1000, tags
        return self._general(text.strip())

    def _minute(self, minute: str) -> Instant:
        first, last = self._general(minute + "00"), self._general(minute + "59")
        if last[3] - first[3] != 59_000 or first[3] % 60_000:
            raise UnfitError(f"{minute!r} is a minute in which the zone's offset has seconds")
        if len(self._minutes) >= MEMO_ENTRIES:
            self._minutes.clear()
        self._minutes[minute] = first
        return first

    def _general(self, text: str) -> Instant:
        if self._times in ("auto", "text") and (match := _TEXT_TIME.fullmatch(text)):
            return self._local(match)
        if self._times == "text" or not _EPOCH_TIME.fullmatch(text):
            raise UnfitError(f"{text[:40]!r} is no time")
        if self._times == "epoch_s" or (self._times == "auto" and len(text) in _EPOCH_S_DIGITS):
            return self._instant(int(text) * 1000, ())
        if self._times == "epoch_ms" or len(text) in _EPOCH_MS_DIGITS:
            return self._instant(int(text), ())
        raise UnfitError(f"{text[:40]!r} is no time: neither epoch seconds nor milliseconds")

    def _local(self, match: re.Match[str]) -> Instant:
        year, month, day, hour, minute, second, fraction = match.groups()
        millis = int((fraction or "0").ljust(3, "0")[:3])
        try:
            local = datetime(int(year), int(month), int(day), int(hour), int(minute), int(second), millis * 1000, tzinfo=self._zone)
            offset, later = local.utcoffset(), local.replace(fold=1).utcoffset()
            utc = local.astimezone(UTC)
        except (ValueError, OverflowError) as error:
            raise UnfitError(f"{match.group()!r} is no time: {error}") from error
        tags: tuple[str, ...] = ()
        if offset != later and offset is not None and later is not None:
            # Read with the offset before the change: of a doubled hour that is the first, of a missing one the shift forward.
            tags = ("time_ambiguous",) if offset > later else ("time_skipped",)
        return self._instant((utc - _EPOCH) // timedelta(milliseconds=1), tags)

    def _instant(self, at_ms: int, tags: tuple[str, ...]) -> Instant:
        if not EARLIEST_MS <= at_ms <= LATEST_MS:
            raise UnfitError("the time is before 1970 or after 9999")
        minute, past_ms = divmod(at_ms, 60_000)
        base = self._utc_minutes.get(minute) or self._utc_minute(minute)
        text = f"{base[0]}{SECONDS[past_ms // 1000]}{MILLIS[past_ms % 1000]}"
        return text, base[1], at_ms // 1000, at_ms, tags

    def _utc_minute(self, minute: int) -> tuple[str, str]:
        """A minute's written beginning and its day in the switch's zone: no offset since 1972 has seconds."""
        utc = _EPOCH + timedelta(minutes=minute)
        try:
            day = utc.astimezone(self._zone)
        except OverflowError as error:
            raise UnfitError("the time is after 9999 in the switch's zone") from error
        if len(self._utc_minutes) >= MEMO_ENTRIES:
            self._utc_minutes.clear()
        base = self._utc_minutes[minute] = utc.isoformat()[:17], f"{day.year:04d}.{day.month:02d}.{day.day:02d}"
        return base


def address(text: str) -> str:
    """An IP address as written, or "" for none. Raises UnfitError for what an `ip` field would refuse."""
    if not text:
        return ""
    text = text.strip()
    try:
        ip_address(text)
    except ValueError as error:
        raise UnfitError(f"{text[:60]!r} is no IP address") from error
    if "%" in text:
        raise UnfitError(f"{text[:60]!r} has a zone, which an ip field refuses")
    return text


def whole(text: str) -> int | str:
    """A whole number that a `long` can hold, or "" for none. Raises UnfitError for anything else."""
    if not text:
        return ""
    text = text.strip()
    if not _WHOLE.fullmatch(text) or not LONG_MIN <= (number := int(text)) <= LONG_MAX:
        raise UnfitError(f"{text[:40]!r} is no whole number")
    return number


_AMOUNT = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d{1,3})?", re.ASCII | re.IGNORECASE)


def money(text: str) -> float | str:
    """An amount, or "" for none. Raises UnfitError for what JSON or a `double` cannot hold."""
    if not text:
        return ""
    if not _AMOUNT.fullmatch(text.strip()) or not isfinite(amount := float(text)):
        raise UnfitError(f"{text[:40]!r} is no amount")
    return amount


LONGEST_HOLD_MS = 366 * 86_400_000
"""Chosen: no conversation lasts a year; a single such number would drown every sum of minutes it is in."""


class Holding:
    """Converts holdTime into milliseconds from its unit (`per_unit`: milliseconds in one)."""

    def __init__(self, per_unit: int) -> None:
        self._per_unit = per_unit

    def convert(self, text: str) -> int:
        """Milliseconds; a fraction of the unit is kept to the millisecond. Raises UnfitError for empty, negative, over a year."""
        text = text.strip()
        if _WHOLE.fullmatch(text):
            hold_ms = int(text) * self._per_unit
        else:
            try:
                amount = Decimal(text) * self._per_unit
                hold_ms = int(amount) if amount.is_finite() and abs(amount) <= LONGEST_HOLD_MS else -1
            except (InvalidOperation, ValueError) as error:
                raise UnfitError(f"holdTime {text[:40]!r} is no number") from error
        if not 0 <= hold_ms <= LONGEST_HOLD_MS:
            raise UnfitError(f"holdTime {text[:40]!r} is negative or over a year")
        return hold_ms
