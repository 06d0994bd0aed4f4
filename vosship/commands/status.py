"""`vosship status`: the account of every line."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

import click

from vosship.commands.options import config_option, json_option
from vosship.commands.tables import printable, show

if TYPE_CHECKING:
    from rich.table import Table

    from vosship.application import Application
    from vosship.ledger import FileStatus, PipelineStatus

COUNTS = ("read", "stored", "duplicate", "dead", "filtered", "lost_bytes")

NOTABLE_FILES = 20
"""Chosen: the newest of the files with something to say that fit a screen; --files shows all."""

WATCH_EVERY_S = 2.0
"""Chosen: quick enough to follow by eye."""

NAGIOS_WARNING_S = 86400.0
"""Chosen: a day leaves time to act within office hours."""

NAGIOS_CRITICAL_S = 3600.0
"""Chosen: an unread file that the switch deletes within the hour needs somebody now."""


NAGIOS_RECENT_S = 86400.0
"""Chosen: a loss or gap cannot be mended, so it calls for a day, which every shift and every daily mail sees, and is told after."""

NAGIOS_WAITING_S = 3600.0
"""Chosen: how long waiting is a WARNING where no forecast can say how long there is; a server's restart takes less."""


@click.command(
    "status",
    epilog="\b\nExamples:\n  vosship status\n  vosship status --json | jq .pipelines[].lost_bytes\n  vosship status --nagios",
)
@config_option
@json_option
@click.option("--watch", is_flag=True, help="Show it again every two seconds until Ctrl-C.")
@click.option("--nagios", is_flag=True, help="One line and the plug-in codes 0 1 2 3.")
@click.option("--files", "show_files", is_flag=True, help="Every file, not only those with something to say.")
def command(config_path: str | None, as_json: bool, watch: bool, nagios: bool, show_files: bool) -> int:
    """Show, per pipeline and file, what was read, stored, set aside and lost; with or without a running agent."""
    import time

    from vosship.application import Application
    from vosship.errors import VosshipError
    from vosship.ledger import as_json as shape
    from vosship.ledger import read_status

    if nagios:
        try:
            code, line = judge(read_status(Application.load(config_path)), time.time())
        except (VosshipError, OSError) as error:
            code, line = 3, f"UNKNOWN - {_one_line(str(error))}"
        click.echo(f"VOSSHIP {line}")
        return code
    application = Application.load(config_path)
    if as_json:
        import msgspec

        click.echo(msgspec.json.encode(shape(application, read_status(application))))
        return 0
    if not watch:
        _show(application, read_status(application), show_files)
        return 0
    with contextlib.suppress(KeyboardInterrupt):  # how it is meant to end
        while True:
            click.clear()
            _show(application, read_status(application), show_files)
            time.sleep(WATCH_EVERY_S)
    return 0


def judge(pipelines: Sequence[PipelineStatus], now: float) -> tuple[int, str]:
    """The monitoring plug-in's code (0 OK, 1 WARNING, 2 CRITICAL) and its one line with performance data."""
    bad: list[str] = []
    odd: list[str] = []
    past: list[str] = []
    for each in pipelines:
        if each.state in ("halted", "stopped"):
            bad.append(f"{each.name} {each.state} {each.reason}".rstrip())
        elif each.state == "waiting":
            blind = each.forecast is None and each.since_s is not None and now - each.since_s >= NAGIOS_WAITING_S
            (bad if blind else odd).append(f"{each.name} waiting since {each.since}: {each.reason}")
        if each.seconds_to_loss is not None:
            text = f"{each.name} loses unread lines in {each.seconds_to_loss:.0f} s"
            if each.seconds_to_loss < NAGIOS_WARNING_S:
                (bad if each.seconds_to_loss < NAGIOS_CRITICAL_S else odd).append(text)
        if each.dead:
            odd.append(f"{each.name} {each.dead} dead lines")
        recent, earlier = _missing(each, now)
        if recent.bytes:
            bad.append(f"{each.name} {recent}")
        elif recent:
            odd.append(f"{each.name} {recent}")
        if earlier:
            past.append(f"{each.name} {earlier}")
    unread, dead = sum(each.unread_bytes for each in pipelines), sum(each.dead for each in pipelines)
    lost = sum(each.lost_bytes for each in pipelines)
    figures = f"| unread={unread}B dead={dead} lost={lost}B"
    before = f"; before the last day: {', '.join(past)}" if past else ""
    if bad or odd:
        code, word = (2, "CRITICAL") if bad else (1, "WARNING")
        return code, f"{word} - {_one_line('; '.join(bad + odd) + before)} {figures}"
    calls = sum(each.stored + each.duplicate for each in pipelines)
    return 0, f"OK - {len(pipelines)} pipelines, {calls} calls in the index{_one_line(before)} {figures}"


