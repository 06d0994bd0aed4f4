"""`vosship evidence`: everything known of one call, with its raw line proved."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vosship.commands.options import Measure, json_option, word
from vosship.commands.tables import printable
from vosship.commands.window import AskingSources, call_options, doubt_channel, zone_of

if TYPE_CHECKING:
    from vosship.application import Application
    from vosship.window import Window
    from vosship_reconcile.evidence import CopyOfCall

EXAMPLE = """\b
Examples:
  vosship evidence --number 8801712345678 --at 2026-04-26T12:03:20
  vosship evidence --callee 9715012345 --caller-gateway CS10031_ZX --day 2026-04-26
  vosship evidence --id 3q2-7wAAAAAAAAAA --at 2026-04-26 --html call.html
"""


LATEST_MS = 4_102_444_800_000
"""2100-01-01: beyond any call."""

ONE_OF = ("number", "caller", "callee", "caller_gateway", "callee_gateway", "ip")
"""Without one of these (or --id) the question would be for any call at all."""


@click.command("evidence", epilog=EXAMPLE)
@call_options
@json_option
@click.option(
    "--id", "wanted_id", default="", callback=word, metavar="ID", help="Document id, as `search --json` and `reconcile` show it."
)
@click.option(
    "--at", "at", default="", callback=word, metavar="TIME", help="A moment of the call, instead of a window; with --id its date."
)
@click.option("--within-s", type=Measure(1), default=3600.0, show_default=True, help="Look so far around --at.")
@click.option("--archive", "archives", multiple=True, type=click.Path(file_okay=False, path_type=Path), help="Look here too.")
@click.option("--raw", is_flag=True, help="The raw line as the switch wrote it, whatever `privacy` says.")
@click.option("--html", "html_path", type=click.Path(dir_okay=False, path_type=Path), help="Write one page that can be sent.")
def command(as_json: bool, **options: Any) -> int:
    """All copies of a call, its raw line read again, who hung up and why, and what may bend each claim.

    The call is the one nearest to --at, else the newest of the window (default: the last days that one search may span)
    that the filters let through.

    Exit 0: found, and no stored copy contradicts its raw line. 3: not found, or contradicted.
    """
    from vosship.application import Application

    if not options["wanted_id"] and not any(options[word] for word in ONE_OF):
        raise click.UsageError("which call? --number N (or another filter) with --at TIME or a window, or --id ID")
    if options["at"] and any(options[word] for word in ("start", "end", "day", "month")):
        raise click.UsageError("--at and a window exclude each other")
    evidence = _gathering(Application.load(options["config_path"]), options).evidence()
    if options["html_path"]:
        from vosship_reconcile.dossier import render

        _write(options["html_path"], render(evidence))
    if as_json:
        import msgspec

        click.echo(msgspec.json.encode(evidence))
    else:
        from vosship_reconcile.dossier import lines

        for line in lines(evidence):
            click.echo(printable(line))
    return 0 if evidence.found and evidence.proved is not False else 3


def _gathering(application: Application, options: dict[str, Any]) -> _Gathering:
    from vosship.plugin import Searches

    if options["output"] is None:
        stores = [name for name, output in application.outputs.items() if isinstance(output.plugin, Searches)]
    else:
        stores = [application.searchable(options["output"])[0]]
    channel = options["channel"]
    doubt_channel(application, channel)
    inputs = [name for name, entry in application.inputs.items() if channel in ("all", entry.channel)]
    sources = [*inputs, *(f"{name}:{channel}" for name in stores)]
    return _Gathering(application, "evidence", {**options, "resends": True}, sources, ", ".join(sources))


class _Gathering(AskingSources):
    """Finds the copies of one call and their raw lines."""

    _at_ms: int | None = None
    _unknown_id = False

    def _window(self, now: float, options: dict[str, Any]) -> Window:
        at = options["at"]
        if options["wanted_id"] and not (at or options["start"] or options["end"] or options["day"] or options["month"]):
            at = self._stop_of(options["wanted_id"])
        if at:
            window, self._at_ms = _around(at, zone_of(self.application, options["zone"]), options["within_s"])
        else:
            window = super()._window(now, options)
        self.guard.check_days(window)
        return window

    def evidence(self) -> Any:
        """The dossier."""
        from vosship_reconcile.evidence import assemble, choose

        wanted_id = self._options["wanted_id"]
        copies = [] if self._unknown_id else list(self._copies())
        mine, others, also = choose(copies, self._at_ms, wanted_id)
        if wanted_id and mine:
            number = mine[0].fields.get("calleeE164") or mine[0].fields.get("callerE164") or ""
            others = [copy for copy in others if number in (copy.fields.get("calleeE164"), copy.fields.get("callerE164"))]
        for copy in mine:
            self._prove(copy)
        return assemble(self._question(), mine, others, also, _rule(self.application))

    def _question(self) -> str:
        options = self._options
        words = [("id", options["wanted_id"])] if options["wanted_id"] else []
        words += [(word.replace("_", " "), options[word]) for word in (*ONE_OF, "end_reason", "switch") if options[word]]
        when = f" at {options['at']}" if options["at"] else "" if options["wanted_id"] else f", {self.window.sentence}"
        return ", ".join(f"{word} {value}" for word, value in words) + when

    def _stop_of(self, wanted_id: str) -> str:
        """When the call of that document stopped, by looking through every store; empty where none holds it."""
        from vosship.query import Query
        from vosship.records import find

        click.echo("looking through everything: --at with the call's date is quicker", err=True)
        for store in (find(self.application, name).store for name in self._sources):
            if store is not None:
                every = Query(from_ms=0, to_ms=LATEST_MS, channel="all", resends=True, limit=None)
                for hit in store.search(every):
                    if hit.id == wanted_id:
                        return str(hit.fields["stopTime"])
        click.echo(f"no store holds a document {wanted_id!r}; --at DATE looks in files too", err=True)
        self._unknown_id = True
        return ""

    def _copies(self) -> Iterator[CopyOfCall]:
        import os

        from vosship.documents import identify
        from vosship.records import find, records
        from vosship_reconcile.evidence import CopyOfCall

        for name in self._sources:
            source = find(self.application, name)
            for batch in records(self.application, name, self.window, self.sifting):
                for copy in batch:
                    fields = {key: value for key, value in copy.fields.items() if key not in ("_id", "_index")}
                    if source.entry is None:
                        yield CopyOfCall(f"{source.output} ({copy.fields['_index']})", "index", fields, copy.fields["_id"])
                    elif not copy.reason and copy.line is not None:
                        # A spool segment's stream is named without its suffix, a file's without `.gz`.
                        base = os.path.basename(fields["log.file.path"])  # noqa: PTH119  # a plain string
                        base = base.removesuffix(".gz").removesuffix(".seg")
                        known = identify(source.entry.switch, base, fields["log.offset"], copy.line)
                        yield CopyOfCall(name, "input", fields, known)

    def _prove(self, copy: CopyOfCall) -> None:
        from vosship.documents import identify
        from vosship.rereading import reread
        from vosship_reconcile.evidence import Raw

        fields = copy.fields
        switch, path, offset = fields.get("switch", ""), fields.get("log.file.path", ""), fields.get("log.offset", 0)
        for found in reread(self.application, path, offset, self._options["archives"]):
            known = identify(switch, found.base, found.offset, found.line)
            proved = known == copy.id
            line = found.line if self._options["raw"] else self.application.concealed(found.line)
            raw = Raw(found.path, found.offset, line.decode("utf-8", "backslashreplace"), known, proved)
            if copy.raw is None or proved:
                copy.raw = raw
            if proved:
                return
        if copy.raw is None:
            copy.note = f"the raw line can no longer be read: {path} is gone and no archive holds it"


def _around(text: str, zone: Any, within_s: float) -> tuple[Window, int | None]:
    """The window around a moment; a bare date is that day, and no moment."""
    from datetime import UTC, datetime, timedelta

    from vosship.errors import ConfigError
    from vosship.window import Window, parse

    try:
        if "T" not in text and " " not in text:
            window = parse(day=text, zone=zone, time="stop", now=0.0, max_days=1)
            return window, window.from_ms
        found = datetime.fromisoformat(text)
        moment = (found if found.tzinfo else found.replace(tzinfo=zone)).astimezone(UTC)  # where no hour is skipped or repeated
        apart = timedelta(seconds=within_s)
        ends = [end.astimezone(zone) for end in (moment - apart, moment + apart)]
    except (ConfigError, OverflowError, ValueError) as error:
        raise ConfigError(f"--at: {text!r} is no time", hint="such as 2026-04-26 or 2026-04-26T12:03:20") from error
    return Window(start=ends[0], end=ends[1], zone=zone), round(moment.timestamp() * 1000)


def _rule(application: Application) -> str:
    """The configured rounding rule in words."""
    for item in application.config.processors:
        rounding = item.options.get("rounding") if item.type == "cdr" else None
        if rounding:
            words = ", ".join(f"{key} {value}" for key, value in rounding.items() if key not in ("rule", "gateways"))
            own = "; some gateways have their own" if rounding.get("gateways") else ""
            return f"rule {rounding['rule']}, {words}{own}"
    return "no rounding rule is configured"


def _write(path: Path, text: str) -> None:
    from vosship.errors import FatalError

    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise FatalError(f"cannot write {path}: {error.strerror}", hint="--html names another file") from error
