"""Panels as SQL over the view `fields`.

It draws nothing: `charts` does. Every query has the parameter `:hours` and, where a gateway was named, `:gateway`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from vosship.panels import BY_FILES, EVERY, FIGURES, RESENT, Both, Condition, Dashboard, Figure, Is, Not, Panel, Under
from vosship_browse.days import DATABASE
from vosship_browse.functions import word
from vosship_browse.views import READABLE, quote

TITLES: Mapping[str, str] = {
    "callerE164": "Caller", "calleeE164": "Callee", "callerGatewayId": "Gateway in", "calleeGatewayId": "Gateway out",
    "holdTime": "Seconds", "endReason": "End", "end.text": "Reason", "end.by": "Hung up", "end.class": "Class",
    "callee.country": "Country", "callee.destination": "Destination", "caller.customer": "Customer", "callee.vendor": "Vendor",
    "callerIp": "Address", "switch": "Switch",
}  # fmt: skip
"""What a column over a field is called."""

_COLUMN = {field: column for column, field in READABLE}
_WINDOW = '_newest_ms >= since_ms(:hours) AND "@timestamp" >= since_ms(:hours)'
_GATEWAY = '[[ AND :gateway IN ("callerGatewayId", "calleeGatewayId") ]]'
_BUCKET = "_local_ms / step_ms(:hours) * step_ms(:hours)"


def condition_sql(condition: Condition) -> str:
    """True or false, never unknown: a field that is absent has no value."""
    match condition:
        case Is("tags", values):
            return _any(f"""coalesce(instr("tags", '"{value}"'), 0) > 0""" for value in values)
        case Is(field, values):
            return f"coalesce({quote(field)} IN ({', '.join(map(_literal, values))}), 0)"
        case Under(field, limit):
            return f"coalesce({quote(field)} < {limit}, 0)"
        case Not(of):
            return f"NOT {condition_sql(of)}"
        case Both(parts):
            return "(" + (" AND ".join(map(condition_sql, parts)) or "1") + ")"


def _any(parts: Iterable[str]) -> str:
    return "(" + " OR ".join(parts) + ")"


def _literal(value: str | int | bool) -> str:
    return str(int(value)) if isinstance(value, (bool, int)) else "'" + value.replace("'", "''") + "'"


def figure_sql(figure: Figure, aggregate: str = "") -> str:
    """The figure as an aggregate; `aggregate` is `p50` or `p95` where it is percentiles."""
    if figure.how == "share":
        return f"100.0 * {_counted(figure.among)} / nullif({_counted(figure.of)}, 0)"
    if figure.how == "count":
        return _counted(figure.among)
    inner = quote(figure.field)
    call = {"mean": f"avg({inner})", "sum": f"total({inner})", "distinct": f"count(DISTINCT {inner})"}.get(figure.how)
    return f"{call or f'{aggregate}({inner})'}{_filter(figure.among)}{f' / {figure.scale}.0' if figure.scale > 1 else ''}"


def _counted(condition: Condition) -> str:
    return f"count(*){_filter(condition)}"


def _filter(condition: Condition) -> str:
    return "" if condition == EVERY else f" FILTER (WHERE {condition_sql(condition)})"


def shown(figure: Figure) -> str:
    """The figure as text, with its unit where a table's title does not give it."""
    if figure.how == "percentiles":
        return f"coalesce(printf('%.1f / %.1f', {figure_sql(figure, 'p50')}, {figure_sql(figure, 'p95')}), '–')"
    pattern = {"share": "%.1f", "mean": "%.1f"}.get(figure.how, "%,d")
    value = figure_sql(figure)
    return f"CASE WHEN ({value}) IS NULL THEN '–' ELSE printf('{pattern}', {f'round({value})' if pattern == '%,d' else value}) END"


def title(figure: Figure) -> str:
    """The figure's title with its unit."""
    percentiles = " p50 / p95" if figure.how == "percentiles" else ""
    unit = f", {figure.unit}" if figure.unit in ("s", "%") else ""
    return figure.title + percentiles + unit


def _from(dashboard: Dashboard, panel: Panel, more: str = "") -> str:
    parts = [_WINDOW]
    if dashboard.files_only:
        parts += [condition_sql(BY_FILES), condition_sql(Not(RESENT))]
    if panel.among != EVERY:
        parts.append(condition_sql(panel.among))
    return f"FROM fields WHERE {' AND '.join(parts)}{more} {_GATEWAY}"


def address(dashboard: Dashboard, values: Mapping[str, str], since: str, until: str = "") -> str:
    """SQL for the address of the calls behind a mark: `values` are SQL by field, the times SQL for local milliseconds."""
    parts = [f"'/{DATABASE}/calls?_sort_desc=stopped&stopped__gte=' || in_url({_moment(since)})"]
    if until:
        parts.append(f"'&stopped__lt=' || in_url({_moment(until)})")
    for field, value in values.items():
        if field in _COLUMN:
            parts.append(f"'&{_COLUMN[field]}__exact=' || in_url({value})")
    if dashboard.files_only:
        parts.append("'&channel__exact=file'")
    return " || ".join(parts)


def _moment(local_ms: str) -> str:
    return f"strftime('%Y-%m-%d %H:%M:%S', ({local_ms}) / 1000, 'unixepoch')"


def number(dashboard: Dashboard, panel: Panel) -> str:
    """One row with `value`."""
    return f"SELECT {shown(FIGURES[panel.figures[0]])} AS value {_from(dashboard, panel)}"


