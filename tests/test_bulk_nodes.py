"""The search outputs against real OpenSearch and Elasticsearch nodes."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.bulk_parts import DAY, NEXT_DAY, document, documents, output, send, verdicts
from tests.nodes import Node
from vosship.errors import HaltedError, TooLargeError, UnavailableError

pytestmark = pytest.mark.real_server


def test_every_document_is_there_once(search_node: Node, tmp_path: Path) -> None:
    """Batches that overlap, sent twice, over two days: counts are those of the distinct documents."""
    plugin = output(search_node.engine, search_node.url, tmp_path)
    first, again, other = send(plugin, documents(500), documents(500, first=250), documents(100, NEXT_DAY))
    assert verdicts(first) == ["stored"] * 500
    assert verdicts(again) == ["duplicate"] * 250 + ["stored"] * 250
    assert verdicts(other) == ["stored"] * 100
    assert search_node.count(DAY) == 750
    assert search_node.count(NEXT_DAY) == 100


def test_one_poisoned_document_is_told_from_its_neighbours(search_node: Node, tmp_path: Path) -> None:
    """A wrong type and an unknown field are rejected as `mapping`; `labels` takes what comes; the rest is stored."""
    batch = [
        document(1),
        document(2, callerIp="nonsense"),
        document(3, surprise="x"),
        document(4, **{"labels.team": "a"}),
        document(5, holdTime="12x"),
        document(6, callerE164="9" * 40_000),
        document(7, DAY, **{"caller.geo.location": "23.7,90.4", "call.answered": True}),
    ]
    (outcomes,) = send(output(search_node.engine, search_node.url, tmp_path), batch)
    bad = "rejected mapping"
    assert verdicts(outcomes) == ["stored", bad, bad, "stored", bad, "stored", "stored"]
    assert "surprise" in outcomes[2].detail
    assert search_node.count(DAY) == 4


def test_an_alias_and_a_label_can_be_searched(search_node: Node, tmp_path: Path) -> None:
    """ECS spellings answer for our fields; a label's words are keywords."""
    batch = [document(1, **{"labels.team": "north"}), document(2, callerIp="10.9.9.9")]
    send(output(search_node.engine, search_node.url, tmp_path), batch)
    search_node.count(DAY)
    for field, value in (("source.ip", "10.9.0.0/16"), ("labels.team", "north")):
        status, found = search_node.call("POST", f"/{DAY}/_search", {"query": {"term": {field: value}}})
        assert status == 200
        assert found["hits"]["total"]["value"] == 1


def test_index_carries_our_settings(search_node: Node, tmp_path: Path) -> None:
    """Durable before STORED, best compression, one shard, no copy on a single node."""
    plugin = output(search_node.engine, search_node.url, tmp_path, refresh_interval_s=5)
    send(plugin, documents(1))
    _, answer = search_node.call("GET", f"/{DAY}/_settings?flat_settings=true")
    settings = answer[DAY]["settings"]
    assert settings["index.translog.durability"] == "request"
    assert settings["index.codec"] == "best_compression"
    assert settings["index.refresh_interval"] == "5000ms"
    assert settings["index.number_of_replicas"] == "0"
    _, health = search_node.call("GET", f"/_cluster/health/{DAY}")
    assert health["status"] == "green"


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("write", "rejected index_blocked"),
        ("read_only", "rejected index_blocked"),
        ("read_only_allow_delete", "retry disk_full"),
    ],
)
def test_a_blocked_day_does_not_hold_the_live_one(search_node: Node, setting: str, expected: str, tmp_path: Path) -> None:
    """A day made read-only is rejected as `index_blocked`, one that the disk watermark blocked waits; the live day is stored."""
    plugin = output(search_node.engine, search_node.url, tmp_path)
    send(plugin, documents(1), documents(1, NEXT_DAY))
    search_node.call("PUT", f"/{DAY}/_settings", {f"index.blocks.{setting}": True})
    mixed = [document(1), document(1, NEXT_DAY)]
    assert verdicts(send(plugin, mixed)[0]) == [expected, "stored"]
    search_node.call("PUT", f"/{DAY}/_settings", {f"index.blocks.{setting}": None})
    assert verdicts(send(plugin, mixed)[0]) == ["stored", "duplicate"]


def test_a_closed_day_does_not_hold_the_live_one(search_node: Node, tmp_path: Path) -> None:
    """Closed is blocked; opened again it takes its documents; a run that begins while it is closed does no worse."""
    plugin = output(search_node.engine, search_node.url, tmp_path)
    send(plugin, documents(1), documents(1, NEXT_DAY))
    search_node.call("POST", f"/{DAY}/_close")
    mixed = [document(1), document(1, NEXT_DAY)]
    assert verdicts(send(plugin, mixed)[0]) == ["rejected index_blocked", "stored"]
    assert verdicts(send(output(search_node.engine, search_node.url, tmp_path), mixed)[0]) == [
        "rejected index_blocked",
        "duplicate",
    ]
    search_node.call("POST", f"/{DAY}/_open")
    assert verdicts(send(plugin, mixed)[0]) == ["stored", "duplicate"]


