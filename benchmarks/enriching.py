"""What enrichment costs on top: gateways, a deck of 300,000 prefixes and countries, in CPU a record and in memory.

    python -m benchmarks.enriching [--prefixes 300000] [--calls 60000] [--rounds 7]

One pipeline with `cdr` and `codes`, one with `gateways` and `prefixes` behind them, over the same simulated lines, in turn block by
block, so that a machine that changes its pace does so for both: from a block to documents that are ready to send, so that the bytes
that are added are in it, and whatever shorter way the chain can no longer take. Each round gives one difference. Beside the deck a
peer: the same prefixes in a dict, tried from the longest down.
"""

from __future__ import annotations

import argparse
import gc
import os
import random
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any

import orjson

from vosship import config
from vosship.application import Application
from vosship.documents import Renderer
from vosship.events import Block, Stream
from vosship.pipeline import Pipeline
from vosship_enrich.deck import ALWAYS, Builder
from vosship_switch.countries import COUNTRIES
from vosship_switch.simulation import Settings, Simulation
from vosship_switch.traffic import Traffic

BLOCK_LINES = 700
"""About as many as the `files` input gives at a time."""

SEED = 1

CPU_LIMIT_US, MEMORY_LIMIT_MB = 4.0, 60.0
"""What enrichment may cost; chosen: less CPU than a plain record takes from line to document, memory that no switch will miss."""

UNRATED = ("MR", "ML", "HK", "ET", "TR")
"""Simulated countries without a row in the deck: about one call in twelve."""

PLAIN = "[cdr, codes]"
RICH = "[cdr, codes, {type: gateways, table: gateways.csv}, {type: prefixes, table: deck.csv}]"


def write_tables(place: Path, prefixes: int) -> None:
    """A deck of unique prefixes of two to six digits below the simulator's countries, and a row for each gateway but two."""
    chance = random.Random(SEED)
    codes = [country.prefix for country in COUNTRIES if country.iso not in UNRATED]
    deck: set[str] = set()
    while len(deck) < prefixes:
        deck.add(chance.choice(codes) + f"{chance.randrange(10**6):06}"[: chance.randint(2, 6)])
    rows = "".join(f"{prefix},Destination {number % 3000},{number % 7 / 100}\n" for number, prefix in enumerate(sorted(deck)))
    (place / "deck.csv").write_text("prefix,destination,rate\n" + rows)
    traffic = Traffic(SEED)
    lines = [f"{each.name},{each.name} Ltd,{each.account},,{each.tech_prefix}" for each in traffic.customers[:-1]]
    lines += [f"{each.name},{each.name} Ltd,,{each.name} Telecom,{each.prefix}" for each in traffic.vendors[:-1]]
    (place / "gateways.csv").write_text("\n".join(["id,name,customer,vendor,strip_callee", *lines]) + "\n")


def resident_mb() -> float:
    """Memory of this process now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def blocks_of(directory: Path) -> Iterator[Block]:
    """The simulated files in blocks."""
    for file in sorted(directory.iterdir()):
        stream, offset = Stream(str(file), file.name, str(file)), 0
        lines = file.read_bytes().splitlines(keepends=True)
        for start in range(0, len(lines), BLOCK_LINES):
            data = b"".join(lines[start : start + BLOCK_LINES])
            yield Block(stream, offset, offset + len(data), data, b"", {})
            offset += len(data)


def pipeline(place: Path, processors: str) -> Pipeline:
    """From lines to documents through these processors."""
    inputs = f"{{cdr: {{type: files, paths: ['{place}/cdr/*.txt']}}}}"
    text = f"{{switch: s, timezone: Asia/Dhaka, data_dir: {place}/data, inputs: {inputs}, processors: {processors}}}"
    application = Application(config.parse(text, base_dir=place))
    entry = application.inputs["cdr"]
    renderer = Renderer(switch="s", host="h", channel="file", series=entry.plugin.series)
    return Pipeline("bench", source=entry.plugin, processors=application.processors(entry), renderer=renderer, now=time.time)


def cpu_us(work: Callable[[], object], records: int) -> float:
    """CPU of this process, a record."""
    gc.collect()
    started = time.process_time()
    work()
    return (time.process_time() - started) / records * 1e6


def ship(blocks: Sequence[Block], *pipelines: Pipeline) -> list[float]:
    """Every block through each pipeline, whose documents are then let go as a batch would be; gives each one's CPU, us in all."""
    spent = [0.0] * len(pipelines)
    gc.collect()
    for block in blocks:
        for number, through in enumerate(pipelines):
            started = time.process_time()
            through.prepare(block)
            spent[number] += (time.process_time() - started) * 1e6
    return spent


