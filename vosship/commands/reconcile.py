"""`vosship reconcile`: two copies of the same calls compared, and what differs."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from vosship.commands.options import Measure, json_option
from vosship.commands.tables import printable
from vosship.commands.window import AskingSources, window_options

EXAMPLE = """\b
Examples:
  vosship reconcile --left cdr --right forward --day 2026-04-26
  vosship reconcile --left cdr --right search:forward --day 2026-04-26 --html report.html
  vosship reconcile --left cdr --right vendor.csv --map vendor.yaml --month 2026-04
"""

EXITS = {"equal": 0, "different": 3, "cannot_judge": 4}
"""Contract, section 3."""


@click.command("reconcile", epilog=EXAMPLE)
@window_options
@json_option
@click.option("--left", required=True, metavar="NAME", help="An input or output; NAME:CHANNEL of a store; several with commas.")
@click.option("--right", required=True, metavar="NAME", help="Likewise; or with --map another carrier's file.")
@click.option("--map", "map_path", type=click.Path(dir_okay=False, path_type=Path), help="How to read another carrier's file.")
@click.option("--grace-s", type=Measure(0), default=300.0, show_default=True, help="A call may be on its way so long.")
@click.option("--as-of", default="", metavar="TIME", help="When the copies were taken.  [default: their last sign of life]")
@click.option("--csv", "csv_path", type=click.Path(dir_okay=False, path_type=Path), help="Write every difference to this file.")
@click.option("--html", "html_path", type=click.Path(dir_okay=False, path_type=Path), help="Write the report as one page.")
@click.option("--index", "to_index", is_flag=True, help="Write differences to vos3000-reconcile-YYYY.MM through --output.")
@click.option("--scratch", type=click.Path(file_okay=False, path_type=Path), help="Where to work; needs the size of both copies.")
def command(as_json: bool, left: str, right: str, **options: Any) -> int:
    """Compare two copies of the same calls: files, forward, stores.

    Exit 0: equal. 3: they differ. 4: a source has gaps, and what is there agrees.
    """
    from vosship.application import Application
    from vosship.commands.sources import local_span, side
    from vosship_reconcile.engine import Asked, Comparison
    from vosship_reconcile.session import session

    application = Application.load(options["config_path"])
    sources = [*left.split(","), *(() if options["map_path"] else right.split(","))]
    asking = _Reconciling(application, "reconcile", options, sources, f"{left} against {right}")
    window = asking.window
    if options["map_path"]:
        if options["to_index"]:
            raise click.UsageError("--index goes with own copies, not with --map")
        return _carrier(asking, left, right, options, as_json)
    shown = {"from": window.start.isoformat(), "to": window.end.isoformat(), "timezone": window.zone.key, "time": window.time}
    asked = Asked(
        from_ms=window.from_ms, to_ms=window.to_ms, zone=window.zone, window=shown, grace_s=options["grace_s"],
        as_of_ms=asking.moment(options["as_of"]), local=local_span(asking.application, (left, right), window),
    )  # fmt: skip
    with session(options["scratch"]) as (db, work):
        check = asking.guard.check_results
        first, second = (side(asking.application, names, window, asking.sifting, check) for names in (left, right))
        comparison = Comparison(db, work, asked, (first, second))
        report = comparison.run(_teller())
        check(max(report.left.records, report.right.records))
        if options["csv_path"]:
            from vosship_reconcile.differences import write

            write(options["csv_path"], db, comparison.names)
        if options["to_index"]:
            _index(asking, db, comparison.names, options["output"])
    if options["html_path"]:
        from vosship_reconcile.page import render

        _write(options["html_path"], render(report))
    from vosship_reconcile.text import lines

    _show(report, lines(report), as_json)
    return EXITS[report.verdict]


def _index(asking: _Reconciling, db: Any, names: tuple[str, str], output: str | None) -> None:
    from vosship.commands.indexing import send
    from vosship_reconcile.indexing import documents

    application = asking.application
    name, store = application.searchable(output)
    sent = send(store, documents(db, names, application.config.switch, application.schema, asking.window.zone))
    click.echo(f"{sent['stored']:,} differences written to {name}, {sent['duplicate']:,} were there already", err=True)


def _carrier(asking: _Reconciling, left: str, right: str, options: dict[str, Any], as_json: bool) -> int:
    from vosship.commands.carrier import compare
    from vosship_reconcile import carrier_report

    report = compare(asking.application, asking.window, left, right, asking.sifting, options, asking.guard.check_results)
    if options["html_path"]:
        _write(options["html_path"], carrier_report.render(report))
    _show(report, carrier_report.lines(report), as_json)
    return EXITS[report.verdict]


def _write(path: Path, text: str) -> None:
    from vosship.errors import FatalError

    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise FatalError(f"cannot write {path}: {error.strerror}", hint="--html names another file") from error


def _show(report: Any, text: Iterable[str], as_json: bool) -> None:
    if as_json:
        import msgspec

        click.echo(msgspec.json.encode(report))
        return
    for line in text:
        click.echo(printable(line))


class _Reconciling(AskingSources):
    """The question of two sides."""

    def moment(self, text: str) -> int | None:
        """Epoch milliseconds of an option's time, in the window's zone."""
        from datetime import datetime

        from vosship.errors import ConfigError

        if not text:
            return None
        try:
            found = datetime.fromisoformat(text)
        except ValueError as error:
            raise ConfigError(f"--as-of: {text!r} is no time", hint="such as 2026-04-26T12:00") from error
        return round((found if found.tzinfo else found.replace(tzinfo=self.window.zone)).timestamp() * 1000)


def _teller() -> Any:
    """A line that counts up, on a terminal only."""
    import time

    shown_at = 0.0

    def tell(what: str, count: int) -> None:
        nonlocal shown_at
        now = time.monotonic()
        if sys.stderr.isatty() and now - shown_at > 0.5:
            shown_at = now
            click.echo(f"\r\033[K{what} {f'{count:,}' if count else ''}", nl=False, err=True)

    return tell
