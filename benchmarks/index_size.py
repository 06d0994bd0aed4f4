"""Bytes a call takes in an index after merge, beside the bytes of its line: source stored, packed or derived, with and without
enrichment.

    python -m benchmarks.index_size [--calls 120000] [--engine opensearch|elasticsearch] [--chain codes]

Simulated calls go through the real agent (`run --once`) into a real node, which then merges them into one segment. The peer is
the engine itself: the same documents in an index nobody gave a template. What a part of the index takes is the size of Lucene's
files by their extension. `read` is how fast `search` gives every call of the merged day, in order. Exits 1 where packed calls take
more than LIMIT times their line.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from tests import mmdb_writer, nodes
from vosship.application import Application
from vosship.query import Hit, Query
from vosship_bulk.options import SOURCES
from vosship_switch.countries import COUNTRIES
from vosship_switch.traffic import Traffic

SEED = 7

TABLES = "{type: gateways, table: gateways.csv}, {type: prefixes, table: deck.csv, labels: []}"
CHAINS = {
    "codes": "cdr, codes",
    "+ gateways, prefixes": f"cdr, codes, {TABLES}",
    "+ geoip (everything)": f"cdr, codes, {TABLES}, {{type: geoip, city: city.mmdb, asn: asn.mmdb}}",
}
"""Processors by the name of a row, each with those of the row before."""

PARTS = {
    "source, ids": ("fdt", "fdx", "fdm"),
    "doc values": ("dvd", "dvm"),
    "terms": ("tim", "tip", "tmd", "doc", "pos", "pay", "psm"),
    "points": ("kdd", "kdi", "kdm"),
}
"""Lucene's files by what they hold (`org.apache.lucene.codecs.lucene104`, its package description)."""

LEASE_S = 90.0
"""Chosen: three times the 30 s after which a shard lets go of what it kept for replicas (`retention_lease.sync_interval`)."""

LIMIT = 1.4
"""Most bytes a packed call may take, times its line: what was aimed at for a stored source with every enrichment."""

EVER = Query(from_ms=0, to_ms=4_102_444_800_000, limit=None)