class _Missing(NamedTuple):
    """What is not there and cannot be had: bytes seen and deleted unread, and gaps."""

    bytes: int = 0
    gaps: int = 0

    def __bool__(self) -> bool:
        return bool(self.bytes or self.gaps)

    def __str__(self) -> str:
        gaps = f"{self.gaps} gap{'s' * (self.gaps > 1)} (vosship status)" if self.gaps else ""
        return " and ".join(part for part in (f"lost {self.bytes} bytes" if self.bytes else "", gaps) if part)


def _missing(status: PipelineStatus, now: float) -> tuple[_Missing, _Missing]:
    """What came to be missing within NAGIOS_RECENT_S, and before; what is not entered yet (an output is away) is recent."""
    parts: list[_Missing] = []
    for wanted in (True, False):
        losses = [loss for loss in status.losses if (now - loss.at_s < NAGIOS_RECENT_S) is wanted]
        parts.append(_Missing(sum(loss.bytes for loss in losses), sum(loss.never_seen for loss in losses)))
    recent, earlier = parts
    return recent._replace(bytes=max(recent.bytes, status.lost_bytes - earlier.bytes)), earlier


def _one_line(text: str) -> str:
    """Without line breaks and bars, which a server's words may hold: after the first bar come the figures."""
    return " ".join(text.split()).replace("|", "/")


def _show(application: Application, pipelines: Sequence[PipelineStatus], show_files: bool) -> None:
    table = _table(f"switch {application.config.switch}", "pipeline", *COUNTS, "unread_bytes")
    table.add_column("state")
    for each in pipelines:
        table.add_row(each.name, *_counts(each, *COUNTS, "unread_bytes"), each.state)
    show(table)
    for each in pipelines:
        for line in remarks(each):
            click.echo(printable(line))
        shown = [file for file in each.files if show_files or not file.done or file.dead or file.lost_bytes]
        if shown and not show_files:
            shown = shown[-NOTABLE_FILES:]
        if shown:
            files = _table(f"{each.name}: {len(shown)} of {len(each.files)} files", "file", "size", "offset", *COUNTS)
            for file in shown:
                files.add_row(file.name, *_counts(file, "size", "offset", *COUNTS))
            show(files)
    for _, notice in application.notices():
        click.echo(printable(f"{notice.text} ({notice.hint})" if notice.hint else notice.text))


def _table(title: str, first: str, *columns: str) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    table.add_column(first)
    for column in columns:
        table.add_column(column.replace("_", " "), justify="right")
    return table


def _counts(of: PipelineStatus | FileStatus, *columns: str) -> list[str]:
    return [f"{getattr(of, column):,}" for column in columns]


def remarks(status: PipelineStatus) -> list[str]:
    """What a person should notice, a sentence each."""
    said = []
    if status.complete_until:
        said.append(f"{status.name}: every call that stopped before {status.complete_until} is settled")
    if status.reason:
        said.append(f"{status.name}: {status.state} since {status.since}: {status.reason}")
    for reason, lines in status.dead_reasons.items():
        said.append(f"{status.name}: {lines:,} dead lines: {reason} (vosship dead list --reason {reason})")
    for loss in status.losses[-10:]:
        what = "never seen" if loss.never_seen else f"lost {loss.bytes:,} bytes from byte {loss.offset:,}"
        said.append(f"{status.name}: {what}: {loss.file}: {loss.reason} ({loss.at})")
    forecast = status.forecast
    if forecast:
        verdict = "will be read in time" if forecast.seconds_to_late is None else "will NOT be read in time at the present rate"
        if forecast.seconds_to_late is not None and forecast.seconds_to_loss is None:
            verdict += ", but is kept (rescue_dir)"
        left = timedelta(seconds=round(forecast.next_deletion_s))
        said.append(f"{status.name}: the switch deletes {forecast.next_file} in {left}; the backlog {verdict}")
    return said
