"""`vosship stats`: the figures of `vosship.query`, by one or two keys, each with what bends it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from vosship.commands.options import json_option
from vosship.commands.tables import printable, show
from vosship.commands.window import Asking, window_options

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vosship.query import Row

EXAMPLE = """\b
Examples:
  vosship stats --by callee_gateway --day 2026-04-26
  vosship stats --by hour caller_gateway --from 2026-04-26 --json
"""

_COLUMNS = (
    ("attempts", "attempts", "{:,}"),
    ("illegal", "illegal", "{:,}"),
    ("answered", "answered", "{:,}"),
    ("ASR", "asr_ratio", "{:.1%}"),
    ("NER", "ner_ratio", "{:.1%}"),
    ("ACD s", "acd_s", "{:.1f}"),
    ("minutes", "minutes", "{:,.1f}"),
    ("caller PDD p50", "caller_pdd_ms_p50", "{:.0f}"),
    ("p95", "caller_pdd_ms_p95", "{:.0f}"),
    ("callee PDD p50", "callee_pdd_ms_p50", "{:.0f}"),
    ("p95 ", "callee_pdd_ms_p95", "{:.0f}"),
)


@click.command("stats", epilog=EXAMPLE)
@window_options
@json_option
@click.option("--by", "by", required=True, multiple=True, metavar="KEY[,KEY]", help="One or two keys; --help lists them below.")
@click.argument("second", nargs=-1, metavar="")
def command(as_json: bool, by: tuple[str, ...], second: tuple[str, ...], **options: Any) -> int:
    """ASR, NER, ACD, minutes and PDD by gateway, country, hour and more.

    Keys: caller_gateway callee_gateway caller_country callee_country destination customer vendor end_reason end_by
    billing_mode hour day week month ip switch.

    Attempts leave out illegal calls (billingMode -1, unanswered); PDD is of answered calls.
    """
    from vosship.query import StatsQuery

    words = keys((*by, *second))  # `--by hour caller_gateway` too
    asking = Asking.of("stats", options)
    query = StatsQuery(calls=asking.query(asking.window, None), by=words, timezone=asking.window.zone.key)
    rows = asking.store.stats(query)
    caveats = _caveats(asking, rows, words)
    if as_json:
        import msgspec

        click.echo(msgspec.json.encode([msgspec.structs.replace(row, caveats=caveats) for row in rows]))
        return 0
    if rows:
        _print_table(rows, " | ".join(words))
    else:
        click.echo("no call matches; `vosship search` without a window shows the newest there are", err=True)
    for caveat in caveats:
        click.echo(f"! {caveat}")
    return 0


def keys(by: tuple[str, ...]) -> tuple[str, ...]:
    """The keys of `--by`, given comma-separated or one at a time. Raises click.UsageError."""
    from vosship.plugin import nearest
    from vosship.query import KEYS

    words = tuple(word.strip() for text in by for word in text.split(","))
    for word in words:
        if word not in KEYS:
            raise click.UsageError(f"--by: no key {word!r} ({nearest(word, KEYS)})")
    if len(words) > 2 or len(set(words)) < len(words):
        raise click.UsageError("--by: one key, or two different ones")
    return words


def _caveats(asking: Asking, rows: list[Row], by: tuple[str, ...]) -> list[str]:
    from zoneinfo import ZoneInfo

    from vosship.caveats import caveats, clock_changes

    application, window = asking.application, asking.window
    zones = {entry.timezone for entry in application.inputs.values()} or {application.config.timezone}
    changes = [text for zone in sorted(zones) for text in clock_changes(window.from_ms, window.to_ms, ZoneInfo(zone))]
    return caveats(
        rows=rows,
        by=by,
        parameters=application.config.switch_parameters,
        has_end_code="end.code" in application.schema,
        gaps=_gaps(asking),
        clock_changes=changes,
    )


def _gaps(asking: Asking) -> Iterator[str]:
    """What the ledger of the pipelines into this store names as lost, as missing from its copy of the calls."""
    from vosship.ledger import read_status

    for pipeline in read_status(asking.application):
        if not pipeline.name.endswith(f">{asking.output}"):
            continue
        for loss in pipeline.losses:
            what = "was never seen" if loss.never_seen else f"lost {loss.bytes:,} bytes"
            yield f"{loss.file} {what} ({loss.reason})"
        if pipeline.dead:
            yield f"{pipeline.dead:,} lines of {pipeline.name} are set aside (vosship dead list)"


def _print_table(rows: list[Row], title: str) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    table.add_column(title)
    for name, _, _ in _COLUMNS:
        table.add_column(name, justify="right")
    table.add_column("ended by caller/callee/server", justify="right")
    for row in rows:
        figures = [getattr(row, name) for _, name, _ in _COLUMNS]
        texts = ["-" if value is None else form.format(value) for value, (_, _, form) in zip(figures, _COLUMNS, strict=True)]
        table.add_row(Text(printable(row.key) or "(none)"), *texts, _hangups(row))
    show(table)


def _hangups(row: Row) -> str:
    if not row.answered:
        return "-"
    return "/".join(f"{row.hangups.get(side, 0) / row.answered:.0%}" for side in ("caller", "callee", "server"))
