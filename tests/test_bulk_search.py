"""Finding calls on real servers: what only a cluster can get wrong (pages, ties, arrivals, absent days, refusals)."""

from __future__ import annotations

import json
import logging
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlite_calls import FIRST_DAY, calls, context, document

from tests import plain_scan
from tests.bulk_parts import send
from tests.nodes import Node
from vosship import cli
from vosship.errors import UnavailableError
from vosship.events import Document
from vosship.plugin import make
from vosship.query import Hit, Query, StatsQuery

pytestmark = pytest.mark.real_server

START_MS = FIRST_DAY * 1000
EVER = Query(from_ms=0, to_ms=4_102_444_800_000, channel="all", resends=True, limit=None)


def output(node: Node, folder: Path) -> Any:
    """The output of that server, with fields of every type."""
    return make("output", node.engine, {"hosts": [node.url]}, context(folder), "outputs.search")


def filled(node: Node, folder: Path, documents: Sequence[Document]) -> Any:
    """An output that holds these documents."""
    plugin = output(node, folder)
    send(plugin, *(documents[start : start + 500] for start in range(0, len(documents), 500)))
    return plugin


def same_place(number: int) -> Document:
    """One of several calls at one byte of one file, as two switches with the same paths write them."""
    fields = {"@timestamp": "2026-04-25T06:00:00.000Z", "switch": f"dhaka-{number}", "holdTime": 0}
    return document(fields, offset=7, line=b"%d" % number)


def ids(hits: Sequence[Hit]) -> list[str]:
    """The ids of hits."""
    return [hit.id for hit in hits]


def test_tags_channels_and_points_are_found_as_a_plain_scan_does(search_node: Node, tmp_path: Path) -> None:
    """Resends, forwarded copies, names in Chinese, absent values: search and figures equal looking at every document."""
    documents = calls(2000, seed=31)
    plugin = filled(search_node, tmp_path, documents)
    plain = [plain_scan.of_document(each.id, each.index, each.body) for each in documents]
    bodies = {each.id: msgspec.json.decode(each.body) for each in documents}
    chance = random.Random(32)
    for _ in range(60):
        filters: dict[str, Any] = {
            "callee_gateway": chance.choice(("网关一", "VEN2")),
            "channel": chance.choice(("file", "forward", "all")),
            "resends": chance.random() < 0.5,
            "time": chance.choice(("stop", "start", "answer")),
            "number": chance.choice(("88017000*", "*", "97000000100", "009700*")),
            "min_hold_ms": chance.choice((0, 1, 200_000)),
        }
        chosen = {name: value for name, value in filters.items() if chance.random() < 0.5}
        query = Query(from_ms=START_MS, to_ms=START_MS + chance.randrange(3 * 86_400_000), limit=None, page_size=300, **chosen)
        found = list(plugin.search(query))
        assert ids(found) == [call["id"] for call in plain_scan.search(query, plain)]
        assert all(hit.fields == bodies[hit.id] for hit in found)
        asked = StatsQuery(calls=query, by=("callee_gateway", "end_by"), timezone="Asia/Dhaka")
        expected = plain_scan.stats(asked, plain)
        assert [(row.keys, row.attempts, row.ner_ratio, row.callee_pdd_ms_p95) for row in plugin.stats(asked)] == [
            (keys, each["attempts"], each["ner_ratio"], each["callee_pdd_ms_p95"]) for keys, each in sorted(expected.items())
        ]


@pytest.mark.parametrize("page", [1, 7, 40, 10_000])
def test_calls_of_one_place_are_neither_lost_nor_doubled_between_pages(search_node: Node, tmp_path: Path, page: int) -> None:
    """Forty calls at one place among others: every page size and limit gives them once, by id."""
    documents = [same_place(number) for number in range(40)]
    documents += [document({"@timestamp": f"2026-04-25T06:00:0{second}.000Z"}, offset=1) for second in (0, 1)]
    plugin = filled(search_node, tmp_path, documents)
    expected = [documents[41].id, documents[40].id, *sorted(each.id for each in documents[:40])]
    for limit in (None, 1, 3, 20, 41, 42):
        query = msgspec.structs.replace(EVER, limit=limit, page_size=page)
        assert ids(list(plugin.search(query))) == expected[:limit]


def test_what_arrives_meanwhile_neither_shows_nor_shifts(search_node: Node, tmp_path: Path) -> None:
    """Between two pages newer and older calls arrive and one is replaced: the answer is that of the moment it was asked."""
    documents = calls(300, seed=33)
    plugin = filled(search_node, tmp_path, documents[::2])
    hits = plugin.search(msgspec.structs.replace(EVER, page_size=20))
    found = [next(hits)]
    send(plugin, documents[1::2])
    search_node.call("POST", "/vos3000-*/_refresh")
    found += hits
    assert sorted(ids(found)) == sorted(each.id for each in documents[::2])
    assert len(list(plugin.search(EVER))) == 300


