"""`vosship plan`: the arguments and the printing of the sizing.

The arithmetic is `vosship_switch.plan`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from vosship.commands.options import Measure

if TYPE_CHECKING:
    from vosship_switch.plan import Plan

EXAMPLE = """\b
Examples:
  vosship plan --cps 100 --interval-s 1800 --max-files 2048 --pending 10000
  vosship plan --cps 100 --retain-days 90
"""


@click.command("plan", epilog=EXAMPLE)
@click.option("--cps", type=Measure(0, min_open=True), help="Records a second in the busy hour, failed attempts included.")
@click.option("--interval-s", type=click.IntRange(1), help="SERVER_CDR_FILE_WRITE_INTERVAL (60 to 86400).")
@click.option("--max-files", type=click.IntRange(1), help="SERVER_CDR_FILE_WRITE_MAX (10 to 4096).")
@click.option("--retain-days", type=Measure(0, min_open=True), help="How long the files should stay, instead of --max-files.")
@click.option("--pending", type=click.IntRange(1), help="EXTERNAL_MAX_CDR_PENDING_SIZE (1000 to 100000).")
@click.option("--bytes-per-record", type=click.IntRange(1), default=300, show_default=True, help="Length of a line (200 to 350).")
@click.option("--json", "as_json", is_flag=True, help="The plan as JSON on stdout.")
def command(as_json: bool, **given: Any) -> None:
    """Size the switch's own limits: retention, files, queue, disk.

    Every figure follows from what is given; a setting that is not given is not assumed.
    """
    import msgspec

    from vosship_switch.plan import Load, plan

    found = plan(Load(**given))
    if as_json:
        click.echo(msgspec.json.encode(found))
        return
    for name, value in _lines(found):
        click.echo(f"{name:<34}{value}")
    for warning in found.warnings:
        click.echo(f"! {warning}")


def _lines(plan: Plan) -> list[tuple[str, str]]:
    from vosship_switch.plan import span

    rows: list[tuple[str, str | None]] = [
        ("files stay on the switch", plan.retention_text),
        ("files needed", f"{plan.required_max_files:,}" if plan.required_max_files is not None else None),
        ("archive needed", "yes" if plan.archive_needed else "no"),
        ("recommended interval", f"{plan.recommended_interval_s:,} s" if plan.recommended_interval_s is not None else None),
        ("receiver may be away for", span(plan.outage_covered_s) if plan.outage_covered_s is not None else None),
        (
            "queue that bridges 10 minutes",
            f"{plan.queue_needed_for_10_min:,} records" if plan.queue_needed_for_10_min is not None else None,
        ),
        ("disk a day", f"{plan.disk_bytes_per_day / 1e9:.2f} GB" if plan.disk_bytes_per_day is not None else None),
    ]
    return [(name, value) for name, value in rows if value is not None]
