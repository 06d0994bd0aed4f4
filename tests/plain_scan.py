"""What a search and its figures must answer, worked out the plain way: every call looked at, nothing of ours used.

It is written from the documents' words, apart from the code under test, so that the two can disagree.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

PIPE = (
    "callerE164", "calleeE164", "startTime", "stopTime", "holdTime", "endReason", "endDirection", "callerGatewayId",
    "calleeGatewayId", "callerIp", "calleeIp", "callerAccessE164", "calleeAccessE164", "callerToGatewayE164",
    "calleeToGatewayE164", "calleeBilling", "billingMode", "callerPdd", "calleePdd",
)  # fmt: skip
"""The switch's manual: the columns of a line."""

DHAKA = timezone(timedelta(hours=6))

ZONES = {
    "Asia/Dhaka": DHAKA,
    "Asia/Kathmandu": timezone(timedelta(hours=5, minutes=45)),
    "America/St_Johns": timezone(-timedelta(hours=2, minutes=30)),
}
"""Offsets in April 2026: a whole one, one of quarters, one west of Greenwich in summer time."""

SIDES = {
    "caller": ("callerE164", "callerAccessE164", "callerToGatewayE164", "caller.number", "caller.number_sent"),
    "callee": ("calleeE164", "calleeAccessE164", "calleeToGatewayE164", "callee.number", "callee.number_sent"),
}

NETWORK_DID_ITS_PART = {486, 600, 480, 487, 603, 404, 410, 484, -7, 17, 18, 19, 21, 1, 22, 28}

Call = dict[str, Any]
"""Columns under their names, times in epoch ms; absent when empty. `id` and `index` where they are known."""


def lines(directory: Path, switch: str) -> Iterator[Call]:
    """Every line of a directory of pipe files, in the zone of Dhaka."""
    for path in directory.iterdir():
        offset = 0
        for line in path.read_bytes().splitlines(keepends=True):
            call: Call = {name: text for name, text in zip(PIPE, line.decode().rstrip("\n").split("|"), strict=True) if text}
            for name in ("holdTime", "billingMode", "callerPdd", "calleePdd"):
                if name in call:
                    call[name] = int(call[name])
            for name in ("startTime", "stopTime"):
                local = datetime.strptime(call[name], "%Y-%m-%d %H:%M:%S").replace(tzinfo=DHAKA)
                call[name] = int(local.timestamp()) * 1000
            call["code"] = int(call["endReason"])
            call["by"] = ("caller", "callee", "server")[int(call["endDirection"])]
            call |= {"file": str(path), "offset": offset, "switch": switch, "channel": "file", "tags": ()}
            if call["holdTime"] > 0:
                call["answered_at"] = call["stopTime"] - call["holdTime"]
            yield call
            offset += len(line)


