"""`export` out of every store while the agent writes to it: complete, ordered, in little memory, killed and gone on with.

`VOSSHIP_EXPORT_CALLS` says how many calls there are.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests import nodes, plain_scan

pytestmark = [pytest.mark.real_server, pytest.mark.crash]

VOSSHIP = [sys.executable, "-m", "vosship.cli"]
CALLS = int(os.environ.get("VOSSHIP_EXPORT_CALLS", "30000"))
SPAN_S = 250_000
"""Just under three days."""

DAYS = ("--from", "2026-04-26", "--to", "2026-04-28")


@pytest.fixture(params=["sqlite", "opensearch", "elasticsearch"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A folder whose agent has shipped three days and goes on with what a switch writes now."""
    output: dict[str, Any] = {"type": "sqlite"}
    if request.param != "sqlite":
        node: nodes.Node = request.getfixturevalue(f"{request.param}_node")
        output = {"type": node.engine, "hosts": [node.url], "batch_age_s": 0.2}
    config = {
        "switch": "dhaka-1",
        "timezone": "Asia/Dhaka",
        "data_dir": str(tmp_path / "data"),
        "inputs": {"cdr": {"type": "files", "paths": [str(tmp_path / "cdr" / "*.txt")], "poll_s": 0.2}},
        "outputs": {"out": output},
    }
    (tmp_path / "vosship.yaml").write_text(json.dumps(config))
    cdr = str(tmp_path / "cdr")
    simulate = [*VOSSHIP, "simulate", cdr, "--start", "2026-04-26T00:00", "--calls", str(CALLS), "--cps", str(CALLS / SPAN_S)]
    subprocess.run(simulate, check=True)
    (tmp_path / "expected").mkdir()
    for path in (tmp_path / "cdr").iterdir():
        os.link(path, tmp_path / "expected" / path.name)
    config_words = ["-c", str(tmp_path / "vosship.yaml")]
    subprocess.run([*VOSSHIP, "run", "--once", *config_words], check=True, stderr=subprocess.DEVNULL, timeout=900)
    live = [*VOSSHIP, "simulate", cdr, "--seconds", "600", "--cps", "100"]
    with (
        subprocess.Popen(live, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as switch,
        subprocess.Popen([*VOSSHIP, "run", *config_words], stderr=subprocess.DEVNULL) as agent,
    ):
        try:
            yield tmp_path
        finally:
            switch.kill()
            agent.send_signal(signal.SIGTERM)
            agent.wait(60)


def start(place: Path, out: str) -> subprocess.Popen[bytes]:
    """An export of the three days under way."""
    words = ["-c", str(place / "vosship.yaml"), *DAYS, "--format", "ndjson", "--out", str(place / out)]
    return subprocess.Popen([*VOSSHIP, "export", *words], stderr=subprocess.PIPE)


def end(process: subprocess.Popen[bytes]) -> tuple[str, float]:
    """What it said, and its largest memory in MB.

    The high-water mark of its own address space: the system's accounting of a child counts this process's memory too, from
    which it was forked.
    """
    peak_mb = 0.0
    while process.poll() is None:
        status = Path(f"/proc/{process.pid}/status").read_text()
        peak_mb = max([peak_mb, *(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM"))])
        time.sleep(0.01)
    assert process.stderr is not None
    said = process.stderr.read().decode()
    assert process.returncode == 0, said
    return said, peak_mb


def test_a_killed_export_goes_on_and_is_whole_while_the_agent_writes(place: Path) -> None:
    """Killed after its first day it leaves no file; the same command then gives every call once, newest first, below 100 MB."""
    expected = [call["stopTime"] for call in plain_scan.lines(place / "expected", "dhaka-1")]
    process = start(place, "calls.ndjson")
    parts = place / "calls.ndjson.parts"
    while not list(parts.glob("*.part")):
        assert process.poll() is None, "ended before it could be killed"
        time.sleep(0.002)
    process.kill()
    process.wait()
    assert process.stderr is not None
    process.stderr.close()
    assert not (place / "calls.ndjson").exists()
    assert len(list(parts.glob("*.part"))) < 3, "killed too late to see anything"
    said, peak_mb = end(start(place, "calls.ndjson"))
    assert "going on" in said
    assert "complete" in said
    assert peak_mb < 100
    digest, order = hashlib.sha256(), []
    with (place / "calls.ndjson").open("rb") as file:
        for line in file:
            digest.update(line)
            each = json.loads(line)
            at = datetime.fromisoformat(each["@timestamp"]).timestamp() * 1000
            order.append((-round(at), each["log.file.path"], each["log.offset"], each["_id"]))
    assert order == sorted(order)
    assert len({place[1:3] for place in order}) == len(order) == len(expected) == CALLS
    assert sorted(-place[0] for place in order) == sorted(expected)
    manifest = json.loads((place / "calls.ndjson.manifest.json").read_text())
    assert manifest["records"] == CALLS
    assert manifest["complete"] is True
    assert manifest["sha256"] == digest.hexdigest()
    print(f"{CALLS} calls, peak {peak_mb:.0f} MB")
