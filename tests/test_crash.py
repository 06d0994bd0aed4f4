"""Real processes: kill -9 at random moments, the account afterwards, dead lines by the command, the forecast before a loss."""

from __future__ import annotations

import json
import os
import random
import re
import time
import urllib.request
from collections import Counter
from pathlib import Path

import pytest

from tests.crash_parts import (
    Process,
    agent,
    configure,
    dead_lines,
    lines_of,
    pipeline_status,
    places_of,
    sqlite_places,
    tally,
    vosship,
    wait_for,
)
from tests.nodes import free_port
from vosship.testing.cluster import Cluster

pytestmark = pytest.mark.crash

KILLS = 20


def test_twenty_kills_lose_and_double_nothing(tmp_path: Path) -> None:
    """After twenty kill -9 at random moments and a `run --once`, every line is in the store once, dead, or named as lost."""
    account = tmp_path / "account.ndjson"
    config = configure(tmp_path, {"type": "sqlite", "batch_age_s": 0.1, "batch_records": 100}, files={"still_s": 3})
    switch = Process(
        tmp_path / "switch.log", "simulate", tmp_path / "cdr", "--seconds", 120, "--cps", 150, "--interval-s", 2,
        "--max-files", 8, "--flush-s", 0.3, "--account", account, "--fault", "bad-bytes",
    )  # fmt: skip
    moments = random.Random(4)
    log = config.with_suffix(".log")
    for kill in range(KILLS):
        running = agent(config)
        wait_for(lambda kill=kill: log.read_text().count("agent started") > kill, "the agent has started")
        if not kill:  # files that came and went before anything was settled are beyond anybody's knowledge
            wait_for(lambda: pipeline_status(config)["read"], "the first lines are settled")
        time.sleep(moments.uniform(0.0, 1.2))
        running.kill()
    switch.stop()
    assert vosship("run", "--once", "-c", config).returncode in (0, 3)
    result = tally(account, pipeline_status(config), dead_lines(config), sqlite_places(tmp_path / "data" / "store-out"))
    assert result.good, result
    assert result.written > 2000
    assert result.stored + result.dead + result.filtered + result.deleted_unread == result.written


def test_status_answers_at_once_after_a_kill_with_a_long_backlog(tmp_path: Path) -> None:
    """With 2,048 files and 10 GB unread, `status` after kill -9 tells the truth in under a second."""
    folder = tmp_path / "cdr"
    folder.mkdir()
    hours = [(2026, month, day, hour) for month in (1, 2, 3, 4) for day in range(1, 29) for hour in range(24)][:2048]
    for year, month, day, hour in hours:
        path = folder / f"{year}{month:02d}{day:02d}{hour:02d}.txt"
        path.write_bytes(b"not a call\n" * 100)
        os.truncate(path, 5 << 20)  # sparse: no disk is used
    config = configure(tmp_path, {"type": "sqlite", "batch_age_s": 0.1})
    running = agent(config)
    wait_for(lambda: pipeline_status(config)["read"], "the first lines settled")
    running.kill()
    took_s = []
    for _ in range(3):
        begun = time.monotonic()
        status = pipeline_status(config)
        took_s.append(time.monotonic() - begun)
    assert status["state"] == "stopped"
    assert status["read"] == status["stored"] + status["duplicate"] + status["dead"] + status["filtered"]
    settled = sum(file["offset"] for file in status["files"])
    assert status["unread_bytes"] == 2048 * (5 << 20) - settled
    assert len(status["files"]) == 2048
    print(f"status with 2,048 files and 10 GB: {min(took_s):.2f} s")
    assert min(took_s) < 1.0, took_s


@pytest.mark.parametrize("running", [False, True], ids=["alone", "beside an agent"])
def test_dead_lines_are_replayed_once_their_cause_is_gone(tmp_path: Path, running: bool) -> None:
    """A poisoned run leaves dead lines; after the cause is mended `dead replay` stores all of them and doubles none."""
    account = tmp_path / "account.ndjson"
    made = vosship("simulate", tmp_path / "cdr", "--calls", 2000, "--account", account)
    assert made.returncode == 0, made.stderr
    with Cluster("opensearch") as cluster:
        config = configure(tmp_path, {"type": "opensearch", "hosts": [cluster.url], "batch_age_s": 0.1})
        cluster.poison = lambda body: "failed to parse field [fee]" if body["log.offset"] % 7 == 0 else ""
        once = vosship("run", "--once", "-c", config)
        assert once.returncode == 3, once.stderr
        dead = dead_lines(config)
        assert {line["reason"] for line in dead} == {"mapping"}
        assert len(dead) + cluster.count("vos3000-cdr-*") == 2000
        listed = vosship("dead", "list", "-c", config).stdout
        assert re.search(rf"^ *{len(dead):,} cdr>out mapping$", listed, re.MULTILINE), listed
        cluster.poison = lambda body: ""
        beside = agent(config) if running else None
        if beside:
            wait_for(lambda: pipeline_status(config)["state"] == "running", "the agent runs")
        answer = vosship("dead", "replay", "-c", config, "--json")
        if beside:
            assert beside.stop() == 0
        assert answer.returncode == 0, answer.stderr
        assert json.loads(answer.stdout)["stored"] == len(dead)
        assert dead_lines(config) == []
        assert places_of(cluster) == Counter({(line.file, line.offset): 1 for line in lines_of(account)})
        status = pipeline_status(config)
        assert (status["read"], status["stored"], status["dead"]) == (2000, 2000, 0)


