"""Random calls as documents, and a store to put them in: what the tests of the embedded store share."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from vosship.documents import identify, utc_text
from vosship.events import Block, Document, Field, Outcome, Stream
from vosship.plugin import Context
from vosship.schema import Schema
from vosship.telemetry import Telemetry
from vosship_sqlite import Sqlite

ZONE = "Asia/Dhaka"
FIRST_DAY = 1_777_140_000 - 1_777_140_000 % 86_400 - 6 * 3600
"""Midnight of 25 April 2026 in Dhaka."""

_KINDS: dict[str, str] = {
    "startTime": "date",
    "stopTime": "date",
    "call.answered_at": "date",
    "holdTime": "long",
    "billingMode": "long",
    "callerPdd": "long",
    "calleePdd": "long",
    "fee": "double",
    "end.code": "integer",
    "call.answered": "boolean",
    "callerIp": "ip",
    "calleeIp": "ip",
    "caller.geo.location": "geo_point",
}
_WORDS = (
    "callerE164", "calleeE164", "callerAccessE164", "calleeAccessE164", "callerToGatewayE164", "calleeToGatewayE164",
    "caller.number", "callee.number", "callerGatewayId", "calleeGatewayId", "caller.gateway.name", "callee.gateway.name",
    "endReason", "end.by", "layout", "callee.destination",
)  # fmt: skip


def schema(*more: Field) -> Schema:
    """A schema such as the processors give, with fields of every type."""
    fields = [Field(name=name, type=kind, description="") for name, kind in _KINDS.items()]  # type: ignore[arg-type]  # literals
    fields += [Field(name=name, type="keyword", description="") for name in _WORDS]
    fields.append(Field(name="extra", type="keyword", array=True, description=""))
    fields.append(Field(name="source.ip", type="alias", path="callerIp", description=""))
    return Schema([("test", [*fields, *more])])


def context(directory: Path, *more: Field, now: float = FIRST_DAY) -> Context:
    """What a store in that directory is told of the world."""
    return Context(
        name="store",
        switch="dhaka-1",
        timezone=ZONE,
        schema=schema(*more),
        log=logging.getLogger("test"),
        metrics=Telemetry(),
        data_dir=directory,
        base_dir=directory,
        now=lambda: now,
    )


def store(directory: Path, *more: Field) -> Sqlite:
    """An unopened store."""
    return Sqlite(Sqlite.Options(), context(directory, *more))


def send(directory: Path, batches: Iterable[Sequence[Document]], *more: Field, overwrite: bool = False) -> list[Outcome]:
    """Open the store, send the batches, close it; all outcomes in order."""

    async def run() -> list[Outcome]:
        output = store(directory, *more)
        await output.open()
        try:
            outcomes: list[Outcome] = []
            for batch in batches:
                outcomes += await (output.overwrite(batch) if overwrite else output.send(batch))
            return outcomes
        finally:
            await output.close()

    return asyncio.run(run())


def document(fields: dict[str, Any], *, base: str = "2026042500.txt", offset: int = 0, line: bytes = b"") -> Document:
    """One call in the index of its day, with the fields that every document has."""
    stop = datetime.fromisoformat(fields["@timestamp"]).astimezone(ZoneInfo(ZONE))
    path = f"/cdr/{base}"
    whole = {"switch": "dhaka-1", "channel": "file", "log.file.path": path, "log.offset": offset, **fields}
    body = msgspec.json.encode(whole)
    block = Block(Stream(base, base, path), 0, 0, b"", b"", {})
    return Document(identify("dhaka-1", base, offset, line or body), f"vos3000-cdr-{stop:%Y.%m.%d}", body, line, offset, block)


def calls(count: int, *, seed: int, days: int = 3) -> list[Document]:
    """Calls in the order of their files, with everything that a search can be narrowed by, and many equal times."""
    chance = random.Random(seed)
    found, offsets = [], dict[str, int]()
    for number in range(count):
        stop = FIRST_DAY + number * days * 86_400 // count + chance.randrange(3)
        answered = chance.random() < 0.3
        hold_ms = chance.randrange(1, 400_000) if answered else 0
        code = 200 if answered else chance.choice((486, 487, 503, 404, -9))
        start = stop - hold_ms / 1000 - chance.randrange(9)
        base = datetime.fromtimestamp(stop, UTC).astimezone(ZoneInfo(ZONE)).strftime("%Y%m%d%H.txt")
        offset = offsets.get(base, 0)
        offsets[base] = offset + chance.randrange(150, 250)
        fields: dict[str, Any] = {
            "@timestamp": utc_text(stop),
            "stopTime": utc_text(stop),
            "startTime": utc_text(start),
            "holdTime": hold_ms,
            "billingMode": -1 if code == -9 else 1,
            "callerE164": f"88017{chance.randrange(300):08d}",
            "calleeE164": f"97{chance.randrange(200):09d}",
            "calleeAccessE164": f"0097{chance.randrange(200):09d}",
            "callerGatewayId": f"GW{chance.randrange(5)}",
            "callerIp": f"10.0.0.{chance.randrange(4)}",
            "calleeIp": f"10.0.1.{chance.randrange(4)}",
            "endReason": str(code),
            "end.code": code,
            "call.answered": answered,
        }
        if chance.random() < 0.9:
            fields["calleeGatewayId"] = f"VEN{chance.randrange(4)}"
            fields["callee.gateway.name"] = chance.choice(("网关一", "网关二"))
        if answered:
            fields["call.answered_at"] = utc_text(stop - hold_ms / 1000)
            fields["end.by"] = chance.choice(("caller", "callee", "server"))
            fields["callerPdd"] = chance.randrange(20_000)
            fields["calleePdd"] = chance.randrange(4_000)
        if chance.random() < 0.05:
            fields["tags"] = ["resend", "short_line"] if chance.random() < 0.5 else ["short_line"]
        if chance.random() < 0.05:
            fields["channel"] = "forward"
        found.append(document(fields, base=base, offset=offset))
    return found


def decoded(document: Document) -> dict[str, Any]:
    """A document's fields."""
    fields: dict[str, Any] = msgspec.json.decode(document.body)
    return fields
