"""Column layouts of an export: which fields, in which order, under which names, units and date formats.

It writes no file. A layout is one built in or an operator's own YAML file:

    delimiter: ";"
    columns:
      - {field: callerE164, name: A_NUMBER}
      - {field: startTime, name: START, date: "%d.%m.%Y %H:%M:%S"}
      - {field: holdTime, name: SECONDS, unit: s, rounding: up}
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

import msgspec
import yaml
from msgspec import Meta

from vosship import parquet
from vosship.config import convert
from vosship.errors import ConfigError
from vosship.plugin import nearest
from vosship.query import epoch_ms
from vosship.schema import Schema


class Column(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One column of an export."""

    field: Annotated[str, Meta(description="field of the documents")]
    name: Annotated[str, Meta(description="title (default: the field's name)")] = ""
    unit: Annotated[Literal["ms", "s"], Meta(description="of a duration in milliseconds")] = "ms"
    decimals: Annotated[int, Meta(description="of seconds", ge=0, le=3)] = 0
    rounding: Annotated[Literal["down", "nearest", "up"], Meta(description="of what the decimals leave out")] = "nearest"
    date: Annotated[str, Meta(description="`iso` (UTC), `epoch_ms`, `epoch_s`, or a strftime pattern in --tz")] = "iso"

    @property
    def title(self) -> str:
        """What stands above the column."""
        return self.name or self.field


