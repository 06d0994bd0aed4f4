"""A real receiver, its settings and a log to look at, for the tests of the forward and the relay."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from vosship.events import Block, Gone
from vosship.plugin import Context, Known
from vosship.schema import Schema
from vosship_forward import Forward

WAIT_S = 20.0
"""How long an awaited event may take before the test says that it never comes."""


class Counts:
    """Metrics, counted where a test can see them."""

    def __init__(self) -> None:
        self.totals: Counter[str] = Counter()
        self.gauges: dict[str, float] = {}
        self._changed = asyncio.Event()

    def count(self, name: str, amount: float = 1, **labels: str) -> None:
        """Add up."""
        self.totals[":".join([name, *labels.values()])] += int(amount)
        self._changed.set()

    def set(self, name: str, value: float, **labels: str) -> None:
        """Keep the last."""
        self.gauges[name] = value

    def observe(self, name: str, value: float, **labels: str) -> None:
        """Not looked at."""

    async def until_refused(self, reason: str, count: int) -> None:
        """Return once so many were refused for that reason."""
        while self.refused(reason) < count:
            self._changed.clear()
            await self._changed.wait()

    def refused(self, reason: str) -> int:
        """How many were refused for that reason."""
        return self.totals[f"vosship_forward_refused_total:{reason}"]


def context(place: Path, *, metrics: Counts | None = None, now: Callable[[], float] = time.time, **parameters: int) -> Context:
    """What a plugin under test is told of the world."""
    return Context(
        name="forward",
        switch="dhaka-1",
        timezone="Asia/Dhaka",
        schema=Schema(()),
        log=logging.getLogger("vosship.forward"),
        metrics=metrics or Counts(),
        data_dir=place,
        base_dir=place,
        now=now,
        switch_parameters=parameters,
    )


@asynccontextmanager
async def receiving(place: Path, *, metrics: Counts | None = None, **options: Any) -> AsyncIterator[Forward]:
    """An open receiver on ports the system chooses; heartbeats are rare unless asked for."""
    settings = {"listen": ["tcp://127.0.0.1:0", "udp://127.0.0.1:0"], "heartbeat_s": 600.0, **options}
    forward = Forward(Forward.Options(**settings), context(place, metrics=metrics))
    await forward.open()
    try:
        yield forward
    finally:
        await forward.close()


def port(forward: Forward, protocol: str) -> int:
    """The port bound for that protocol."""
    return next(address.port for address in forward.listening if address.protocol == protocol)


async def converse(to: int, data: bytes) -> bytes:
    """One TCP connection: all bytes, then the end, then everything that is answered."""
    reader, writer = await asyncio.open_connection("127.0.0.1", to)
    writer.write(data)
    writer.write_eof()
    async with asyncio.timeout(WAIT_S):
        answer = await reader.read()
    writer.close()
    return answer


async def gather(forward: Forward, known: Known | None = None) -> list[Block | Gone]:
    """Everything the spool gives now."""
    return [item async for item in forward.read(known or {}, "now")]


def lines(items: list[Block | Gone]) -> list[bytes]:
    """The lines of all blocks, in order."""
    return [line for item in items if isinstance(item, Block) for line in item.data.splitlines()]


def tags(items: list[Block | Gone]) -> list[Any]:
    """The tags of each line."""
    return [each.get("tags", []) for item in items if isinstance(item, Block) for each in item.each or ()]


def pipe(number: int, *, stop: str = "2026-04-26 12:00:05", start: str = "2026-04-26 12:00:00") -> bytes:
    """A call in pipe format; the number makes it unlike any other."""
    caller = f"88017{number:08d}"
    return (
        f"{caller}|8801811000000|{start}|{stop}|5000|200|0|IN|OUT|10.0.0.1|10.0.0.2|{caller}|01811000000|{caller}|1811000000|0|1|10|5"
    ).encode()


def datagram(flowno: str, *, name: str = "Customer, Ltd") -> bytes:
    """A call in datagram-46 order; the customer's name holds a comma, and flowno is column 37."""
    fields = [f"f{number}" for number in range(1, 47)]
    fields[29] = name
    fields[36] = flowno
    return ",".join(f'"{field}"' for field in fields).encode()
