"""Judges saved objects without any server: what an import takes and only breaks when a panel is opened is found here.

It makes none and changes none. An import itself notices a newer migration version and an index pattern that is not there; a
field nobody has, an unknown visualization type or a TSVB panel whose query fails it does not (seen on OpenSearch Dashboards 3.3).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from vosship_bulk.dashboards.objects import CEILINGS, GRID_COLUMNS
from vosship_bulk.templates import flat_fields

VISUALIZATIONS = {"metric", "histogram", "line", "pie", "horizontal_bar", "table", "markdown", "metrics"}
"""Types that were seen to be drawn by both products."""

_NUMBERS = {"long", "integer", "double"}
_GROUPED = {"keyword", "ip", "boolean", *_NUMBERS}
_TAKES: Mapping[str, set[str]] = {
    "count": set(), "avg": _NUMBERS, "sum": _NUMBERS, "percentiles": _NUMBERS, "percentile": _NUMBERS,
    "cardinality": {*_GROUPED, "date"}, "terms": _GROUPED, "date_histogram": {"date"}, "filters": set(), "filter_ratio": set(),
    "math": set(),
}  # fmt: skip
"""Aggregations and the types of field they take (Kibana refuses the mean of a boolean, though the engine computes it)."""

_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')
_QUERIED = re.compile(r"([@A-Za-z_][\w.@]*):")


class InvalidError(Exception):
    """One thing wrong; collected, never let out."""


def problems(ndjson: bytes, mapping: Mapping[str, Any]) -> list[str]:
    """What is wrong, each with the object's id; nothing when all is well. `mapping` is the index's, as installed."""
    found: list[str] = []
    items: list[dict[str, Any]] = []
    for number, line in enumerate(ndjson.splitlines(), 1):
        try:
            items.append(msgspec.json.decode(line, type=dict[str, Any]))
        except msgspec.DecodeError as error:
            found.append(f"line {number}: not a JSON object: {error}")
    known = {(str(item.get("type")), str(item.get("id"))) for item in items}
    if len(known) != len(items):
        found.append("two objects have the same type and id")
    check = _Check(dict(flat_fields(mapping["properties"])), known)
    for item in items:
        found += [f"{item.get('type')} {item.get('id')}: {text}" for text in check.object(item)]
    return found


class _Check:
    def __init__(self, mapping: Mapping[str, Mapping[str, Any]], known: set[tuple[Any, Any]]) -> None:
        self._known = known
        self._types = {
            name: str(mapping.get(body["path"], {}).get("type") if body.get("type") == "alias" else body.get("type"))
            for name, body in mapping.items()
        }
        self._unlisted = {name for name, body in mapping.items() if body.get("doc_values") is False}

    def object(self, item: Mapping[str, Any]) -> Iterator[str]:
        try:
            yield from self._object(item)
        except InvalidError as error:
            yield str(error)
        except KeyError as error:
            yield f"missing {error}"
        except (TypeError, AttributeError) as error:
            yield f"not laid out as such an object is: {error}"

    def _object(self, item: Mapping[str, Any]) -> Iterator[str]:
        kind = item.get("type")
        if not isinstance(kind, str) or kind not in CEILINGS:
            yield "a type that not both products have"
            return
        if not isinstance(item.get("id"), str) or not isinstance(item.get("references"), list):
            raise InvalidError("an id that is no word, or references that are no list")
        version = item.get("migrationVersion", {}).get(kind, "")
        if not version or _version(version) > _version(CEILINGS[kind]):
            yield f"migration version {version or 'missing'}, at most {CEILINGS[kind]} is taken"
        for reference in item.get("references", []):
            if (reference["type"], reference["id"]) not in self._known:
                yield f"refers to {reference['type']} {reference['id']}, which is not in the file"
        attributes = item.get("attributes", {})
        names = {reference["name"] for reference in item.get("references", [])}
        checks = {"index-pattern": self._index_pattern, "visualization": self._visualization, "search": self._search,
                  "dashboard": self._dashboard}  # fmt: skip
        yield from checks[kind](attributes, names)

    def _index_pattern(self, attributes: Mapping[str, Any], _: set[str]) -> Iterator[str]:
        listed = {field["name"]: field for field in _decoded(attributes, "fields")}
        for name in _decoded(attributes, "fieldFormatMap"):
            yield from self._field(name)
        for name, field in listed.items():
            yield from self._field(name)
            if field["esTypes"] != [self._types.get(name)] or field["aggregatable"] == (name in self._unlisted):
                yield f"the field {name!r} is listed otherwise than the mapping has it"
        for name, kind in self._types.items():
            if name not in listed and kind != "object":
                yield f"the mapping's field {name!r} is not listed"

    def _visualization(self, attributes: Mapping[str, Any], names: set[str]) -> Iterator[str]:
        state = _decoded(attributes, "visState")
        _decoded(attributes, "uiStateJSON")
        yield from self._source(attributes, names)
        if state["type"] not in VISUALIZATIONS:
            yield f"the visualization type {state['type']!r} is not among those both products draw"
        ids = [agg["id"] for agg in state["aggs"]]
        if len(set(ids)) != len(ids):
            yield "two aggregations have the same id"
        for agg in state["aggs"]:
            yield from self._aggregation(agg["type"], agg["params"].get("field"))
            if agg["type"] == "terms" and agg["params"]["orderBy"] not in ("_key", *ids):
                yield f"ordered by {agg['params']['orderBy']!r}, which is no aggregation here"
            for item in agg["params"].get("filters", []):
                yield from self._query(item["input"])
        if state["type"] == "metrics":
            yield from self._tsvb(state["params"])
        elif state["aggs"] and "kibanaSavedObjectMeta.searchSourceJSON.index" not in names:
            yield "no index pattern is referred to"

    def _tsvb(self, model: Mapping[str, Any]) -> Iterator[str]:
        for name in {model["time_field"], model.get("default_timefield", model["time_field"])}:
            yield from self._aggregation("date_histogram", name)
        if model["type"] == "table":
            yield from self._aggregation("terms", model["pivot_id"])
        for part in (model, *model["series"]):
            if "filter" in part:
                yield from self._query(part["filter"])
        for series in model["series"]:
            ids = {metric["id"] for metric in series["metrics"]}
            for metric in series["metrics"]:
                yield from self._aggregation(metric["type"], metric.get("field"))
                for side in ("numerator", "denominator"):
                    if side in metric:
                        yield from self._query(metric[side])
                for variable in metric.get("variables", []):
                    if variable["field"] not in ids:
                        yield f"the formula reads {variable['field']!r}, which is no metric of its series"

    def _search(self, attributes: Mapping[str, Any], names: set[str]) -> Iterator[str]:
        for name in (*attributes["columns"], *(item[0] for item in attributes["sort"])):
            yield from self._field(name)
        yield from self._source(attributes, names)

    def _dashboard(self, attributes: Mapping[str, Any], names: set[str]) -> Iterator[str]:
        _decoded(attributes, "optionsJSON")
        yield from self._source(attributes, names)
        taken: dict[tuple[int, int], str] = {}
        for panel in _decoded(attributes, "panelsJSON"):
            if panel["panelRefName"] not in names:
                yield f"the panel {panel['panelIndex']} refers to nothing"
            grid = panel["gridData"]
            if grid["w"] < 1 or grid["h"] < 1 or grid["x"] < 0 or grid["x"] + grid["w"] > GRID_COLUMNS:
                yield f"the panel {grid['i']} lies outside the grid"
            cells = [(x, y) for x in range(grid["x"], grid["x"] + grid["w"]) for y in range(grid["y"], grid["y"] + grid["h"])]
            for other in sorted({taken[cell] for cell in cells if cell in taken}):
                yield f"the panels {other} and {grid['i']} overlap"
            taken.update(dict.fromkeys(cells, grid["i"]))

    def _source(self, attributes: Mapping[str, Any], names: set[str]) -> Iterator[str]:
        source = _decoded(attributes["kibanaSavedObjectMeta"], "searchSourceJSON")
        yield from self._query(source["query"])
        wanted = [source["indexRefName"]] if "indexRefName" in source else []
        for item in source["filter"]:
            wanted.append(item["meta"]["indexRefName"])
            yield from self._field(item["meta"]["key"])
        yield from (f"{name} is no reference" for name in wanted if name not in names)

    def _query(self, query: Mapping[str, str]) -> Iterator[str]:
        if query["language"] != "lucene":
            yield f"a query in {query['language']}: only Lucene's words reach both engines unchanged"
        for name in _QUERIED.findall(_QUOTED.sub("", query["query"])):
            yield from self._field(name)

    def _aggregation(self, kind: str, name: str | None) -> Iterator[str]:
        if kind not in _TAKES:
            yield f"the aggregation {kind!r} is not among those known here"
        elif not _TAKES[kind]:
            return
        elif name is None or name not in self._types:
            yield from self._field(str(name))
        elif self._types[name] not in _TAKES[kind] or name in self._unlisted:
            yield f"the field {name!r} ({self._types[name]}) cannot be aggregated by {kind}"

    def _field(self, name: str) -> Iterator[str]:
        if name not in self._types:
            yield f"no field {name!r} in the mapping"


def _decoded(attributes: Mapping[str, Any], name: str) -> Any:
    try:
        return msgspec.json.decode(attributes[name])
    except msgspec.DecodeError as error:
        raise InvalidError(f"{name} holds no JSON: {error}") from error


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) if part.isdigit() else 0 for part in text.split("."))
