"""What makes an index small whose source is stored (`source: packed`): the order of its calls, the order of a document's
members, and which fields are found through their doc values alone. What each is worth is in docs/decisions.md, "Index size".

It makes no mapping: `templates` does.
"""

from __future__ import annotations

import msgspec

from vosship_bulk.client import Engine

NEIGHBOURS = ("calleeGatewayId", "callerGatewayId", "calleeE164")
"""What calls are sorted by. Those of one pair of gateways share some thirty fields, those to one place a few more: neighbours then
repeat each other's bytes (52 of 348 bytes a call, measured 2026-11-29)."""

UNINDEXED = frozenset(
    {
        *("stopTime", "event.ingested", "call.answered_at", "callerIp", "calleeIp", "end.code"),
        *("endReason", "end.text", "end.class", "end.by", "call.answered", "log.file.path"),
        *("caller.country", "callee.country", "callee.destination", "callee.destination_prefix"),
    }
)
"""Fields without terms or points, which a search finds by looking at the doc values of a day. Those that cost something and are no
number, gateway or label, nor the time or length of a call (measured 2026-11-29: 0.3 to 3.5 bytes a call each; points of places
stay, as Elasticsearch 8.17.4 finds nothing by `geo_polygon` without them). Whatever is not named here keeps what it has."""

OLDEST: dict[Engine, tuple[int, int]] = {"opensearch": (2, 19), "elasticsearch": (8, 1)}
"""First versions that find words, addresses and times through doc values alone: release notes of OpenSearch 2.19.0 (#16974, #16628;
dates since 2.14), manual of Elasticsearch 8.1 (`doc_values`, "doc-value-only fields")."""

ORDER = (
    "end.text", "end.class", "endReason", "end.code", "end.by", "calleeBilling", "endDirection", "billingMode", "layout",
    "switch", "callerToGatewayE164", "caller.number", "caller.as.organization", "channel", "log.file.path", "caller.customer",
    "caller.as.number", "@timestamp", "caller.country", "startTime", "calleePdd", "callee.geo.country", "callee.geo.city",
    "callee.geo.location", "callerAccessE164", "callerE164", "callerGatewayId", "callee.vendor", "caller.geo.city",
    "callee.country", "callee.destination", "callee.destination_prefix", "stopTime", "callerIp", "caller.geo.country",
    "caller.gateway.name", "callee.gateway.name", "calleeGatewayId", "caller.geo.location", "calleeAccessE164",
    "calleeToGatewayE164", "calleeE164", "callee.number", "callee.as.number", "callee.as.organization", "calleeIp",
    "event.ingested", "log.offset", "holdTime", "billing.party", "billing.account_type", "call.answered", "call.answered_at",
    "call.setup_ms", "host", "callerPdd", "callee.number_sent", "tags",
)  # fmt: skip
"""Members of a document, so that deflate finds long repetitions (blocks of 48 KB behind a dictionary of 8 KB, as Lucene packs
sources): 12 bytes a call less than in the order in which processors set them. Found by hill climbing with zlib over simulated calls
(2026-11-29); calls it had not seen gained as much."""

_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def arranged(body: bytes) -> bytes:
    """A document with its members in ORDER and their values byte for byte; members unknown to it come last, as they came."""
    members = _members(body)
    first = {name: members[name] for name in ORDER if name in members}
    return msgspec.json.encode({**first, **members})


def too_old(engine: Engine, number: str) -> str:
    """Why a server of this version cannot have packed indices; empty when it can, or when its version cannot be read."""
    parts = number.split(".")
    if len(parts) < 2 or not (parts[0].isdigit() and parts[1].isdigit()) or (int(parts[0]), int(parts[1])) >= OLDEST[engine]:
        return ""
    oldest = ".".join(map(str, OLDEST[engine]))
    return f"`source: packed` needs {engine} {oldest}, this is {number}: it could not search fields that have doc values only"
