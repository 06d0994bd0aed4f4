"""Indices whose documents are packed, or put together by the engine from its columns: the same answers as from stored ones, on real
servers."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlite_calls import FIRST_DAY, calls, context, decoded, document

from tests import bulk_parts, plain_scan
from tests.bulk_parts import DAY, send, verdicts
from tests.nodes import Node
from vosship.errors import HaltedError
from vosship.events import Document, Field
from vosship.plugin import make
from vosship.query import Hit, Query, StatsQuery
from vosship_bulk.templates import source_of

pytestmark = pytest.mark.real_server

EVER = Query(from_ms=0, to_ms=4_102_444_800_000, channel="all", resends=True, limit=None)
START_MS = FIRST_DAY * 1000


def output(node: Node, folder: Path, source: str) -> Any:
    """The output of that server, with fields of every type."""
    return make("output", node.engine, {"hosts": [node.url], "source": source}, context(folder), "outputs.search")


def filled(node: Node, folder: Path, source: str, documents: Sequence[Document]) -> Any:
    """An output that holds these documents, in indices made anew."""
    node.clear()
    plugin = output(node, folder, source)
    for outcomes in send(plugin, *(documents[start : start + 500] for start in range(0, len(documents), 500))):
        assert set(verdicts(outcomes)) == {"stored"}
    return plugin


def is_derived(node: Node, index: str) -> bool:
    """Whether the server was told to keep no source."""
    settings = node.call("GET", f"/{index}/_settings")[1][index]["settings"]["index"]
    return "derived_source" in settings or settings.get("mapping", {}).get("source", {}).get("mode") == "synthetic"


def adorned(documents: Sequence[Document], chance: random.Random) -> list[Document]:
    """The same calls with what is hard to put together again: points, fractions, lines, columns by position, labels, IPv6."""
    found = []
    for number, each in enumerate(documents):
        more: dict[str, Any] = {
            "caller.geo.location": f"{round(chance.uniform(-90, 90), 4)},{round(chance.uniform(-180, 180), 4)}",
            "fee": round(chance.uniform(0, 9), 5),
            "event.original": f"{number}|a|网关",
            "extra": chance.choices(("b", "a", "", "c"), k=3),
            "labels.team": chance.choice(("east", "west")),
            "log.file.path": f"/cdr/20260425{number % 4:02d}.txt",
        }
        fields = {**decoded(each), **more}
        if chance.random() < 0.1:
            fields |= {"callerIp": "2001:db8::1", "fee": 0.0}
        found.append(document(fields, offset=number * 200))
    return found


@pytest.fixture
def hits(search_node: Node, tmp_path: Path) -> Any:
    """Asks the same questions of stored documents and of those of another form."""

    def both(
        documents: Sequence[Document], queries: Sequence[Query], source: str = "derived"
    ) -> tuple[list[list[Hit]], list[list[Hit]]]:
        answers = []
        for form in ("stored", source):
            plugin = filled(search_node, tmp_path, form, documents)
            assert is_derived(search_node, documents[0].index) == (form == "derived")
            answers.append([list(plugin.search(query)) for query in queries])
        return answers[0], answers[1]

    return both


@pytest.mark.parametrize("source", ["packed", "derived"])
def test_a_document_is_the_stored_one(hits: Any, source: str) -> None:
    """Every type of field, word for word: dates, fractions, points, IPv6, the line itself, columns in their order, labels."""
    documents = adorned(calls(600, seed=51), random.Random(52))
    (stored,), (derived,) = hits(documents, [EVER], source)
    assert [(hit.id, hit.index) for hit in derived] == [(hit.id, hit.index) for hit in stored]
    for one, other in zip(derived, stored, strict=True):
        assert one.fields == other.fields
    assert {hit.id: hit.fields for hit in derived} == {each.id: decoded(each) for each in documents}


@pytest.mark.parametrize("source", ["packed", "derived"])
def test_random_questions_have_the_same_answers(search_node: Node, tmp_path: Path, source: str) -> None:
    """Filters, windows, pages and figures over documents of that form equal looking at every one of them."""
    documents = calls(1500, seed=53)
    plain = [plain_scan.of_document(each.id, each.index, each.body) for each in documents]
    plugin = filled(search_node, tmp_path, source, documents)
    chance = random.Random(54)
    for _ in range(40):
        filters: dict[str, Any] = {
            "callee_gateway": chance.choice(("网关一", "VEN2")),
            "number": chance.choice(("88017000*", "*", "97000000100", "009700*")),
            "ip": chance.choice(("10.0.0.1", "10.0.1.2")),
            "min_hold_ms": chance.choice((1, 200_000)),
            "answered": chance.random() < 0.5,
            "time": chance.choice(("start", "answer")),
            "resends": True,
        }
        chosen = {name: value for name, value in filters.items() if chance.random() < 0.4}
        query = Query(from_ms=START_MS, to_ms=START_MS + chance.randrange(3 * 86_400_000), limit=None, page_size=300, **chosen)
        assert [hit.id for hit in plugin.search(query)] == [call["id"] for call in plain_scan.search(query, plain)]
        asked = StatsQuery(calls=query, by=("callee_gateway", "end_by"), timezone="Asia/Dhaka")
        expected = plain_scan.stats(asked, plain)
        assert [(row.keys, row.attempts, row.ner_ratio, row.callee_pdd_ms_p95) for row in plugin.stats(asked)] == [
            (keys, each["attempts"], each["ner_ratio"], each["callee_pdd_ms_p95"]) for keys, each in sorted(expected.items())
        ]


def test_words_in_no_order_come_back_sorted_and_once(hits: Any) -> None:
    """What docs/search.md says: tags and labels of a derived document are sets on OpenSearch; Elasticsearch keeps them."""
    fields = {
        "@timestamp": "2026-04-26T06:00:00.000Z",
        "tags": ["short_line", "gb18030", "gb18030"],
        "labels.team": ["west", "east"],
    }
    (stored,), (derived,) = hits([document(fields)], [EVER])
    assert stored[0].fields["tags"] == ["short_line", "gb18030", "gb18030"]
    kept = derived[0].fields["tags"], derived[0].fields["labels.team"]
    assert kept in (
        (["gb18030", "short_line"], ["east", "west"]),
        (["short_line", "gb18030", "gb18030"], ["west", "east"]),
    )


@pytest.mark.parametrize("source", ["stored", "packed", "derived"])
def test_a_number_without_points_is_searched_and_counted(search_node: Node, tmp_path: Path, source: str) -> None:
    """Ranges, values, sums and buckets of whole numbers that have doc values only, in every form."""
    documents = calls(400, seed=55, days=1)
    filled(search_node, tmp_path, source, documents)
    index = documents[0].index
    search_node.call("POST", f"/{index}/_refresh")
    there = [decoded(each) for each in documents if each.index == index]
    for name in ("callerPdd", "calleePdd", "log.offset"):
        mapped = search_node.call("GET", f"/{index}/_mapping/field/{name}")[1][index]["mappings"][name]["mapping"]
        assert mapped[name.split(".")[-1]]["index"] is False
        values = sorted(fields[name] for fields in there if name in fields)
        low, high = values[len(values) // 4], values[len(values) // 2]
        for condition, expected in (
            ({"range": {name: {"gte": low, "lt": high}}}, sum(low <= value < high for value in values)),
            ({"term": {name: low}}, values.count(low)),
            ({"exists": {"field": name}}, len(values)),
        ):
            asked = {"size": 0, "query": condition, "track_total_hits": True, "aggs": {"sum": {"sum": {"field": name}}}}
            status, answer = search_node.call("POST", f"/{index}/_search", asked)
            assert (status, answer["hits"]["total"]["value"]) == (200, expected), condition
        _, answer = search_node.call("POST", f"/{index}/_search", {"size": 0, "aggs": {"sum": {"sum": {"field": name}}}})
        assert answer["aggregations"]["sum"]["value"] == sum(values)


def test_a_value_no_index_can_hold_is_set_aside_with_its_reason(opensearch_node: Node, tmp_path: Path) -> None:
    """Over 32,766 bytes: kept where the source is stored, dead where it would be derived; its neighbours go on."""
    batch = [bulk_parts.document(1, callerE164="x" * 40_000), bulk_parts.document(2)]
    for source, expected in (("stored", "stored"), ("derived", "rejected refused")):
        opensearch_node.clear()
        plugin = bulk_parts.output("opensearch", opensearch_node.url, tmp_path, source=source)
        (outcomes,) = send(plugin, batch)
        assert verdicts(outcomes) == [expected, "stored"]
    assert "32766" in outcomes[0].detail


@pytest.mark.parametrize(("before", "after"), [("stored", "derived"), ("derived", "packed"), ("packed", "stored")])
def test_a_day_of_another_form_goes_on_and_gets_new_fields(search_node: Node, tmp_path: Path, before: str, after: str) -> None:
    """`source` changed in the middle of a day, and a processor added: the day keeps its form and takes the new field."""
    engine, url = search_node.engine, search_node.url
    send(bulk_parts.output(engine, url, tmp_path, source=before), [bulk_parts.document(1)])
    more = (*bulk_parts.FIELDS, Field(name="callee.team", type="keyword", description="New."))
    plugin = bulk_parts.output(engine, url, tmp_path, more, source=after)
    list(plugin.setup())
    west: dict[str, Any] = {"callee.team": "west"}
    (outcomes,) = send(plugin, [bulk_parts.document(2, **west), bulk_parts.document(1)])
    assert verdicts(outcomes) == ["stored", "duplicate"]
    assert is_derived(search_node, DAY) == (before == "derived")
    _, found = search_node.call("GET", f"/{DAY}/_mapping")
    assert source_of(found[DAY]["mappings"]) == before
    (again,) = send(bulk_parts.output(engine, url, tmp_path, more, source=after), [bulk_parts.document(3)])
    assert verdicts(again) == ["stored"]


def test_a_day_of_an_older_mapping_gets_the_missing_field_and_nothing_else(search_node: Node, tmp_path: Path) -> None:
    """Points of an older vosship cannot be taken away again: only what is missing is asked for."""
    engine, url = search_node.engine, search_node.url
    plugin = bulk_parts.output(engine, url, tmp_path)
    body = plugin.artefacts()["vos3000-calls"]["template"]["mappings"]
    body = msgspec.json.decode(msgspec.json.encode(body))
    body["_meta"]["vosship"]["digest"] = "older"
    del body["properties"]["log"]["properties"]["offset"]["index"]
    del body["properties"]["caller"]["properties"]["gateway"]
    assert search_node.call("PUT", f"/{DAY}", {"mappings": body})[0] == 200  # before there is a template that would complete it
    list(plugin.setup())
    more: dict[str, Any] = {"caller.gateway.name": "GW1", "log.offset": 7}
    (outcomes,) = send(plugin, [bulk_parts.document(1, **more)])
    assert verdicts(outcomes) == ["stored"]


@pytest.mark.parametrize("source", ["packed", "derived"])
def test_check_says_when_another_form_is_installed(search_node: Node, tmp_path: Path, source: str) -> None:
    """A template of another form is drift, until `setup`; then nothing is to be said."""
    engine, url = search_node.engine, search_node.url
    list(bulk_parts.output(engine, url, tmp_path).setup())
    derived = bulk_parts.output(engine, url, tmp_path, source=source)
    bad = [remark for remark in derived.check() if remark.level == "bad"]
    assert {remark.hint for remark in bad} == {"run `vosship setup`"}
    assert any("source" in remark.text for remark in bad)
    list(derived.setup())
    assert [remark for remark in derived.check() if remark.level == "bad"] == []
    assert all("unchanged" in step or "absent" in step for step in derived.setup())


def test_replacing_a_derived_document_replaces_it(search_node: Node, tmp_path: Path) -> None:
    """`reship` over derived documents: the new one is there, once."""
    plugin = filled(search_node, tmp_path, "derived", [document({"@timestamp": "2026-04-26T06:00:00.000Z", "holdTime": 1})])
    (hit,) = plugin.search(EVER)
    changed = msgspec.json.encode({**hit.fields, "holdTime": 2, "end.by": "caller"})
    new = msgspec.structs.replace(bulk_parts.document(1), id=hit.id, index=hit.index, body=changed)
    asyncio.run(plugin.overwrite([new]))
    (after,) = plugin.search(EVER)
    assert after.fields == {**hit.fields, "holdTime": 2, "end.by": "caller"}


def test_a_foreign_index_still_halts(opensearch_node: Node, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Knowing several forms does not make any other ours."""
    assert opensearch_node.call("PUT", f"/{DAY}", {"mappings": {"_meta": {"vosship": {}}}})[0] == 200
    with caplog.at_level(logging.ERROR), pytest.raises(HaltedError, match="does not carry vosship's mapping"):
        send(bulk_parts.output("opensearch", opensearch_node.url, tmp_path, source="derived"), [bulk_parts.document(1)])
