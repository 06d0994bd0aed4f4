"""`export` out of every store while the agent writes to it: complete, ordered, in little memory, killed and gone on with.

`VOSSHIP_EXPORT_CALLS` says how many calls there are.
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
import json
import os
import signal
import socket
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import duckdb
import pytest

from tests import nodes, plain_scan

pytestmark = [pytest.mark.real_server, pytest.mark.crash]

VOSSHIP = [sys.executable, "-m", "vosship.cli"]
CALLS = int(os.environ.get("VOSSHIP_EXPORT_CALLS", "30000"))
SPAN_S = 3 * 86_400 + 3_600
"""The three days that are exported and an hour more: after it comes a gap until now, before which all is known to be complete."""

DAYS = ("--from", "2026-04-26", "--to", "2026-04-28")
END_MS = 1_777_399_200_000
"""2026-04-28T18:00Z, the end of these days in Dhaka."""


FORMATS = ("ndjson", "csv", "parquet")


@pytest.fixture(scope="module", params=["sqlite", "opensearch", "elasticsearch"])
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder whose agent has shipped three days and goes on with what a switch writes now."""
    tmp_path = tmp_path_factory.mktemp("export")
    output: dict[str, Any] = {"type": "sqlite"}
    if request.param != "sqlite":
        node: nodes.Node = request.getfixturevalue(f"_{request.param}")
        node.clear()
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
    subprocess.run([*VOSSHIP, "run", "--once", *config_words], check=True, stderr=subprocess.DEVNULL, timeout=3600)
    live = [*VOSSHIP, "simulate", cdr, "--seconds", "3600", "--cps", "100"]
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


def start(place: Path, out: str, *days: str) -> subprocess.Popen[bytes]:
    """An export under way; the end of its file's name is the format."""
    words = ["-c", str(place / "vosship.yaml"), *days, "--format", out.rpartition(".")[2], "--out", str(place / out)]
    return subprocess.Popen([*VOSSHIP, "export", *words], stderr=subprocess.PIPE)


class Relay(socketserver.ThreadingTCPServer):
    """A port that passes on to a server, until it dies."""

    daemon_threads = True

    def __init__(self, url: str) -> None:
        super().__init__(("127.0.0.1", 0), socketserver.BaseRequestHandler)
        self._server = (urlsplit(url).hostname or "", urlsplit(url).port or 0)
        self._open: list[socket.socket] = []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Pass on what comes, both ways."""
        with socket.create_connection(self._server) as behind:
            self._open += [request, behind]
            back = threading.Thread(target=self._pass_on, args=(behind, request), daemon=True)
            back.start()
            self._pass_on(request, behind)
            back.join()

    def _pass_on(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while piece := source.recv(65536):
                sink.sendall(piece)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)

    def die(self) -> None:
        """Refuse whoever comes, and reset who is there."""
        self.shutdown()
        self.server_close()
        for each in self._open:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)


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


def break_off(process: subprocess.Popen[bytes], parts: Path, days: int, how: signal.Signals) -> str:
    """Send it that signal once so many days are done and accounted for; what it said."""
    while len(done(parts)) < days:
        assert process.poll() is None, "ended before it could be broken off"
        time.sleep(0.002)
    process.send_signal(how)
    said = process.communicate(timeout=60)[1].decode()
    assert process.returncode == (130 if how is signal.SIGINT else -how), said
    return said


def done(parts: Path) -> dict[str, int]:
    """The days that will not be read again, each with the time when its part was written."""
    days = [path.stem for path in parts.glob("2026-*.json")]
    return {day: (parts / f"{day}.part").stat().st_mtime_ns for day in days}


Place = tuple[int, str, int]
"""Minus the epoch milliseconds of a call's stop, its file, its byte: what exports are ordered by."""


def placed(path: Path) -> list[Place]:
    """Where each call of an exported file belongs, in the file's order."""
    if path.suffix == ".parquet":
        rows = duckdb.sql(f"""SELECT epoch_ms("@timestamp"), "log.file.path", "log.offset" FROM '{path}'""")
        assert rows is not None
        return [(-at, file, offset) for at, file, offset in rows.fetchall()]
    with path.open(newline="") as text:
        found = csv.DictReader(text) if path.suffix == ".csv" else map(json.loads, text)
        return [(-milliseconds(each["@timestamp"]), each["log.file.path"], int(each["log.offset"])) for each in found]


