"""A window that is read again with today's configuration replaces what the stores hold of it, and nothing else."""

from __future__ import annotations

import gzip
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests import nodes

VOSSHIP = [sys.executable, "-m", "vosship.cli"]
CALLS = 4000
TABLE = "id,name,customer,vendor,side\nWS_Albion,{name},,,caller\n"
WINDOW = ("--from", "2026-04-26T00:00", "--to", "2026-04-26T00:30")


def vosship(place: Path, *words: Any, exit_code: int = 0) -> str:
    """One command with that folder's configuration; its standard output."""
    command = [*VOSSHIP, str(words[0]), "-c", str(place / "vosship.yaml"), *map(str, words[1:])]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == exit_code, f"exit {done.returncode}\n{done.stdout[-1000:]}\n{done.stderr[-3000:]}"
    return done.stdout


def configure(place: Path, pattern: str = "*.txt", **more: Any) -> None:
    """Write the folder's configuration."""
    config = {
        "switch": "dhaka-1",
        "timezone": "Asia/Dhaka",
        "data_dir": str(place / "data"),
        "inputs": {"cdr": {"type": "files", "paths": [str(place / "cdr" / pattern)], "poll_s": 0.2}},
        **more,
    }
    (place / "vosship.yaml").write_text(json.dumps(config))


def documents(place: Path) -> dict[str, dict[str, Any]]:
    """Every document of the store by id; a call that stands there twice fails."""
    words = ("--from", "2026-04-24", "--to", "2026-04-29", "--limit", 100_000, "--json")
    found = [json.loads(line) for line in vosship(place, "search", *words).splitlines()]
    by_id = {each["_id"]: each for each in found}
    assert len(by_id) == len(found)
    return by_id


