"""A simulated switch, its real receiver and the commands that compare what both kept, for the tests of reconcile and evidence."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest

from vosship import cli, config
from vosship.application import Application
from vosship.daemon import Daemon
from vosship_switch.forward import Target
from vosship_switch.simulation import ForwardSettings, Settings, Simulation

CONFIG = """\
switch: s1
timezone: Asia/Dhaka
data_dir: data
inputs:
  cdr: {type: files, paths: ["cdr/*.txt"]}
  copy: {type: files, paths: ["copy/*.txt"], channel: copy}
  forward: {type: forward, listen: ["tcp://127.0.0.1:0", "udp://127.0.0.1:0"], reply: {field: 37}, heartbeat_s: 3600}
processors:
  - {type: cdr, max_skew_days: %(skew)d}
  - codes
outputs: {store: {%(store)s, inputs: [cdr, forward]}}
"""

START_MS = 1_777_140_000_000
"""2026-04-26T00:00 in Dhaka."""

DAY = ("--day", "2026-04-26")
FAULTS = frozenset({"forward-drop", "resend", "reorder", "field-change", "file-drop"})


class Place:
    """A directory with a configuration, and what can be done in it."""

    def __init__(self, path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.path = path
        self._capsys = capsys
        self.configure()

    def configure(self, *, skew: int = 2, store: str = "type: sqlite") -> None:
        """Write the configuration. A skew other than 2 keeps files from being compared line by line."""
        values = {"skew": skew, "store": store}
        (self.path / "vosship.yaml").write_text(CONFIG % values, encoding="utf-8")

    def application(self, now: Callable[[], float] | None = None) -> Application:
        """The configuration, built."""
        found = config.load(self.path / "vosship.yaml")
        return Application(found, now) if now else Application(found)

    def simulate(
        self, calls: int, *, faults: frozenset[str] = frozenset(), transport: Literal["tcp", "udp"] = "tcp", **settings: Any
    ) -> dict[str, int]:
        """Write files and forward the same calls to a real receiver; returns the simulator's own classes.

        However many calls, they fit into DAY.
        """
        cps = max(2.0, calls / 40_000)

        async def run() -> dict[str, int]:
            forward = self.application().inputs["forward"].plugin
            await forward.open()
            try:
                port = next(one.port for one in forward.listening if one.protocol == transport)
                to = ForwardSettings(
                    to=Target("127.0.0.1", port, transport), layout="datagram-46" if transport == "udp" else "pipe"
                )
                simulation = Simulation(
                    Settings(
                        directory=self.path / "cdr", calls=calls, start_ms=START_MS, faults=faults, forward=to, cps=cps, **settings
                    )
                )
                await asyncio.to_thread(simulation.run)
                return simulation.classes
            finally:
                await forward.close()

        return asyncio.run(run())

    def write_files(self, calls: int, folder: str = "cdr", **settings: Any) -> None:
        """Files only."""
        Simulation(Settings(directory=self.path / folder, calls=calls, start_ms=START_MS, cps=2.0, **settings)).run()

    def ship(self) -> None:
        """Everything into the store."""
        asyncio.run(Daemon(self.application(), once=True).run())

    def run(self, *words: str) -> tuple[int, str]:
        """A command's exit code and standard output."""
        self._capsys.readouterr()
        code = cli.run([words[0], "-c", str(self.path / "vosship.yaml"), *words[1:]])
        return code, self._capsys.readouterr().out

    def reconcile(self, left: str, right: str, *words: str) -> tuple[int, dict[str, Any]]:
        """The exit code and the JSON report."""
        code, out = self.run("reconcile", "--left", left, "--right", right, "--json", *DAY, *words)
        return code, json.loads(out)

    def lines(self) -> list[bytes]:
        """All lines of the files, in order."""
        return [line for file in sorted((self.path / "cdr").iterdir()) for line in file.read_bytes().splitlines(keepends=True)]


@pytest.fixture
def place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Place:
    """A fresh place."""
    return Place(tmp_path, capsys)