def write_calls(folder: Path, calls: int) -> float:
    """Simulated files whose addresses are public ones, as carriers' are; gives the mean bytes of a line, newline included."""
    command = [sys.executable, "-m", "vosship.cli", "simulate", str(folder), "--calls", str(calls), "--seed", str(SEED)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for file in folder.iterdir():
        text = re.sub(r"\|10\.(\d+)\.", r"|103.\1.", file.read_text(encoding="utf-8"))
        file.write_text(text.replace("|198.18.", "|185.18."), encoding="utf-8")
    return sum(file.stat().st_size for file in folder.iterdir()) / calls


def write_tables(folder: Path) -> None:
    """Names, customers and vendors of every gateway, a deck of ten prefixes a mobile range, and places of every network."""
    traffic, chance = Traffic(SEED), random.Random(SEED)
    gateways = [
        f"{customer.name},Wholesale in {number},Customer {customer.account} Ltd,,caller,,{customer.tech_prefix}"
        for number, customer in enumerate(traffic.customers)
    ] + [
        f"{vendor.name},Route out {number},,Vendor {number} Telecom,callee,,{vendor.prefix}"
        for number, vendor in enumerate(traffic.vendors)
    ]
    head = "id,name,customer,vendor,side,strip_caller,strip_callee\n"
    (folder / "gateways.csv").write_text(head + "\n".join(gateways) + "\n", encoding="utf-8")
    deck = "".join(
        f"{country.prefix}{lead}{digit},{country.iso} mobile {lead},{country.iso},{country.rate_micros / 1e6}\n"
        for country in COUNTRIES
        for lead in country.leads
        for digit in range(10)
    )
    (folder / "deck.csv").write_text("prefix,destination,country,rate\n" + deck, encoding="utf-8")
    found = (re.findall(r"\|((?:103|185)\.\d+\.\d+)\.\d+(?=\|)", file.read_text()) for file in (folder / "cdr").iterdir())
    cities, networks = {}, {}
    for network in sorted({network for each in found for network in each}):
        country = chance.choice(COUNTRIES).iso
        place = {"latitude": round(chance.uniform(-50, 60), 4), "longitude": round(chance.uniform(-120, 150), 4)}
        about = {"country": {"iso_code": country}, "city": {"names": {"en": f"City of {country}"}}, "location": place}
        cities[f"{network}.0/24"] = about
        organization = {"autonomous_system_organization": f"Network {chance.randrange(99)} Ltd"}
        networks[f"{network}.0/24"] = {"autonomous_system_number": chance.randrange(1000, 60_000), **organization}
    mmdb_writer.write(folder / "city.mmdb", "GeoLite2-City", cities)
    mmdb_writer.write(folder / "asn.mmdb", "GeoLite2-ASN", networks)


def ship(node: nodes.Node, folder: Path, chain: str, source: str) -> Any:
    """Run the agent to its end into an emptied node; gives its output."""
    node.clear()
    with tempfile.TemporaryDirectory() as data:
        config = folder / "vosship.yaml"
        config.write_text(
            f"switch: dhaka-1\ntimezone: Asia/Dhaka\ndata_dir: {data}\nprocessors: [{CHAINS[chain]}]\n"
            f"inputs: {{cdr: {{type: files, paths: ['{folder}/cdr/*.txt']}}}}\n"
            f"outputs: {{search: {{type: {node.engine}, hosts: ['{node.url}'], source: {source}}}}}\n"
        )
        command = [sys.executable, "-m", "vosship.cli", "run", "--once", "-c", str(config), "--log-level", "warning"]
        subprocess.run(command, check=True)
        return Application.load(str(config)).outputs["search"].plugin


def ask(node: nodes.Node, method: str, path: str, body: Any = None) -> Any:
    """One request, again while the node's small heap is too full for it."""
    status, answer = 429, None
    for _ in range(60):
        headers = {"Content-Type": "application/x-ndjson"} if isinstance(body, bytes) else {}
        status, answer = node.call(method, path, body, headers=headers, timeout_s=600)
        if status != 429 and "circuit_breaking" not in str(answer)[:2000]:
            break
        time.sleep(1)
    if status != 200:
        raise SystemExit(f"{method} {path}: {status} {answer}")
    return answer


def send_plainly(node: nodes.Node, index: str, hits: Iterator[Hit]) -> None:
    """The same documents into an index that the engine maps by itself."""
    ask(node, "PUT", f"/{index}", {"settings": {"index.number_of_replicas": 0}})
    lines: list[bytes] = []
    for hit in hits:
        lines += (msgspec.json.encode({"create": {"_id": hit.id}}), msgspec.json.encode(hit.fields))
        if len(lines) == 2000:
            ask(node, "POST", f"/{index}/_bulk?filter_path=errors", b"\n".join(lines) + b"\n")
            lines = []
    if lines:
        ask(node, "POST", f"/{index}/_bulk?filter_path=errors", b"\n".join(lines) + b"\n")


def merge(node: nodes.Node, index: str) -> None:
    """One segment, once the shard has let go of what it kept for replicas (a stored copy of every derived source)."""
    ask(node, "PUT", f"/{index}/_settings", {"index": {"compound_format": False}})
    give_up = time.monotonic() + LEASE_S
    while time.monotonic() < give_up:
        (shard,) = ask(node, "GET", f"/{index}/_stats?level=shards")["indices"][index]["shards"]["0"]
        kept = min(lease["retaining_seq_no"] for lease in shard["retention_leases"]["leases"])
        if kept > shard["seq_no"]["max_seq_no"]:
            break
        time.sleep(1)
    ask(node, "POST", f"/{index}/_forcemerge?max_num_segments=1")
    ask(node, "POST", f"/{index}/_refresh")
    ask(node, "POST", f"/{index}/_flush?force=true")


def sizes(node: nodes.Node, index: str) -> Counter[str]:
    """Bytes a call: the whole as the engine says, and its parts by the files they lie in."""
    total = ask(node, "GET", f"/{index}/_stats/store,docs")["_all"]["primaries"]
    calls = total["docs"]["count"]
    uuid = ask(node, "GET", f"/{index}/_settings")[index]["settings"]["index"]["uuid"]
    part_of = {extension: part for part, extensions in PARTS.items() for extension in extensions}
    found = Counter({"whole": total["store"]["size_in_bytes"] / calls})
    for file in node.folder.glob(f"**/indices/{uuid}/0/index/*"):
        found[part_of.get(file.suffix[1:], "other")] += file.stat().st_size / calls
    return found


def report(name: str, found: Counter[str], line_bytes: float, read: str) -> None:
    """One row."""
    parts = "".join(f"{found[part]:>13.1f}" for part in PARTS)
    print(f"{name:<32}{found['whole']:>8.1f}{found['whole'] / line_bytes:>8.2f}{parts}{read:>12}", flush=True)


def measure(node: nodes.Node, folder: Path, line_bytes: float, calls: int, chains: Iterable[str]) -> bool:
    """Each chain: stored, plainly, packed, derived. Whether packed calls are within LIMIT."""
    within = True
    heads = "".join(f"{part:>13}" for part in PARTS)
    print(f"{'bytes a call':<32}{'whole':>8}{'x line':>8}{heads}{'read/s':>12}", flush=True)
    for chain in chains:
        for source in SOURCES:
            output = ship(node, folder, chain, source)
            rows = json.loads(json.dumps(ask(node, "GET", "/_cat/indices/vos3000-cdr-*?format=json&h=index")))
            (index,) = [row["index"] for row in rows]
            merge(node, index)
            started = time.monotonic()
            assert sum(1 for _ in output.search(EVER)) == calls
            read = calls / (time.monotonic() - started)
            found = sizes(node, index)
            report(f"{chain}, {source}", found, line_bytes, f"{read:,.0f}")
            within &= source != "packed" or found["whole"] <= LIMIT * line_bytes
            if source == "stored":
                send_plainly(node, "plain", output.search(EVER))
                merge(node, "plain")
                report(f"{chain}, no template", sizes(node, "plain"), line_bytes, "")
                ask(node, "DELETE", "/plain")
    return within


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--calls", type=int, default=120_000)
    parser.add_argument("--engine", choices=("opensearch", "elasticsearch"), default="opensearch")
    parser.add_argument("--chain", choices=tuple(CHAINS), help="one row's processors only")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as work, getattr(nodes, options.engine)() as node:
        folder = Path(work)
        line_bytes = write_calls(folder / "cdr", options.calls)
        write_tables(folder)
        print(f"{options.calls:,} calls of {line_bytes:.1f} bytes a line, {options.engine}, one segment")
        if not measure(node, folder, line_bytes, options.calls, [options.chain] if options.chain else CHAINS):
            raise SystemExit(f"packed calls take more than {LIMIT} times their line")


if __name__ == "__main__":
    main()