def test_the_shard_limit_does_not_hold_the_days_there_are(search_node: Node, tmp_path: Path) -> None:
    """A day that the cluster will not create is rejected as `index_blocked`, beside one that goes on."""
    plugin = output(search_node.engine, search_node.url, tmp_path)
    send(plugin, documents(1))
    search_node.call("PUT", "/_cluster/settings", {"persistent": {"cluster.max_shards_per_node": 1}})
    outcomes = send(plugin, [document(1), document(1, NEXT_DAY)])[0]
    assert verdicts(outcomes) == ["stored", "rejected index_blocked"]
    assert "shards open" in outcomes[1].detail


def test_a_cluster_read_only_as_a_whole_sets_nothing_aside(search_node: Node, tmp_path: Path) -> None:
    """Somebody made the whole cluster read-only: everything waits."""
    plugin = output(search_node.engine, search_node.url, tmp_path)
    send(plugin, documents(1))
    search_node.call("PUT", "/_cluster/settings", {"persistent": {"cluster.blocks.read_only": True}})
    try:
        for index in (DAY, NEXT_DAY):
            with pytest.raises(UnavailableError, match="takes nothing"):
                send(plugin, documents(2, index))
    finally:
        search_node.call("PUT", "/_cluster/settings", {"persistent": {"cluster.blocks.read_only": None}})
    assert verdicts(send(plugin, documents(2))[0]) == ["duplicate", "stored"]


def test_a_removed_template_halts_the_next_day_until_setup(search_node: Node, tmp_path: Path) -> None:
    """Template deleted, then a new day: halted before its first document, no index guessed, resumed by `setup`."""
    plugin = output(search_node.engine, search_node.url, tmp_path)
    send(plugin, documents(2))
    assert search_node.call("DELETE", "/_index_template/vos3000-calls")[0] == 200
    assert verdicts(send(plugin, documents(1, first=5))[0]) == ["stored"]
    with pytest.raises(HaltedError, match="vosship setup"):
        send(plugin, documents(1, NEXT_DAY))
    assert search_node.call("GET", f"/{NEXT_DAY}")[0] == 404
    list(output(search_node.engine, search_node.url, tmp_path).setup())
    assert verdicts(send(plugin, documents(1, NEXT_DAY))[0]) == ["stored"]


def test_an_index_with_a_guessed_mapping_halts(search_node: Node, tmp_path: Path) -> None:
    """What the servers make of a document without a template is recognised and not written."""
    search_node.call("POST", f"/{DAY}/_doc/x", {"callerIp": "10.0.0.1"})
    with pytest.raises(HaltedError, match="does not carry vosship's mapping"):
        send(output(search_node.engine, search_node.url, tmp_path), documents(1))
    assert search_node.count(DAY) == 1


def test_setup_is_repeatable_and_check_reports_a_change(search_node: Node, tmp_path: Path) -> None:
    """Both servers give the template back such that an unchanged one is recognised and a changed one named."""
    plugin = output(search_node.engine, search_node.url, tmp_path, retention_days=30)
    assert [line for line in plugin.setup() if "template" in line] == [
        "index template vos3000-calls: installed",
        "index template vos3000-findings: installed",
    ]
    assert all("unchanged" in line for line in plugin.setup() if "template" in line)
    assert not [remark for remark in plugin.check() if remark.level == "bad"]
    _, found = search_node.call("GET", "/_index_template/vos3000-calls")
    changed = found["index_templates"][0]["index_template"]
    del changed["template"]["mappings"]["properties"]["holdTime"]
    changed.pop("created_date", None), changed.pop("modified_date", None)
    assert search_node.call("PUT", "/_index_template/vos3000-calls", changed)[0] == 200
    (bad,) = [remark for remark in plugin.check() if remark.level == "bad"]
    assert "mappings.properties.holdTime is missing" in bad.text
    assert bad.hint == "run `vosship setup`"


def test_check_names_what_another_template_takes_from_ours(search_node: Node, tmp_path: Path) -> None:
    """Ours is current, and yet the next day would be made by a template of a higher priority."""
    plugin = output(search_node.engine, search_node.url, tmp_path)
    list(plugin.setup())
    foreign = {"index_patterns": ["vos3000-fwd-*"], "priority": 600, "template": {}}
    assert search_node.call("PUT", "/_index_template/somebody", foreign)[0] == 200
    try:
        (bad,) = [remark for remark in plugin.check() if remark.level == "bad"]
    finally:
        search_node.call("DELETE", "/_index_template/somebody")
    assert bad.text.startswith("another index template goes before vos3000-calls for vos3000-fwd-*")
    assert not [remark for remark in plugin.check() if remark.level == "bad"]


