"""A long run of everything at once: `python -m tests.soak --minutes 60`.

A simulated switch writes, rotates and deletes; the agent is killed -9 at random, now and then for longer than the switch keeps
its files; a real OpenSearch node is killed -9, frozen and restarted; the disk of `data_dir` fills up. At the end everything comes
back, the rest is shipped, and every line ever written is looked for. Exit 1 when one is missing or doubled.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tests import nodes
from tests.crash_parts import (
    Place,
    Process,
    Tally,
    agent,
    base_of,
    configure,
    dead_lines,
    pipeline_status,
    tally,
    vosship,
)

INTERVAL_S, MAX_FILES = 12, 10
"""The switch keeps two minutes of calls. Chosen: an outage of minutes, not of days, must make it delete what is unread."""

STILL_S = 15.0
"""Longer than the simulated switch's flush (1 s), short enough to name holes within the run."""

DISK_MB = 24
"""Of the tmpfs below `data_dir`. Chosen: the state of this run takes a few MB, so a filled disk is soon free again."""

SEED = 20261120


class Soak:
    """One run: what it starts it ends."""

    def __init__(self, folder: Path, disk: Path | None, node: nodes.Node, minutes: float, cps: float) -> None:
        self.folder = folder
        self.disk = disk
        self.node = node
        self.cps = cps
        self.seconds = minutes * 60
        self.random = random.Random(SEED)
        self.done: Counter[str] = Counter()
        self.account = folder / "account.ndjson"
        output = {
            "type": "opensearch", "hosts": [node.url], "timeout_s": 5, "retry_max_s": 2, "batch_age_s": 0.5, "in_flight": 2,
            "refresh_interval_s": 30,
        }  # fmt: skip
        self.config = configure(folder, output, data_dir=(disk or folder) / "data", files={"still_s": STILL_S, "rescan_s": 5})
        self.agent: Process | None = None
        self.switch: Process | None = None

    def run(self) -> Tally:
        """Do harm until the switch has ended, then mend, ship the rest and count."""
        self.switch = Process(
            self.folder / "switch.log", "simulate", self.folder / "cdr", "--seconds", int(self.seconds), "--cps", self.cps,
            "--interval-s", INTERVAL_S, "--max-files", MAX_FILES, "--flush-s", 1, "--account", self.account,
            "--fault", "bad-bytes",
        )  # fmt: skip
        self.agent = agent(self.config)
        while not self.switch.ended:
            self._pause(self.random.expovariate(1 / 12))
            self._harm()
        self._note("switch ended, everything comes back")
        self.agent.kill()
        time.sleep(STILL_S)
        done = vosship("run", "--once", "-c", self.config, timeout_s=1800)
        self._note(f"run --once: exit {done.returncode}")
        if done.returncode not in (0, 3):
            raise RuntimeError(done.stderr[-3000:])
        return tally(self.account, pipeline_status(self.config), dead_lines(self.config), places(self.node))

    def close(self) -> None:
        """End what is still running."""
        for process in (self.switch, self.agent):
            if process is not None:
                process.kill()

    def _harm(self) -> None:
        what = self.random.choices(
            ["kill", "kill for long", "stop", "node killed", "node killed for long", "node frozen", "disk full"],
            [10, 0.5, 2, 1.5, 0.3, 1, 1 if self.disk else 0],
        )[0]
        self._note(what)
        self.done[what] += 1
        assert self.agent is not None
        if what.startswith("node killed"):
            self.node.kill()
            self._pause(self._long() if what.endswith("long") else self.random.uniform(1, 30))
            self.node.start()
        elif what == "node frozen":
            self.node.pause()
            self._pause(self.random.uniform(3, 20))
            self.node.resume()
        elif what == "disk full":
            self._fill_disk()
        elif what == "stop":
            self.agent.stop()
            self.agent = agent(self.config)
        else:
            self.agent.kill()
            self._rest(self._long() if what.endswith("long") else self.random.uniform(0, 6))
            self.agent = agent(self.config)

    def _long(self) -> float:
        """Longer than the switch keeps its files."""
        return self.random.uniform(0.5, 1.5) * INTERVAL_S * MAX_FILES

    def _fill_disk(self) -> None:
        assert self.disk is not None
        ballast = self.disk / "ballast"
        with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
            while True:
                file.write(b"\0" * 4096)
        self._rest(self.random.uniform(5, 25))
        ballast.unlink()

    def _pause(self, seconds: float) -> None:
        """Let it work, started again when it ends, as a service manager would."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and self.switch is not None and not self.switch.ended:
            time.sleep(0.2)
            assert self.agent is not None
            if self.agent.ended:
                self.done["agent ended by itself"] += 1
                time.sleep(1)
                self.agent = agent(self.config)

    def _rest(self, seconds: float) -> None:
        """Let time pass, without starting anything."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and self.switch is not None and not self.switch.ended:
            time.sleep(0.1)

    def _note(self, what: str) -> None:
        print(f"{time.strftime('%H:%M:%S')} {what}", file=sys.stderr, flush=True)


