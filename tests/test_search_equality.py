"""The same calls in SQLite, OpenSearch and Elasticsearch: the same answers in the same order, equal to a plain scan.

`VOSSHIP_EQUALITY_CALLS` says how many calls are simulated.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import pytest

from tests import nodes, plain_scan
from tests.plain_scan import Call
from vosship.application import Application
from vosship.query import Query, Row, StatsQuery

pytestmark = pytest.mark.real_server

CALLS = int(os.environ.get("VOSSHIP_EQUALITY_CALLS", "20000"))
QUESTIONS = 200
FIGURES = 40
SPAN_S = 200_000
"""Two days and a bit, whatever the number of calls."""

START_MS = 1_777_140_000_000
"""2026-04-25T18:00Z, midnight of the 26th in Dhaka, where the simulated traffic begins."""

STORES = ("store", "opensearch", "elasticsearch")
OWN = "event.ingested"
"""The one field that differs: each pipeline reads the line at a moment of its own."""


CUSTOMERS = {"CS10031_ZX": ("Dhaka wholesale", "Bengal Talk"), "RETAIL_CTG": ("零售", "Retail"), "RETAIL_DHAKA": ("", "Retail")}
VENDORS = {"GW_RU": ("Moscow", "Северный"), "VT-US-LCR": ("", "US least cost"), "GW_TEST9": ("GW_RU", "")}
"""Gateway: its name, and its customer or vendor. One has another's id for a name."""

DESTINATIONS = {
    "7": "Russia",
    "79": "Russia Mobile",
    "971": "Emirates",
    "1": "North America",
    "88": "Bay",
    "880171": "Grameenphone",
}


class Filled:
    """Three stores that hold the same calls, and those calls plainly read."""

    def __init__(self, stores: dict[str, Any], calls: list[Call]) -> None:
        self.stores = stores
        self.calls = calls


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory, _opensearch: nodes.Node, _elasticsearch: nodes.Node) -> Iterator[Filled]:
    """Two switches' directories, shipped by the agent to all three stores."""
    folder = tmp_path_factory.mktemp("equality")
    servers = {"opensearch": _opensearch, "elasticsearch": _elasticsearch}
    for node in servers.values():
        node.clear()
    gateways = [f"{each},{name},{customer},,caller" for each, (name, customer) in CUSTOMERS.items()]
    gateways += [f"{each},{name},,{vendor},callee" for each, (name, vendor) in VENDORS.items()]
    (folder / "gateways.csv").write_text("\n".join(["id,name,customer,vendor,side", *gateways, ""]))
    deck = [f"{prefix},{destination}" for prefix, destination in DESTINATIONS.items()]
    (folder / "deck.csv").write_text("\n".join(["prefix,destination", *deck, ""]))
    config = {
        "switch": "dhaka-1",
        "timezone": "Asia/Dhaka",
        "data_dir": str(folder / "data"),
        "inputs": {
            "one": {"type": "files", "paths": [str(folder / "one" / "*.txt")]},
            "two": {"type": "files", "paths": [str(folder / "two" / "*.txt")], "switch": "dhaka-2"},
        },
        "processors": [
            "cdr",
            "codes",
            {"type": "gateways", "table": "gateways.csv"},
            {"type": "prefixes", "table": "deck.csv"},
        ],
        "outputs": {"store": {"type": "sqlite"}, **{name: {"type": name, "hosts": [node.url]} for name, node in servers.items()}},
    }
    (folder / "vosship.yaml").write_text(json.dumps(config))
    vosship = [sys.executable, "-m", "vosship.cli"]
    for name, share, seed in (("one", 0.8, 5), ("two", 0.2, 6)):
        count = round(CALLS * share)
        words = ["--calls", count, "--seed", seed, "--cps", count / SPAN_S, "--start", "2026-04-26T00:00"]
        subprocess.run([*vosship, "simulate", str(folder / name), *map(str, words)], check=True)
    subprocess.run([*vosship, "run", "--once", "-c", str(folder / "vosship.yaml")], check=True, timeout=900)
    application = Application.load(str(folder / "vosship.yaml"))
    calls = [*plain_scan.lines(folder / "one", "dhaka-1"), *plain_scan.lines(folder / "two", "dhaka-2")]
    assert len(calls) == CALLS
    for call in calls:
        enrich(call)
    yield Filled({name: application.outputs[name].plugin for name in STORES}, calls)
    for node in servers.values():
        node.clear()


