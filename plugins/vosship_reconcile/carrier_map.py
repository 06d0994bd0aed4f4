"""Another carrier's file as its map says: columns, times, numbers, durations and money into comparable calls.

It matches nothing: `carrier` does.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Annotated, Any
from zoneinfo import ZoneInfo

import msgspec
import yaml
from msgspec import Meta

from vosship.config import check_timezone, convert
from vosship.errors import ConfigError

ColumnName = Annotated[str, Meta(min_length=1)] | Annotated[int, Meta(ge=1)]
"""A title, or a column counted from 1."""


class Columns(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which column holds what."""

    callee: Annotated[ColumnName, Meta(description="called number")]
    answered_at: Annotated[ColumnName, Meta(description="when it was answered")]
    duration: Annotated[ColumnName, Meta(description="billed or measured duration")]
    caller: Annotated[ColumnName | None, Meta(description="caller's number, where it is given")] = None
    cost: Annotated[ColumnName | None, Meta(description="what they charge for the call")] = None
    destination: Annotated[ColumnName | None, Meta(description="their name of the destination")] = None


class Rewrite(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a number is made comparable: `strip` one prefix, then `replace` by expression, then put `prefix` before it."""

    strip: Annotated[list[str], Meta(description="leading texts; the first that fits is taken off")] = []
    replace: Annotated[dict[str, str], Meta(description="regular expression: what takes its place")] = {}
    prefix: Annotated[str, Meta(description="put before what is left")] = ""
    digits_only: Annotated[bool, Meta(description="leave out all but digits, first of all")] = True


class Numbers(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Rewriting of each side's number."""

    caller: Rewrite = Rewrite()
    callee: Rewrite = Rewrite()


class Ours(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What of our copy stands against their file."""

    caller: Annotated[str, Meta(description="our field with the caller's number")] = "callerToGatewayE164"
    callee: Annotated[str, Meta(description="our field with the called number")] = "calleeToGatewayE164"
    caller_gateways: Annotated[list[str], Meta(description="only calls that came in by these (they are our customer)")] = []
    callee_gateways: Annotated[list[str], Meta(description="only calls sent out by these (they are our vendor)")] = []
    numbers: Annotated[Numbers, Meta(description="rewriting of our numbers")] = Numbers()


class Tolerance(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What still counts as agreement."""

    answer_s: Annotated[float, Meta(description="between the answer times, after the clock's offset", gt=0, le=3600)] = 5.0
    duration_s: Annotated[float, Meta(description="between the durations", ge=0, le=3600)] = 1.0


class CarrierMap(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole map."""

    columns: Columns
    timezone: Annotated[str, Meta(description="zone of their times (IANA name)")]
    time_format: Annotated[str, Meta(description="`iso`, `epoch_s`, `epoch_ms` or a strptime pattern")] = "iso"
    duration_unit: Annotated[str, Meta(description="s, ms, min or hh:mm:ss", pattern="^(s|ms|min|hh:mm:ss)$")] = "s"
    delimiter: Annotated[str, Meta(min_length=1, max_length=1)] = ","
    header: Annotated[bool, Meta(description="whether the first line holds titles")] = True
    encoding: str = "utf-8-sig"
    decimal: Annotated[str, Meta(description="decimal mark of the cost", pattern="^[.,]$")] = "."
    currency: str = ""
    numbers: Annotated[Numbers, Meta(description="rewriting of their numbers")] = Numbers()
    ours: Ours = Ours()
    tolerance: Tolerance = Tolerance()
    clock_offset_s: Annotated[float | None, Meta(description="theirs less ours, where known; else it is estimated")] = None


class Theirs(msgspec.Struct, frozen=True):
    """One call as their file has it; `reason` says why a row is none."""

    line: int
    caller: str = ""
    callee: str = ""
    at_ms: int = 0
    duration_ms: int = 0
    cost: Decimal | None = None
    destination: str = ""
    reason: str = ""


def load(path: Path) -> CarrierMap:
    """Read a map. Raises ConfigError with file and place."""
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"the map cannot be read: {reason}", file=str(path), hint="docs/reconcile.md has an example") from error
    return parse(raw, str(path))


def parse(raw: Any, file: str = "") -> CarrierMap:
    """Check a map that was read. Raises ConfigError."""
    try:
        found = convert(raw, CarrierMap, "")
        check_timezone(found.timezone, "timezone")
        for side in (found.numbers, found.ours.numbers):
            for rewrite in (side.caller, side.callee):
                rewriter(rewrite)
    except ConfigError as error:
        error.file = file
        raise
    return found


def rewriter(rewrite: Rewrite) -> Callable[[str], str]:
    """The function a rewriting stands for. Raises ConfigError for an expression that is none."""
    try:
        replacements = [(re.compile(pattern), text) for pattern, text in rewrite.replace.items()]
    except re.error as error:
        raise ConfigError(f"{error.pattern!r} is no regular expression: {error}", path="numbers.replace") from error

    def one(number: str) -> str:
        if rewrite.digits_only:
            number = "".join(filter(str.isdecimal, number))
        for prefix in rewrite.strip:
            if number.startswith(prefix):
                number = number[len(prefix) :]
                break
        for pattern, text in replacements:
            number = pattern.sub(text, number)
        return rewrite.prefix + number

    return one


def read(path: Path, carrier: CarrierMap) -> Iterator[Theirs]:
    """Every row of their file. Raises ConfigError when a mapped column is not there."""
    try:
        with path.open(encoding=carrier.encoding, errors="replace", newline="") as file:
            rows = csv.reader(file, delimiter=carrier.delimiter)
            titles = next(rows, []) if carrier.header else []
            convert_row = _converter(carrier, [title.strip() for title in titles], str(path))
            for row in rows:
                if any(cell.strip() for cell in row):
                    yield convert_row(rows.line_num, row)
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}", path="--right") from error


def _converter(carrier: CarrierMap, titles: list[str], file: str) -> Callable[[int, list[str]], Theirs]:
    columns = carrier.columns
    places = {name: _place(getattr(columns, name), titles, f"columns.{name}", file) for name in columns.__struct_fields__}
    caller, callee = rewriter(carrier.numbers.caller), rewriter(carrier.numbers.callee)
    moment, duration = _moments(carrier), _durations(carrier.duration_unit)

    def one(number: int, row: list[str]) -> Theirs:
        cells = {name: row[place].strip() if place is not None and place < len(row) else "" for name, place in places.items()}
        try:
            cost = cells["cost"].replace(" ", "")
            cost = cost.replace(".", "").replace(",", ".") if carrier.decimal == "," else cost.replace(",", "")
            return Theirs(
                line=number,
                caller=caller(cells["caller"]),
                callee=callee(cells["callee"]),
                at_ms=moment(cells["answered_at"]),
                duration_ms=duration(cells["duration"]),
                cost=Decimal(cost) if cost else None,
                destination=cells["destination"],
            )
        except (ValueError, OverflowError, InvalidOperation) as error:
            return Theirs(line=number, reason=str(error) or type(error).__name__)

    return one


def _place(column: str | int | None, titles: list[str], path: str, file: str) -> int | None:
    if column is None:
        return None
    if isinstance(column, int):
        return column - 1
    if column not in titles:
        raise ConfigError(f"{file} has no column {column!r}", path=path, hint=f"its titles: {', '.join(titles) or 'none'}")
    return titles.index(column)


def _moments(carrier: CarrierMap) -> Callable[[str], int]:
    zone, form = ZoneInfo(carrier.timezone), carrier.time_format
    if form in ("epoch_s", "epoch_ms"):
        factor = Decimal(1000 if form == "epoch_s" else 1)
        return lambda text: int(Decimal(text) * factor)

    def one(text: str) -> int:
        found = datetime.fromisoformat(text) if form == "iso" else datetime.strptime(text, form)
        found = found if found.tzinfo else found.replace(tzinfo=zone)
        return round(found.astimezone(UTC).timestamp() * 1000)

    return one


def _durations(unit: str) -> Callable[[str], int]:
    if unit == "hh:mm:ss":

        def clock(text: str) -> int:
            seconds = Decimal(0)
            for part in text.split(":"):
                seconds = seconds * 60 + Decimal(part)
            return int(seconds * 1000)

        return clock
    factor = Decimal({"s": 1000, "ms": 1, "min": 60_000}[unit])
    return lambda text: int(Decimal(text) * factor)