def test_a_request_that_can_never_fit_is_halved(search_node: Node, tmp_path: Path) -> None:
    """A body larger than the server ever takes (it says 429) is TooLargeError, or it would be tried for ever."""
    plugin = output(search_node.engine, search_node.url, tmp_path, compression_level=-1)
    large = [document(number, callerE164="x" * 1_000_000) for number in range(60)]
    with pytest.raises(TooLargeError):
        send(plugin, large)
    assert set(verdicts(send(plugin, large[:2])[0])) == {"stored"}


def test_a_node_that_was_killed_is_found_again(opensearch_node: Node, tmp_path: Path) -> None:
    """Kill -9 between two batches: no connection, then everything stored is still there once."""
    plugin = output("opensearch", opensearch_node.url, tmp_path)
    assert verdicts(send(plugin, documents(200))[0]) == ["stored"] * 200
    opensearch_node.kill()
    with pytest.raises(UnavailableError):
        send(plugin, documents(10, first=200))
    opensearch_node.start()
    assert set(verdicts(send(plugin, documents(210))[0])) == {"duplicate", "stored"}
    assert opensearch_node.count(DAY) == 210


def test_a_node_that_answers_nothing_is_given_up_in_time(search_node: Node, tmp_path: Path) -> None:
    """Frozen in the middle of work: no answer within `timeout_s`; afterwards each document is there once, whatever was taken."""
    plugin = output(search_node.engine, search_node.url, tmp_path, timeout_s=1)
    send(plugin, documents(10))
    search_node.pause()
    try:
        with pytest.raises(UnavailableError, match="no answer in time"):
            send(plugin, documents(50))
    finally:
        search_node.resume()
    patient = output(search_node.engine, search_node.url, tmp_path)
    assert set(verdicts(send(patient, documents(50))[0])) <= {"stored", "duplicate"}
    assert search_node.count(DAY) == 50


def test_a_secured_cluster_takes_tls_and_a_password(secured_elasticsearch: Node, tmp_path: Path) -> None:
    """TLS with the cluster's own authority and basic authentication; wrong ones wait with a hint."""
    node = secured_elasticsearch
    good: dict[str, Any] = {"username": node.username, "password": node.password, "ca_certs": str(node.ca_certs)}
    plugin = output("elasticsearch", node.url, tmp_path, **good)
    assert verdicts(send(plugin, documents(50))[0]) == ["stored"] * 50
    assert node.count(DAY) == 50
    with pytest.raises(UnavailableError, match="401") as raised:
        send(output("elasticsearch", node.url, tmp_path, **{**good, "password": "wrong"}), documents(1))
    assert "password" in raised.value.hint
    with pytest.raises(UnavailableError, match="TLS"):
        send(output("elasticsearch", node.url, tmp_path, **{**good, "ca_certs": ""}), documents(1))
    with pytest.raises(UnavailableError, match="401"):
        send(output("elasticsearch", node.url, tmp_path, api_key="d3Jvbmc6d3Jvbmc=", ca_certs=str(node.ca_certs)), documents(1))
    node.clear()


def test_the_artefacts_are_what_is_installed(search_node: Node, tmp_path: Path) -> None:
    """`setup --print` shows bodies that the server takes as they are, lifecycle apart."""
    plugin = output(search_node.engine, search_node.url, tmp_path)
    body = json.loads(json.dumps(plugin.artefacts()["vos3000-calls"]))
    body["template"]["settings"]["index"].pop("lifecycle", None)
    assert search_node.call("PUT", "/_index_template/vos3000-calls", body)[0] == 200


def test_a_switchs_directory_is_in_the_index_once_by_the_stops_local_day(search_node: Node, tmp_path: Path) -> None:
    """The whole agent: every line the simulated switch wrote is there once, also when all is sent again after a lost state."""
    vosship = [sys.executable, "-m", "vosship.cli"]
    calls = 3000
    subprocess.run([*vosship, "simulate", str(tmp_path / "cdr"), "--calls", str(calls), "--cps", "0.03", "--seed", "7"], check=True)
    lines = [line for path in (tmp_path / "cdr").iterdir() for line in path.read_bytes().splitlines() if line]
    configuration = tmp_path / "vosship.yaml"
    configuration.write_text(
        f"switch: dhaka-1\ntimezone: Asia/Dhaka\ndata_dir: {tmp_path}/data\n"
        f"inputs: {{cdr: {{type: files, paths: ['{tmp_path}/cdr/*']}}}}\n"
        f"outputs: {{search: {{type: {search_node.engine}, hosts: ['{search_node.url}']}}}}\n"
    )
    for _ in range(2):
        subprocess.run([*vosship, "run", "--once", "-c", str(configuration)], check=True)
        assert search_node.count("vos3000-cdr-*") == len(lines) == calls
        shutil.rmtree(tmp_path / "data")
    days = {line.split(b"|")[3][:10].decode().replace("-", ".") for line in lines}  # stopTime, as the switch's clock has it
    assert len(days) > 1
    _, indices = search_node.call("GET", "/_cat/indices/vos3000-cdr-*?format=json&h=index")
    assert {row["index"] for row in indices} == {f"vos3000-cdr-{day}" for day in days}
