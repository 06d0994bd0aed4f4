"""The panels as dashboards of datasette-dashboards: queries, and their looks in Vega-Lite.

It runs no query.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vosship.panels import DASHBOARDS, FIGURES, ONE_CALL, Dashboard, Panel
from vosship_browse import sql
from vosship_browse.days import DATABASE, WINDOWS_H

COLOURS = ("#2f6f9f", "#e0863c", "#4f9d69", "#b5495b", "#7b68a6", "#c9a227", "#5aa9b5", "#8c8c8c")
"""Chosen: told apart by the colour-blind, and on white."""

_GRID_COLUMNS = 12
_SCHEMA = "https://vega.github.io/schema/vega-lite/v6.json"
"""A name, not an address that is asked: the version that datasette-dashboards 0.8 carries along."""

_HEIGHTS = {"time": 220, "ranks": 230, "parts": 230}


def dashboards(columns: set[str], zone: str, hours: int) -> Mapping[str, Any]:
    """The configuration of datasette-dashboards. Panels over fields that the store lacks are left out;
    `hours` is the window they open with.

    One call has a page of its own here (`pages`), with everything on it.
    """
    made: dict[str, Any] = {}
    for dashboard in DASHBOARDS:
        rows = [[panel for panel in row if columns.issuperset(panel.fields())] for row in dashboard.rows]
        if dashboard is ONE_CALL or not any(rows):
            continue
        made[dashboard.name] = {
            "title": dashboard.title,
            "description": f"{dashboard.description} Times are the switch's ({zone}).",
            "settings": {"allow_fullscreen": False},
            "layout": [_areas(row) for row in rows if row],
            "filters": {
                "hours": {
                    "name": "Last hours",
                    "type": "select",
                    "options": [str(window) for window in WINDOWS_H],
                    "default": str(hours),
                },
                "gateway": {"name": "Gateway, in or out", "type": "text", "default": ""},
            },
            "charts": {panel.name: _chart(dashboard, panel) for row in rows for panel in row},
        }
    return made


def _areas(row: list[Panel]) -> list[str]:
    edges = [_GRID_COLUMNS * place // len(row) for place in range(len(row) + 1)]
    return [panel.name for panel, left, right in zip(row, edges, edges[1:], strict=False) for _ in range(left, right)]


def _chart(dashboard: Dashboard, panel: Panel) -> dict[str, Any]:
    chart: dict[str, Any] = {"title": panel.title, "db": DATABASE}
    if panel.shape == "figure":
        figure = FIGURES[panel.figures[0]]
        suffix = f"<small>&thinsp;{figure.unit}</small>" if figure.unit else ""
        return {**chart, "title": _number_title(panel), "library": "metric", "query": sql.number(dashboard, panel),
                "display": {"field": "value", "suffix": suffix}}  # fmt: skip
    if panel.shape in ("table", "calls"):
        make = sql.table if panel.shape == "table" else sql.listed
        return {**chart, "library": "table", "query": make(dashboard, panel)}
    query = sql.over_time(dashboard, panel) if panel.shape == "time" else sql.ranked(dashboard, panel)
    look = _time(panel) if panel.shape == "time" else _ring(panel) if panel.shape == "parts" else _bars()
    look |= {"$schema": _SCHEMA, "height": _HEIGHTS[panel.shape], "config": _CONFIG}
    look["usermeta"] = {"embedOptions": {"actions": False}}  # its menu leads to a page elsewhere
    return {**chart, "library": "vega-lite", "query": query, "display": look}


def _number_title(panel: Panel) -> str:
    return f"{panel.title} p50 / p95" if FIGURES[panel.figures[0]].how == "percentiles" else panel.title


_CONFIG: Mapping[str, Any] = {
    "background": "#00000000",
    "range": {"category": list(COLOURS)},
    "axis": {"labelColor": "#555", "titleColor": "#555", "gridColor": "#eee", "domain": False, "ticks": False, "labelPadding": 6},
    "legend": {"orient": "bottom", "title": None, "columns": 4, "labelLimit": 130, "symbolType": "square"},
    "view": {"stroke": None},
}

_CLOCK = {"seconds": "%H:%M:%S", "minutes": "%H:%M", "hours": "%H:%M", "day": "%d %b", "date": "%d %b", "week": "%d %b",
          "month": "%b %Y", "year": "%Y"}  # fmt: skip

_ORDER: Mapping[str, tuple[str, ...]] = {
    "end.by": ("caller", "callee", "server"),
    "end.class": ("success", "client", "server", "vendor", "q850", "redirect", "global", "unknown"),
}
"""Values whose colour must not depend on how many calls they have."""

_HREF = {"href": {"field": "calls", "type": "nominal"}}


def _time(panel: Panel) -> dict[str, Any]:
    figure = FIGURES[panel.figures[0]]
    stacked = figure.how in ("count", "sum")
    axis = {"labelOverlap": True, "tickCount": 5, "grid": False, "format": _CLOCK}
    when = {"field": "start", "type": "temporal", "title": None, "axis": axis}
    amount: dict[str, Any] = {
        "field": "value",
        "type": "quantitative",
        "title": figure.unit or None,
        "axis": {"tickCount": 4, "tickMinStep": 1},
    }
    if figure.how == "share":
        amount["scale"] = {"domain": [0, 100]}
    several = len(panel.figures) > 1 or bool(panel.by) or figure.how == "percentiles"
    colour: dict[str, Any] = {"value": COLOURS[0]}
    if several:
        colour = {"field": "series", "type": "nominal", "title": None}
        colour |= _meaning(panel)
    tips: list[dict[str, Any]] = [{"field": "start", "type": "temporal", "title": "from", "format": "%Y-%m-%d %H:%M"}]
    tips += [{"field": "series", "type": "nominal", "title": "series"}] if several else []
    tips += [{"field": "value", "type": "quantitative", "title": figure.unit or "calls", "format": ",.4~r"}]
    encoding: dict[str, Any] = {"x": when, "y": amount, "color": colour, "tooltip": tips, **_HREF}
    if not stacked:
        mark = {"type": "line", "point": {"size": 30, "cursor": "pointer"}, "strokeWidth": 2}
        return {"mark": mark, "encoding": encoding}
    encoding |= {"x2": {"field": "until"}, "y": {**amount, "field": "low"}, "y2": {"field": "high"}}
    stack = {"stack": "value", "groupby": ["start"], "as": ["low", "high"]}
    return {"mark": {"type": "rect", "cursor": "pointer", "stroke": "#fff"}, "transform": [stack], "encoding": encoding}


def _meaning(panel: Panel) -> dict[str, Any]:
    if not panel.by:
        return {"sort": None}
    order = _ORDER.get(panel.by[0])
    return {"sort": list(order), "scale": {"domain": list(order)}} if order else {"sort": None}


def _bars() -> dict[str, Any]:
    label = {"labelLimit": 150}
    return {
        "mark": {"type": "bar", "cursor": "pointer", "cornerRadiusEnd": 2},
        "encoding": {
            "y": {"field": "name", "type": "nominal", "sort": "-x", "title": None, "axis": label},
            "x": {"field": "value", "type": "quantitative", "title": None, "axis": {"tickCount": 4, "tickMinStep": 1}},
            "color": {"value": COLOURS[0]},
            "tooltip": [{"field": "name", "type": "nominal"}, {"field": "value", "type": "quantitative", "format": ","}],
            **_HREF,
        },
    }


def _ring(panel: Panel) -> dict[str, Any]:
    return {
        "mark": {"type": "arc", "innerRadius": 45, "cursor": "pointer", "stroke": "#fff"},
        "encoding": {
            "theta": {"field": "value", "type": "quantitative", "stack": True},
            "order": {"field": "value", "sort": "descending"},
            "color": {"field": "name", "type": "nominal", "title": None, **_meaning(panel)},
            "tooltip": [{"field": "name", "type": "nominal"}, {"field": "value", "type": "quantitative", "format": ","}],
            **_HREF,
        },
    }