def enrich(call: Call) -> None:
    """Add what docs/enrichment.md says of the two tables."""
    for side, table, title in (("caller", CUSTOMERS, "customer"), ("callee", VENDORS, "vendor")):
        gateway, owner = table.get(call.get(f"{side}GatewayId", ""), ("", ""))
        found = {f"{side}.gateway.name": gateway or (call[f"{side}GatewayId"] if owner else ""), f"{side}.{title}": owner}
        billed = digits(call.get(f"{side}E164") or call.get(f"{side}AccessE164", ""))
        sent = digits(call.get(f"{side}ToGatewayE164", ""))
        found |= {f"{side}.number": billed, f"{side}.number_sent": sent if sent != billed else ""}
        call |= {field: text for field, text in found.items() if text}
    fitting = [prefix for prefix in DESTINATIONS if call.get("callee.number", "").startswith(prefix)]
    if fitting:
        call["callee.destination"] = DESTINATIONS[max(fitting, key=len)]


def digits(number: str) -> str:
    """A number without what people write between digits and the access code; nothing where it is no number."""
    number = number.translate(str.maketrans("", "", "+ -./()")).removeprefix("00")
    return number if number.isascii() and number.isdigit() else ""


def questions(calls: Sequence[Call], count: int, seed: int) -> Iterator[Query]:
    """Any combination of window, filters, limit and page, nearly all about calls that exist."""
    chance = random.Random(seed)
    for _ in range(count):
        some = chance.choice(calls)
        caller, callee = some.get("callerE164", "8801"), some.get("calleeToGatewayE164", "97")
        normal = some.get("callee.number", "97")
        filters: dict[str, Any] = {
            "caller": chance.choice((caller, caller[: chance.randrange(1, 7)] + "*", "nobody")),
            "callee": chance.choice((callee, some.get("calleeAccessE164", "*"), callee[: chance.randrange(1, 9)] + "*", normal)),
            "number": chance.choice((caller, callee, callee[:5] + "*", caller[:2] + "*", normal[:7] + "*", "*")),
            "caller_gateway": chance.choice((some.get("callerGatewayId", ""), some.get("caller.gateway.name", "Dhaka wholesale"))),
            "callee_gateway": chance.choice((some.get("calleeGatewayId", ""), some.get("callee.gateway.name", "nowhere"))),
            "ip": chance.choice((some["callerIp"], some.get("calleeIp", "10.0.0.0/8"), "10.0.0.0/8", "no address")),
            "end_reason": some["endReason"],
            "answered": chance.random() < 0.5,
            "min_hold_ms": chance.randrange(1, 300_000),
            "switch": chance.choice(("dhaka-1", "dhaka-2")),
            "channel": chance.choice(("file", "forward", "all")),
            "resends": True,
            "time": chance.choice(("start", "answer")),
        }
        chosen = {name: value for name, value in filters.items() if chance.random() < 0.2}
        start = some["stopTime"] - chance.randrange(1, SPAN_S * 1000)
        end = some["stopTime"] + chance.randrange(1, SPAN_S * 1000)
        limit = chance.choice((1, 10, 100, 1000, None))
        page = chance.choice((3, 100)) if limit in (1, 10, 100) else chance.choice((500, 10_000))
        yield Query(from_ms=start, to_ms=end, limit=limit, page_size=page, **chosen)


def places(found: Sequence[dict[str, Any]]) -> list[tuple[str, int]]:
    """Where the calls of an answer stand."""
    return [(fields["log.file.path"], fields["log.offset"]) for fields in found]


