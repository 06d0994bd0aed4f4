"""From the words of a command line to a window in time, and the guard rails that such a question must pass.

It asks no store. Filters, order and figures are `query`'s.

A window's days are counted as the switch counts them: every calendar day that it touches, first and last included, so
that 1 April to 1 May is 31. A bare date in `--to` includes that day; any other `--to` is exclusive.
"""

from __future__ import annotations

import errno
import getpass
import json
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import msgspec

from vosship.config import Config, check_timezone
from vosship.errors import ConfigError, DeniedError, FatalError
from vosship.query import TimeField

MAX_DAYS = 31
"""Days a search may span where neither `search.max_days` nor SERVER_QUERY_CDR_MAX_DAY_INTERVAL says (the switch's default)."""

MAX_RESULTS = 30_000_000
"""Calls an answer may hold where neither `search.max_results` nor SERVER_QUERY_MAX_SIZE says (the switch's default)."""

AUDIT_FILE = "audit.log"
"""Below `data_dir`: one JSON object a line for every guard rail that was overridden."""

_DAY = timedelta(days=1)
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_MONTH = re.compile(r"([0-9]{4})-([0-9]{2})")
_VERBS: Mapping[TimeField, str] = {"stop": "stopped", "start": "started", "answer": "were answered"}


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """From one moment up to, not including, another, both in the zone that was asked for."""

    start: datetime
    end: datetime
    zone: ZoneInfo
    time: TimeField = "stop"

    @property
    def from_ms(self) -> int:
        """First millisecond, epoch."""
        return _ms(self.start)

    @property
    def to_ms(self) -> int:
        """First millisecond after it, epoch."""
        return _ms(self.end)

    @property
    def days(self) -> int:
        """Calendar days touched, first and last included."""
        return (self._last - self.start.date()).days + 1

    @property
    def sentence(self) -> str:
        """The window as understood, with its offsets from UTC."""
        return (
            f"calls that {_VERBS[self.time]} from {self.start.isoformat()} up to, not including, {self.end.isoformat()} "
            f"({self.zone.key}; {self.days} {'day' if self.days == 1 else 'days'})"
        )

    def pieces(self) -> Iterator[Window]:
        """The window a calendar day at a time, newest first; together they are the window, without overlap."""
        end, day = self.end, self._last
        while True:
            start = max(self.start, midnight(day, self.zone), key=_ms)
            yield Window(start=start, end=end, zone=self.zone, time=self.time)
            if _ms(start) <= self.from_ms:
                return
            end, day = start, day - _DAY

    @property
    def _last(self) -> date:
        return _day_before(self.end, self.zone)


def midnight(day: date, zone: ZoneInfo) -> datetime:
    """When that day begins there; where the clock skips midnight, the first moment after it."""
    local = datetime(day.year, day.month, day.day, tzinfo=zone)
    return local.astimezone(UTC).astimezone(zone)


def parse(
    *, start: str = "", end: str = "", day: str = "", month: str = "", zone: ZoneInfo, time: TimeField, now: float, max_days: int
) -> Window:
    """The window that `--from`, `--to`, `--day` and `--month` ask for; without any, the last `max_days`.

    `now` (epoch seconds) lies in the last day of a window without an end, unless that begins later: then it is one day. With
    `--to` alone it reaches back `max_days`. Raises ConfigError.
    """
    try:
        return _parse(start, end, day, month, zone, time, now, max_days)
    except (OverflowError, ValueError) as error:  # the first and the last day of the calendar have no midnight before or after
        raise ConfigError("the window leaves the calendar (year 1 to 9999)", hint="such as --day 2026-04-26") from error


def _parse(start: str, end: str, day: str, month: str, zone: ZoneInfo, time: TimeField, now: float, max_days: int) -> Window:
    if sum((bool(day), bool(month), bool(start or end))) > 1:
        raise ConfigError("--day, --month and --from/--to exclude each other", hint="--from 2026-04-01 --to 2026-04-30")
    today = datetime.fromtimestamp(now, UTC).astimezone(zone).date()
    if day:
        first = _date(day, "--day")
        bounds = midnight(first, zone), midnight(first + _DAY, zone)
    elif month:
        first = _month(month)
        bounds = midnight(first, zone), midnight((first + 31 * _DAY).replace(day=1), zone)
    else:
        since = _moment(start, zone, "--from", inclusive=False) if start else None
        if end:
            until = _moment(end, zone, "--to", inclusive=True)
        else:
            until = midnight(max(today, since.date() if since else today) + _DAY, zone)
        bounds = since or midnight(_day_before(until, zone) - (max_days - 1) * _DAY, zone), until
    if _ms(bounds[0]) >= _ms(bounds[1]):
        raise ConfigError(f"the window is empty: {bounds[0].isoformat()} to {bounds[1].isoformat()}", hint="--from before --to")
    return Window(start=bounds[0], end=bounds[1], zone=zone, time=time)


