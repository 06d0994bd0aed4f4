"""Panels as classic visualizations: an aggregation tree and the look of one chart type.

What needs a ratio, a sum in another unit or figures over different calls side by side is `tsvb`'s.
"""

from __future__ import annotations

from typing import Any

from vosship.panels import FIGURES, Both, Condition, Figure, Panel
from vosship_bulk.dashboards.lucene import lucene

_METRIC_AGGREGATIONS = {"count": "count", "mean": "avg", "percentiles": "percentiles", "distinct": "cardinality"}

PERCENTS = (50, 95)
"""What `stats` reports too."""


def able(panel: Panel) -> bool:
    """Whether a classic visualization can show the panel."""
    figures = [FIGURES[word] for word in panel.figures]
    if any(figure.how not in _METRIC_AGGREGATIONS for figure in figures):
        return False
    alike = len({figure.among for figure in figures}) == 1
    return alike or (panel.shape == "time" and all(figure.how == "count" for figure in figures))


def among(panel: Panel) -> Condition:
    """Which calls the visualization is over: the panel's, and its figures' own where they all have the same."""
    common = {FIGURES[word].among for word in panel.figures}
    return Both((panel.among, *common)) if len(common) == 1 and panel.among not in common else panel.among


def vis_state(panel: Panel) -> dict[str, Any]:
    """The visualization's state, before it is made into a string."""
    kind = {"figure": "metric", "parts": "pie", "ranks": "horizontal_bar", "table": "table"}.get(panel.shape, "")
    figures = [FIGURES[word] for word in panel.figures]
    if panel.shape == "time":
        kind = "histogram" if figures[0].how == "count" else "line"
    split_by_figure = panel.shape == "time" and len(figures) > 1
    metrics = [_count("Calls")] if split_by_figure else [_metric(figure) for figure in figures]
    buckets: list[dict[str, Any]] = []
    if panel.shape == "time":
        buckets.append(_agg("date_histogram", "segment", field="@timestamp", useNormalizedOpenSearchInterval=True,
                            useNormalizedEsInterval=True, scaleMetricValues=False, interval="auto", drop_partials=False,
                            min_doc_count=1, extended_bounds={}))  # fmt: skip
        if split_by_figure:
            named = [{"input": _query(figure.among), "label": figure.title} for figure in figures]
            buckets.append(_agg("filters", "group", filters=named))
    schema = {"table": "bucket", "time": "group"}.get(panel.shape, "segment")
    buckets += [_terms(field, schema, panel.limit) for field in panel.by]
    aggs = [{"id": str(number), "enabled": True, **agg} for number, agg in enumerate([*metrics, *buckets], 1)]
    return {"title": panel.title, "type": kind, "aggs": aggs, "params": _params(kind, len(metrics), figures[0])}


def _query(condition: Condition) -> dict[str, str]:
    return {"query": lucene(condition), "language": "lucene"}


def _agg(kind: str, schema: str, **params: Any) -> dict[str, Any]:
    return {"type": kind, "schema": schema, "params": params}


def _count(title: str) -> dict[str, Any]:
    return _agg("count", "metric", customLabel=title)


def _metric(figure: Figure) -> dict[str, Any]:
    kind = _METRIC_AGGREGATIONS[figure.how]
    if kind == "count":
        return _count(figure.title)
    more = {"percents": list(PERCENTS)} if kind == "percentiles" else {}
    return _agg(kind, "metric", field=figure.field, customLabel=figure.title, **more)


def _terms(field: str, schema: str, size: int) -> dict[str, Any]:
    return _agg("terms", schema, field=field, orderBy="1", order="desc", size=size, otherBucket=False, otherBucketLabel="Other",
                missingBucket=False, missingBucketLabel="Missing")  # fmt: skip


def _params(kind: str, metrics: int, figure: Figure) -> dict[str, Any]:
    if kind == "metric":
        return {
            "type": "metric", "addTooltip": True, "addLegend": False,
            "metric": {
                "percentageMode": False, "useRanges": False, "colorSchema": "Green to Red", "metricColorMode": "None",
                "colorsRange": [{"from": 0, "to": 10000}], "labels": {"show": True}, "invertColors": False,
                "style": {"bgFill": "#000", "bgColor": False, "labelColor": False, "subText": "", "fontSize": 32},
            },
        }  # fmt: skip
    if kind == "pie":
        labels = {"show": False, "values": True, "last_level": True, "truncate": 100}
        return {
            "type": "pie",
            "addTooltip": True,
            "addLegend": True,
            "legendPosition": "right",
            "isDonut": True,
            "labels": labels,
        }
    if kind == "table":
        return {
            "perPage": 10, "showPartialRows": False, "showMetricsAtAllLevels": False, "showTotal": False, "totalFunc": "sum",
            "percentageCol": "", "sort": {"columnIndex": None, "direction": None},
        }  # fmt: skip
    return _axes(kind, metrics, figure)


def _axes(kind: str, metrics: int, figure: Figure) -> dict[str, Any]:
    lying = kind == "horizontal_bar"
    bars = kind != "line"
    series = [
        {
            "show": True, "type": "histogram" if bars else "line", "mode": "stacked" if bars else "normal",
            "data": {"id": str(number), "label": figure.title}, "valueAxis": "ValueAxis-1", "drawLinesBetweenPoints": True,
            "lineWidth": 2, "showCircles": True, "interpolate": "linear",
        }
        for number in range(1, metrics + 1)
    ]  # fmt: skip
    return {
        "type": "histogram" if bars else "line",
        "grid": {"categoryLines": False},
        "categoryAxes": [{
            "id": "CategoryAxis-1", "type": "category", "position": "left" if lying else "bottom", "show": True, "style": {},
            "scale": {"type": "linear"}, "labels": {"show": True, "filter": not lying, "truncate": 200}, "title": {},
        }],
        "valueAxes": [{
            "id": "ValueAxis-1", "name": "LeftAxis-1", "type": "value", "position": "bottom" if lying else "left", "show": True,
            "style": {}, "scale": {"type": "linear", "mode": "normal"},
            "labels": {"show": True, "rotate": 0, "filter": lying, "truncate": 100}, "title": {"text": figure.title},
        }],
        "seriesParams": series, "addTooltip": True, "addLegend": not lying, "legendPosition": "bottom", "times": [],
        "addTimeMarker": False, "labels": {"show": False},
        "thresholdLine": {"show": False, "value": 10, "width": 1, "style": "full", "color": "#E7664C"},
    }  # fmt: skip