def milliseconds(text: str) -> int:
    """Epoch milliseconds of a document's time."""
    return (datetime.fromisoformat(text) - datetime.fromisoformat("1970-01-01T00:00:00Z")) // timedelta(milliseconds=1)


@pytest.mark.parametrize("form", FORMATS)
def test_a_broken_off_export_goes_on_and_is_whole_while_the_agent_writes(place: Path, form: str) -> None:
    """Killed after its first day and stopped by Ctrl-C after its second it leaves no file; the same command then gives every
    call once, newest first, below 100 MB."""
    expected = sorted(
        (-call["stopTime"], str(place / "cdr" / Path(call["file"]).name), call["offset"])
        for call in plain_scan.lines(place / "expected", "dhaka-1")
        if call["stopTime"] < END_MS
    )
    out = place / f"calls.{form}"
    parts = place / f"calls.{form}.parts"
    break_off(start(place, out.name, *DAYS), parts, 1, signal.SIGKILL)
    killed = done(parts)
    assert "same command goes on" in break_off(start(place, out.name, *DAYS), parts, 2, signal.SIGINT)
    assert not out.exists()
    assert len(done(parts)) == 2, "broken off too late to see anything"
    assert killed.items() <= done(parts).items()
    said, peak_mb = end(start(place, out.name, *DAYS))
    assert "going on" in said
    assert "is complete" in said
    assert placed(out) == expected
    assert len(expected) > 0.9 * CALLS
    manifest = json.loads((place / f"calls.{form}.manifest.json").read_text())
    assert manifest["records"] == len(expected)
    assert manifest["complete"] is True
    with out.open("rb") as file:
        assert manifest["sha256"] == hashlib.file_digest(file, "sha256").hexdigest()
    print(f"{len(expected)} calls, {form}, peak {peak_mb:.0f} MB")
    assert peak_mb < 100


def test_an_export_of_the_day_being_written_has_all_that_was_settled(place: Path) -> None:
    """What arrives meanwhile may be in it or not; nothing is twice or out of order, and it does not claim to be complete."""
    words = ["status", "-c", str(place / "vosship.yaml"), "--json"]
    settled = 0
    while settled < CALLS + 200:
        status = subprocess.run([*VOSSHIP, *words], check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout
        settled = sum(pipeline["stored"] for pipeline in json.loads(status)["pipelines"])
    said, peak_mb = end(start(place, "all.ndjson", "--from", "2026-04-26"))
    found = placed(place / "all.ndjson")
    assert len(found) >= settled
    assert found == sorted(set(found))
    assert "NOT complete" in said
    assert peak_mb < 100


def test_an_export_from_a_server_that_dies_says_how_to_go_on(place: Path) -> None:
    """Exit 1, the server by its address, no file; once it is back the same command reads on and the file is whole."""
    config = json.loads((place / "vosship.yaml").read_text())
    if "hosts" not in config["outputs"]["out"]:
        pytest.skip("the embedded store has no server")
    [url] = config["outputs"]["out"]["hosts"]
    relay = Relay(url)
    address = f"http://127.0.0.1:{relay.server_address[1]}"
    config["outputs"]["out"]["hosts"] = [address]
    (place / "relayed.yaml").write_text(json.dumps(config))
    process = start(place, "cut.csv", *DAYS, "-c", str(place / "relayed.yaml"))
    parts = place / "cut.csv.parts"
    while not done(parts):
        assert process.poll() is None, "ended before the server died"
        time.sleep(0.002)
    relay.die()
    said = process.communicate(timeout=120)[1].decode()
    assert process.returncode == 1, said
    assert f"broken off: the same command goes on from {parts}" in said
    assert f"vosship: {address}: no connection, or it broke" in said
    assert not (place / "cut.csv").exists()
    assert "going on" in end(start(place, "cut.csv", *DAYS))[0]
    assert len(placed(place / "cut.csv")) == json.loads((place / "cut.csv.manifest.json").read_text())["records"] > 0.9 * CALLS
