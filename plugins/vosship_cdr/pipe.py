"""The regular line of the pipe file into fields: the path almost every record takes, kept as short as it can be.

It gives the same fields as `lines.build` and takes nothing unusual: whatever does not fit is left for that path.
"""

from __future__ import annotations

from collections.abc import Sequence

from vosship.events import Record
from vosship_cdr.lines import Values, set_beyond
from vosship_cdr.values import LONGEST_HOLD_MS, MILLIS, SECONDS

_PER_UNIT = {"ms": 1, "s": 1000}
"""Milliseconds in one of holdTime's unit."""

_DELAY_DIGITS = 18
"""Longest written delay taken here: always within a `long`."""

COLUMNS = 19
"""Columns of the layout; a line may have further ones."""

_DELAYS = ("callerPdd", "calleePdd")


def read(records: Sequence[Record], count: int, hold_unit: str, values: Values, earliest_s: int, latest_s: int) -> list[Record]:
    """Set the fields of every regular line of `count` columns (at least 17) and return the records that are left.

    A stop outside `earliest_s` to `latest_s` is not regular. Measured 2026-11-20: of all ways tried (unpacking into one dict
    display, copying a template, joining memoised dicts, zip) this is the cheapest; a text is converted once where texts
    repeat (times, addresses, codes) and each time where they seldom do (delays, durations).
    """
    instants, addresses, wholes, minutes = values.instants, values.addresses, values.wholes, values.minutes
    two_digits, millis, per_unit, received = SECONDS, MILLIS, _PER_UNIT[hold_unit], values.received
    rounds = values.rounding is not None
    carriage = bool(records) and b"\r" in records[0].block.data
    missing = _DELAYS[count - 17 :]
    filling = ["0"] * len(missing)
    further: list[str] = []
    left: list[Record] = []
    for record in records:
        try:
            text = record.line.decode()
            parts = (text.rstrip("\r") if carriage else text).split("|")
            if len(parts) != count:
                left.append(record)
                continue
            if count != COLUMNS:
                further = parts[COLUMNS:]
                parts = parts[:COLUMNS] + filling
            (caller, callee, start_text, stop_text, hold_text, reason, direction, caller_gateway, callee_gateway,
             caller_ip, callee_ip, caller_access, callee_access, caller_out, callee_out, payer, mode,
             caller_delay, callee_delay) = parts  # fmt: skip
            start, _, _, start_ms, start_tags = instants[start_text]
            stop, day, stop_s, stop_ms, stop_tags = instants[stop_text]
            hold_ms = 0 if hold_text == "0" else int(hold_text) * per_unit if hold_text.isdecimal() else -1
            # Fifteen pairs in the display: CPython builds a longer one as two dicts and merges them (15 % of its cost).
            fields = {
                "@timestamp": stop, "layout": "pipe", "callerE164": caller, "calleeE164": callee, "startTime": start,
                "stopTime": stop, "holdTime": hold_ms, "endReason": reason, "endDirection": wholes[direction],
                "callerGatewayId": caller_gateway, "calleeGatewayId": callee_gateway, "callerIp": addresses[caller_ip],
                "calleeIp": addresses[callee_ip], "callerAccessE164": caller_access, "calleeAccessE164": callee_access,
            }  # fmt: skip
            fields["callerToGatewayE164"] = caller_out
            fields["calleeToGatewayE164"] = callee_out
            fields["calleeBilling"] = wholes[payer]
            fields["billingMode"] = wholes[mode]
            fields["call.answered"] = hold_ms > 0
            fields["callerPdd"] = int(caller_delay) if caller_delay.isdecimal() else wholes[caller_delay]
            fields["calleePdd"] = int(callee_delay) if callee_delay.isdecimal() else wholes[callee_delay]
        except ValueError:  # of any of the conversions, or of decoding
            left.append(record)
            continue
        if (
            start_tags or stop_tags or stop_ms < start_ms or not 0 <= hold_ms <= LONGEST_HOLD_MS
            or not earliest_s <= stop_s <= latest_s or len(caller_delay) > _DELAY_DIGITS or len(callee_delay) > _DELAY_DIGITS
        ):  # fmt: skip
            left.append(record)
            continue
        for name in missing:
            del fields[name]
        if not (
            caller and callee and reason and direction and caller_gateway and callee_gateway and caller_ip and callee_ip
            and caller_access and callee_access and caller_out and callee_out and payer and mode and caller_delay and callee_delay
        ):  # fmt: skip
            fields = {name: value for name, value in fields.items() if value != ""}
        if hold_ms and (answered_ms := stop_ms - hold_ms) >= 0:
            at_s = answered_ms // 1000
            fields["call.answered_at"] = f"{minutes[at_s // 60]}{two_digits[at_s % 60]}{millis[answered_ms % 1000]}"
            if received and answered_ms >= start_ms:
                fields["call.setup_ms"] = answered_ms - start_ms
        if further:
            set_beyond(fields, further, [], values)
        if rounds:
            fields["call.billed_s"] = values.billed_s(fields, hold_ms)
        record.fields = {**record.fields, **fields} if record.fields else fields
        record.day, record.at = day, stop_s
    return left
