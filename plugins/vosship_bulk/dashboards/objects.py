"""Saved objects made of the joined schema and the table of panels: index pattern, visualizations, searches, dashboards.

It knows no server (`importing` does) and does not judge what it makes (`validate` does).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from vosship.events import Field
from vosship.panels import BY_FILES, COLUMNS, DASHBOARDS, EVERY, EVIDENCE, RESENT, Condition, Dashboard, Is, Panel
from vosship.schema import Schema
from vosship_bulk.dashboards import classic, tsvb
from vosship_bulk.dashboards.lucene import lucene
from vosship_bulk.templates import PATTERNS

CEILINGS = {"index-pattern": "7.6.0", "visualization": "7.10.0", "search": "7.9.3", "dashboard": "7.9.3"}
"""The newest migration version of each type that both products know: a newer one is refused (422) by OpenSearch Dashboards,
which parted from Kibana at 7.10 (seen on OpenSearch Dashboards 3.3)."""

INDEX_PATTERN = "vosship-calls"
"""Id of the index pattern; every object's id begins with `vosship-`, so that importing again replaces ours and nothing else."""

TITLE = ",".join(PATTERNS["vos3000-calls"])

GRID_COLUMNS = 48
"""Width of a dashboard in both products."""

_HEIGHTS = {"figure": 6, "note": 5, "time": 13, "parts": 13, "ranks": 13, "table": 15, "calls": 18}
_TYPES = {"long": "number", "integer": "number", "double": "number", "keyword": "string"}
_ENGINE_MS = {"holdTime", "callerPdd", "calleePdd", "call.setup_ms", "forward.lag_ms"}
"""Milliseconds that are shown as seconds."""

Object = dict[str, Any]


def ndjson(schema: Schema) -> bytes:
    """The saved objects as a file to import, an object a line."""
    return b"".join(msgspec.json.encode(item) + b"\n" for item in objects(schema))


def objects(schema: Schema) -> Iterator[Object]:
    """Every saved object, what is referred to before what refers to it.

    Panels over fields that no configured processor sets are left out, and dashboards without any panel.
    """
    yield _index_pattern(schema)
    yield _search("calls", "Calls", COLUMNS, EVERY, schema)
    yield _search("calls-evidence", "Calls with their evidence", EVIDENCE, EVERY, schema)
    for dashboard in DASHBOARDS:
        rows = [[panel for panel in row if all(name in schema for name in panel.fields())] for row in dashboard.rows]
        rows = [row for row in rows if row]
        if not any(panel.shape != "note" for row in rows for panel in row):
            continue
        for row in rows:
            for panel in row:
                yield _panel(dashboard, panel, schema)
        yield _dashboard(dashboard, rows)


def _object(kind: str, name: str, attributes: Object, references: list[Object]) -> Object:
    return {
        "id": f"vosship-{name}",
        "type": kind,
        "attributes": attributes,
        "references": references,
        "migrationVersion": {kind: CEILINGS[kind]},
    }


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _index_pattern(schema: Schema) -> Object:
    by_name = {field.name: field for field in schema}
    fields = [_field(field, by_name.get(field.path, field)) for field in schema if field.type != "object"]
    formats = {
        name: {"id": "duration", "params": {"inputFormat": "milliseconds", "outputFormat": "asSeconds", "outputPrecision": 1}}
        for name in sorted(_ENGINE_MS)
        if name in schema
    }
    attributes = {
        "title": TITLE,
        "timeFieldName": "@timestamp",
        "fields": _json(fields),
        "fieldFormatMap": _json(formats),
        "sourceFilters": "[]",
    }
    return {**_object("index-pattern", "calls", attributes, []), "id": INDEX_PATTERN}


def _field(field: Field, target: Field) -> Object:
    return {
        "name": field.name, "type": _TYPES.get(target.type, target.type), "esTypes": [target.type], "count": 0, "scripted": False,
        "searchable": target.indexed, "aggregatable": target.doc_values, "readFromDocValues": target.doc_values,
    }  # fmt: skip


