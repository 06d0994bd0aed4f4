"""The regular line of the pipe file into fields: the path almost every record takes, kept as short as it can be.

It gives the same fields as `lines.build` and takes nothing unusual: whatever does not fit is left for that path.
"""

from __future__ import annotations

from collections.abc import Sequence

from vosship.events import Record
from vosship_cdr.lines import Values
from vosship_cdr.values import LONGEST_HOLD_MS, MILLIS, UnfitError

KEPT_APART = 19
"""Columns of the layout; what a line has beyond them is not regular."""


def read(records: Sequence[Record], count: int, hold_unit: str, values: Values, earliest_s: int, latest_s: int) -> list[Record]:
    """Set the fields of every regular line of `count` columns (17 to 19) and return the records that are left.

    A stop outside `earliest_s` to `latest_s` is not regular.
    """
    instants, addresses, wholes, seconds, millis = values.instants, values.addresses, values.wholes, values.seconds, MILLIS
    holds, received, rounds = values.holdings[hold_unit], values.received, values.rounding is not None
    left: list[Record] = []
    for record in records:
        try:
            text = record.line.decode()
            # A line with other than 17 to 19 columns raises ValueError here or fails the count below.
            (caller, callee, start_text, stop_text, hold_text, reason, direction, caller_gateway, callee_gateway, caller_ip,
             callee_ip, caller_access, callee_access, caller_out, callee_out, payer, mode, *delays) = text.split("|")  # fmt: skip
            start, _, start_s, start_ms, start_tags = instants[start_text]
            stop, day, stop_s, stop_ms, stop_tags = instants[stop_text]
            hold_ms = holds[hold_text]
            if (
                len(delays) + 17 != count
                or start_tags
                or stop_tags
                or stop_ms < start_ms
                or not earliest_s <= stop_s <= latest_s
            ):
                left.append(record)
                continue
            fields = {
                "@timestamp": stop,
                "layout": "pipe",
                "callerE164": caller,
                "calleeE164": callee,
                "startTime": start,
                "stopTime": stop,
                "holdTime": hold_ms,
                "endReason": reason,
                "endDirection": wholes[direction],
                "callerGatewayId": caller_gateway,
                "calleeGatewayId": callee_gateway,
                "callerIp": addresses[caller_ip],
                "calleeIp": addresses[callee_ip],
                "callerAccessE164": caller_access,
                "calleeAccessE164": callee_access,
                "callerToGatewayE164": caller_out,
                "calleeToGatewayE164": callee_out,
                "calleeBilling": wholes[payer],
                "billingMode": wholes[mode],
                "call.answered": hold_ms > 0,
            }
            if delays:
                fields["callerPdd"] = wholes[delays[0]]
                if count == 19:
                    fields["calleePdd"] = wholes[delays[1]]
        except (UnfitError, ValueError):
            left.append(record)
            continue
        if "||" in text or not caller or text[-1] == "|":
            fields = {name: value for name, value in fields.items() if value != ""}
        if hold_ms:
            answered_ms = stop_ms - hold_ms
            if answered_ms >= 0:
                fields["call.answered_at"] = seconds[answered_ms // 1000] + millis[answered_ms % 1000]
                if received and answered_ms >= start_ms:
                    fields["call.setup_ms"] = answered_ms - start_ms
        if rounds:
            fields["call.billed_s"] = values.billed_s(fields, hold_ms)
        record.fields = {**record.fields, **fields} if record.fields else fields
        record.day = day
        record.at = stop_s
    return left
