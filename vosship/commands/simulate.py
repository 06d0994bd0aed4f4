"""`vosship simulate`: the arguments of the simulated switch.

The switch itself is `vosship_switch`; nothing of it is imported before the command runs.
"""

from __future__ import annotations

import contextlib
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vosship.commands.options import Measure

if TYPE_CHECKING:
    from vosship_switch.simulation import Progress, Simulation

FAULTS = (
    "half-lines", "bad-bytes", "rewrite", "clock-back", "deletion",
    "forward-drop", "resend", "reorder", "field-change", "file-drop",
)  # fmt: skip
"""Kept beside the command so that `--help` imports nothing; a test compares it with `vosship_switch.simulation`."""

EXAMPLE = """\b
Examples:
  vosship simulate /tmp/cdr --calls 100000 --seed 7
  vosship simulate /tmp/cdr --seconds 600 --cps 100 --interval-s 60 --max-files 10
  vosship simulate /tmp/cdr --calls 200000 --forward 127.0.0.1:7060/udp \\
      --fault forward-drop --fault resend --account truth.ndjson
"""

CPS = "Records a second. With --calls it is the day's mean, and the hours follow a busy-hour shape."
INTERVAL = "A new file each; under an hour its name says minutes too, under a minute seconds."
FORWARD = "Send each record when its call ends: HOST:PORT, HOST:PORT/tcp or HOST:PORT/udp."
FORWARD_LAYOUT = "pipe, or datagram-46, which over UDP waits for the flowno as answer.  [default: by transport]"
FAULT = """Make a dirty switch; repeatable. half-lines: closed files lose the end of their last line. bad-bytes: damaged lines.
rewrite: the live file is emptied in place. clock-back: an hour, half-way. deletion: files vanish. forward-drop, resend,
reorder, field-change: of forwarded copies. file-drop: forwarded, never filed."""


@click.command("simulate", epilog=EXAMPLE)
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
@click.option("--cps", type=Measure(0, 100_000, min_open=True), default=50.0, show_default=True, help=CPS)
@click.option("--seconds", type=Measure(0, min_open=True), help="Run in real time this long.  [default: 60]")
@click.option("--calls", type=click.IntRange(1), help="Write this many at once, on a simulated clock.")
@click.option("--seed", type=int, default=1, show_default=True, help="The same seed gives the same bytes.")
@click.option("--layout", type=click.Choice(["pipe", "csv-52"]), default="pipe", show_default=True, help="Of the files.")
@click.option("--fields", type=click.Choice(["17", "19"]), default="19", show_default=True, help="Columns of a pipe line.")
@click.option("--start", default="2026-04-26T00:00", show_default=True, help="With --calls: the switch's clock at the start.")
@click.option("--tz", "timezone", default="Asia/Dhaka", show_default=True, help="The switch's time zone.")
@click.option("--interval-s", type=click.IntRange(1, 86_400), default=3600, show_default=True, help=INTERVAL)
@click.option("--max-files", type=click.IntRange(0), default=0, help="Delete the oldest past this many.  [default: keep all]")
@click.option("--flush-s", type=Measure(0, min_open=True), default=1.0, show_default=True, help="Between two bursts.")
@click.option("--flush-records", type=click.IntRange(1), default=1000, show_default=True, help="Records that force a burst.")
@click.option("--forward", help=FORWARD)
@click.option("--forward-layout", type=click.Choice(["pipe", "datagram-46"]), help=FORWARD_LAYOUT)
@click.option("--pending", type=click.IntRange(1), default=10_000, show_default=True, help="Queue; past it the oldest is dropped.")
@click.option("--resend-s", type=Measure(0, min_open=True), default=1.0, show_default=True, help="Wait for an answer.")
@click.option("--drain-s", type=Measure(0), default=10.0, show_default=True, help="At the end, to empty the queue.")
@click.option("--account", type=click.Path(dir_okay=False, path_type=Path), help="Write down all that was done (NDJSON).")
@click.option("--fault", "faults", type=click.Choice(FAULTS), metavar="WORD", multiple=True, help=FAULT)
@click.option("--json", "as_json", is_flag=True, help="Totals as JSON on stdout.")
def command(as_json: bool, **options: Any) -> None:
    """Imitate a switch that writes its CDR files into DIRECTORY."""
    from vosship_switch.simulation import Simulation

    simulation = Simulation(_settings(options), _teller())
    begun = time.monotonic()
    with _stopped_by_signals(simulation):
        account = simulation.run()
    took_s = time.monotonic() - begun
    done = simulation.progress
    click.echo(f"{done.calls:,} calls ({done.answered:,} answered), {done.bytes:,} bytes, {took_s:.1f} s", err=True)
    if as_json:
        import msgspec

        totals: dict[str, Any] = {"calls": done.calls, "answered": done.answered, "bytes": done.bytes, "account": account.totals}
        if simulation.classes:
            totals["classes"] = simulation.classes
        click.echo(msgspec.json.encode(totals))


def _settings(options: dict[str, Any]) -> Any:
    from datetime import datetime

    from vosship.config import check_timezone
    from vosship.errors import ConfigError
    from vosship_switch.forward import target
    from vosship_switch.simulation import FILE_FAULTS, ForwardSettings, Settings

    if options["seconds"] is not None and options["calls"] is not None:
        raise ConfigError("--seconds and --calls exclude each other", hint="--calls N writes at once, --seconds N in real time")
    zone = check_timezone(options["timezone"], "--tz")
    try:
        start = datetime.fromisoformat(options.pop("start"))
    except ValueError as error:
        raise ConfigError("--start is no time", hint="for instance --start 2026-04-26T00:00") from error
    start = start if start.tzinfo else start.replace(tzinfo=zone)
    if not 1970 < start.year < 9999:
        raise ConfigError("--start is too far off: calls stop between 1971 and 9998", hint="for instance --start 2026-04-26T00:00")
    options["start_ms"] = int(start.timestamp()) * 1000
    options["seconds"] = options["seconds"] or 60.0
    options["fields"] = int(options["fields"])
    options["faults"] = frozenset(options["faults"])
    to, layout = options.pop("forward"), options.pop("forward_layout")
    queue: dict[str, Any] = {name: options.pop(name) for name in ("pending", "resend_s", "drain_s")}
    idle = sorted(options["faults"].difference(FILE_FAULTS))
    if to is None and idle:
        click.echo(f"without --forward these faults do nothing: {', '.join(idle)}", err=True)
    if to is not None:
        receiver = target(to)
        queue["layout"] = layout or ("datagram-46" if receiver.transport == "udp" else "pipe")
        options["forward"] = ForwardSettings(to=receiver, **queue)
    return Settings(**options)


@contextlib.contextmanager
def _stopped_by_signals(simulation: Simulation) -> Iterator[None]:
    """The first SIGINT or SIGTERM ends the run clean, files closed."""
    before = [(number, signal.signal(number, lambda *_: simulation.stop())) for number in (signal.SIGINT, signal.SIGTERM)]
    try:
        yield
    finally:
        for number, handler in before:
            signal.signal(number, handler)


def _teller() -> Any:
    """A line that counts up, on a terminal only."""
    if not sys.stderr.isatty():
        return None
    shown_at = 0.0

    def tell(progress: Progress) -> None:
        nonlocal shown_at
        now = time.monotonic()
        if now - shown_at > 0.5:
            shown_at = now
            click.echo(f"\r{progress.calls:,} calls", nl=False, err=True)

    return tell