@pytest.fixture(params=["sqlite", "opensearch", "elasticsearch"])
def output(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Each store that can overwrite, in turn; the real servers emptied."""
    if request.param == "sqlite":
        return {"type": "sqlite"}
    node: nodes.Node = request.getfixturevalue(f"{request.param}_node")
    return {"type": node.engine, "hosts": [node.url]}


@pytest.mark.real_server
def test_a_mended_table_reaches_the_window_while_the_agent_runs(tmp_path: Path, output: dict[str, Any]) -> None:
    """The window's calls get the new name, the others keep the old one; nothing is doubled, and the agent's account stays."""
    processors = ["cdr", "codes", {"type": "gateways", "table": "gateways.csv", "reload_s": 3600}]
    configure(tmp_path, processors=processors, outputs={"out": output})
    (tmp_path / "gateways.csv").write_text(TABLE.format(name="Old name"))
    subprocess.run([*VOSSHIP, "simulate", str(tmp_path / "cdr"), "--calls", str(CALLS), "--seed", "3", "--cps", "1"], check=True)
    first = sorted((tmp_path / "cdr").iterdir())[0]
    first.with_name(first.name + ".gz").write_bytes(gzip.compress(first.read_bytes()))
    first.unlink()
    vosship(tmp_path, "run", "--once")
    before = documents(tmp_path)
    account = json.loads(vosship(tmp_path, "status", "--json"))["pipelines"][0]
    (tmp_path / "gateways.csv").write_text(TABLE.format(name="New name"))
    with subprocess.Popen([*VOSSHIP, "run", "-c", str(tmp_path / "vosship.yaml")], stderr=subprocess.DEVNULL) as agent:
        try:
            said = json.loads(vosship(tmp_path, "reship", *WINDOW, "--json"))
        finally:
            agent.send_signal(signal.SIGTERM)
            agent.wait(30)
    after = documents(tmp_path)
    within = {name for name, each in before.items() if each["@timestamp"] < "2026-04-25T18:30:00.000Z"}
    assert 0 < len(within) < CALLS == len(before)
    assert said["lines"] == said["outputs"]["out"] == len(within)
    assert after.keys() == before.keys()
    named = {True: "New name", False: "Old name"}
    for name, each in after.items():
        if each["callerGatewayId"] == "WS_Albion":
            assert each["caller.gateway.name"] == named[name in within]
    changed = {name for name in after if after[name] != before[name]}
    assert changed == within  # event.ingested says when a line was read, so every one of them
    again = json.loads(vosship(tmp_path, "status", "--json"))["pipelines"][0]
    assert [again[key] for key in ("read", "stored", "duplicate")] == [account[key] for key in ("read", "stored", "duplicate")]


@pytest.mark.real_server
def test_a_mended_zone_leaves_nothing_in_the_old_day(tmp_path: Path, output: dict[str, Any]) -> None:
    """Where times are epochs a mended zone moves calls to another day's index; each is in one index afterwards, its own."""
    configure(tmp_path, "*.csv", timezone="UTC", outputs={"out": output})
    words = ["--calls", "1000", "--layout", "csv-52", "--cps", "0.05", "--seed", "4", "--start", "2026-04-26T02:00"]
    subprocess.run([*VOSSHIP, "simulate", str(tmp_path / "cdr"), *words], check=True)
    vosship(tmp_path, "run", "--once")
    before = documents(tmp_path)
    configure(tmp_path, "*.csv", timezone="Asia/Dhaka", outputs={"out": output})
    vosship(tmp_path, "reship", "--from", "2026-04-24", "--to", "2026-04-29")
    after = documents(tmp_path)
    assert after.keys() == before.keys()
    moved = [name for name in after if after[name]["_index"] != before[name]["_index"]]
    assert len(moved) > 50
    for each in after.values():
        hour = int(each["@timestamp"][11:13])
        day = int(each["@timestamp"][8:10]) + (hour >= 18)
        assert each["_index"].endswith(f"2026.04.{day:02d}")


def test_a_renamed_switch_is_refused(tmp_path: Path) -> None:
    """Another name gives every call another id, so all of them would stand there twice: exit 2, nothing touched."""
    configure(tmp_path)
    subprocess.run([*VOSSHIP, "simulate", str(tmp_path / "cdr"), "--calls", "100", "--seed", "3"], check=True)
    vosship(tmp_path, "run", "--once")
    before = documents(tmp_path)
    configure(tmp_path, switch="dhaka-one")
    vosship(tmp_path, "reship", "--day", "2026-04-26", exit_code=2)
    assert documents(tmp_path) == before


def test_what_cannot_be_read_again_is_said(tmp_path: Path) -> None:
    """Exit 3 when nothing of the window is there any more, and when lines of it have no document today; usage without a window."""
    configure(tmp_path)
    subprocess.run([*VOSSHIP, "simulate", str(tmp_path / "cdr"), "--calls", "100", "--seed", "3"], check=True)
    vosship(tmp_path, "reship", exit_code=2)
    vosship(tmp_path, "reship", "--day", "2026-03-01", exit_code=3)
    with next((tmp_path / "cdr").iterdir()).open("ab") as file:
        file.write(b"no call at all\n")
    said = json.loads(vosship(tmp_path, "reship", "--day", "2026-04-26", "--json", exit_code=3))
    assert said["outputs"]["store"] == 100
    assert sum(said["dead"].values()) == 1


def test_a_file_that_cannot_be_read_is_no_success(tmp_path: Path) -> None:
    """A damaged archive beside whole files: named with its path, exit 4, and the rest is overwritten."""
    configure(tmp_path, "*")
    words = ["--calls", "400", "--seed", "3", "--cps", "0.1"]
    subprocess.run([*VOSSHIP, "simulate", str(tmp_path / "cdr"), *words], check=True)
    vosship(tmp_path, "run", "--once")
    first = sorted((tmp_path / "cdr").iterdir())[0]
    whole = gzip.compress(first.read_bytes())
    damaged = first.with_name(first.name + ".gz")
    damaged.write_bytes(whole[: len(whole) // 2] + bytes(20) + whole[len(whole) // 2 + 20 :])
    lines = len(first.read_bytes().splitlines())
    first.unlink()
    said = json.loads(vosship(tmp_path, "reship", "--day", "2026-04-26", "--json", exit_code=4))
    assert list(said["unread"]) == [str(damaged)]
    assert 400 - lines <= said["outputs"]["store"] < 400
    damaged.write_bytes(whole)
    said = json.loads(vosship(tmp_path, "reship", "--day", "2026-04-26", "--json"))
    assert (said["unread"], said["outputs"]["store"]) == ({}, 400)


@pytest.mark.real_server
def test_the_agent_and_reship_may_write_the_same_day_at_once(tmp_path: Path, output: dict[str, Any]) -> None:
    """Two writers on one store: both end well, every call stands there once and is found by its number."""
    configure(tmp_path, outputs={"out": output})
    subprocess.run([*VOSSHIP, "simulate", str(tmp_path / "cdr"), "--calls", "12000", "--seed", "5"], check=True)
    with subprocess.Popen([*VOSSHIP, "run", "--once", "-c", str(tmp_path / "vosship.yaml")], stderr=subprocess.DEVNULL) as agent:
        for _ in range(2):
            assert json.loads(vosship(tmp_path, "reship", "--day", "2026-04-26", "--json"))["outputs"] == {"out": 12000}
        assert agent.wait(120) == 0
    found = documents(tmp_path)
    assert len(found) == 12000
    [pipeline] = json.loads(vosship(tmp_path, "status", "--json"))["pipelines"]
    assert pipeline["read"] == pipeline["stored"] + pipeline["duplicate"] == 12000
    some = list(found.values())[::1500]
    for each in some:
        window = ("--day", "2026-04-26", "--limit", 10_000, "--json")
        lines = vosship(tmp_path, "search", "--number", each["calleeAccessE164"], *window).splitlines()
        assert each["_id"] in [json.loads(line)["_id"] for line in lines]
