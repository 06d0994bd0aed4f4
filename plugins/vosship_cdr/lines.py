"""One line of any layout into fields, whatever is unusual about it: the path for what `pipe` does not take.

It does not know streams: what it needs of one (layout, column count) it is told. A line that cannot be read raises
UnreadableError with the word it will be counted by.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from vosship_cdr.layout import COLUMNS, Layout
from vosship_cdr.options import CdrOptions
from vosship_cdr.rounding import Round, rounder
from vosship_cdr.values import MILLIS, SECONDS, Clock, Holding, Instant, Memo, Minutes, UnfitError, address, money, whole

Convert = Callable[[str], Any]
Plan = list[tuple[str, Convert | None]]

_UNFIT_TAGS = {"ip": "bad_ip", "date": "bad_date", "long": "bad_number", "double": "bad_number"}
"""The tag of a value left out, by its column's type."""


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

        self._dates: Memo[str] = Memo(lambda text: "" if text.strip() == "0" else clock.convert(text)[0])
        self._amounts: Memo[float | str] = Memo(money)
        self._plans: dict[tuple[str, str], Plan] = {}

    def plan(self, layout: Layout, hold_unit: str) -> Plan:
        """Each column's field and conversion (None: the text as it is), in the layout's order."""
        key = (layout.name, hold_unit)
        if key not in self._plans:
            converters: dict[str, Convert | None] = {
                "keyword": None,
                "ip": self.addresses.__getitem__,
                "date": self._dates.__getitem__,
                "long": self.wholes.__getitem__,
                "double": self._amounts.__getitem__,
            }
            special: dict[str, Convert] = {
                "startTime": self._instant_text,
                "stopTime": self._instant_text,
                "holdTime": self.holdings[hold_unit].__getitem__,
            }
            self._plans[key] = [(column.name, special.get(column.name) or converters[column.type]) for column in layout.columns]
        return self._plans[key]

    def _instant_text(self, text: str) -> str:
        return self.instants[text][0]

    def billed_s(self, fields: dict[str, Any], hold_ms: int) -> int | None:
        """Billed seconds by the configured rule of the call's gateway; None without a rule."""
        if self._round is None:
            return None
        return self._by_gateway.get(fields.get(self._side, ""), self._round)(hold_ms)


def build(parts: list[str], layout: Layout, hold_unit: str, values: Values, tags: list[str]) -> tuple[dict[str, Any], Instant]:
    """Fields of one line whose positions are trusted, and its stop. Adds to `tags`.

    A value that does not fit its column's type is left out of its field, kept in `extra` as `name=text` and tagged `bad_ip`,
    `bad_date` or `bad_number`, so that the mapping never refuses a whole call for it. The two times and holdTime are no such
    values: without them it is no call. Raises UnreadableError (`bad_time`, `bad_number`).
    """
    start, stop, hold_ms = _essentials(parts, layout, hold_unit, values)
    unfit: list[str] = []
    fields: dict[str, Any] = {"@timestamp": stop[0], "layout": layout.name}
    for (name, convert), text in zip(values.plan(layout, hold_unit), parts, strict=False):
        if not text:
            continue
        if convert is None:
            fields[name] = text
            continue
        try:
            if (value := convert(text)) != "":
                fields[name] = value
        except UnfitError:
            if text.strip():
                unfit.append(f"{name}={text}")
                _tag(tags, _UNFIT_TAGS[COLUMNS[name].type])
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