def places(node: nodes.Node) -> Counter[Place]:
    """How often each line stands in the index, read page by page with plain requests."""
    node.call("POST", "/vos3000-*/_refresh")
    found: Counter[Place] = Counter()
    after: list[object] | None = None
    while True:
        ask = {
            "size": 10_000, "_source": False, "docvalue_fields": ["log.file.path", "log.offset"], "track_total_hits": False,
            "sort": [{"log.file.path": "asc"}, {"log.offset": "asc"}, {"_index": "asc"}],
        }  # fmt: skip
        status, answer = node.call("POST", "/vos3000-*/_search", ask | ({"search_after": after} if after else {}), timeout_s=120)
        if status != 200:
            raise RuntimeError(f"{status} {answer}")
        hits = answer["hits"]["hits"]
        for hit in hits:
            found[base_of(hit["fields"]["log.file.path"][0]), hit["fields"]["log.offset"][0]] += 1
        if not hits:
            return found
        after = hits[-1]["sort"]


def table(result: Tally, done: Counter[str]) -> str:
    """The result and what was done to get it, as Markdown."""
    rows = [
        ("lines written", result.written), ("stored", result.stored), ("dead (damaged on purpose)", result.set_aside),
        ("blank", result.blank), ("lost, by name and bytes", result.lost_lines),
        ("deleted while no agent ran, in named gaps", result.in_named_gaps), ("**missing**", result.missing),
        ("**doubled**", result.doubled), ("in the index, never written", result.invented),
        ("of the written, deleted unread", result.deleted_unread),
        ("ledger: duplicate (sent again, known by their id)", result.duplicate),
        ("ledger: dead", result.dead), ("ledger: filtered", result.filtered), ("ledger: bytes lost", result.lost_bytes),
    ]  # fmt: skip
    lines = ["| | |", "|---|--:|", *(f"| {name} | {count:,} |" for name, count in rows)]
    lines += ["", "Done to it: " + ", ".join(f"{what} {count}" for what, count in sorted(done.items())) + "."]
    return "\n".join([*lines, *result.unexplained[:20]])


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[Path | None]:
    """A tmpfs of DISK_MB for `data_dir`; None, with a sentence, where it cannot be mounted."""
    place = folder / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m", "vosship-soak", str(place)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode != 0:
        print("full disk left out: mounting a small tmpfs needs root", file=sys.stderr)
        yield None
        return
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=False)


def main() -> int:
    """Run, print the table on stdout, and say by the exit code whether the promise held."""
    options = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    options.add_argument("--minutes", type=float, default=60.0)
    options.add_argument("--cps", type=float, default=120.0, help="calls a second")
    options.add_argument("--keep", action="store_true", help="leave logs, account and state where they are")
    chosen = options.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="vosship-soak-"))
    print(f"in {folder}", file=sys.stderr)
    with small_disk(folder) as disk, nodes.opensearch() as node:
        soak = Soak(folder, disk, node, chosen.minutes, chosen.cps)
        try:
            result = soak.run()
        finally:
            soak.close()
        print(table(result, soak.done))
        (folder / "status.json").write_text(json.dumps(pipeline_status(soak.config)))
        if disk is not None:
            shutil.copytree(disk / "data", folder / "data")
    if result.good and not chosen.keep:
        shutil.rmtree(folder, ignore_errors=True)
    return 0 if result.good else 1


if __name__ == "__main__":
    sys.exit(main())