def test_a_call_is_found_as_soon_as_it_is_stored(search_node: Node, tmp_path: Path) -> None:
    """Search does not wait for the index's own refresh."""
    plugin = filled(search_node, tmp_path, calls(10, seed=34))
    assert len(list(plugin.search(EVER))) == 10


def test_days_that_are_not_there_are_no_error(search_node: Node, tmp_path: Path) -> None:
    """No index at all, or none of the window: no hit, no figure."""
    plugin = output(search_node, tmp_path)
    day = msgspec.structs.replace(EVER, from_ms=START_MS, to_ms=START_MS + 86_400_000)
    for query in (EVER, day):
        assert list(plugin.search(query)) == []
        assert plugin.stats(StatsQuery(calls=query, by=("ip",))) == []
    send(plugin, calls(10, seed=35, days=1))
    later = msgspec.structs.replace(EVER, from_ms=START_MS + 30 * 86_400_000, to_ms=START_MS + 31 * 86_400_000)
    assert list(plugin.search(later)) == []
    assert plugin.stats(StatsQuery(calls=later, by=("ip", "hour"))) == []


def test_a_refused_point_in_time_is_said_and_done_without(
    opensearch_node: Node, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The cluster holds no more of them: the answer comes nevertheless, with a warning."""
    plugin = filled(opensearch_node, tmp_path, calls(100, seed=36))
    opensearch_node.call("PUT", "/_cluster/settings", {"transient": {"search.max_open_pit_context": 0}})
    with caplog.at_level(logging.WARNING):
        assert len(list(plugin.search(msgspec.structs.replace(EVER, page_size=30)))) == 100
    assert "a point in time was refused" in caplog.text


def test_points_in_time_are_given_back(opensearch_node: Node, tmp_path: Path) -> None:
    """After a search that was read to its end, one that was broken off, and figures, the cluster holds none."""
    plugin = filled(opensearch_node, tmp_path, calls(100, seed=37))
    list(plugin.search(EVER))
    broken_off = plugin.search(msgspec.structs.replace(EVER, page_size=10))
    next(broken_off)
    broken_off.close()
    plugin.stats(StatsQuery(calls=EVER, by=("ip",)))
    assert opensearch_node.call("GET", "/_search/point_in_time/_all")[1].get("pits", []) == []


def test_figures_with_more_keys_than_the_cluster_gives_at_once_are_whole(search_node: Node, tmp_path: Path) -> None:
    """With a low `search.max_buckets` delays are counted by value and pages get smaller until they fit: nothing is missing."""
    plugin = filled(search_node, tmp_path, calls(1500, seed=38))
    query = StatsQuery(
        calls=msgspec.structs.replace(EVER, from_ms=START_MS, to_ms=START_MS + 3 * 86_400_000), by=("callee_gateway", "ip")
    )
    whole = plugin.stats(query)
    search_node.call("PUT", "/_cluster/settings", {"transient": {"search.max_buckets": 2000}})
    assert plugin.stats(query) == whole
    search_node.call("PUT", "/_cluster/settings", {"transient": {"search.max_buckets": None}})


def test_a_missing_server_is_said_in_one_sentence(tmp_path: Path) -> None:
    """Nothing listens: UnavailableError with a hint, after a few attempts."""
    plugin = make("output", "opensearch", {"hosts": ["http://127.0.0.1:1"]}, context(tmp_path), "outputs.search")
    with pytest.raises(UnavailableError, match="no connection"):
        list(plugin.search(EVER))


def test_guard_rails_hold_for_a_cluster(search_node: Node, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """32 days: search exit 5 with the hint, export goes through in days; in a denied hour both exit 5 and no file is left."""
    filled(search_node, tmp_path, calls(300, seed=39))
    config: dict[str, Any] = {
        "switch": "dhaka-1",
        "timezone": "Asia/Dhaka",
        "data_dir": str(tmp_path / "data"),
        "inputs": {"cdr": {"type": "files", "paths": ["cdr/*.txt"]}},
        "outputs": {"search": {"type": search_node.engine, "hosts": [search_node.url]}},
    }
    file, out = tmp_path / "vosship.yaml", tmp_path / "month.ndjson"
    window = ["-c", str(file), "--from", "2026-03-27", "--to", "2026-04-27", "--channel", "all", "--resends"]
    export = ["export", *window, "--format", "ndjson", "--out", str(out)]
    file.write_text(json.dumps({**config, "search": {"deny_hours": list(range(24))}}))
    before = sorted(tmp_path.rglob("*"))
    assert cli.run(["search", *window]) == cli.run(export) == 5
    assert sorted(tmp_path.rglob("*")) == before
    file.write_text(json.dumps(config))
    capfd.readouterr()
    assert cli.run(["search", *window]) == 5
    assert "vosship export" in capfd.readouterr().err
    assert cli.run(export) == 0
    assert len(out.read_bytes().splitlines()) == 300