def test_random_questions_have_one_answer(shipped: Filled) -> None:
    """Every store gives the same documents in the same order as looking at every line of the files."""
    answered = 0
    for query in questions(shipped.calls, QUESTIONS, seed=1):
        expected = [(call["file"], call["offset"]) for call in plain_scan.search(query, shipped.calls)]
        found = {name: list(store.search(query)) for name, store in shipped.stores.items()}
        plain = {name: [{**hit.fields, OWN: ""} for hit in hits] for name, hits in found.items()}
        for name in STORES:
            assert places(plain[name]) == expected, (name, query)
            assert plain[name] == plain["store"], (name, query)
            assert [(hit.id, hit.index) for hit in found[name]] == [(hit.id, hit.index) for hit in found["store"]]
        answered += bool(expected)
    assert answered > QUESTIONS / 2


BY = [(word,) for word in (*plain_scan.KEYS, "hour", "day", "week", "month")] + [
    ("callee_gateway", "hour"), ("hour", "end_reason"), ("ip", "callee_gateway"), ("billing_mode", "day"),
]  # fmt: skip


@pytest.mark.parametrize("by", BY, ids=" ".join)
def test_figures_have_one_value(shipped: Filled, by: tuple[str, ...]) -> None:
    """Counts, sums, ratios and percentiles of every store equal counting the lines one by one, whatever is left out."""
    whole = Query(from_ms=START_MS, to_ms=START_MS + SPAN_S * 1000, limit=None)
    some = next(questions(shipped.calls, 1, seed=len(by[0])))
    for calls in (whole, msgspec.structs.replace(some, ip="", callee_gateway=""), msgspec.structs.replace(whole, time="answer")):
        query = StatsQuery(calls=calls, by=by, timezone="Asia/Dhaka")
        expected = plain_scan.stats(query, shipped.calls)
        for name, store in shipped.stores.items():
            rows = store.stats(query)
            assert [row.keys for row in rows] == sorted(expected), (name, query)
            assert [figures(row, next(iter(expected.values()))) for row in rows] == [expected[row.keys] for row in rows], (
                name,
                query,
            )


COUNTRIES = ("caller_country", "callee_country")
"""Keys whose values come from a table of countries that the plain scan does not have."""


def test_random_figures_have_one_value(shipped: Filled) -> None:
    """One or two keys of any kind, of any calls, with spans of three zones: as counting the lines one by one."""
    chance = random.Random(3)
    words = [*plain_scan.KEYS, "hour", "day", "week", "month"]
    for asked in questions(shipped.calls, FIGURES, seed=2):
        by = tuple(chance.sample(words, chance.choice((1, 2))))
        query = StatsQuery(calls=asked, by=by, timezone=chance.choice(list(plain_scan.ZONES)))
        expected = plain_scan.stats(query, shipped.calls)
        for name, store in shipped.stores.items():
            rows = store.stats(query)
            assert [row.keys for row in rows] == sorted(expected), (name, query)
            for row in rows:
                assert figures(row, expected[row.keys]) == expected[row.keys], (name, query)


@pytest.mark.parametrize("by", [*((word,) for word in COUNTRIES), COUNTRIES, ("callee_country", "hour")], ids=" ".join)
def test_countries_have_one_value(shipped: Filled, by: tuple[str, ...]) -> None:
    """The stores agree on what they count by country, and it is every call."""
    calls = Query(from_ms=START_MS, to_ms=START_MS + SPAN_S * 1000, limit=None)
    found = [store.stats(StatsQuery(calls=calls, by=by, timezone="Asia/Dhaka")) for store in shipped.stores.values()]
    assert found[0] == found[1] == found[2]
    assert len(found[0]) > 5
    assert sum(row.attempts + row.illegal for row in found[0]) == len(plain_scan.search(calls, shipped.calls))


def figures(row: Row, names: Any) -> dict[str, Any]:
    """A row's values of these names."""
    return {name: getattr(row, name) for name in names}