def over_time(dashboard: Dashboard, panel: Panel) -> str:
    """Rows of `start`, `until` (the switch's clock), `series`, `value`, `calls` (their address)."""
    clock = "strftime('%Y-%m-%dT%H:%M:%S', {} / 1000, 'unixepoch')"
    ends = f"{clock.format('at')} AS start, {clock.format('(at + step_ms(:hours))')} AS until"
    field = panel.by[0] if panel.by else ""
    calls = f"{address(dashboard, {field: 'series'} if field else {}, 'at', 'at + step_ms(:hours)')} AS calls"
    if field:
        value = figure_sql(FIGURES[panel.figures[0]])
        return (
            f"WITH counted AS MATERIALIZED (SELECT {_BUCKET} AS at, {quote(field)} AS series, {value} AS value "
            f"{_from(dashboard, panel, f' AND {quote(field)} IS NOT NULL')} GROUP BY 1, 2), "
            f"first AS (SELECT series FROM counted GROUP BY 1 ORDER BY sum(value) DESC, series LIMIT {panel.limit}) "
            f"SELECT {ends}, series, value, {calls} FROM counted WHERE series IN first AND value > 0 ORDER BY at"
        )
    lines = list(_lines(panel))
    columns = ", ".join(f"{sql} AS v{place}" for place, (_, sql) in enumerate(lines))
    rows = " UNION ALL ".join(
        f"SELECT {ends}, '{name}' AS series, round(v{place}, 2) AS value, {calls} FROM counted WHERE v{place} IS NOT NULL"
        for place, (name, _) in enumerate(lines)
    )
    counted = f"SELECT {_BUCKET} AS at, {columns} {_from(dashboard, panel)} GROUP BY 1"
    return f"WITH counted AS MATERIALIZED ({counted}) {rows} ORDER BY start"


def _lines(panel: Panel) -> Iterable[tuple[str, str]]:
    for name in panel.figures:
        figure = FIGURES[name]
        if figure.how == "percentiles":
            yield from (("half within", figure_sql(figure, "p50")), ("95 % within", figure_sql(figure, "p95")))
        else:
            yield figure.title, figure_sql(figure)


def ranked(dashboard: Dashboard, panel: Panel) -> str:
    """Rows of `name`, `value`, `calls` (their address), largest first."""
    field = panel.by[0]
    calls = address(dashboard, {field: "name"}, _SINCE)
    return (
        f"WITH counted AS MATERIALIZED (SELECT {quote(field)} AS name, {figure_sql(FIGURES[panel.figures[0]])} AS value "
        f"{_from(dashboard, panel, f' AND {quote(field)} IS NOT NULL')} GROUP BY 1) "
        f"SELECT name, value, {calls} AS calls FROM counted WHERE value > 0 ORDER BY value DESC, name LIMIT {panel.limit}"
    )


_SINCE = "since_local_ms(:hours)"


def table(dashboard: Dashboard, panel: Panel) -> str:
    """A row for each value of the panel's fields, as HTML; one that says so where there is none."""
    figures = [FIGURES[word] for word in panel.figures]
    keys = [f"b{place}" for place in range(len(panel.by))]
    named = ", ".join(f"{quote(field)} AS {key}" for key, field in zip(keys, panel.by, strict=True))
    known = "".join(f" AND {quote(field)} IS NOT NULL" for field in panel.by)
    values = ", ".join(f"{shown(figure)} AS v{place}" for place, figure in enumerate(figures))
    counted = (
        f"SELECT {named}, {figure_sql(figures[0])} AS size, {values} {_from(dashboard, panel, known)} "
        f"GROUP BY {', '.join(str(place + 1) for place in range(len(keys)))} HAVING size > 0 "
        f"ORDER BY size DESC, 1 LIMIT {panel.limit}"
    )
    calls = address(dashboard, dict(zip(panel.by, keys, strict=True)), _SINCE)
    titles = [word(TITLES.get(field, field)) for field in panel.by] + [title(figure) for figure in figures]
    cells = [f"link(b0, {calls})", *(f"word({key})" for key in keys[1:]), *(f"v{place}" for place in range(len(figures)))]
    return _or_none(counted, cells, titles)


def listed(dashboard: Dashboard, panel: Panel) -> str:
    """The newest calls of the panel, as HTML."""
    fields = [field for field in panel.by if field in TITLES]
    seconds = {"holdTime": 'round("holdTime" / 1000.0, 1)'}
    counted = (
        f"SELECT _index || '!' || \"log.offset\" || '!' || _id AS call, {_moment('_local_ms')} AS stopped, "
        + ", ".join(f"{seconds.get(field, quote(field))} AS c{place}" for place, field in enumerate(fields))
        + f' {_from(dashboard, panel)} ORDER BY "@timestamp" DESC LIMIT {panel.limit}'
    )
    cells = ["link(stopped, '/call/' || in_url(call))"]
    cells += [f"word(c{place})" for place in range(len(fields))]
    return _or_none(counted, cells, [word(words) for words in ("Stopped", *(TITLES[field] for field in fields))])


def _or_none(counted: str, cells: list[str], titles: list[str]) -> str:
    named = ", ".join(f"{cell} AS {quote(name)}" for cell, name in zip(cells, titles, strict=True))
    blanks = ", ".join(["'no calls'", *["''"] * (len(titles) - 1)])
    return (
        f"WITH counted AS MATERIALIZED ({counted}) SELECT {named} FROM counted "
        f"UNION ALL SELECT {blanks} WHERE NOT EXISTS (SELECT 1 FROM counted)"
    )
