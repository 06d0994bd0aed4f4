"""A real receiver, its settings and a log to look at, for the tests of the forward and the relay."""

from __future__ import annotations

import asyncio
import logging
import select
import socket
import subprocess
import sys
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


def free_port() -> int:
    """A port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Switch:
    """Sends over UDP until answered, as the switch does, and remembers how often it sent what."""

    def __init__(self, to: int) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        self.socket.connect(("127.0.0.1", to))
        self.sent: dict[bytes, int] = {}
        self.answered: set[bytes] = set()

    def send(self, flowno: bytes) -> None:
        """Send a record, or send it again."""
        self.sent[flowno] = self.sent.get(flowno, 0) + 1
        try:
            self.socket.send(datagram(flowno.decode()))
        except OSError:
            return  # nobody listens: the record is on its way to nowhere

    def missing(self) -> list[bytes]:
        """What was sent and not answered."""
        return [flowno for flowno in self.sent if flowno not in self.answered]

    def hear(self, wait_s: float) -> None:
        """Take the answers that come within the time."""
        until = time.monotonic() + wait_s
        while select.select([self.socket], [], [], max(0.0, until - time.monotonic()))[0]:
            try:
                self.answered.add(self.socket.recv(1000))
            except OSError:
                continue


def wait_for(happened: Callable[[], bool], what: str) -> None:
    """Block until it has happened in another process; the test fails when it does not."""
    until = time.monotonic() + WAIT_S
    while not happened():
        assert time.monotonic() < until, f"waited in vain: {what}"
        time.sleep(0.02)


def wait_for_end(file: Path, end: bytes) -> None:
    """Block until the file ends with those bytes."""
    wait_for(lambda: file.read_bytes().endswith(end), f"{file.name} ends with the last record")


SLOW_PEER = """
import socket, sys, time
listener = socket.socket()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind(("127.0.0.1", int(sys.argv[1])))
listener.listen()
print("ready", flush=True)
with open(sys.argv[2], "ab", buffering=0) as file:
    while True:
        connection, _ = listener.accept()
        held = b""
        while data := connection.recv(4096):
            *whole, held = (held + data).split(b"\\n")
            file.write(b"".join(line + b"\\n" for line in whole))
            time.sleep(float(sys.argv[3]))
"""


def start_peer(to: int, file: Path, pause_s: float) -> subprocess.Popen[str]:
    """A receiver process that reads 4 KB at a time and rests between."""
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW_PEER, str(to), str(file), str(pause_s)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    return process
