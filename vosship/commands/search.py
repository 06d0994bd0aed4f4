"""`vosship search`: find calls, newest first."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import click

from vosship.commands.options import json_option
from vosship.commands.tables import counted, printable, show
from vosship.commands.window import Asking, window_options

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from vosship.query import Hit

EXAMPLE = """\b
Examples:
  vosship search --number 8801712345678
  vosship search --day 2026-04-26 --callee '9715*' --callee-gateway VEN01 --answered
  vosship search --from 2026-04-26T16:00 --to 2026-04-26T17:00 --end-reason 503 --json
"""

_COLUMNS = (
    ("stopped", "@timestamp"),
    ("caller", "callerE164"),
    ("callee", "calleeE164"),
    ("in", "callerGatewayId"),
    ("out", "calleeGatewayId"),
    ("seconds", "holdTime"),
    ("end", "endReason"),
    ("by", "end.by"),
    ("file", "log.file.path"),
    ("byte", "log.offset"),
)


@click.command("search", epilog=EXAMPLE)
@window_options
@json_option
@click.option("--limit", type=click.IntRange(1), default=100, show_default=True, help="At most so many calls.")
def command(as_json: bool, limit: int, **options: Any) -> int:
    """Find calls, newest first; --json gives one document a line as it is indexed."""
    asking = Asking.of("search", options)
    asking.guard.check_days(asking.window)
    most = asking.guard.max_results
    hits: Iterable[Hit] = asking.store.search(asking.query(asking.window, min(limit, most + 1)))
    if limit > most:  # gathered first: of an answer that may not be given nothing is shown
        hits = list(hits)
        asking.guard.check_results(len(hits))
    if as_json:
        _print_json(hits)
    else:
        _print_table(list(hits), limit, asking.window.zone)
    return 0


def _print_json(hits: Iterable[Hit]) -> None:
    import msgspec

    encode = msgspec.json.Encoder().encode
    out = sys.stdout.buffer
    for hit in hits:
        out.write(encode({"_id": hit.id, "_index": hit.index, **hit.fields}) + b"\n")
    out.flush()


def _print_table(hits: list[Hit], limit: int, zone: ZoneInfo) -> None:
    from rich.table import Table
    from rich.text import Text

    if not hits:
        click.echo("no call matches", err=True)
        return
    table = Table(box=None, pad_edge=False)
    for title, _ in _COLUMNS:
        table.add_column(title, justify="right" if title in ("seconds", "byte") else "left", no_wrap=True)
    for hit in hits:
        table.add_row(*(Text(printable(_text(name, hit.fields.get(name), zone))) for _, name in _COLUMNS))
    show(table)
    more = f"; there may be more: --limit {limit * 10}" if len(hits) == limit else ""
    click.echo(f"{counted(len(hits), 'call')}{more}", err=True)


def _text(name: str, value: Any, zone: ZoneInfo) -> str:
    if value is None:
        return "-"
    if name == "@timestamp":
        from datetime import datetime

        return datetime.fromisoformat(value).astimezone(zone).strftime("%Y-%m-%d %H:%M:%S")
    if name == "holdTime":
        return f"{value / 1000:.3f}"
    return str(value).rpartition("/")[2] if name == "log.file.path" else str(value)
