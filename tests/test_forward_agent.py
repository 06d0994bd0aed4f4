"""The whole agent between a switch and two billing systems: one forward in, two relays and the embedded store out."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.forward_parts import WAIT_S, Switch, free_port, start_peer, wait_for
from vosship_forward import scan

pytestmark = pytest.mark.crash

CONFIG = """\
switch: dhaka-1
timezone: Asia/Dhaka
data_dir: {place}/data
inputs: {{forward: {{type: forward, listen: ["tcp://127.0.0.1:{to}", "udp://127.0.0.1:{to}"], reply: {{field: 37}}{more}}}}}
outputs:
  store: {{type: sqlite, batch_age_s: 0.2}}
  billing: {{type: relay, target: "tcp://127.0.0.1:{billing}", batch_age_s: 0.2, retry_max_s: 0.5}}
  proxy: {{type: relay, target: "tcp://127.0.0.1:{proxy}", batch_age_s: 0.2, retry_max_s: 0.5}}
"""


class Setting:
    """The agent's configuration and the ways to run it."""

    def __init__(self, place: Path, more: str = "") -> None:
        self.to, self.billing, self.proxy = free_port(), free_port(), free_port()
        self.config = place / "vosship.yaml"
        self.config.write_text(CONFIG.format(place=place, to=self.to, billing=self.billing, proxy=self.proxy, more=more))

    def command(self, *words: str) -> list[str]:
        """A vosship command on this configuration."""
        return [sys.executable, "-m", "vosship.cli", *words, "-c", str(self.config)]

    def start(self) -> subprocess.Popen[bytes]:
        """An agent that listens."""
        agent = subprocess.Popen(self.command("run", "--log-level", "error"))
        wait_for(self._listens, "the agent listens")
        return agent

    def status(self, pipeline: str) -> dict[str, Any]:
        """One pipeline of `vosship status --json`."""
        told = subprocess.run(self.command("status", "--json"), capture_output=True, check=True).stdout
        (found,) = [one for one in json.loads(told)["pipelines"] if one["name"] == pipeline]
        return dict(found)

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.to)) == 0


def flowno(line: bytes) -> bytes:
    """Column 37 of a record made by `datagram`."""
    return line.split(b",")[-10].strip(b'"')


def load(switch: Switch, first: int, count: int) -> None:
    """So many new records, at some 2,000 a second."""
    for number in range(first, first + count, 20):
        for one in range(number, number + 20):
            switch.send(str(one).encode())
        switch.hear(0.01)


def received(file: Path) -> Counter[bytes]:
    """How often each record arrived at a peer."""
    return Counter(flowno(line) for line in file.read_bytes().splitlines()) if file.exists() else Counter()


def test_every_record_reaches_store_and_both_receivers(tmp_path: Path) -> None:
    """A receiver dead for a while, then the agent killed under load: all have every record, the store each copy once."""
    setting = Setting(tmp_path)
    files = tmp_path / "billing", tmp_path / "proxy"
    peers = [start_peer(setting.billing, files[0], 0.0), start_peer(setting.proxy, files[1], 0.001)]
    agent = setting.start()
    switch = Switch(setting.to)
    try:
        load(switch, 1_000_000, 1000)
        peers[1].kill()
        peers[1].wait()
        load(switch, 1_001_000, 1000)
        agent.kill()
        agent.wait()
        agent = setting.start()
        until = time.monotonic() + WAIT_S
        while (missing := switch.missing()) and time.monotonic() < until:
            for one in missing[:100]:
                switch.send(one)
            switch.hear(0.02)
        assert switch.missing() == []
        peers[1] = start_peer(setting.proxy, files[1], 0.0)
        wait_for(lambda: all(set(received(file)) == set(switch.sent) for file in files), "both receivers have every record")
        agent.send_signal(signal.SIGTERM)
        assert agent.wait(WAIT_S) == 0
    finally:
        agent.kill()
        agent.wait()
        for peer in peers:
            peer.kill()
            peer.wait()
    arrivals = list(scan(tmp_path / "data/spool/forward"))
    pipeline = setting.status("forward>store")
    assert pipeline["read"] == len(arrivals)
    assert pipeline["stored"] + pipeline["duplicate"] + pipeline["dead"] == len(arrivals)
    assert pipeline["unread_bytes"] == pipeline["lost_bytes"] == 0
    assert sum(arrival.resend for arrival in arrivals) == len(arrivals) - len(switch.sent)


def lost_by_segment(pipeline: dict[str, Any]) -> dict[str, int]:
    """The bytes lost of each segment that lost any."""
    return {file["name"]: file["lost_bytes"] for file in pipeline["files"] if file["lost_bytes"]}


def test_what_a_full_spool_costs_is_in_status_while_its_receiver_is_still_away(tmp_path: Path) -> None:
    """The loss is named before the pipeline can be told of it; without the agent's memory it is exactly what is entered."""
    setting = Setting(tmp_path, more=", spool_max_bytes: 131072, segment_bytes: 4096")
    file = tmp_path / "billing"
    peers = [start_peer(setting.billing, file, 0.0)]
    agent = setting.start()
    switch = Switch(setting.to)
    try:
        for first in range(1_000_000, 1_001_000, 100):
            load(switch, first, 100)
            wait_for(lambda: set(received(file)) == set(switch.sent), "the receiver that is there has every record")
        assert setting.status("forward>proxy")["lost_bytes"] > 50_000
        assert setting.status("forward>billing")["lost_bytes"] == 0
        agent.kill()
        agent.wait()
        away = setting.status("forward>proxy")
        assert away["losses"] == [], "not entered yet"
        peers.append(start_peer(setting.proxy, tmp_path / "proxy", 0.0))
        agent = setting.start()
        wait_for(lambda: setting.status("forward>proxy")["unread_bytes"] == 0, "the rest is passed on")
        back = setting.status("forward>proxy")
        assert lost_by_segment(away).items() <= lost_by_segment(back).items()  # the start itself may cost one more
        assert back["lost_bytes"] == sum(loss["bytes"] for loss in back["losses"])
    finally:
        agent.kill()
        agent.wait()
        for peer in peers:
            peer.kill()
            peer.wait()
