"""Real processes and the account they are held to: a simulated switch, an agent that is killed, and who says what was written.

It decides when nothing: `test_crash` and `soak` do.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec

from vosship.testing.cluster import Cluster
from vosship_switch.account import Written, written

VOSSHIP = [sys.executable, "-m", "vosship.cli"]

Place = tuple[str, int]
"""Base name of a file and the byte where a line begins."""


def vosship(*arguments: object, timeout_s: float = 600) -> subprocess.CompletedProcess[str]:
    """Run one command to its end."""
    return subprocess.run([*VOSSHIP, *map(str, arguments)], capture_output=True, text=True, check=False, timeout=timeout_s)


def configure(folder: Path, output: dict[str, Any], *, data_dir: Path | None = None, **more: Any) -> Path:
    """A configuration with one input and one output. `files` holds further options of the input; gives the file's path."""
    path = folder / "vosship.yaml"
    files = {"type": "files", "paths": [str(folder / "cdr" / "*.txt")], "poll_s": 0.2, **more.pop("files", {})}
    config = {
        "switch": "dhaka-1",
        "timezone": "Asia/Dhaka",
        "data_dir": str(data_dir or folder / "data"),
        "inputs": {"cdr": files},
        "outputs": {"out": output},
        **more,
    }
    path.write_text(json.dumps(config))  # JSON is YAML
    return path


def pipeline_status(config: Path) -> dict[str, Any]:
    """The one pipeline of `vosship status --json`."""
    done = vosship("status", "-c", config, "--json")
    assert done.returncode == 0, done.stderr
    [pipeline] = json.loads(done.stdout)["pipelines"]
    return dict(pipeline)


def dead_lines(config: Path) -> list[dict[str, Any]]:
    """What `vosship dead list --json` gives."""
    done = vosship("dead", "list", "-c", config, "--json", "--limit", 10_000_000)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def wait_for(condition: Callable[[], Any], what: str, timeout_s: float = 60) -> Any:
    """Look every tenth of a second until it holds; gives what it gave."""
    end = time.monotonic() + timeout_s
    while not (seen := condition()):
        assert time.monotonic() < end, f"not within {timeout_s} s: {what}"
        time.sleep(0.1)
    return seen


class Process:
    """A vosship command that runs until it ends or is ended; what it says on stderr is appended to `log`."""

    def __init__(self, log: Path, *arguments: object) -> None:
        self.log = log
        with log.open("ab") as file:
            self.process = subprocess.Popen([*VOSSHIP, *map(str, arguments)], stdout=subprocess.DEVNULL, stderr=file)

    @property
    def ended(self) -> bool:
        """Whether it is no more."""
        return self.process.poll() is not None

    def kill(self) -> None:
        """Kill -9. Harmless when it has ended."""
        self.process.kill()
        self.process.wait()

    def stop(self, timeout_s: float = 60) -> int:
        """SIGTERM, and its exit code."""
        if not self.ended:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout_s)


def agent(config: Path) -> Process:
    """A running `vosship run`."""
    return Process(config.with_suffix(".log"), "run", "-c", config)


def sqlite_places(store: Path) -> Counter[Place]:
    """How often each line stands in an embedded store, whichever of its day files holds it; read without vosship."""
    found: Counter[Place] = Counter()
    for path in sorted(store.glob("*.sqlite")):
        with contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as db:
            for base, offset in db.execute('SELECT base, "log.offset" FROM calls JOIN files ON _file = number'):
                found[base_of(base), offset] += 1
    return found


def places_of(cluster: Cluster) -> Counter[Place]:
    """How often each line stands in the fake cluster."""
    return Counter((base_of(body["log.file.path"]), body["log.offset"]) for _, _, body in cluster.documents())


def base_of(path: str) -> str:
    """The base name of a file, of its archive, or of its rescued second name."""
    return os.path.basename(path).removesuffix(".gz").split("-")[-1]  # noqa: PTH119  a string of a server's


class Tally(msgspec.Struct, kw_only=True):
    """What a run came to. `missing` and `doubled` must be 0, and `unexplained` empty.

    Of lines, each written one counted once: stored, set_aside, blank, lost_lines, in_named_gaps, missing. Of the ledger: duplicate,
    dead, filtered, lost_bytes. `stored` counts what stands in the store, so what is doubled counts there too.
    """

    written: int = 0
    deleted_unread: int = 0
    stored: int = 0
    set_aside: int = 0
    blank: int = 0
    lost_lines: int = 0
    in_named_gaps: int = 0
    missing: int = 0
    duplicate: int = 0
    dead: int = 0
    filtered: int = 0
    lost_bytes: int = 0
    doubled: int = 0
    invented: int = 0
    unexplained: list[str] = []

    @property
    def good(self) -> bool:
        """Whether the promise held."""
        return not (self.missing or self.doubled or self.invented or self.unexplained)


def tally(account: Path, status: dict[str, Any], dead: Iterable[dict[str, Any]], places: Counter[Place]) -> Tally:
    """Hold what was written against what is stored, dead, lost or in a named gap, line by line."""
    lines = written(account)
    set_aside = {(base_of(line["file"]), line["offset"]) for line in dead}
    spans = [(base_of(loss["file"]), loss["offset"], loss["offset"] + loss["bytes"]) for loss in status["losses"]]
    gaps = [_gap(loss) for loss in status["losses"] if loss["never_seen"]]
    tails = {base_of(loss["file"]): loss["offset"] for loss in status["losses"] if "more may have followed" in loss["reason"]}
    result = Tally(
        written=len(lines), stored=places.total(), duplicate=status["duplicate"], dead=status["dead"],
        filtered=status["filtered"], lost_bytes=status["lost_bytes"],
    )  # fmt: skip
    result.doubled = sum(often - 1 for often in places.values())
    result.invented = len(places.keys() - {(line.file, line.offset) for line in lines})
    for line in lines:
        place = line.file, line.offset
        if place in places:
            continue
        if place in set_aside:
            result.set_aside += 1
            continue
        if not line.line.strip():
            result.blank += 1
            continue
        if line.fate == "deleted":
            result.deleted_unread += 1
        if any(file == line.file and start <= line.offset and line.offset + len(line.line) <= end for file, start, end in spans):
            result.lost_lines += 1
        elif line.fate == "deleted" and (
            any(first <= line.file <= last for first, last in gaps) or line.offset >= tails.get(line.file, line.offset + 1)
        ):
            result.in_named_gaps += 1
        else:
            result.missing += 1
            result.unexplained.append(f"{line.fate} {line.file} at {line.offset}")
    classes = result.stored + result.set_aside + result.blank + result.lost_lines + result.in_named_gaps + result.missing
    if classes - result.doubled - result.invented != result.written:
        result.unexplained.append(f"{result.written} lines written, {classes} in the classes")
    sums = status["stored"] + status["duplicate"] + status["dead"] + status["filtered"]
    if status["read"] != sums:
        result.unexplained.append(f"read {status['read']}, accounted {sums}")
    if status["stored"] > places.total():
        result.unexplained.append(f"{status['stored']} entered as stored, {places.total()} there")
    return result


def _gap(loss: dict[str, Any]) -> tuple[str, str]:
    """First and last name of what was never seen."""
    first = base_of(loss["file"])
    _, found, rest = str(loss["reason"]).partition(f"{first} to ")
    return first, rest.split(" ")[0] if found else first


def lines_of(account: Path) -> list[Written]:
    """Every line ever written, with its fate."""
    return written(account)