class Layout(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Columns in their order, and how CSV is written."""

    columns: Annotated[list[Column], Meta(min_length=1)]
    delimiter: Annotated[str, Meta(min_length=1, max_length=1)] = ","
    header: bool = True


_MEMO = 10_000
"""Distinct times remembered for each column (chosen: two hours of seconds, 2 MB; calls come in their order)."""

_DATES = ("iso", "epoch_ms", "epoch_s")
_DIRECTIVE = re.compile(r"%(?:[-_0^#]?[aAbBcCdDeFgGhHIjklmMnprRsStTuUVwWxXyYzZ]|[f%])")
"""What strftime knows (glibc's manual, and Python's %f); it writes anything else as it stands."""

_NO_DELIMITER = ('"', "\r", "\n")
"""What CSV needs for something else."""

_LOCAL = "%Y-%m-%d %H:%M:%S"


def _plain(*names: str, date: str = "iso") -> list[Column]:
    return [Column(field=name, date=date) for name in names]


BUILT_IN: Mapping[str, Layout] = {
    "calls": Layout(
        columns=_plain(
            "@timestamp", "startTime", "call.answered_at", "holdTime", "callerE164", "calleeE164", "callerAccessE164",
            "calleeAccessE164", "callerToGatewayE164", "calleeToGatewayE164", "callerGatewayId", "calleeGatewayId", "callerIp",
            "calleeIp", "endReason", "end.text", "end.by", "billingMode", "callerPdd", "calleePdd", "switch", "channel",
            "log.file.path", "log.offset", "tags",
        )
    ),
    "pipe": Layout(
        columns=_plain(
            "callerE164", "calleeE164", "startTime", "stopTime", "holdTime", "endReason", "endDirection", "callerGatewayId",
            "calleeGatewayId", "callerIp", "calleeIp", "callerAccessE164", "calleeAccessE164", "callerToGatewayE164",
            "calleeToGatewayE164", "calleeBilling", "billingMode", "callerPdd", "calleePdd", date=_LOCAL,
        ),
        delimiter="|",
        header=False,
    ),
    "billing": Layout(
        columns=[
            *_plain("startTime", "call.answered_at", "stopTime", date=_LOCAL),
            *_plain("callerE164", "calleeE164", "callerGatewayId", "calleeGatewayId"),
            Column(field="holdTime", name="seconds", unit="s", rounding="up"),
            *_plain("endReason", "billingMode", "switch", "log.file.path", "log.offset"),
        ]
    ),
}  # fmt: skip
"""`calls`: what an analyst wants, in UTC; `pipe`: the switch's own columns, units and clock; `billing`: whole seconds,
any fraction rounded up, so that it is never less than what a carrier charges."""


def load(name: str, base_dir: Path, schema: Schema) -> Layout:
    """A built-in layout, or the YAML file of that name. Raises ConfigError, also for what would be left out silently."""
    if name in BUILT_IN:
        known = [column for column in BUILT_IN[name].columns if column.field in schema]
        return msgspec.structs.replace(BUILT_IN[name], columns=known if name == "calls" else BUILT_IN[name].columns)
    path = base_dir / name
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        hint = f"built in: {', '.join(BUILT_IN)}; or a YAML file, its path relative to the configuration's folder"
        raise ConfigError(f"no layout {name!r}: {path}: {error.strerror}", hint=hint) from error
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        text = " ".join(str(error).split())
        raise ConfigError(f"not YAML: {text}", file=str(path), hint="docs/search.md has an example") from error
    try:
        layout = convert(raw, Layout, "")
        if layout.delimiter in _NO_DELIMITER:
            raise ConfigError(f"{layout.delimiter!r} cannot part columns", path="delimiter", hint='such as ";"')
        for place, column in enumerate(layout.columns):
            _check(column, schema, f"columns[{place}]")
        titles = [column.title for column in layout.columns]
        for place, title in enumerate(titles):
            if title in titles[:place]:
                raise ConfigError(f"a second column {title!r}", path=f"columns[{place}].name", hint="give it a `name` of its own")
    except ConfigError as error:
        error.file = str(path)
        raise
    return layout


def _check(column: Column, schema: Schema, path: str) -> None:
    field = schema.get(column.field)
    if field is None and not column.field.startswith("labels."):
        hint = nearest(column.field, [field.name for field in schema])
        raise ConfigError(f"no field {column.field!r}", path=f"{path}.field", hint=hint)
    if column.unit == "s" and (field is None or field.unit != "ms"):
        raise ConfigError(f"{column.field!r} is no duration in milliseconds", path=f"{path}.unit", hint="leave `unit` out")
    if column.date in _DATES:
        return
    if field is None or field.type != "date":
        raise ConfigError(f"{column.field!r} is no date", path=f"{path}.date", hint="leave `date` out")
    if "%" not in column.date or "%" in _DIRECTIVE.sub("", column.date):
        hint = f'{", ".join(_DATES)}, or a pattern such as "{_LOCAL}"'
        raise ConfigError(f"{column.date!r} is no way to write a date", path=f"{path}.date", hint=hint)


def converters(layout: Layout, schema: Schema, zone: ZoneInfo) -> list[tuple[str, Callable[[Any], Any]]]:
    """For each column its field and what makes a document's value the column's; absent values are not converted."""
    return [(column.field, _converter(column, schema, zone)) for column in layout.columns]


def _converter(column: Column, schema: Schema, zone: ZoneInfo) -> Callable[[Any], Any]:
    field = schema.get(column.field)
    if field is not None and field.type == "date":
        return _date(column.date, zone)
    if field is not None and field.unit == "ms" and column.unit == "s":
        return lambda ms: seconds(ms, column.decimals, column.rounding)
    return _text


def _date(form: str, zone: ZoneInfo) -> Callable[[Any], Any]:
    if form == "iso":
        return str
    if form == "epoch_ms":
        return lru_cache(_MEMO)(epoch_ms)
    if form == "epoch_s":
        return lru_cache(_MEMO)(lambda text: epoch_ms(text) // 1000)
    return lru_cache(_MEMO)(lambda text: datetime.fromisoformat(text).astimezone(zone).strftime(form))


def _text(value: Any) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return ";".join(map(str, value))
    return msgspec.json.encode(value).decode() if isinstance(value, dict) else value


def seconds(ms: int, decimals: int, rounding: Literal["down", "nearest", "up"]) -> str:
    """Milliseconds as seconds with so many decimals, exactly; `nearest` rounds a half up."""
    step = 10 ** (3 - decimals)
    units, rest = divmod(ms, step)
    if (rounding == "up" and rest) or (rounding == "nearest" and rest * 2 >= step > 1):
        units += 1
    whole, fraction = divmod(units, 10**decimals)
    return f"{whole}.{fraction:0{decimals}d}" if decimals else str(whole)


def typed(layout: Layout, schema: Schema, zone: ZoneInfo) -> list[tuple[str, str, parquet.Kind, Callable[[Any], Any]]]:
    """For each column its title, its field, its type in Parquet, and what makes a document's value the column's."""
    found = []
    for column in layout.columns:
        field, way = schema.get(column.field), _converter(column, schema, zone)
        kind = parquet.TEXT if field is None else _KINDS.get(field.type, parquet.TEXT)
        if field is not None and field.type == "date":
            if column.date == "iso":
                kind, way = parquet.MOMENT, _date("epoch_ms", zone)
            elif not column.date.startswith("epoch"):
                kind = parquet.TEXT
        elif field is not None and field.unit == "ms" and column.unit == "s":
            kind, way = _seconds(column)
        elif kind is not parquet.TEXT:
            way = _as_it_is
        found.append((column.title, column.field, kind, way))
    return found


_KINDS = {
    "long": parquet.WHOLE,
    "integer": parquet.WHOLE,
    "double": parquet.DOUBLE,
    "boolean": parquet.BOOLEAN,
    "date": parquet.WHOLE,
}


def _seconds(column: Column) -> tuple[parquet.Kind, Callable[[Any], Any]]:
    kind = parquet.decimal(column.decimals) if column.decimals else parquet.WHOLE
    return kind, lambda ms: int(seconds(ms, column.decimals, column.rounding).replace(".", ""))


def _as_it_is(value: Any) -> Any:
    return value
