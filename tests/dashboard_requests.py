"""The search requests that Kibana and OpenSearch Dashboards make of saved objects, and whether an answer shows anything.

Written after what both products send (classic aggregations in the order of their schemas, TSVB's filters and ratios), not after the
code that makes the saved objects: from the finished NDJSON alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

Json = dict[str, Any]

_INTERVAL = "1h"
"""What `auto` comes to for a day's worth of calls."""


def panels(ndjson: bytes) -> Iterator[tuple[str, Json, Json]]:
    """(dashboard and panel, the panel's saved object, the dashboard's) of every panel of every dashboard."""
    items = {(item["type"], item["id"]): item for item in map(json.loads, ndjson.splitlines())}
    for (kind, _), item in items.items():
        if kind != "dashboard":
            continue
        targets = {reference["name"]: (reference["type"], reference["id"]) for reference in item["references"]}
        for placed in json.loads(item["attributes"]["panelsJSON"]):
            shown = items[targets[placed["panelRefName"]]]
            yield f"{item['attributes']['title']} / {shown['attributes']['title']}", shown, item


def request(shown: Json, dashboard: Json) -> Json | None:
    """The body for `_search`; None for a panel that asks nothing."""
    source = json.loads(shown["attributes"]["kibanaSavedObjectMeta"]["searchSourceJSON"])
    body: Json = {"size": 0, "track_total_hits": True, "query": {"bool": {"filter": [], "must_not": []}}}
    _narrow(body, source["query"])
    for pill in json.loads(dashboard["attributes"]["kibanaSavedObjectMeta"]["searchSourceJSON"])["filter"]:
        body["query"]["bool"]["must_not" if pill["meta"]["negate"] else "filter"].append(pill["query"])
    if shown["type"] == "search":
        attributes = shown["attributes"]
        sort = [{field: {"order": order}} for field, order in attributes["sort"]]
        return {**body, "size": 500, "sort": sort, "fields": attributes["columns"]}
    state = json.loads(shown["attributes"]["visState"])
    if state["type"] == "markdown":
        return None
    body["aggs"] = _tsvb(state["params"], body) if state["type"] == "metrics" else _classic(state["aggs"])
    return body


def _narrow(body: Json, query: Json) -> None:
    if query["query"]:
        body["query"]["bool"]["filter"].append(_query(query))


def _query(query: Json) -> Json:
    assert query["language"] == "lucene"
    return {"query_string": {"query": query["query"], "analyze_wildcard": True}} if query["query"] else {"match_all": {}}


def _classic(aggs: list[Json]) -> Json:
    inner = {agg["id"]: _metric(agg) for agg in aggs if agg["schema"] == "metric" and agg["type"] != "count"}
    for agg in reversed([agg for agg in aggs if agg["schema"] != "metric"]):
        params = agg["params"]
        if agg["type"] == "date_histogram":
            body: Json = {"date_histogram": {"field": params["field"], "fixed_interval": _INTERVAL, "min_doc_count": 1}}
        elif agg["type"] == "filters":
            body = {"filters": {"filters": {item["label"]: _query(item["input"]) for item in params["filters"]}}}
        else:
            first = next(item for item in aggs if item["id"] == params["orderBy"])
            order = "_count" if first["type"] == "count" else f"{first['id']}.50" if first["type"] == "percentiles" else first["id"]
            body = {"terms": {"field": params["field"], "size": params["size"], "order": {order: params["order"]}}}
        inner = {agg["id"]: {**body, **({"aggs": inner} if inner else {})}}
    return inner


def _metric(agg: Json) -> Json:
    body = {"field": agg["params"]["field"]}
    if agg["type"] == "percentiles":
        body["percents"] = agg["params"]["percents"]
    return {agg["type"]: body}


def _tsvb(model: Json, body: Json) -> Json:
    if "filter" in model:
        _narrow(body, model["filter"])
    wanted: Json = {}
    for series in model["series"]:
        inner: Json = {}
        for metric in series["metrics"]:
            if metric["type"] == "filter_ratio":
                inner["numerator"] = {"filter": _query(metric["numerator"])}
                inner["denominator"] = {"filter": _query(metric["denominator"])}
            elif metric["type"] not in ("count", "math"):
                inner[metric["id"]] = {metric["type"]: {"field": metric["field"]}}
        filtered = "filter" in series and (model["type"] == "table" or series["split_mode"] == "filter")
        wanted[series["id"]] = {"filter": _query(series["filter"]) if filtered else {"match_all": {}}, "aggs": inner}
    if model["type"] == "table":
        return {"pivot": {"terms": {"field": model["pivot_id"], "size": int(model["pivot_rows"])}, "aggs": wanted}}
    if model["type"] == "timeseries":
        histogram = {"field": model["time_field"], "fixed_interval": _INTERVAL, "min_doc_count": 0}
        return {"timeseries": {"date_histogram": histogram, "aggs": wanted}}
    return wanted


def empty(answer: Json, shown: Json) -> list[str]:
    """What the panel would not show: names of aggregations, or columns, without any value."""
    if shown["type"] == "search":
        got = {name for hit in answer["hits"]["hits"] for name in hit["fields"]}
        return [name for name in shown["attributes"]["columns"] if name not in got]
    if answer["hits"]["total"]["value"] == 0:
        return ["every call"]
    seen: dict[str, bool] = {}
    _look(answer.get("aggregations", {}), seen)
    return [name for name, has in seen.items() if not has]


def _look(aggregations: Json, seen: dict[str, bool]) -> None:
    for name, found in aggregations.items():
        buckets = found.get("buckets")
        if buckets is not None:
            rows = list(buckets.values()) if isinstance(buckets, dict) else buckets
            seen[name] = seen.get(name, False) or bool(rows)
            for key, row in buckets.items() if isinstance(buckets, dict) else ((name, row) for row in rows):
                seen[key] = seen.get(key, False) or row["doc_count"] > 0
                _look({inner: value for inner, value in row.items() if isinstance(value, dict)}, seen)
        elif "doc_count" in found:
            seen[name] = seen.get(name, False) or found["doc_count"] > 0
            _look({inner: value for inner, value in found.items() if isinstance(value, dict)}, seen)
        else:
            values = [found["value"]] if "value" in found else list(found["values"].values())
            seen[name] = seen.get(name, False) or any(isinstance(value, (int, float)) for value in values)