def resident_after(place: Path, processors: str) -> float:
    """MB of this process, a fresh one, when everything has been shipped once."""
    through = pipeline(place, processors)
    for block in blocks_of(place / "cdr"):
        through.prepare(block)
    return resident_mb()


def memory_on_top_mb(place: Path) -> float:
    """How much larger a process is that enriches."""
    spawn = get_context("spawn")
    sizes = []
    for processors in (PLAIN, RICH):
        with ProcessPoolExecutor(1, mp_context=spawn) as pool:
            sizes.append(pool.submit(resident_after, place, processors).result())
    return sizes[1] - sizes[0]


def traffic_line(documents: Sequence[dict[str, Any]]) -> str:
    """What the traffic was like, for the judgement whether it resembles anybody's."""
    shares = {
        "distinct callers": len({document.get("callerE164") for document in documents}),
        "distinct callees": len({document.get("calleeE164") for document in documents}),
        "with a destination": sum("callee.destination" in document for document in documents),
        "with a country": sum("callee.country" in document for document in documents),
        "sent with another number": sum(document.get("calleeToGatewayE164") != document["calleeE164"] for document in documents),
    }
    return ", ".join(f"{count / len(documents):.0%} {name}" for name, count in shares.items())


def compare_look_ups(place: Path, numbers: Sequence[str], rounds: int) -> None:
    """Print what finding a number's row costs in the deck and in a dict that is tried from the longest prefix to the shortest."""
    rows = [line.split(",") for line in (place / "deck.csv").read_text().splitlines()[1:]]
    builder = Builder()
    for line, (prefix, *row) in enumerate(rows, 2):
        builder.add(line, prefix, ALWAYS, tuple(row))
    deck = builder.build(lambda _prefix, row, _further: row, None)
    table = {prefix: tuple(row) for prefix, *row in rows}
    lengths = sorted({len(prefix) for prefix in table}, reverse=True)

    def in_the_dict(number: str) -> tuple[str, ...] | None:
        for length in lengths:
            if found := table.get(number[:length]):
                return found
        return None

    if [deck.match(number, 0) for number in numbers] != [in_the_dict(number) for number in numbers]:
        raise SystemExit("deck and dict differ")
    costs: dict[str, list[float]] = {"deck": [], "dict": []}
    for _ in range(rounds):
        costs["deck"].append(cpu_us(lambda: [deck.match(number, 0) for number in numbers], len(numbers)))
        costs["dict"].append(cpu_us(lambda: [in_the_dict(number) for number in numbers], len(numbers)))
    print(
        f"of it the look-up in the deck: {median(costs['deck']):.2f} us; in a dict, longest first: {median(costs['dict']):.2f} us"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--prefixes", type=int, default=300_000)
    parser.add_argument("--calls", type=int, default=60_000)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        place = Path(work)
        settings = Settings(directory=place / "cdr", calls=options.calls, seed=SEED, start_ms=1_777_183_200_000)
        Simulation(settings, told=None).run()
        blocks = list(blocks_of(place / "cdr"))
        write_tables(place, options.prefixes)
        memory_mb = memory_on_top_mb(place)
        plain, rich = pipeline(place, PLAIN), pipeline(place, RICH)
        documents = [orjson.loads(document.body) for block in blocks for document in rich.prepare(block).documents]
        print(f"{len(documents):,} calls: {traffic_line(documents)}")
        numbers = [document["callee.number"] for document in documents if "callee.number" in document]
        del documents
        ship(blocks, plain)
        gc.freeze()
        rounds = [[spent / options.calls for spent in ship(blocks, plain, rich)] for _ in range(options.rounds)]
        compare_look_ups(place, numbers, options.rounds)
    without, with_ = ([each[number] for each in rounds] for number in range(2))
    added = [much - little for little, much in rounds]
    print(f"{'CPU us a record':<42}{'minimum':>9}{'median':>9}")
    for name, costs in (("cdr, codes", without), ("cdr, codes, gateways, prefixes", with_), ("on top, round by round", added)):
        print(f"{name:<42}{min(costs):>9.2f}{median(costs):>9.2f}")
    for name, value, limit in (("us a record", median(added), CPU_LIMIT_US), ("MB", memory_mb, MEMORY_LIMIT_MB)):
        print(f"on top: {value:.1f} {name}, limit {limit:.0f}: {'kept' if value <= limit else 'EXCEEDED'}")


if __name__ == "__main__":
    main()
