"""Panels as TSVB visualizations: ratios, sums in another unit, and figures over different calls side by side.

A classic visualization has neither a formula nor a filter on a single figure; `classic` makes what needs none.
"""

from __future__ import annotations

from typing import Any

from vosship.panels import EVERY, FIGURES, Condition, Figure, Panel
from vosship_bulk.dashboards.lucene import lucene

COLOURS = ("#54B399", "#6092C0", "#D36086", "#9170B8", "#CA8EAE", "#D6BF57")
"""The first of both products' own palette."""

_FORMATS = {"%": "percent", "s": "0,0.0", "min": "0,0.0", "": "0,0"}


def vis_state(panel: Panel, index_pattern: str) -> dict[str, Any]:
    """The visualization's state, before it is made into a string."""
    kind = {"figure": "metric", "table": "table", "time": "timeseries"}[panel.shape]
    series = [_series(panel, word, number) for number, word in enumerate(panel.figures)]
    model: dict[str, Any] = {
        "id": panel.name, "type": kind, "series": series, "time_field": "@timestamp", "index_pattern": index_pattern,
        "default_index_pattern": index_pattern, "default_timefield": "@timestamp", "use_kibana_indexes": False, "interval": "",
        "time_range_mode": "entire_time_range", "axis_position": "left", "axis_formatter": "number", "axis_scale": "normal",
        "axis_min": "0", "show_legend": 1, "show_grid": 1, "tooltip_mode": "show_all", "drop_last_bucket": 0,
        "isModelInvalid": False, "ignore_global_filter": 0, "background_color_rules": [{"id": f"{panel.name}-colour"}],
    }  # fmt: skip
    if panel.among != EVERY:
        model["filter"] = _query(panel.among)
    if kind == "table":
        (model["pivot_id"],) = panel.by
        model |= {"pivot_label": panel.title, "pivot_rows": str(panel.limit), "pivot_type": "string"}
    return {"title": panel.title, "type": "metrics", "aggs": [], "params": model}


def able(panel: Panel) -> bool:
    """Whether TSVB can show the panel."""
    if panel.shape == "table":
        return len(panel.by) == 1
    return panel.shape in ("figure", "time") and not panel.by


def _series(panel: Panel, word: str, number: int) -> dict[str, Any]:
    figure = FIGURES[word]
    series: dict[str, Any] = {
        "id": f"{panel.name}-{word}", "label": figure.title, "color": COLOURS[number % len(COLOURS)], "split_mode": "everything",
        "metrics": _metrics(figure, f"{panel.name}-{word}"), "separate_axis": 0, "axis_position": "right",
        "formatter": _FORMATS[figure.unit], "value_template": "{{value}}", "chart_type": "bar" if figure.how == "sum" else "line",
        "line_width": 2, "point_size": 1, "fill": 0.2, "stacked": "none", "override_index_pattern": 0, "color_rules": [],
        "time_range_mode": "entire_time_range",
    }  # fmt: skip
    if figure.how != "share" and figure.among != EVERY:
        series["filter"] = _query(figure.among)
        if panel.shape != "table":  # only tables filter a series without being told that it is split
            series["split_mode"] = "filter"
    return series


def _metrics(figure: Figure, name: str) -> list[dict[str, Any]]:
    if figure.how == "share":
        return [{
            "id": f"{name}-ratio", "type": "filter_ratio", "metric_agg": "count",
            "numerator": _query(figure.among), "denominator": _query(figure.of),
        }]  # fmt: skip
    kind = {"count": "count", "mean": "avg", "sum": "sum", "distinct": "cardinality"}[figure.how]
    metrics: list[dict[str, Any]] = [{"id": f"{name}-value", "type": kind, **({"field": figure.field} if figure.field else {})}]
    if figure.scale != 1:
        variables = [{"id": f"{name}-variable", "name": "value", "field": f"{name}-value"}]
        script = f"params.value / {figure.scale}"
        metrics.append({"id": f"{name}-scaled", "type": "math", "script": script, "variables": variables})
    return metrics


def _query(condition: Condition) -> dict[str, str]:
    return {"query": lucene(condition), "language": "lucene"}
