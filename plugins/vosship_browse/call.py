"""One call as a page shows it: every value in the operator's words, in the switch's time.

It finds no call by its content: that is the store's search.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from vosship_browse.days import DAY_FILE

SIDES: tuple[tuple[str, str, str], ...] = (
    ("as received", "callerAccessE164", "calleeAccessE164"), ("as billed", "callerE164", "calleeE164"),
    ("as sent", "callerToGatewayE164", "calleeToGatewayE164"), ("digits", "caller.number", "callee.number"),
    ("gateway", "callerGatewayId", "calleeGatewayId"), ("gateway's name", "caller.gateway.name", "callee.gateway.name"),
    ("customer", "caller.customer", "callee.customer"), ("vendor", "caller.vendor", "callee.vendor"),
    ("country", "caller.country", "callee.country"), ("destination", "", "callee.destination"),
    ("address", "callerIp", "calleeIp"), ("media address", "callerRtpIp", "calleeRtpIp"),
    ("codec", "callerCodec", "calleeCodec"), ("PDD", "callerPdd", "calleePdd"),
)  # fmt: skip
"""Rows of the table of both sides: title, field of the caller's side, field of the callee's."""

GROUPS: tuple[tuple[str, tuple[tuple[str, str], ...]], ...] = (
    ("Times", (("received", "startTime"), ("answered", "call.answered_at"), ("stopped", "stopTime"), ("set-up", "call.setup_ms"),
               ("conversation", "holdTime"), ("billed", "call.billed_s"))),
    ("Ending", (("end reason", "endReason"), ("in words", "end.text"), ("class", "end.class"), ("hung up by", "end.by"))),
    ("Billing", (("account", "billing.account_type"), ("paid by", "billing.party"), ("billing mode", "billingMode"),
                 ("fee", "fee"), ("customer account", "customerAccount"), ("customer name", "customerName"))),
    ("Evidence", (("file", "log.file.path"), ("byte", "log.offset"), ("line", "event.original"), ("tags", "tags"),
                  ("channel", "channel"), ("layout", "layout"), ("switch", "switch"), ("read", "event.ingested"),
                  ("forward arrived", "forward.received_at"), ("forward lag", "forward.lag_ms"), ("flowno", "flowNo"))),
)  # fmt: skip

LARGEST = 2**63 - 1
"""The largest whole number that SQLite knows."""

_MILLISECONDS = {"holdTime", "callerPdd", "calleePdd", "call.setup_ms", "forward.lag_ms"}
_SECONDS = {"call.billed_s", "feeTime"}
_SAID_ELSEWHERE = {"@timestamp", "_file", "_id", "host", "endDirection", "calleeBilling", "end.code", "call.answered", "labels"}


class Call(NamedTuple):
    """What the page shows."""

    headline: str
    outcome: str
    answered: bool
    sides: list[tuple[str, str, str]]
    groups: list[tuple[str, list[tuple[str, str]]]]


def find(directory: Path, key: str, zone: ZoneInfo) -> Call | None:
    """The call of that key (`index!offset!id`), if there is one. Raises sqlite3.Error."""
    parts = key.split("!")
    if len(parts) != 3 or not parts[1].isdecimal() or int(parts[1]) > LARGEST:
        return None
    path = directory / f"{parts[0]}.sqlite"
    if not DAY_FILE.fullmatch(path.name) or path.parent != directory or not path.exists():
        return None
    mode = "mode=ro" if Path(f"{path}-wal").exists() else "mode=ro&immutable=1"
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?{mode}", uri=True)) as db:
        db.row_factory = sqlite3.Row
        kinds = {row[1]: row[2] for row in db.execute("PRAGMA table_info(calls)")}
        # Naming every file lets the primary key, which begins with it, find the row at once.
        key_sql = '_file IN (SELECT number FROM files) AND "log.offset" = ? AND _id = ?'
        row = db.execute(f"SELECT * FROM calls WHERE {key_sql}", (int(parts[1]), parts[2])).fetchone()
    if row is None:
        return None
    values = {name: row[name] for name in row.keys() if row[name] is not None}  # noqa: SIM118  a Row iterates over values
    return _arranged({name: _text(name, value, kinds[name], zone) for name, value in values.items()}, bool(values.get("holdTime")))


def _text(name: str, value: Any, kind: str, zone: ZoneInfo) -> str:
    if kind.startswith("DATE"):
        return datetime.fromtimestamp(value / 1000, zone).strftime("%Y-%m-%d %H:%M:%S")
    if kind.startswith("BOOLEAN"):
        return "yes" if value else "no"
    if name in _MILLISECONDS:
        return f"{value / 1000:,.3f} s"
    return f"{value:,} s" if name in _SECONDS else str(value)


def _arranged(texts: Mapping[str, str], answered: bool) -> Call:
    used = {*_SAID_ELSEWHERE, *(name for _, *names in SIDES for name in names)}
    sides = [
        (title, texts.get(caller, ""), texts.get(callee, ""))
        for title, caller, callee in SIDES
        if caller in texts or callee in texts
    ]
    groups = []
    for title, rows in GROUPS:
        used.update(name for _, name in rows)
        found = [(words, texts[name]) for words, name in rows if name in texts]
        if found:
            groups.append((title, found))
    further = [(name, text) for name, text in texts.items() if name not in used]
    if further:
        groups.append(("Further fields", further))
    ending = " ".join(part for part in (texts.get("endReason"), texts.get("end.text")) if part)
    outcome = f"answered, {texts['holdTime']}" if answered else "not answered"
    return Call(
        f"{texts.get('callerE164', 'unknown')} → {texts.get('calleeE164', 'unknown')}",
        ", ".join(part for part in (outcome, ending) if part),
        answered,
        sides,
        groups,
    )
