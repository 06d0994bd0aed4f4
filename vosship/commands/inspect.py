"""`vosship inspect`: the arguments and the printing of what a CDR file holds.

The reading is `vosship_cdr.inspection`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from vosship.commands.options import json_option
from vosship.commands.tables import standard_output

if TYPE_CHECKING:
    from vosship_cdr.inspection import Inspection

EXAMPLE = """\b
Examples:
  vosship inspect /home/vos3000/cdr/2026042612.txt --tz Asia/Dhaka
  vosship inspect --json cdr_20260426_120000.csv
"""


@click.command("inspect", epilog=EXAMPLE)
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("--tz", "timezone", default="UTC", show_default=True, help="The switch's zone: what text times in the file mean.")
@click.option(
    "--layout",
    type=click.Choice(["auto", "pipe", "csv-52", "datagram-46", "table-current"]),
    default="auto",
    show_default=True,
    help="Column order; auto: recognised from the lines.",
)
@json_option
def command(files: tuple[str, ...], timezone: str, layout: str, as_json: bool) -> int:
    """Say what a CDR file holds: layout, columns, encoding, times, unit of holdTime, first and last call.

    Needs no configuration and changes nothing. With --json one object a file, one a line.
    """
    from pathlib import Path

    import msgspec

    from vosship.config import check_timezone, convert
    from vosship_cdr.inspection import inspect_file
    from vosship_cdr.options import CdrOptions

    check_timezone(timezone, "--tz")
    options = convert({"layout": layout}, CdrOptions, "")
    for file in files:
        found = inspect_file(Path(file), options, timezone)
        if as_json:
            click.echo(msgspec.json.encode(found))
        else:
            _print(found)
    return 0


def _print(found: Inspection) -> None:
    from rich.markup import escape

    console = standard_output()
    console.print(f"[bold]{escape(found.file)}[/bold]", soft_wrap=True)
    for name, value in (
        ("layout", f"{found.layout}, {found.fields} columns" if found.fields else found.layout),
        ("lines", f"{found.lines:,}, of them {found.bad_lines:,} bad"),
        ("text", f"{found.encoding}, newline {found.newline}"),
        ("times", found.times),
        ("holdTime", "unit unclear" if found.hold_unit == "unclear" else f"in {found.hold_unit}"),
        ("stops", f"{found.first_stop} to {found.last_stop}" if found.first_stop else "no call"),
        ("unanswered", f"{found.unanswered:,}"),
    ):
        console.print(f"  {name:<12}{escape(value)}", soft_wrap=True)
    for note in found.notes:
        console.print(f"  - {escape(note)}", soft_wrap=True)
