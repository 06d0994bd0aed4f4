"""`vosship export`: calls of any window into a file, with a manifest beside it."""

from __future__ import annotations

import sys
from contextlib import closing, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vosship.commands.options import text, word
from vosship.commands.window import Asking, window_options

if TYPE_CHECKING:
    from vosship.exporting import Encoder, Totals
    from vosship.layouts import Layout

EXAMPLE = """\b
Examples:
  vosship export --month 2026-04 --format csv --layout billing --out april.csv
  vosship export --day 2026-04-26 --format ndjson --out - | gzip > day.ndjson.gz
"""


@click.command("export", epilog=EXAMPLE)
@window_options
@click.option("--format", "form", type=click.Choice(["csv", "ndjson", "parquet"]), required=True, help="Of the file.")
@click.option("--out", required=True, callback=text, metavar="FILE", help="Where to; - is standard output (csv and ndjson).")
@click.option(
    "--layout", "layout_name", default="", callback=word, metavar="NAME", help="calls, pipe, billing, or the path of a YAML file."
)
@click.option("--restart", is_flag=True, help="Give up an unfinished export of this file and begin anew.")
def command(form: str, out: str, layout_name: str, restart: bool, **options: Any) -> int:
    """Write calls to a file, newest first, a day at a time; interrupted, the same command goes on where it stopped.

    Beside FILE a manifest: window, records, answered, seconds, sha256, and whether the window was complete.
    """
    from vosship.layouts import load

    if out == "-" and form == "parquet":
        raise click.UsageError("--format parquet needs a file: --out FILE")
    asking = Asking.of("export", options)
    schema = asking.application.schema
    layout = load(layout_name or "calls", asking.application.config.base_dir, schema) if layout_name or form != "ndjson" else None
    exporting = _Exporting(asking, form, layout_name, layout)
    if out == "-":
        exporting.to_stdout()
    else:
        exporting.to_file(Path(out), restart)
    return 0


