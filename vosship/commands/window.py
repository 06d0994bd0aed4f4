"""The options by which `search`, `export`, `stats` and others say which calls, and what these options come to.

It asks no store itself.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from vosship.commands.options import Measure, config_option, text, word

if TYPE_CHECKING:
    from vosship.application import Application
    from vosship.plugin import Searches
    from vosship.query import Query
    from vosship.window import Guard, Window

F = TypeVar("F", bound=Callable[..., Any])


def _address(context: click.Context, parameter: click.Parameter, value: str) -> str:
    import ipaddress

    word(context, parameter, value)
    try:
        if value:
            ipaddress.ip_address(value)
    except ValueError as error:
        raise click.BadParameter(f"{value!r} is no IP address") from error
    return value


_word_option = functools.partial(click.option, default="", callback=word)

_OPTIONS = (
    config_option,
    _word_option("--from", "start", metavar="TIME", help="First moment: 2026-04-26 or 2026-04-26T12:00."),
    _word_option("--to", "end", metavar="TIME", help="End: a bare date includes that day, a time is not included."),
    _word_option("--day", metavar="DATE", help="One day."),
    _word_option("--month", metavar="YYYY-MM", help="One month."),
    _word_option("--tz", "zone", metavar="ZONE", help="Zone of these times (default: the switch's)."),
    click.option(
        "--time",
        "time",
        type=click.Choice(["stop", "start", "answer"]),
        default="stop",
        show_default=True,
        help="Which of a call's times.",
    ),
    _word_option("--caller", metavar="NUMBER", help="Any of the caller's numbers; exact, or a prefix with *."),
    _word_option("--callee", metavar="NUMBER", help="Any of the callee's numbers; exact, or a prefix with *."),
    _word_option("--number", metavar="NUMBER", help="Any number of either side."),
    _word_option("--caller-gateway", metavar="NAME", help="Id or name of the incoming gateway."),
    _word_option("--callee-gateway", metavar="NAME", help="Id or name of the outgoing gateway."),
    click.option("--ip", default="", metavar="ADDRESS", callback=_address, help="Signalling address of either side."),
    _word_option("--end-reason", metavar="CODE", help="endReason as the switch wrote it."),
    click.option("--answered/--unanswered", default=None, help="Only calls with, or without, conversation."),
    click.option("--min-hold-s", type=Measure(0), default=0.0, metavar="S", help="At least this long a conversation."),
    _word_option("--switch", metavar="NAME", help="One switch of several."),
    click.option("--output", "output", default=None, metavar="NAME", help="Which store, where several are configured."),
    click.option(
        "--override-deny",
        default="",
        metavar="REASON",
        callback=text,
        help="Ask in a denied hour; the reason is written to the audit log.",
    ),
)


_CHANNEL = (
    click.option("--channel", default="file", callback=word, show_default=True, metavar="WORD", help="file, forward or all."),
    click.option("--resends/--no-resends", default=False, help="Also records that the switch forwarded again."),
)

_EVERY_CHANNEL = (
    click.option("--channel", default="all", callback=word, show_default=True, metavar="WORD", help="file, forward or all."),
)


def window_options(function: F) -> F:
    """Give a command the options of window, filters and store; `Asking.of` takes them all."""
    return _given(function, (*_OPTIONS, *_CHANNEL))


def call_options(function: F) -> F:
    """The same for a command that wants every copy of a call: no channel is left out unless one is named, no resend ever."""
    return _given(function, (*_OPTIONS, *_EVERY_CHANNEL))


def _given(function: F, options: Sequence[Callable[[F], F]]) -> F:
    for option in reversed(options):
        function = option(function)
    return function


class Asking:
    """A question put by options: the store it goes to, its window, its filters, and the guard rails it has passed.

    `zone` is the window's. The window as understood has been said on standard error.
    """

    def __init__(self, application: Application, command: str, options: dict[str, Any]) -> None:
        import time

        from vosship.window import Guard

        self.application: Application = application
        self.guard: Guard = Guard(application.config)
        self._options = options
        now = time.time()
        self.output, self.store = self._store(options["output"])
        self.guard.check_hour(now, command, options["override_deny"])
        self.window: Window = self._window(now, options)
        click.echo(f"{self.window.sentence}, in {self.output}", err=True)
        if self.store is not None:
            doubt_channel(application, options["channel"])

    @classmethod
    def of(cls, command: str, options: dict[str, Any]) -> Asking:
        """From a command's keyword arguments. Raises ConfigError, DeniedError."""
        from vosship.application import Application

        return cls(Application.load(options["config_path"]), command, options)

    @property
    def filters(self) -> dict[str, Any]:
        """The filters alone, as fields of a Query."""
        options = self._options
        words = (
            "caller",
            "callee",
            "number",
            "caller_gateway",
            "callee_gateway",
            "ip",
            "end_reason",
            "answered",
            "switch",
            "channel",
        )
        return {**{word: options[word] for word in (*words, "resends")}, "min_hold_ms": round(options["min_hold_s"] * 1000)}

    def query(self, window: Window, limit: int | None) -> Query:
        """The question for one window."""
        from vosship.query import Query

        page_size = self.application.config.search.page_size
        return Query(from_ms=window.from_ms, to_ms=window.to_ms, time=window.time, limit=limit, page_size=page_size, **self.filters)

    def _window(self, now: float, options: dict[str, Any]) -> Window:
        """The window asked for; the guard rails of the hour are passed."""
        from vosship.window import parse

        return parse(
            start=options["start"],
            end=options["end"],
            day=options["day"],
            month=options["month"],
            zone=zone_of(self.application, options["zone"]),
            time=options["time"],
            now=self._latest(now, options),
            max_days=self.guard.max_days,
        )

    def _latest(self, now: float, options: dict[str, Any]) -> float:
        """What an open end is counted back from: the newest call in the store, so that old copies are found too."""
        from datetime import datetime

        from vosship.query import Query

        if options["end"] or options["day"] or options["month"]:
            return now
        ever = Query(from_ms=0, to_ms=round(now * 1000), channel="all", resends=True, limit=1)
        for hit in self.store.search(ever):
            return datetime.fromisoformat(hit.fields["@timestamp"]).timestamp()
        return now

    def _store(self, name: str | None) -> tuple[str, Searches]:
        return self.application.searchable(name)


