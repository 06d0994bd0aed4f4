"""Measures the embedded store: calls stored a second, a number found, figures of a day.

    python -m benchmarks.embedded_store [DIRECTORY] [--calls 1000000] [--days 1]

It fills DIRECTORY (about 400 MB a million calls) unless it is filled already, and prints wall and CPU times.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import logging
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from vosship.documents import utc_text
from vosship.events import Block, Document, Stream
from vosship.plugin import Context
from vosship.query import Hit, Query, StatsQuery
from vosship.schema import Schema
from vosship.telemetry import Telemetry
from vosship_cdr import Cdr, Codes
from vosship_sqlite import Sqlite

FIRST_DAY = 1_777_140_000 - 1_777_140_000 % 86_400
"""Midnight of 25 April 2026, UTC."""

BATCH = 2000
"""The default `batch_records`."""

TIMES = 9
"""How often each question is asked (chosen: odd, and a second or two in all)."""


def store(directory: Path) -> Sqlite:
    """An unopened store with the columns that `cdr` and `codes` declare."""
    empty = context(directory, Schema(()))
    fields = [("cdr", Cdr(Cdr.Options(), empty).fields), ("codes", Codes(Codes.Options(), empty).fields)]
    return Sqlite(Sqlite.Options(), context(directory, Schema(fields)))


def context(directory: Path, schema: Schema) -> Context:
    """What a plugin is told of the world here."""
    return Context(
        name="store", switch="bench", timezone="UTC", schema=schema, log=logging.getLogger("bench"), metrics=Telemetry(),
        data_dir=directory, base_dir=directory, now=time.time,
    )  # fmt: skip


def documents(calls: int, day: int) -> Iterator[Document]:
    """A day of calls in hourly files: a quarter answered, random numbers, 30 gateways in and 12 out."""
    chance, encode, offset, hour = random.Random(day), msgspec.json.Encoder().encode, 0, -1
    for number in range(calls):
        stop = FIRST_DAY + day * 86_400 + number * 86_400 // calls
        if stop // 3600 != hour:
            hour, offset, utc = stop // 3600, 0, time.gmtime(stop)
            base = time.strftime("%Y%m%d%H.txt", utc)
            index = time.strftime("vos3000-cdr-%Y.%m.%d", utc)
            block = Block(Stream(base, base, f"/home/vos3000/cdr/{base}"), 0, 0, b"", b"", {})
        answered = chance.random() < 0.25
        hold_ms = int(chance.expovariate(1 / 120_000)) + 1 if answered else 0
        setup_ms, incoming, outgoing = chance.randint(500, 9000), chance.randrange(30), chance.randrange(12)
        code = 200 if answered else chance.choice((486, 487, 480, 503, 404, 403, -7))
        caller, callee = f"88017{chance.randrange(10**8):08d}", f"9{chance.randrange(10**10):010d}"
        fields: dict[str, Any] = {
            "switch": "bench", "host": "bench", "channel": "file", "log.file.path": block.stream.path,
            "event.ingested": utc_text(stop + 1), "callerE164": caller, "calleeE164": callee,
            "startTime": utc_text(stop - (hold_ms + setup_ms) // 1000), "stopTime": utc_text(stop), "@timestamp": utc_text(stop),
            "holdTime": hold_ms, "endReason": str(code), "endDirection": 0, "callerGatewayId": f"GW{incoming:03d}",
            "calleeGatewayId": f"VEN{outgoing:02d}", "callerIp": f"10.0.{incoming}.1", "calleeIp": f"10.9.{outgoing}.1",
            "callerAccessE164": caller, "calleeAccessE164": f"00{callee}", "callerToGatewayE164": caller,
            "calleeToGatewayE164": callee, "calleeBilling": 0, "billingMode": 1,
            "callerPdd": setup_ms, "calleePdd": setup_ms // 3, "layout": "pipe",
            "call.answered": answered, "end.code": code, "end.by": chance.choice(("caller", "callee", "server")),
            "log.offset": offset,
        }  # fmt: skip
        yield Document(f"{chance.getrandbits(64):016x}", index, encode(fields), b"", offset, block)
        offset += 190


async def fill(output: Sqlite, calls: int, days: int) -> None:
    """Store the calls; prints the rate, the making of the documents left out."""
    wall = cpu = 0.0
    await output.open()
    for day in range(days):
        source = documents(calls, day)
        while batch := list(itertools.islice(source, BATCH)):
            began, began_cpu = time.perf_counter(), time.process_time()
            await output.send(batch)
            wall, cpu = wall + time.perf_counter() - began, cpu + time.process_time() - began_cpu
    await output.close()
    print(f"stored {calls * days / wall:,.0f} calls/s, {cpu / calls / days * 1e6:.1f} us CPU a call")


def timed(what: str, ask: Callable[[], list[Any]]) -> list[Any]:
    """Ask TIMES times; print the median, and the first, for which a file's pages may not be in the cache yet."""
    times = []
    for _ in range(TIMES):
        began, began_cpu = time.perf_counter(), time.process_time()
        found = ask()
        times.append((time.perf_counter() - began, time.process_time() - began_cpu))
    wall, cpu = (statistics.median(each) for each in zip(*times, strict=True))
    print(f"{what}: median {wall * 1000:,.0f} ms, CPU {cpu * 1000:,.0f} ms; the first {times[0][0] * 1000:,.0f} ms ({len(found)})")
    return found


def _search(output: Sqlite, query: Query) -> list[Hit]:
    return list(output.search(query))


def main() -> None:
    """Fill where needed, then ask."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path, nargs="?", help="kept and used again; else a temporary one")
    parser.add_argument("--calls", type=int, default=1_000_000, help="a day")
    parser.add_argument("--days", type=int, default=1)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        measure(given.directory or Path(temporary), given.calls, given.days)


def measure(directory: Path, calls: int, days: int) -> None:
    """Print the figures of the store in `directory`."""
    output = store(directory)
    if not list(directory.glob("*.sqlite")):
        asyncio.run(fill(output, calls, days))
    ever = Query(from_ms=0, to_ms=1 << 50)
    first = Query(from_ms=FIRST_DAY * 1000, to_ms=(FIRST_DAY + 86_400) * 1000, limit=100)
    some = timed("newest 100 of the first day", lambda: list(output.search(first)))[50]
    number = some.fields["callerE164"]
    for asked in (number, "10000000000", number[:11] + "*"):
        query = msgspec.structs.replace(ever, number=asked)
        timed(f"number {asked}, all days", partial(_search, output, query))
    timed("stats of a day by callee_gateway", lambda: output.stats(StatsQuery(calls=first, by=("callee_gateway",))))


if __name__ == "__main__":
    main()
