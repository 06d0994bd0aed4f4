"""`vosship reship`: a window read again with today's tables and rules, and overwritten."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from vosship.commands.options import config_option, json_option

if TYPE_CHECKING:
    from vosship.application import Application
    from vosship.reshipping import Reshipped
    from vosship.window import Window

EXAMPLE = """\b
Examples:
  vosship reship --day 2026-04-26
  vosship reship --from 2026-04-01 --to 2026-04-26T12:00 --output search
"""


@click.command("reship", epilog=EXAMPLE)
@config_option
@json_option
@click.option("--from", "start", default="", metavar="TIME", help="First stop: 2026-04-26 or 2026-04-26T12:00.")
@click.option("--to", "end", default="", metavar="TIME", help="End: a bare date includes that day, a time is not included.")
@click.option("--day", default="", metavar="DATE", help="One day.")
@click.option("--month", default="", metavar="YYYY-MM", help="One month.")
@click.option("--tz", "zone", default="", metavar="ZONE", help="Zone of these times (default: the switch's).")
@click.option("--output", "output", default=None, metavar="NAME", help="Only this output (default: all that can overwrite).")
def command(config_path: str | None, as_json: bool, output: str | None, **words: Any) -> int:
    """Read a window of calls again, as configured today, and overwrite it in every output; beside a running agent or without.

    Files are read as far as they are still there, compressed ones included, forwarded copies as far as the spool keeps them.
    Lines that today's configuration leaves out or sets aside keep the document they had. Exit 3: there are such lines, or
    nothing could be read; 4: something could not be read, and all else is overwritten.
    """
    import asyncio

    from vosship.application import Application
    from vosship.errors import Exit
    from vosship.reshipping import Reshipping, refuse_renamed, targets
    from vosship.telemetry import log_to_stderr

    log_to_stderr("warning")
    application = Application.load(config_path)
    outputs = targets(application, output)
    refuse_renamed(application, outputs)
    window = _window(application, words)
    click.echo(f"reading again {window.sentence}, for {', '.join(outputs)}", err=True)
    with _Bar() as progress:
        result = asyncio.run(Reshipping(application, window, outputs, progress).run())
    _say(result, window, as_json)
    if not result.lines or result.dead or result.refused:
        return int(Exit.ANSWER_IS_NO)
    return int(Exit.CANNOT_JUDGE if result.unread else Exit.DONE)


def _window(application: Application, words: dict[str, Any]) -> Window:
    import time

    from vosship.commands.window import zone_of
    from vosship.window import parse

    if not words["day"] and not words["month"] and not (words["start"] and words["end"]):
        raise click.UsageError("which calls? --from and --to, or --day, or --month")
    zone = zone_of(application, words.pop("zone"))
    return parse(**words, zone=zone, time="stop", now=time.time(), max_days=1)


def _say(result: Reshipped, window: Window, as_json: bool) -> None:
    from vosship.commands.tables import counted

    for path, reason in result.unread.items():
        click.echo(f"not read, or not to its end: {path}: {reason}; what is stored of it stays", err=True)
    if as_json:
        import msgspec

        where = {"from": window.start.isoformat(), "to": window.end.isoformat()}
        click.echo(msgspec.json.encode({"window": where, **msgspec.to_builtins(result)}))
        return
    if not result.lines:
        click.echo(f"no line of that window is there to be read ({counted(result.files, 'file')} looked at)", err=True)
    for name, count in result.outputs.items():
        click.echo(f"{name}: {counted(count, 'call')} overwritten")
        for reason, refused in result.refused.get(name, {}).items():
            click.echo(f"{name}: {refused:,} refused ({reason})")
    for reason, lines in result.dead.items():
        click.echo(f"{counted(lines, 'line')} cannot be read ({reason}); what is stored of them stays", err=True)


class _Bar:
    """A progress bar over bytes, on standard error when that is a terminal."""

    def __init__(self) -> None:
        import sys

        self._shown = None
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import Progress

            self._shown = Progress(console=Console(stderr=True), transient=True)
            self._task = self._shown.add_task("reading again", total=None)

    def __enter__(self) -> Any:
        if self._shown:
            self._shown.start()
        return self._tell

    def __exit__(self, *_: object) -> None:
        if self._shown:
            self._shown.stop()

    def _tell(self, done: int, todo: int) -> None:
        if self._shown:
            self._shown.update(self._task, completed=done, total=todo)