def of_document(identifier: str, index: str, body: bytes) -> Call:
    """A document as sent, in the same shape."""
    call: Call = json.loads(body)
    renamed = {"stopTime": "@timestamp", "answered_at": "call.answered_at", "startTime": "startTime"}
    for name, field in renamed.items():
        if field in call:
            call[name] = int(datetime.strptime(call[field], "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC).timestamp() * 1000 + 0.5)
    call |= {"id": identifier, "index": index, "file": call["log.file.path"], "offset": call["log.offset"]}
    call |= {"code": call.get("end.code"), "by": call.get("end.by", ""), "tags": tuple(call.get("tags", ()))}
    return call


def wanted(query: Any, call: Call) -> bool:
    """Whether docs/search.md lets this call through."""
    at = call.get({"stop": "stopTime", "start": "startTime", "answer": "answered_at"}[query.time])
    if at is None or at < query.from_ms or at >= query.to_ms:
        return False
    for asked, names in (
        (query.caller, SIDES["caller"]),
        (query.callee, SIDES["callee"]),
        (query.number, SIDES["caller"] + SIDES["callee"]),
    ):
        if asked.endswith("*"):
            if not any(name in call and call[name][: len(asked) - 1] == asked[:-1] for name in names):
                return False
        elif asked and asked not in [call.get(name) for name in names]:
            return False
    exact = (
        (query.caller_gateway, ("callerGatewayId", "caller.gateway.name")),
        (query.callee_gateway, ("calleeGatewayId", "callee.gateway.name")),
        (query.ip, ("callerIp", "calleeIp")),
        (query.end_reason, ("endReason",)),
        (query.switch, ("switch",)),
        (query.channel if query.channel != "all" else "", ("channel",)),
    )
    if any(asked and asked not in [call.get(name) for name in names] for asked, names in exact):
        return False
    if query.answered is not None and query.answered != (call["holdTime"] > 0):
        return False
    return bool(call["holdTime"] >= query.min_hold_ms and (query.resends or "resend" not in call["tags"]))


def search(query: Any, calls: Iterable[Call]) -> list[Call]:
    """The calls asked for, newest first, then by file, byte and id, as many as asked for."""
    found = [call for call in calls if wanted(query, call)]
    found.sort(key=lambda call: (-call["stopTime"], call["file"], call["offset"], call.get("id", "")))
    return found[: query.limit]


KEYS = {
    "caller_gateway": "callerGatewayId",
    "callee_gateway": "calleeGatewayId",
    "end_reason": "endReason",
    "end_by": "by",
    "billing_mode": "billingMode",
    "ip": "callerIp",
    "switch": "switch",
    "destination": "callee.destination",
    "customer": "caller.customer",
    "vendor": "callee.vendor",
}


def key(word: str, call: Call, time: str, zone: timezone) -> str:
    """What `stats --by` calls the group of this call."""
    if word in KEYS:
        return str(call.get(KEYS[word], ""))
    at = datetime.fromtimestamp(call[{"stop": "stopTime", "start": "startTime", "answer": "answered_at"}[time]] // 1000, zone)
    if word == "hour":
        return at.replace(minute=0, second=0).isoformat(timespec="minutes")
    return f"{at:%Y-%m-%d}" if word == "day" else f"{at:%Y-%m}" if word == "month" else f"{at:%G-W%V}"


def stats(query: Any, calls: Iterable[Call]) -> dict[tuple[str, ...], dict[str, Any]]:
    """The figures by key."""
    groups: dict[tuple[str, ...], list[Call]] = {}
    zone = ZONES[query.timezone]
    for call in calls:
        if wanted(query.calls, call):
            groups.setdefault(tuple(key(word, call, query.calls.time, zone) for word in query.by), []).append(call)
    return {keys: _figures(group) for keys, group in groups.items()}


def _figures(group: list[Call]) -> dict[str, Any]:
    answered = [call for call in group if call["holdTime"] > 0]
    illegal = [call for call in group if call["holdTime"] == 0 and call.get("billingMode") == -1]
    attempts = len(group) - len(illegal)
    failed = [call for call in group if call["holdTime"] == 0 and call.get("billingMode") != -1]
    kind = sum(call["code"] in NETWORK_DID_ITS_PART for call in failed)
    hold_ms = sum(call["holdTime"] for call in answered)
    figures = {
        "attempts": attempts,
        "illegal": len(illegal),
        "answered": len(answered),
        "asr_ratio": round(len(answered) / attempts, 9) if attempts else None,
        "ner_ratio": round((len(answered) + kind) / attempts, 9) if attempts else None,
        "acd_s": round(hold_ms / (len(answered) * 1000), 9) if answered else None,
        "minutes": round(hold_ms / 60_000, 9),
    }
    for side in ("caller", "callee"):
        delays = sorted(call[f"{side}Pdd"] for call in answered if f"{side}Pdd" in call)
        for share in (50, 95):
            figures[f"{side}_pdd_ms_p{share}"] = _middle(delays[math.ceil(len(delays) * share / 100) - 1]) if delays else None
    return figures


def _middle(ms: int) -> float:
    """The middle of the whole milliseconds of the 1 % bucket that `ms` falls into."""
    low, high = 0, 1
    while high <= ms:
        low, high = high, max(high + 1, high * 101 // 100)
    return (low + high - 1) / 2
