"""Packed indices: nothing that the mapping has is lost to searches and figures, and what the form asks of calls and servers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from mappings.generate import joined
from tests import bulk_parts
from tests.bulk_parts import DAY, documents, send, verdicts
from tests.nodes import Node
from vosship.errors import HaltedError
from vosship.events import Field
from vosship.testing.cluster import Cluster
from vosship_bulk import packing
from vosship_bulk.options import Options
from vosship_bulk.templates import flat_fields, mapping, templates

ROWS = 12


def value_of(kind: str, number: int) -> Any:
    """One of three values of a type, as documents write it; value 1 of four of the twelve documents."""
    value = number % 3
    return {
        "keyword": f"8801{value}",
        "ip": f"103.0.{value}.7",
        "date": f"2026-04-26T0{value}:00:00.000Z",
        "boolean": value == 1,
        "geo_point": f"{value}.5,{value}.5",
        "double": value + 0.5,
    }.get(kind, value)


def conditions(name: str, kind: str) -> dict[str, Any]:
    """Ways to ask for value 1 of a field."""
    value = value_of(kind, 1)
    if kind == "geo_point":
        corners = {"top_left": "2,1", "bottom_right": "1,2"}
        around = [[1.0, 1.0], [2.0, 1.0], [2.0, 2.0], [1.0, 2.0]]
        return {
            "box": {"geo_bounding_box": {name: corners}},
            "distance": {"geo_distance": {"distance": "10km", name: value}},
            "polygon": {"geo_polygon": {name: {"points": around}}},
        }
    asked: dict[str, Any] = {"term": {"term": {name: value}}, "terms": {"terms": {name: [value]}}}
    asked["words"] = {"query_string": {"query": f'{name}:"{str(value).lower() if kind == "boolean" else value}"'}}
    if kind in ("keyword", "date", "long", "integer", "double", "ip"):
        asked["range"] = {"range": {name: {"gt": value_of(kind, 0), "lt": value_of(kind, 2)}}}
    if kind == "keyword":
        asked["prefix"] = {"prefix": {name: "88011"}}
        asked["wildcard"] = {"wildcard": {name: "*11"}}
    if kind == "ip":
        asked["network"] = {"term": {name: "103.0.1.0/24"}}
    return asked


@pytest.mark.real_server
def test_every_field_is_searched_and_counted(search_node: Node) -> None:
    """Each field of every processor is found by value, range, prefix and place, if the schema calls it searchable, and counted."""
    search_node.clear()
    schema = joined()
    (body,) = [body for name, body in made(search_node.engine).items() if name == "vos3000-calls"]
    assert search_node.call("PUT", "/_index_template/vos3000-calls", body)[0] == 200
    fields = {field.name: field for field in schema if field.type not in ("alias", "object")}
    for number in range(ROWS):
        row = {name: value_of(field.type, number) for name, field in fields.items()}
        answer = search_node.call("PUT", f"/{DAY}/_doc/{number}", packing.arranged(msgspec.json.encode(row)))
        assert answer[0] == 201, answer
    search_node.call("POST", f"/{DAY}/_refresh")
    mapped = dict(flat_fields(body["template"]["mappings"]["properties"]))
    assert sum(mapped[name].get("index") is False for name in packing.UNINDEXED) == len(packing.UNINDEXED)
    for name, field in fields.items():
        if field.indexed:
            for way, condition in conditions(name, field.type).items():
                assert found(search_node, condition) == ROWS / 3, (name, way)
            assert found(search_node, {"exists": {"field": name}}) == ROWS, name
        if field.doc_values:
            counting = {"value_count": {"field": name}} if field.type == "geo_point" else {"terms": {"field": name}}
            status, answer = search_node.call("POST", f"/{DAY}/_search", {"size": 0, "aggs": {"of": counting}})
            assert status == 200, (name, answer)
            of = answer["aggregations"]["of"]
            assert (
                of.get("value") == ROWS if field.type == "geo_point" else sum(each["doc_count"] for each in of["buckets"]) == ROWS
            )


def found(node: Node, condition: dict[str, Any]) -> int:
    """How many documents of the day answer to it."""
    status, answer = node.call("POST", f"/{DAY}/_search", {"size": 0, "query": condition})
    assert status == 200, (condition, answer)
    return int(answer["hits"]["total"]["value"])


def made(engine: Any, source: Any = "packed") -> dict[str, Any]:
    """The templates of that form for a schema with every processor."""
    return templates(joined(), Options(source=source), engine=engine, lifecycle=False)


@pytest.mark.parametrize("engine", ["opensearch", "elasticsearch"])
def test_calls_lie_beside_their_like(engine: Any) -> None:
    """Gateways and number go before time, for calls alone, and only where the schema has them."""
    calls, findings = (body["template"]["settings"]["index"]["sort"] for body in made(engine).values())
    assert calls == {
        "field": ["calleeGatewayId", "callerGatewayId", "calleeE164", "@timestamp"],
        "order": ["asc", "asc", "asc", "desc"],
    }
    assert findings == {"field": ["@timestamp"], "order": ["desc"]}
    schema = bulk_parts.context(Path(), (Field(name="calleeE164", type="keyword", description="Whom."),)).schema
    few = templates(schema, Options(source="packed"), engine=engine, lifecycle=False)
    assert few["vos3000-calls"]["template"]["settings"]["index"]["sort"]["field"] == ["calleeE164", "@timestamp"]


def test_numbers_gateways_and_the_time_of_a_call_keep_their_index() -> None:
    """What calls are looked up by is found without looking at each of them."""
    packed, stored = (dict(flat_fields(mapping(joined(), source=source)["properties"])) for source in ("packed", "stored"))
    numbers = [name for name in stored if name.endswith(("E164", ".number", ".number_sent")) and ".as." not in name]
    assert len(numbers) == 10
    for name in (*numbers, "callerGatewayId", "callee.gateway.name", "@timestamp", "startTime", "holdTime", "tags", "switch"):
        assert packed[name] == stored[name]
        assert "index" not in packed[name]
    assert {name for name in stored if packed[name] != stored[name]} == packing.UNINDEXED


def test_members_change_places_and_nothing_else() -> None:
    """Values stay byte for byte, known members come in their order, others behind them in the order they came."""
    body = '{"zeta":1.50,"log.offset":7,"fee":12345678901234567890123,"end.text":"网\\n","@timestamp":"x","labels.team":["b","a"]}'
    assert packing.arranged(body.encode()).decode() == (
        '{"end.text":"网\\n","@timestamp":"x","log.offset":7,"zeta":1.50,"fee":12345678901234567890123,"labels.team":["b","a"]}'
    )
    assert len(set(packing.ORDER)) == len(packing.ORDER)
    assert set(packing.ORDER) <= {field.name for field in joined()}


@pytest.mark.parametrize(
    ("engine", "version", "refused"),
    [
        ("opensearch", "2.18.0", "needs opensearch 2.19, this is 2.18.0"),
        ("opensearch", "2.19.0", ""),
        ("elasticsearch", "8.0.1", "needs elasticsearch 8.1, this is 8.0.1"),
        ("elasticsearch", "8.10.0", ""),
        ("elasticsearch", "9.1.0", ""),
        ("opensearch", "unknown", ""),
    ],
)
def test_a_server_that_could_not_search_them_is_refused(engine: Any, version: str, refused: str, tmp_path: Path) -> None:
    """Setup and the first batch halt before anything is installed, `check` says it; a stored source is no matter."""
    with Cluster(engine) as cluster:
        cluster.version = version
        plugin = bulk_parts.output(engine, cluster.url, tmp_path, source="packed")
        if not refused:
            list(plugin.setup())
            (outcomes,) = send(plugin, documents(2))
            assert verdicts(outcomes) == ["stored", "stored"]
            return
        for attempt in (lambda: list(plugin.setup()), lambda: send(plugin, documents(2))):
            with pytest.raises(HaltedError, match=refused):
                attempt()
        assert (cluster.templates, cluster.policies) == ({}, {})
        assert any(remark.level == "bad" and refused in remark.text for remark in plugin.check())
        list(bulk_parts.output(engine, cluster.url, tmp_path).setup())
        assert len(cluster.templates) == 2
