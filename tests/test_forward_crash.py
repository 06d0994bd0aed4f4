"""kill -9 of a real receiver under load: what was answered is in the spool, and comes again only if it was sent again."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.forward_parts import Switch, free_port
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


def test_every_answered_record_is_in_the_spool(tmp_path: Path) -> None:
    """Killed at random moments: every answer was true, nothing is there that was not sent, and resends are marked."""
    chance = random.Random(11)
    to = free_port()
    switch = Switch(to)
    next_flowno = 1
    gone: list[tuple[float, float]] = []
    for _ in range(6):
        process = start(tmp_path, to)
        until = time.monotonic() + chance.uniform(0.05, 0.4)
        for flowno in switch.missing():
            switch.send(flowno)
        while time.monotonic() < until:
            for _ in range(20):
                switch.send(str(next_flowno).encode())
                next_flowno += 1
            switch.hear(0.002)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        died_ms = time.time() * 1000
        switch.hear(0.01)
        kept = [arrival.line.split(b",")[-10].strip(b'"') for arrival in scan(tmp_path)]
        assert switch.answered <= set(kept)
        gone.append((died_ms, time.time() * 1000))
    process = start(tmp_path, to)
    for _ in range(50):
        for flowno in switch.missing()[:200]:
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
    known = absences(tmp_path)
    assert all(any(begin <= dead[0] and dead[1] <= end for begin, end in known) for dead in gone)
