"""The main job with real parts: a simulated switch's directory, the agent as a process, and each real store."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

CALLS = int(os.environ.get("VOSSHIP_CALLS", "20000"))
VOSSHIP = [sys.executable, "-m", "vosship.cli"]


def vosship(*arguments, check=True):
    """Run one command to its end."""
    done = subprocess.run([*VOSSHIP, *map(str, arguments)], capture_output=True, text=True, check=False, timeout=300)
    if check:
        assert done.returncode == 0, f"exit {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}"
    return done


def configure(tmp_path, output):
    """Write a configuration with one input and one output; returns its path."""
    path = tmp_path / "vosship.yaml"
    config = {
        "switch": "dhaka-1",
        "timezone": "Asia/Dhaka",
        "data_dir": str(tmp_path / "data"),
        "inputs": {"cdr": {"type": "files", "paths": [str(tmp_path / "cdr" / "*.txt")], "poll_s": 0.2}},
        "outputs": {"out": output},
    }
    path.write_text(json.dumps(config))  # JSON is YAML
    return path


def node_output(node):
    return {"type": node.engine, "hosts": [node.url], "retry_max_s": 1, "batch_age_s": 0.2}


def status(config):
    [pipeline] = json.loads(vosship("status", "-c", config, "--json").stdout)["pipelines"]
    return pipeline


def lines_of(directory):
    """Every line of the directory with its place, read plainly."""
    found = {}
    for file in Path(directory).iterdir():
        offset = 0
        for line in file.read_bytes().splitlines(keepends=True):
            found[file.name, offset] = line.rstrip(b"\n").decode()
            offset += len(line)
    return found


def wait_for(condition, what, timeout_s=60):
    """Look every tenth of a second until it holds."""
    end = time.monotonic() + timeout_s
    while not (seen := condition()):
        assert time.monotonic() < end, f"not within {timeout_s} s: {what}"
        time.sleep(0.1)
    return seen


class Agent:
    """A running `vosship run`."""

    def __init__(self, config, *options):
        self.log = config.with_suffix(".log")
        with self.log.open("ab") as log:
            self.process = subprocess.Popen([*VOSSHIP, "run", "-c", str(config), *options], stderr=log)

    def rss_mb(self):
        return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(30) == 0, self.log.read_text()[-2000:]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()


def test_the_embedded_store_holds_exactly_the_directorys_lines(tmp_path):
    """Every line is found by search with its place and columns; a second run without the state doubles nothing."""
    vosship("simulate", tmp_path / "cdr", "--calls", CALLS, "--seed", 7)
    config = configure(tmp_path, {"type": "sqlite"})
    vosship("run", "--once", "-c", config)

    def found():
        text = vosship("search", "-c", config, "--json", "--limit", 200_000, "--day", "2026-04-26").stdout
        return [json.loads(line) for line in text.splitlines()]

    first = found()
    written = lines_of(tmp_path / "cdr")
    places = {(Path(hit["log.file.path"]).name, hit["log.offset"]): hit for hit in first}
    assert len(first) == len(places) == len(written) == CALLS
    assert places.keys() == written.keys()
    for place, line in written.items():
        columns, hit = line.split("|"), places[place]
        assert (hit.get("callerE164", ""), hit.get("calleeE164", "")) == (columns[0], columns[1])
        assert (hit["holdTime"], hit["endReason"]) == (int(columns[4]), columns[5])

    for file in (tmp_path / "data").glob("state.sqlite*"):
        file.unlink()
    vosship("run", "--once", "-c", config)
    again = status(config)
    assert (again["stored"], again["duplicate"]) == (0, CALLS)
    assert sorted(hit["_id"] for hit in found()) == sorted(hit["_id"] for hit in first)


def test_a_stop_while_the_server_is_away_is_a_stop(tmp_path):
    """Told to end while its output does not answer, the agent ends at once with 0, and nothing calls it halted."""
    vosship("simulate", tmp_path / "cdr", "--calls", 100, "--seed", 7)
    config = configure(tmp_path, {"type": "opensearch", "hosts": ["http://127.0.0.1:1"]})
    with Agent(config) as agent:
        waiting = wait_for(lambda: (now := status(config))["state"] == "waiting" and now, "the agent says that it waits")
        wait_for(lambda: status(config)["lag_s"] > waiting["lag_s"] + 1, "the live file's lag grows with the outage")
        agent.stop()
    log = config.with_suffix(".log").read_text()
    assert "halted" not in log
    assert "stopped with documents unsettled" in log
    assert (status(config)["state"], status(config)["reason"]) == ("stopped", "")


@pytest.mark.real_server
def test_a_stop_while_the_dead_table_is_full_is_a_stop(tmp_path):
    """A pipeline that waits for room does not keep the agent until the drain limit."""
    vosship("simulate", tmp_path / "cdr", "--calls", 100, "--seed", 7)
    (tmp_path / "cdr" / "2026042500.txt").write_bytes(b"junk\nmore junk\n")
    config = configure(tmp_path, {"type": "sqlite", "max_dead": 1})
    with Agent(config) as agent:
        wait_for(lambda: status(config)["state"] == "halted", "the pipeline is halted")
        agent.stop()
    log = config.with_suffix(".log").read_text()
    assert "drain limit" not in log
    assert "stopped with documents unsettled" in log


def test_a_real_server_holds_every_line_in_its_stops_local_day(tmp_path, search_node):
    """Counts agree index by index with a plain scan; a second run without the state doubles nothing."""
    vosship("simulate", tmp_path / "cdr", "--calls", CALLS, "--seed", 7, "--start", "2026-04-26T23:55", "--cps", 20)
    days = {}
    for line in lines_of(tmp_path / "cdr").values():
        day = line.split("|")[3][:10].replace("-", ".")
        days[day] = days.get(day, 0) + 1
    assert len(days) == 2
    config = configure(tmp_path, node_output(search_node))
    for run in ("stored", "duplicate"):
        vosship("run", "--once", "-c", config)
        assert {day: search_node.count(f"vos3000-cdr-{day}") for day in days} == days
        assert search_node.count("vos3000-*") == CALLS
        assert status(config)[run] == CALLS
        for file in (tmp_path / "data").glob("state.sqlite*"):
            file.unlink()


@pytest.mark.real_server
def test_an_outage_of_the_server_costs_no_line_and_no_memory(tmp_path, opensearch_node):
    """The node is away in the middle of a run: memory stays flat, and afterwards everything is there once."""
    config = configure(tmp_path, node_output(opensearch_node))
    vosship("simulate", tmp_path / "cdr", "--calls", 150_000, "--seed", 7)
    away_s = float(os.environ.get("VOSSHIP_OUTAGE_S", "8"))
    with Agent(config) as agent:
        wait_for(lambda: status(config)["stored"] > 5_000, "some calls are stored")
        opensearch_node.kill()
        wait_for(lambda: status(config)["state"] == "waiting", "the agent says that it waits")
        before_mb = agent.rss_mb()
        stored = status(config)["stored"]
        samples = []
        end = time.monotonic() + away_s
        while time.monotonic() < end:
            samples.append(agent.rss_mb())
            time.sleep(0.2)
        assert status(config)["stored"] == stored
        assert max(samples) < before_mb + 8, f"memory grew from {before_mb:.0f} to {max(samples):.0f} MB in the outage"
        opensearch_node.start()
        wait_for(lambda: status(config)["unread_bytes"] == 0, "the backlog is read", 120)
        agent.stop()
    assert opensearch_node.count("vos3000-cdr-2026.04.26") == 150_000
    after = status(config)
    assert after["read"] == after["stored"] + after["duplicate"] == 150_000


@pytest.mark.real_server
def test_without_its_template_a_new_day_halts_until_setup(tmp_path, search_node):
    """Somebody removes the template, then the day changes: no document goes to a guessed mapping, none is set aside."""
    config = configure(tmp_path, node_output(search_node))
    vosship("simulate", tmp_path / "day1", "--calls", 2_000, "--seed", 1, "--start", "2026-04-26T12:00")
    vosship("simulate", tmp_path / "day2", "--calls", 2_000, "--seed", 2, "--start", "2026-04-27T12:00")
    (tmp_path / "day1").rename(tmp_path / "cdr")
    with Agent(config) as agent:
        wait_for(lambda: status(config)["stored"] == 2_000, "the first day is stored")
        search_node.call("DELETE", "/_index_template/vos3000-calls")
        for file in (tmp_path / "day2").iterdir():
            file.rename(tmp_path / "cdr" / file.name)
        halted = wait_for(lambda: (now := status(config))["state"] == "halted" and now, "the output halts")
        assert "vosship setup" in halted["reason"]
        assert search_node.count("vos3000-*") == 2_000
        vosship("setup", "-c", config)
        wait_for(lambda: status(config)["stored"] == 4_000, "the second day is stored")
        agent.stop()
    assert search_node.count("vos3000-cdr-2026.04.27") == 2_000
    assert status(config)["dead"] == 0


@pytest.mark.real_server
def test_an_old_day_made_read_only_holds_up_no_live_call_and_heals(tmp_path, search_node):
    """Its lines are dead as `index_blocked` while live calls go on arriving, and are stored by themselves once it is writable."""
    config = configure(tmp_path, node_output(search_node))
    for number, start in enumerate(("2026-04-26T06:00", "2026-04-26T18:00")):
        vosship("simulate", tmp_path / f"old{number}", "--calls", 1_000, "--seed", number, "--start", start)
    old_day, block = "vos3000-cdr-2026.04.26", "index.blocks.write"
    (tmp_path / "old0").rename(tmp_path / "cdr")
    with Agent(config) as agent:
        wait_for(lambda: status(config)["stored"] == 1_000, "the old day's index is there")
        assert search_node.call("PUT", f"/{old_day}/_settings", {block: True})[0] == 200
        live = ["simulate", tmp_path / "live", "--seconds", 15, "--cps", 40, "--flush-s", 0.3]
        (tmp_path / "live").symlink_to(tmp_path / "cdr")
        switch = subprocess.Popen([*VOSSHIP, *map(str, live)], stderr=subprocess.PIPE)
        wait_for(lambda: status(config)["stored"] > 1_000, "live calls arrive")
        for file in (tmp_path / "old1").iterdir():
            file.rename(tmp_path / "cdr" / file.name)
        behind_s = []
        while switch.poll() is None:
            time.sleep(0.5)
            behind_s.append(time.time() - newest_stop(search_node))
        assert switch.returncode == 0, switch.stderr.read()
        written = len(lines_of(tmp_path / "cdr"))
        wait_for(lambda: (now := status(config))["stored"] == written - 1_000 and now["dead"] == 1_000, "only the old are dead")
        reasons = {json.loads(line)["reason"] for line in vosship("dead", "list", "-c", config, "--json").stdout.splitlines()}
        assert reasons == {"index_blocked"}
        assert max(behind_s) < 10, behind_s
        assert search_node.call("PUT", f"/{old_day}/_settings", {block: None})[0] == 200
        wait_for(lambda: not status(config)["dead"], "the old day heals by itself", timeout_s=200)
        assert status(config)["stored"] == written
        agent.stop()
    assert search_node.count("vos3000-cdr-*") == written
    assert search_node.count(old_day) == 2_000


def newest_stop(node):
    """When the newest call that can be found stopped."""
    node.call("POST", "/vos3000-cdr-*/_refresh")
    newest = {"size": 1, "sort": [{"@timestamp": "desc"}], "_source": False}
    return node.call("POST", "/vos3000-cdr-*/_search", newest)[1]["hits"]["hits"][0]["sort"][0] / 1000