def _source(condition: Condition, *, index: bool = True, filters: list[Object] | None = None) -> Object:
    name = "kibanaSavedObjectMeta.searchSourceJSON.index"
    body: Object = {"query": {"query": lucene(condition), "language": "lucene"}, "filter": filters or []}
    return {"searchSourceJSON": _json({**body, "indexRefName": name} if index else body)}


def _index_reference(name: str = "kibanaSavedObjectMeta.searchSourceJSON.index") -> Object:
    return {"name": name, "type": "index-pattern", "id": INDEX_PATTERN}


def _search(name: str, title: str, columns: tuple[str, ...], among: Condition, schema: Schema) -> Object:
    attributes = {
        "title": f"vosship: {title}", "description": "", "hits": 0, "version": 1, "sort": [["@timestamp", "desc"]],
        "columns": [column for column in columns if column in schema], "kibanaSavedObjectMeta": _source(among),
    }  # fmt: skip
    return _object("search", name, attributes, [_index_reference()])


def _panel(dashboard: Dashboard, panel: Panel, schema: Schema) -> Object:
    name = f"{dashboard.name}-{panel.name}"
    if panel.shape == "calls":
        return _search(name, panel.title, panel.by, panel.among, schema)
    attributes: Object = {"title": f"vosship: {panel.title}", "description": "", "uiStateJSON": "{}", "version": 1}
    if panel.shape == "note":
        state: Object = {"title": panel.title, "type": "markdown", "aggs": [], "params": {"markdown": panel.text, "fontSize": 12}}
        source, references = _source(EVERY, index=False), []
    elif classic.able(panel):
        state, source, references = classic.vis_state(panel), _source(classic.among(panel)), [_index_reference()]
    else:
        assert tsvb.able(panel), f"neither kind of visualization can show {name}"
        state, source, references = tsvb.vis_state(panel, TITLE), _source(EVERY, index=False), []
    attributes |= {"visState": _json(state), "kibanaSavedObjectMeta": source}
    return _object("visualization", name, attributes, references)


def _dashboard(dashboard: Dashboard, rows: list[list[Panel]]) -> Object:
    placed: list[Object] = []
    references: list[Object] = []
    y = 0
    for row in rows:
        height = max(_HEIGHTS[panel.shape] for panel in row)
        for number, panel in enumerate(row):
            index = str(len(placed) + 1)
            left, right = (GRID_COLUMNS * edge // len(row) for edge in (number, number + 1))
            placed.append({
                "version": CEILINGS["dashboard"], "panelIndex": index, "embeddableConfig": {"title": panel.title},
                "title": panel.title, "panelRefName": f"panel_{index}",
                "gridData": {"x": left, "y": y, "w": right - left, "h": height, "i": index},
            })  # fmt: skip
            kind = "search" if panel.shape == "calls" else "visualization"
            references.append({"name": f"panel_{index}", "type": kind, "id": f"vosship-{dashboard.name}-{panel.name}"})
        y += height
    filters = _pills() if dashboard.files_only else []
    references += [_index_reference(item["meta"]["indexRefName"]) for item in filters]
    attributes = {
        "title": f"vosship: {dashboard.title}", "description": dashboard.description, "hits": 0, "version": 1,
        "panelsJSON": _json(placed), "optionsJSON": _json({"useMargins": True, "hidePanelTitles": False}),
        "timeRestore": True, "timeFrom": "now-24h", "timeTo": "now", "refreshInterval": {"pause": True, "value": 0},
        "kibanaSavedObjectMeta": _source(EVERY, index=False, filters=filters),
    }  # fmt: skip
    return _object("dashboard", dashboard.name, attributes, references)


def _pills() -> list[Object]:
    """Filters above a dashboard, where an operator sees them and can switch them off."""
    return [_pill(0, BY_FILES, negate=False), _pill(1, RESENT, negate=True)]


def _pill(number: int, condition: Is, *, negate: bool) -> Object:
    (value,) = condition.values
    return {
        "meta": {
            "alias": None, "disabled": False, "negate": negate, "type": "phrase", "key": condition.field,
            "params": {"query": value}, "indexRefName": f"kibanaSavedObjectMeta.searchSourceJSON.filter[{number}].meta.index",
        },
        "query": {"match_phrase": {condition.field: value}}, "$state": {"store": "appState"},
    }  # fmt: skip
