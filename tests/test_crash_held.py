"""Real processes: in an outage files are deleted that only the agent still holds, and then it ends, in order or by kill -9."""

from __future__ import annotations

import contextlib
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.crash_parts import Process, agent, configure, lines_of, places_of, tally, vosship, wait_for
from vosship.testing.cluster import Cluster
from vosship_files.held import UNSETTLED

pytestmark = pytest.mark.crash

LOOK_S = 0.2
"""`poll_s` of `configure`."""


class Outage(NamedTuple):
    """A switch that has deleted most of what it wrote while the output `away` was away; `well` answered all the time."""

    config: Path
    account: Path
    away: Cluster
    well: Cluster

    def statuses(self) -> dict[str, Any]:
        """What `vosship status --json` says of each pipeline."""
        done = vosship("status", "-c", self.config, "--json")
        assert done.returncode == 0, done.stderr
        return {pipeline["name"]: pipeline for pipeline in json.loads(done.stdout)["pipelines"]}

    def deleted(self) -> dict[str, int]:
        """Bytes of each file that the switch deleted."""
        found: dict[str, int] = {}
        for line in lines_of(self.account):
            if line.fate == "deleted":
                found[line.file] = found.get(line.file, 0) + len(line.line) + 1
        assert len(found) > 5
        return found

    def losses(self) -> dict[str, list[tuple[int, str]]]:
        """Per file what the ledger of `cdr>away` names as lost: bytes and reason."""
        found: dict[str, list[tuple[int, str]]] = {}
        for loss in self.statuses()["cdr>away"]["losses"]:
            assert not loss["never_seen"], loss
            found.setdefault(Path(loss["file"]).name, []).append((loss["bytes"], loss["reason"]))
        return found

    def rest(self) -> dict[str, Any]:
        """Start the agent with both outputs there, let it settle everything, stop it; every line must be in exactly one class."""
        self.away.up()
        running = agent(self.config)
        try:
            wait_for(lambda: self.statuses()["cdr>away"]["read"], "lines of the output that was away are settled")
            wait_for(lambda: not any(each["unread_bytes"] for each in self.statuses().values()), "everything is read")
            assert running.stop() == 0
        finally:
            running.kill()
        statuses = self.statuses()
        for name, cluster in (("cdr>away", self.away), ("cdr>well", self.well)):
            result = tally(self.account, statuses[name], [], places_of(cluster))
            assert result.good, (name, result)
            assert result.set_aside == result.in_named_gaps == 0, (name, result)
        assert statuses["cdr>well"]["lost_bytes"] == 0
        assert statuses["cdr>well"]["losses"] == []
        return dict(statuses["cdr>away"])


@contextlib.contextmanager
def outage(tmp_path: Path, how: str, *, settled_before: bool, **files: Any) -> Iterator[Outage]:
    """Live through an outage at whose end the agent ends."""
    account = tmp_path / "account.ndjson"
    (tmp_path / "cdr").mkdir()
    with Cluster("opensearch") as away, Cluster("opensearch") as well:
        outputs = {
            name: {"type": "opensearch", "hosts": [cluster.url], "batch_age_s": 0.1, "batch_records": 200, "retry_max_s": 1}
            for name, cluster in (("away", away), ("well", well))
        }
        files = {"block_bytes": 16384, "report_gaps": False, "hold_files": 4, "rescan_s": LOOK_S, **files}
        config = configure(tmp_path, {}, files=files, outputs=outputs, queue_bytes=65536)
        there = Outage(config, account, away, well)
        if not settled_before:
            away.down()
        running = agent(config)
        try:
            _live_through(there, tmp_path, settled_before=settled_before)
            if how == "kill":
                time.sleep(5 * LOOK_S)
            else:
                assert running.stop() == 0
        finally:
            running.kill()
        yield there


def _live_through(there: Outage, tmp_path: Path, *, settled_before: bool) -> None:
    """Until the switch has come to its end, and the output that is there has everything."""
    switch = Process(
        tmp_path / "switch.log", "simulate", tmp_path / "cdr", "--seconds", 14, "--cps", 150, "--interval-s", 1,
        "--max-files", 4, "--flush-s", 0.3, "--account", there.account,
    )  # fmt: skip
    if settled_before:
        wait_for(lambda: there.statuses()["cdr>away"]["read"] > 100, "some of a file is settled")
        there.away.down()
    wait_for(lambda: switch.ended, "the switch's end")
    wait_for(lambda: not there.statuses()["cdr>well"]["unread_bytes"], "the other output has everything")


@pytest.mark.parametrize("settled_before", [False, True], ids=["nothing settled", "something settled"])
@pytest.mark.parametrize("how", ["stop", "kill"])
def test_what_only_the_agent_held_is_named_with_its_bytes(tmp_path: Path, how: str, settled_before: bool) -> None:
    """The ledger of the output that was away names each deleted file once, with all unsettled bytes; the other loses nothing."""
    with outage(tmp_path, how, settled_before=settled_before) as there:
        at_once = there.losses()
        if how == "stop":
            log = there.config.with_suffix(".log").read_text()
            entered = {Path(file).name: int(size) for file, size in re.findall(
                r"bytes lost with the agent's end.*?pipeline=cdr>away.*?file=(\S+).*?bytes=(\d+).*?rescue_dir", log)}  # fmt: skip
            assert entered == {file: size for file, [(size, _)] in at_once.items()}
        status = there.rest()
        losses = there.losses()
        assert losses == at_once or how == "kill"
        stored = places_of(there.away)
        unsettled = {file: size for file, size in there.deleted().items() if not any(file == base for base, _ in stored)}
        assert len(unsettled) > 5
        for file, size in unsettled.items():
            assert losses[file] == [(size, UNSETTLED)]
        assert all(len(entered) == 1 for entered in losses.values())
        assert status["lost_bytes"] == sum(size for [(size, _)] in losses.values())
        assert any(offset for _, offset in stored) or not settled_before


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_what_was_rescued_is_read_after_the_restart(tmp_path: Path, how: str) -> None:
    """With `rescue_dir` the same end loses nothing, and nothing is named."""
    with outage(tmp_path, how, settled_before=False, rescue_dir=str(tmp_path / "rescue")) as there:
        there.deleted()
        assert there.losses() == {}
        status = there.rest()
        assert status["lost_bytes"] == 0
        assert there.losses() == {}
        assert status["read"] == len(lines_of(there.account))
        assert "bytes lost" not in there.config.with_suffix(".log").read_text()