class AskingSources(Asking):
    """A question that several named sources answer instead of one store; `sources` are names as `records` takes them."""

    def __init__(self, application: Application, command: str, options: dict[str, Any], sources: Sequence[str], said: str) -> None:
        self._sources = sources
        super().__init__(application, command, {**options, "output": said})

    def _store(self, name: str | None) -> Any:
        return name, None

    def _latest(self, now: float, options: dict[str, Any]) -> float:
        """The newest call of a store, or the newest name of a file; the time of arrival says little of old copies."""
        from datetime import datetime

        from vosship.plugin import Reports
        from vosship.query import Query
        from vosship.records import find

        if options["end"] or options["day"] or options["month"]:
            return now
        newest: list[float] = []
        arrived: list[float] = []
        for source in (find(self.application, name) for name in self._sources):
            if source.store is not None:
                ever = Query(from_ms=0, to_ms=round(now * 1000), channel=source.channel, resends=True, limit=1)
                newest += [datetime.fromisoformat(hit.fields["@timestamp"]).timestamp() for hit in source.store.search(ever)]
            elif source.entry is not None and isinstance(source.entry.plugin, Reports):
                for size in source.entry.plugin.survey({}):
                    named = size.stream.starts_at
                    (newest if named is not None else arrived).append(named if named is not None else size.modified_at)
        return min(now, max(newest or arrived or [now]))

    @property
    def sifting(self) -> dict[str, Any]:
        """The filters that concern calls, not which copies are meant."""
        return {key: value for key, value in self.filters.items() if key not in ("channel", "resends")}


def doubt_channel(application: Application, named: str) -> None:
    """Say so when no input configured here gives such copies: a misspelt word would read as "there were no calls"."""
    known = dict.fromkeys([*(entry.channel for entry in application.inputs.values()), "all"])
    if named not in known:
        said = f"no input configured here has the channel {named!r} (known: {', '.join(known)})"
        click.echo(f"{said}: only copies that somebody else shipped can match", err=True)


def zone_of(application: Application, named: str) -> Any:
    """The zone that times on the command line are in: `named`, or the switches' own. Raises ConfigError where they differ."""
    from vosship.config import check_timezone
    from vosship.errors import ConfigError

    if named:
        return check_timezone(named, "--tz")
    zones = {entry.timezone for entry in application.inputs.values()}
    if len(zones) > 1:
        raise ConfigError(
            f"the switches are in different zones: {', '.join(sorted(zones))}", hint="--tz ZONE says whose times are meant"
        )
    return check_timezone(next(iter(zones), application.config.timezone), "timezone")
