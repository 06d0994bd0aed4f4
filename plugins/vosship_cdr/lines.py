"""One line of any layout into fields, whatever is unusual about it: the path for what `pipe` does not take.

It does not know streams: what it needs of one (layout, column count) it is told. A line that cannot be read raises
UnreadableError with the word it will be counted by.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from vosship_cdr.layout import Layout
from vosship_cdr.options import CdrOptions
from vosship_cdr.rounding import Round, rounder
from vosship_cdr.values import MILLIS, SECONDS, Clock, Holding, Instant, Memo, Minutes, UnfitError, address, money, whole


class UnreadableError(ValueError):
    """The line is dead; `reason` is the fixed word, the message the detail."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(detail)
        self.reason = reason


class Values:
    """The conversions of one processor instance, their memos, and its billing rules."""

    def __init__(self, clock: Clock, options: CdrOptions) -> None:
        self.instants: Memo[Instant] = Memo(clock.convert)
        self.addresses: Memo[str] = Memo(address)
        self.wholes: Memo[int | str] = Memo(whole)
        self.holdings: dict[str, Memo[int]] = {"ms": Memo(Holding(1).convert), "s": Memo(Holding(1000).convert)}
        self.minutes = Minutes()
        self.received = options.start_time == "received"
        self.extra_fields = tuple(f"labels.{name}" for name in options.extra_fields)
        self.rounding = options.rounding
        self._round = rounder(options.rounding) if options.rounding else None
        self._side = f"{options.rounding.side}GatewayId" if options.rounding else ""
        self._by_gateway: dict[str, Round] = {}
        if options.rounding:
            self._by_gateway = {
                name: rounder(rule, f"rounding.gateways.{name}") for name, rule in options.rounding.gateways.items()
            }

    def billed_s(self, fields: dict[str, Any], hold_ms: int) -> int | None:
        """Billed seconds by the configured rule of the call's gateway; None without a rule."""
        if self._round is None:
            return None
        return self._by_gateway.get(fields.get(self._side, ""), self._round)(hold_ms)


def build(parts: list[str], layout: Layout, hold_unit: str, values: Values, tags: list[str]) -> tuple[dict[str, Any], Instant]:
    """Fields of one line whose positions are trusted, and its stop. Adds to `tags`.

    A value that does not fit its column's type is left out of its field, kept in `extra` as `name=text` and tagged `bad_ip`
    or `bad_number`, so that the mapping never refuses a whole call for it. The two times and holdTime are no such values:
    without them it is no call. Raises UnreadableError (`bad_time`, `bad_number`).
    """
    start, stop, hold_ms = _essentials(parts, layout, hold_unit, values)
    unfit: list[str] = []
    fields: dict[str, Any] = {"@timestamp": stop[0], "layout": layout.name}
    for column, text in zip(layout.columns, parts, strict=False):
        name = column.name
        if name == "holdTime":
            fields[name] = hold_ms
        elif not text:
            continue
        elif column.type == "keyword":
            fields[name] = text
        elif text.strip():
            try:
                value = _converters(values)[column.type](text)
            except UnfitError:
                if name == "startTime" or name == "stopTime":
                    raise
                unfit.append(f"{name}={text}")
                _tag(tags, "bad_ip" if column.type == "ip" else "bad_number")
            else:
                if value != "":
                    fields[name] = value
    finish(fields, start, stop, hold_ms, values, tags)
    set_beyond(fields, parts[len(layout.columns) :], unfit, values)
    return fields, stop


def _essentials(parts: list[str], layout: Layout, hold_unit: str, values: Values) -> tuple[Instant, Instant, int]:
    try:
        start = values.instants[parts[layout.index("startTime")]]
        stop = values.instants[parts[layout.index("stopTime")]]
    except UnfitError as error:
        raise UnreadableError("bad_time", str(error)) from error
    try:
        return start, stop, values.holdings[hold_unit][parts[layout.index("holdTime")]]
    except UnfitError as error:
        raise UnreadableError("bad_number", str(error)) from error


def _converters(values: Values) -> dict[str, Callable[[str], Any]]:
    return {
        "ip": values.addresses.__getitem__,
        "date": lambda text: "" if text.strip() in ("", "0") else values.instants[text][0],
        "long": values.wholes.__getitem__,
        "double": money,
    }


def finish(fields: dict[str, Any], start: Instant, stop: Instant, hold_ms: int, values: Values, tags: list[str]) -> None:
    """Set what follows from the times and the hold: `call.*`, and the tags of the times."""
    fields["call.answered"] = hold_ms > 0
    if hold_ms > 0:
        answered_ms = stop[3] - hold_ms
        if answered_ms >= 0:
            fields["call.answered_at"] = (
                values.minutes[answered_ms // 60_000] + SECONDS[answered_ms // 1000 % 60] + MILLIS[answered_ms % 1000]
            )
            if values.received and answered_ms >= start[3]:
                fields["call.setup_ms"] = answered_ms - start[3]
    billed_s = fields.get("feeTime")
    if billed_s is None:
        billed_s = values.billed_s(fields, hold_ms)
    if billed_s is not None:
        fields["call.billed_s"] = billed_s
    for tag in (*start[4], *stop[4]):
        _tag(tags, tag)
    if stop[3] < start[3]:
        _tag(tags, "stop_before_start")


def set_beyond(fields: dict[str, Any], further: list[str], unfit: list[str], values: Values) -> None:
    """Set the columns beyond the layout: those with a name below `labels.`, the others, and what did not fit, in `extra`."""
    fields.update({name: text for name, text in zip(values.extra_fields, further, strict=False) if text})
    extra = further[len(values.extra_fields) :]
    while extra and not extra[-1]:
        extra.pop()
    if extra or unfit:
        fields["extra"] = extra + unfit


def _tag(tags: list[str], tag: str) -> None:
    if tag not in tags:
        tags.append(tag)
