"""What the enrichment costs: gateways, a deck of 300,000 prefixes and countries, a record and in memory.

    python -m benchmarks.enriching [--prefixes 300000]

The records come from the simulator through `cdr` and `codes`; the figure is what `gateways` and `prefixes` add to them.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from pathlib import Path
from statistics import median

from vosship import config
from vosship.application import Application
from vosship.events import Block, Record, Stream
from vosship.pipeline import records_of
from vosship.plugin import Processor
from vosship_switch.simulation import Settings, Simulation

BLOCK_LINES = 700
"""About as many as the `files` input gives at a time."""


def write_tables(place: Path, prefixes: int, gateways: set[str]) -> None:
    """A deck of unique prefixes below the simulator's countries, and a row for each gateway."""
    chance = random.Random(1)
    deck: set[str] = set()
    while len(deck) < prefixes:
        deck.add(
            str(chance.choice((880, 91, 92, 44, 971, 966, 1, 7, 86, 60)))
            + str(chance.randrange(10**6)).rjust(6, "0")[: chance.randint(2, 6)]
        )
    rows = "".join(f"{prefix},Destination {number % 3000},{number % 7 / 100}\n" for number, prefix in enumerate(sorted(deck)))
    (place / "deck.csv").write_text("prefix,destination,rate\n" + rows)
    lines = "".join(f"{name},{name} Ltd,Customer {number},00999|222|77#\n" for number, name in enumerate(sorted(gateways)))
    (place / "gateways.csv").write_text("id,name,customer,strip_callee\n" + lines)


def resident_mb() -> float:
    """Memory of this process now."""
    text = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith("VmRSS")) / 1024


def blocks_of(directory: Path) -> list[Block]:
    """The simulated files in blocks."""
    blocks = []
    for file in sorted(directory.iterdir()):
        stream, offset = Stream(str(file), file.name, str(file)), 0
        lines = file.read_bytes().splitlines(keepends=True)
        for start in range(0, len(lines), BLOCK_LINES):
            data = b"".join(lines[start : start + BLOCK_LINES])
            blocks.append(Block(stream, offset, offset + len(data), data, b"", {}))
            offset += len(data)
    return blocks


def run(chain: list[Processor], blocks: list[Block]) -> list[list[Record]]:
    """Every block through the chain."""
    found = []
    for block in blocks:
        records = records_of(block)
        for processor in chain:
            processor.process(records)
        found.append(records)
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--prefixes", type=int, default=300_000)
    parser.add_argument("--calls", type=int, default=60_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        place = Path(work)
        Simulation(Settings(directory=place / "cdr", calls=options.calls, start_ms=1_777_183_200_000), told=None).run()
        blocks = blocks_of(place / "cdr")
        gateways = {part for block in blocks for line in block.data.decode().splitlines() for part in line.split("|")[7:9] if part}
        write_tables(place, options.prefixes, gateways)
        inputs = f"{{cdr: {{type: files, paths: ['{place}/cdr/*.txt']}}}}"
        text = f"{{switch: s, timezone: Asia/Dhaka, data_dir: {place}/data, inputs: {inputs},"
        plain = Application(config.parse(f"{text} processors: [cdr, codes]}}"))
        first = plain.processors(plain.inputs["cdr"])
        before_mb = resident_mb()
        rich = "[cdr, codes, {type: gateways, table: gateways.csv}, {type: prefixes, table: deck.csv}]"
        full = Application(config.parse(f"{text} processors: {rich}}}", base_dir=place))
        second = full.processors(full.inputs["cdr"])[2:]
        memory_mb = resident_mb() - before_mb
        run([*first, *second], blocks[:10])
        costs = []
        for _ in range(5):
            groups = run(first, blocks)
            started = time.process_time()
            for records in groups:
                for processor in second:
                    processor.process(records)
            costs.append((time.process_time() - started) / options.calls * 1e6)
    print(f"gateways and {options.prefixes:,} prefixes: {median(costs):.2f} us CPU a record (median of 5), {memory_mb:.0f} MB")


if __name__ == "__main__":
    main()