class _Exporting:
    """One export: what is asked, in which form."""

    def __init__(self, asking: Asking, form: str, layout_name: str, layout: Layout | None) -> None:
        from vosship.exporting import Csv, Ndjson, Parquet

        self._asking, self._form, self._layout_name, self._layout = asking, form, layout_name, layout
        schema, window = asking.application.schema, asking.window
        self._encoder: Encoder
        if form == "ndjson":
            self._encoder = Ndjson(layout, schema, window)
        else:
            assert layout is not None
            self._encoder = Parquet(layout, schema, window) if form == "parquet" else Csv(layout, schema, window)

    def to_stdout(self) -> None:
        """Write as it comes; no manifest, nothing to go on from.

        Counted first, at about a tenth of what writing takes: of an answer that may not be given nothing must be written. What
        comes to the store meanwhile is counted while it is written.
        """
        from vosship.errors import FatalError
        from vosship.exporting import days, stream

        self._asking.guard.check_results(self._count())
        out = sys.stdout.buffer
        written = 0
        try:
            out.write(self._encoder.head)
            for _, piece in days(self._asking.window):
                hits = self._asking.store.search(self._asking.query(piece, None))
                written += stream(hits, self._encoder, out, self._asking.guard.check_results, written).records
            out.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            hint = "--out FILE goes on where it stopped, standard output begins anew"
            raise FatalError(f"writing to standard output failed after {written:,} calls: {error.strerror}", hint=hint) from error

    def _count(self) -> int:
        from vosship.query import StatsQuery

        calls = self._asking.query(self._asking.window, None)
        return sum(row.attempts + row.illegal for row in self._asking.store.stats(StatsQuery(calls=calls, by=("switch",))))

    def to_file(self, target: Path, restart: bool) -> None:
        """Write the parts, put them together, account for them."""
        from vosship.errors import DeniedError, UnavailableError
        from vosship.exporting import Parts, usable

        target = usable(target)
        with closing(Parts(target, self._question())) as parts:
            try:
                if parts.open(restart=restart):
                    click.echo(f"going on with the unfinished export in {parts.directory}", err=True)
                totals = self._fill(parts)
                self._finish(parts, target, totals)
            except DeniedError:
                parts.remove()
                raise
            except (KeyboardInterrupt, UnavailableError) as error:
                what = "interrupted" if isinstance(error, KeyboardInterrupt) else "broken off"
                click.echo(f"{what}: the same command goes on from {parts.directory}", err=True)
                raise

    def _question(self) -> dict[str, Any]:
        import msgspec

        asking, window = self._asking, self._asking.window
        layout = msgspec.to_builtins(self._layout) if self._layout else None
        where = {"from_ms": window.from_ms, "to_ms": window.to_ms, "time": window.time, "timezone": window.zone.key}
        return {"output": asking.output, "format": self._form, "layout": layout, "window": where, "filters": asking.filters}

    def _fill(self, parts: Any) -> Totals:
        from vosship.exporting import Totals, days, stream

        asking, totals = self._asking, Totals()
        pieces = list(days(asking.window))
        with _progress(len(pieces)) as step:
            for day, piece in pieces:
                done = parts.done(day)
                if done is not None:
                    totals.add(done.totals)
                    step(day)
                    continue
                settled = bool(self._complete(piece.to_ms))
                before = totals.records
                totals.add(
                    parts.write(
                        day,
                        lambda file, piece=piece, before=before: stream(
                            asking.store.search(asking.query(piece, None)), self._encoder, file, asking.guard.check_results, before
                        ),
                        settled=settled,
                    )
                )
                step(day)
        return totals

    def _complete(self, to_ms: int) -> bool | None:
        """Whether every call that stopped before then is in the store; None where that cannot be known.

        A window over start or answer is never known to be complete: a call of it may not have ended.
        """
        until = self._complete_until()
        if self._asking.window.time != "stop" or until is None:
            return None
        return until * 1000 >= to_ms

    def _complete_until(self) -> float | None:
        from vosship.ledger import read_status

        suffix = f">{self._asking.output}"
        until = [each.complete_until_s for each in read_status(self._asking.application) if each.name.endswith(suffix)]
        known = [each for each in until if each is not None]
        return min(known) if known and len(known) == len(until) else None

    def _finish(self, parts: Any, target: Path, totals: Totals) -> None:
        from vosship import __version__
        from vosship.commands.tables import counted
        from vosship.documents import utc_text
        from vosship.exporting import assemble, days, forget_manifest, write_manifest

        window = self._asking.window
        complete, until = self._complete(window.to_ms), self._complete_until()
        paths = [parts.path(day) for day, _ in days(window)]
        forget_manifest(target)
        digest = assemble(paths, self._encoder.head, self._encoder.tail(totals), target)
        write_manifest(
            target,
            {
                "file": target.name,
                "format": self._form,
                "layout": self._layout_name or (None if self._layout is None else "calls"),
                "window": {
                    "from": window.start.isoformat(),
                    "to": window.end.isoformat(),
                    "time": window.time,
                    "timezone": window.zone.key,
                },
                "filters": self._asking.filters,
                "output": self._asking.output,
                "records": totals.records,
                "answered": totals.answered,
                "seconds": totals.hold_ms / 1000,
                "sha256": digest,
                "complete": complete,
                "complete_until": None if until is None else utc_text(until),
                "vosship": __version__,
            },
        )
        parts.remove()
        if not totals.records:
            click.echo("no call matches; `vosship search` without a window shows the newest there are", err=True)
        what = {True: "complete", False: "NOT complete yet", None: "not known to be complete"}[complete]
        click.echo(f"{counted(totals.records, 'call')} in {target}; the window is {what}", err=True)


def _progress(days: int) -> Any:
    """A bar on standard error when that is a terminal; gives a function that ticks off a day."""
    if not sys.stderr.isatty():
        return nullcontext(lambda _day: None)
    return _Bar(days)


class _Bar:
    """A progress bar over days."""

    def __init__(self, days: int) -> None:
        from rich.console import Console
        from rich.progress import Progress

        self._progress = Progress(console=Console(stderr=True), transient=True)
        self._task = self._progress.add_task("exporting", total=days)

    def __enter__(self) -> Any:
        self._progress.start()
        return self._tick

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def _tick(self, day: str) -> None:
        self._progress.update(self._task, advance=1, description=f"exported {day}")