def test_the_forecast_warns_before_the_first_loss(tmp_path: Path) -> None:
    """Held back by a slow server: a WARN comes before the first unread deletion. With `rescue_dir` nothing is lost; without, the
    lost bytes in `status`, metric and log are exactly those deleted unread."""
    account = tmp_path / "account.ndjson"
    folders = {"rescued": tmp_path / "rescued", "bare": tmp_path / "bare"}
    port = {name: free_port() for name in folders}
    cdr = tmp_path / "cdr"
    cdr.mkdir()
    with Cluster("opensearch") as slow, Cluster("opensearch") as slow_too:
        clusters = {"rescued": slow, "bare": slow_too}
        configs, agents = {}, {}
        for name, folder in folders.items():
            folder.mkdir()
            files = {"paths": [str(cdr / "*.txt")], "hold_files": 0, "still_s": 2, "block_bytes": 16384, "rescan_s": 1}
            if name == "rescued":
                files["rescue_dir"] = str(folder / "rescue")
            output = {
                "type": "opensearch", "hosts": [clusters[name].url], "batch_records": 100, "batch_age_s": 0.1, "in_flight": 1,
            }  # fmt: skip
            configs[name] = configure(
                folder, output, files=files, metrics={"listen": f"127.0.0.1:{port[name]}"}, queue_bytes=65536,
                switch_parameters={"SERVER_CDR_FILE_WRITE_MAX": 10},
            )  # fmt: skip
            clusters[name].delay_s = 4.0
            agents[name] = agent(configs[name])
        switch = Process(
            tmp_path / "switch.log", "simulate", cdr, "--seconds", 44, "--cps", 250, "--interval-s", 2, "--max-files", 10,
            "--flush-s", 0.5, "--account", account,
        )  # fmt: skip
        wait_for(lambda: switch.ended, "the switch's end", 90)
        for cluster in clusters.values():
            cluster.delay_s = 0.0
        seen = {}
        for name, config in configs.items():
            wait_for(lambda config=config: pipeline_status(config)["unread_bytes"] == 0, f"{name}: the backlog's end", 120)
            wait_for(lambda config=config: settled_down(config), f"{name}: the ends settled", 60)
            seen[name] = metric(port[name], "vosship_bytes_lost_total")
            assert agents[name].stop() == 0
    for name, config in configs.items():
        log = config.with_suffix(".log").read_text()
        status = pipeline_status(config)
        result = tally(account, status, dead_lines(config), places_of(clusters[name]))
        assert result.good, (name, result)
        warned = re.search("about to be deleted by the switch|will delete an unread file", log)
        assert warned, log[-2000:]
        entered = [int(found) for found in re.findall(r"bytes lost unread.*?bytes=(\d+)", log)]
        if name == "rescued":
            assert (status["lost_bytes"], result.deleted_unread, entered) == (0, 0, [])
        else:
            held = places_of(slow_too)
            unread = [line for line in lines_of(account) if line.fate == "deleted" and (line.file, line.offset) not in held]
            assert unread
            assert warned.start() < log.index("bytes lost unread")
            deleted = sum(len(line.line) + 1 for line in unread)
            assert status["lost_bytes"] == deleted == seen[name] == sum(entered)


def settled_down(config: Path) -> bool:
    """Two looks a second apart show the same ledger."""
    first = pipeline_status(config)
    time.sleep(1.0)
    second = pipeline_status(config)
    return bool(first["read"] == second["read"] and first["lost_bytes"] == second["lost_bytes"])


def metric(port: int, name: str) -> float:
    """The sum of a metric over its labels."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as page:
        lines = page.read().decode().splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith((name + "{", name + " ")))
