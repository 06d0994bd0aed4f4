"""kill -9 of a real receiver under load: what was answered is in the spool, and comes again only if it was sent again."""

from __future__ import annotations

import os
import random
import select
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.forward_parts import datagram
from vosship_forward import absences, scan

pytestmark = pytest.mark.crash

RECEIVER = """
import asyncio, sys
from pathlib import Path
from tests.forward_parts import receiving
from vosship_forward.forward import Reply

async def run():
    listen = [f"tcp://127.0.0.1:{sys.argv[2]}", f"udp://127.0.0.1:{sys.argv[2]}"]
    async with receiving(Path(sys.argv[1]), listen=listen, reply=Reply(field=37), segment_bytes=65536, heartbeat_s=0.2):
        print("ready", flush=True)
        await asyncio.Event().wait()

asyncio.run(run())
"""


def start(place: Path, to: int) -> subprocess.Popen[str]:
    """A receiver process that is ready."""
    process = subprocess.Popen([sys.executable, "-c", RECEIVER, str(place), str(to)], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    return process


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

    def hear(self, wait_s: float) -> None:
        """Take the answers that come within the time."""
        until = time.monotonic() + wait_s
        while select.select([self.socket], [], [], max(0.0, until - time.monotonic()))[0]:
            try:
                self.answered.add(self.socket.recv(1000))
            except OSError:
                continue


def test_every_answered_record_is_in_the_spool(tmp_path: Path) -> None:
    """Killed at random moments: every answer was true, nothing is there that was not sent, and resends are marked."""
    chance = random.Random(11)
    to = free_port()
    switch = Switch(to)
    next_flowno = 1
    for _ in range(6):
        process = start(tmp_path, to)
        until = time.monotonic() + chance.uniform(0.05, 0.4)
        for flowno in [flowno for flowno in switch.sent if flowno not in switch.answered]:
            switch.send(flowno)
        while time.monotonic() < until:
            for _ in range(20):
                switch.send(str(next_flowno).encode())
                next_flowno += 1
            switch.hear(0.002)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        switch.hear(0.01)
        kept = [arrival.line.split(b",")[-10].strip(b'"') for arrival in scan(tmp_path)]
        assert switch.answered <= set(kept)
    process = start(tmp_path, to)
    for _ in range(50):
        missing = [flowno for flowno in switch.sent if flowno not in switch.answered]
        if not missing:
            break
        for flowno in missing[:200]:
            switch.send(flowno)
        switch.hear(0.05)
    process.kill()
    process.wait()
    assert set(switch.sent) == switch.answered
    seen: dict[bytes, int] = {}
    for arrival in scan(tmp_path):
        flowno = arrival.line.split(b",")[-10].strip(b'"')
        assert arrival.resend == (flowno in seen)
        seen[flowno] = seen.get(flowno, 0) + 1
    assert set(seen) == set(switch.sent)
    assert all(copies <= switch.sent[flowno] for flowno, copies in seen.items())
    assert len(absences(tmp_path)) == 6
