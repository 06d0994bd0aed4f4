"""`vosship evidence`: everything known of one call, with its raw line proved."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vosship.commands.options import config_option, json_option

if TYPE_CHECKING:
    from vosship.application import Application
    from vosship.window import Window
    from vosship_reconcile.evidence import CopyOfCall

EXAMPLE = """\b
Examples:
  vosship evidence --number 8801712345678 --at 2026-04-26T12:03:20
  vosship evidence --id 3q2-7wAAAAAAAAAA --at 2026-04-26 --html call.html
"""


LATEST_MS = 4_102_444_800_000
"""2100-01-01: beyond any call."""


@click.command("evidence", epilog=EXAMPLE)
@config_option
@json_option
@click.option("--number", default="", metavar="NUMBER", help="Any number of either side; exact, or a prefix with *.")
@click.option("--id", "wanted_id", default="", metavar="ID", help="Document id, as `search --json` and `reconcile` show it.")
@click.option("--at", "at", default="", metavar="TIME", help="A moment of the call; with --id its date, or nothing.")
@click.option("--tz", "zone", default="", metavar="ZONE", help="Zone of --at (default: the switch's).")
@click.option("--within-s", type=click.FloatRange(1), default=3600.0, show_default=True, help="Look so far around --at.")
@click.option("--archive", "archives", multiple=True, type=click.Path(file_okay=False, path_type=Path), help="Look here too.")
@click.option("--html", "html_path", type=click.Path(dir_okay=False, path_type=Path), help="Write one page that can be sent.")
@click.option("--override-deny", default="", metavar="REASON", help="Ask in a denied hour; written to the audit log.")
def command(as_json: bool, **options: Any) -> int:
    """Both copies of a call, its raw line read again, who hung up and why, and what may bend each claim.

    Exit 0: found, and no stored copy contradicts its raw line. 3: not found, or contradicted.
    """
    from vosship.application import Application

    if bool(options["number"]) == bool(options["wanted_id"]):
        raise click.UsageError("--number N with --at TIME, or --id ID")
    if options["number"] and not options["at"]:
        raise click.UsageError("--at TIME is missing: a moment of the call")
    application = Application.load(options["config_path"])
    evidence = _Gathering(application, options).evidence()
    if options["html_path"]:
        from vosship_reconcile.dossier import render

        _write(options["html_path"], render(evidence))
    if as_json:
        import msgspec

        click.echo(msgspec.json.encode(evidence).decode())
    else:
        from vosship_reconcile.dossier import lines

        for line in lines(evidence):
            click.echo(line)
    return 0 if evidence.found and evidence.proved is not False else 3


class _Gathering:
    """Finds the copies of one call and their raw lines."""

    def __init__(self, application: Application, options: dict[str, Any]) -> None:
        import time

        from vosship.commands.window import zone_of
        from vosship.window import Guard

        self._application, self._options = application, options
        Guard(application.config).check_hour(time.time(), "evidence", options["override_deny"])
        at = options["at"] or self._stop_of(options["wanted_id"])
        self._window, self._at_ms = _around(at, zone_of(application, options["zone"]), options["within_s"])
        click.echo(self._window.sentence, err=True)

    def evidence(self) -> Any:
        """The dossier."""
        from vosship_reconcile.evidence import assemble, choose

        options = self._options
        copies = list(self._copies(options["number"]))
        mine, others, also = choose(copies, self._at_ms, options["wanted_id"])
        if options["wanted_id"] and mine:
            number = mine[0].fields.get("calleeE164") or mine[0].fields.get("callerE164") or ""
            others = [copy for copy in others if number in (copy.fields.get("calleeE164"), copy.fields.get("callerE164"))]
        for copy in mine:
            self._prove(copy)
        question = f"id {options['wanted_id']}" if options["wanted_id"] else f"number {options['number']} at {options['at']}"
        return assemble(question, mine, others, also, _rule(self._application))

    def _stop_of(self, wanted_id: str) -> str:
        """When the call of that document stopped, by looking through everything, stores first."""
        from vosship.errors import ConfigError
        from vosship.plugin import Searches
        from vosship.query import Query

        click.echo("looking through everything: --at with the call's date is quicker", err=True)
        for output in self._application.outputs.values():
            if isinstance(output.plugin, Searches):
                every = Query(from_ms=0, to_ms=LATEST_MS, channel="all", resends=True, limit=None)
                for hit in output.plugin.search(every):
                    if hit.id == wanted_id:
                        return str(hit.fields["stopTime"])
        raise ConfigError(f"no store holds a document {wanted_id!r}", path="--id", hint="--at DATE looks in files too")

    def _copies(self, number: str) -> Iterator[CopyOfCall]:
        import os

        from vosship.documents import identify
        from vosship.plugin import Searches
        from vosship.records import records
        from vosship_reconcile.evidence import CopyOfCall

        application, window = self._application, self._window
        filters = {"number": number} if number else {}
        for name, entry in application.inputs.items():
            for batch in records(application, name, window, filters):
                for copy in batch:
                    if copy.reason or copy.line is None:
                        continue
                    path = copy.fields["log.file.path"]
                    # A spool segment's stream is named without its suffix, a file's without `.gz`.
                    base = os.path.basename(path).removesuffix(".gz").removesuffix(".seg")  # noqa: PTH119  # a plain string
                    known = identify(entry.switch, base, copy.fields["log.offset"], copy.line)
                    yield CopyOfCall(name, "input", copy.fields, known)
        for name, output in application.outputs.items():
            if not isinstance(output.plugin, Searches):
                continue
            for batch in records(application, f"{name}:all", window, filters):
                for copy in batch:
                    fields = {key: value for key, value in copy.fields.items() if key not in ("_id", "_index")}
                    yield CopyOfCall(f"{name} ({copy.fields['_index']})", "index", fields, copy.fields["_id"])

    def _prove(self, copy: CopyOfCall) -> None:
        from vosship.documents import identify
        from vosship.rereading import reread
        from vosship_reconcile.evidence import Raw

        fields = copy.fields
        switch, path, offset = fields.get("switch", ""), fields.get("log.file.path", ""), fields.get("log.offset", 0)
        for found in reread(self._application, path, offset, self._options["archives"]):
            known = identify(switch, found.base, found.offset, found.line)
            proved = known == copy.id
            raw = Raw(found.path, found.offset, found.line.decode("utf-8", "backslashreplace"), known, proved)
            if copy.raw is None or proved:
                copy.raw = raw
            if proved:
                return
        if copy.raw is None:
            copy.note = f"the raw line can no longer be read: {path} is gone and no archive holds it"


def _around(text: str, zone: Any, within_s: float) -> tuple[Window, int | None]:
    """The window around a moment; a bare date is that day, and no moment."""
    from datetime import timedelta

    from vosship.errors import ConfigError
    from vosship.window import Window, parse

    if "T" not in text and " " not in text:
        window = parse(day=text, zone=zone, time="stop", now=0.0, max_days=1)
        return window, window.from_ms
    from datetime import datetime

    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise ConfigError(f"--at: {text!r} is no time", hint="such as 2026-04-26T12:03:20") from error
    moment = (found if found.tzinfo else found.replace(tzinfo=zone)).astimezone(zone)
    apart = timedelta(seconds=within_s)
    return Window(start=moment - apart, end=moment + apart, zone=zone), round(moment.timestamp() * 1000)


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