def _date(text: str, option: str) -> date:
    try:
        if not _DATE.fullmatch(text):
            raise ValueError(text)
        return date.fromisoformat(text)
    except ValueError as error:
        raise ConfigError(f"{option}: {text!r} is no date", hint="such as 2026-04-26") from error


def _month(text: str) -> date:
    match = _MONTH.fullmatch(text)
    try:
        if match is None:
            raise ValueError(text)
        return date(int(match[1]), int(match[2]), 1)
    except ValueError as error:
        raise ConfigError(f"--month: {text!r} is no month", hint="such as 2026-04") from error


def _day_before(moment: datetime, zone: ZoneInfo) -> date:
    """The day of the last millisecond before it, by the clock there, which may skip the midnight between."""
    return datetime.fromtimestamp((_ms(moment) - 1) / 1000, UTC).astimezone(zone).date()


def _moment(text: str, zone: ZoneInfo, option: str, *, inclusive: bool) -> datetime:
    if _DATE.fullmatch(text):
        day = _date(text, option)
        return midnight(day + _DAY if inclusive else day, zone)
    try:
        if len(text) <= len("2026-04-26"):  # `20260426` is a midnight to Python: as an end it would leave that day out
            raise ValueError(text)
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise ConfigError(
            f"{option}: {text!r} is no time", hint="such as 2026-04-26, 2026-04-26T12:00 or 2026-04-26T06:00Z"
        ) from error
    if found.tzinfo is None:
        found = found.replace(tzinfo=zone)
    return found.astimezone(UTC).astimezone(zone)


def _ms(moment: datetime) -> int:
    return int(moment.timestamp()) * 1000 + moment.microsecond // 1000


class Guard:
    """The limits of one configuration: its own `search` options first, then the switch's parameters, then the defaults."""

    def __init__(self, config: Config) -> None:
        own, parameters = config.search, config.switch_parameters
        self.max_days = own.max_days or _parameter(parameters, "SERVER_QUERY_CDR_MAX_DAY_INTERVAL", MAX_DAYS)
        self.max_results = own.max_results or _parameter(parameters, "SERVER_QUERY_MAX_SIZE", MAX_RESULTS)
        self.deny_hours = frozenset(_hours(parameters) if own.deny_hours is None else own.deny_hours)
        self._audit = config.data_dir / AUDIT_FILE
        self._zone = check_timezone(config.timezone, "timezone")

    def check_days(self, window: Window) -> None:
        """Raises DeniedError when one search may not span so many days."""
        if window.days > self.max_days:
            raise DeniedError(
                f"the window touches {window.days} days, one search may span {self.max_days}",
                hint="narrow --from and --to; `vosship export` and `vosship stats` go through any window in days",
            )

    def check_hour(self, now: float, command: str, override: str) -> None:
        """Raises DeniedError in a denied hour of the switch's clock, unless `override` gives a reason: then it is written down.

        Raises FatalError when it cannot be written down.
        """
        local = datetime.fromtimestamp(now, UTC).astimezone(self._zone)
        if local.hour not in self.deny_hours:
            return
        if not override.strip():
            raise DeniedError(
                f"between {local.hour:02d}:00 and {local.hour:02d}:59 ({self._zone.key}) the switch's operator denies queries",
                hint='wait, or --override-deny "REASON", which is written to the audit log',
            )
        record = {"at": local.isoformat(timespec="seconds"), "user": _user(), "command": command, "reason": override.strip()}
        try:
            append(self._audit, record)
        except OSError as error:
            hint = "free space there" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "run as the agent's user"
            raise FatalError(f"the override cannot be written to {self._audit}: {error.strerror}", hint=hint) from error

    def check_results(self, results: int) -> None:
        """Raises DeniedError when an answer holds more than `max_results`."""
        if results > self.max_results:
            raise DeniedError(
                f"the answer holds more than {self.max_results:,} calls (max_results)", hint="narrow the window, or add a filter"
            )


def append(path: Path, record: Mapping[str, str]) -> None:
    """Add one line to the audit log; raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(record, ensure_ascii=False) + "\n")


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return "unknown"


def _parameter(parameters: Mapping[str, str | int], name: str, default: int) -> int:
    value = parameters.get(name, default)
    try:
        number = int(value)
    except ValueError:
        number = 0
    if number < 1:
        raise ConfigError(f"{value!r} is no whole number above 0", path=f"switch_parameters.{name}")
    return number


def _hours(parameters: Mapping[str, str | int]) -> list[int]:
    name = "SERVER_QUERY_CDR_DENY_TIME"
    text = str(parameters.get(name, ""))
    try:
        hours = [int(word) for word in text.split(",") if word.strip()]
    except ValueError:
        hours = [-1]
    if any(not 0 <= hour <= 23 for hour in hours):
        raise ConfigError(f"{text!r} is no list of hours", path=f"switch_parameters.{name}", hint="such as 18,19,20")
    return hours
