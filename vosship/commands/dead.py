"""`vosship dead`: lines that were set aside."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from vosship.commands.options import config_option, json_option
from vosship.commands.tables import printable

if TYPE_CHECKING:
    from vosship.deadletters import Choice, DeadLine


def _choosing(function: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.argument("ids", nargs=-1, type=int),
        click.option("--pipeline", default="", help="Only of this pipeline (input>output)."),
        click.option("--reason", default="", help="Only of this reason."),
        click.option("--file", "file", default="", help="Only of this file (base name or path)."),
        click.option("--since", default="", help="Only set aside since then (2026-04-26T12:00, UTC)."),
        config_option,
    ):
        function = option(function)
    return function


def _choice(ids: tuple[int, ...], pipeline: str, reason: str, file: str, since: str) -> Choice:
    from datetime import UTC, datetime

    from vosship.deadletters import Choice
    from vosship.errors import ConfigError

    try:
        at = datetime.fromisoformat(since) if since else None
    except ValueError as error:
        raise ConfigError(f"--since {since!r} is no time", hint="for instance 2026-04-26T12:00") from error
    if at is not None and at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    return Choice(list(ids), pipeline, reason, file, at.timestamp() if at else 0.0)


@click.group("dead", epilog="\b\nExamples:\n  vosship dead list\n  vosship dead replay --reason mapping\n  vosship dead drop 17 18")
def command() -> None:
    """List, show, replay or drop lines that were set aside. A running agent carries the request out."""


@command.command("list", epilog="\b\nExamples:\n  vosship dead list --reason short_line\n  vosship dead list --json | jq .reason")
@_choosing
@json_option
@click.option("--limit", type=click.IntRange(1), default=None, help="At most so many.  [default: all with --json, else 20]")
def list_(config_path: str | None, as_json: bool, limit: int | None, **choosing: Any) -> int:
    """How many dead lines of which reason, and the first of them."""
    import msgspec

    from vosship.application import Application
    from vosship.deadletters import list_lines

    application = Application.load(config_path)
    if as_json:
        for line in list_lines(application, _choice(**choosing), limit):
            click.echo(msgspec.json.encode(line))
        return 0
    from collections import Counter

    groups: Counter[tuple[str, str]] = Counter()
    shown: list[DeadLine] = []
    for line in list_lines(application, _choice(**choosing)):
        groups[line.pipeline, line.reason] += 1
        if len(shown) < (limit or 20):
            shown.append(line)
    for (pipeline, reason), lines in groups.most_common():
        click.echo(f"{lines:>10,} {pipeline} {reason}")
    for line in shown:
        click.echo(f"{line.id:>6} {line.at} {line.reason:<20} {line.file} byte {line.offset}")
    if sum(groups.values()) > len(shown):
        click.echo(f"… and {sum(groups.values()) - len(shown):,} more (--limit N)")
    if not groups:
        click.echo("no dead lines")
    return 0


@command.command("show", epilog="\b\nExamples:\n  vosship dead show 17\n  vosship dead show --file 2026042612.txt --json")
@_choosing
@json_option
@click.option("--raw", is_flag=True, help="The line as the switch wrote it, whatever `privacy` says.")
def show(config_path: str | None, as_json: bool, raw: bool, **choosing: Any) -> int:
    """Everything kept of dead lines, the line itself under the `privacy` rules; exit 3 when an id is not among them."""
    import msgspec

    from vosship.application import Application
    from vosship.deadletters import list_lines

    missing = set(choosing["ids"])
    for line in list_lines(Application.load(config_path), _choice(**choosing), raw=raw):
        missing.discard(line.id)
        if as_json:
            click.echo(msgspec.json.encode(line))
            continue
        click.echo(f"id        {line.id}\npipeline  {line.pipeline}\nfile      {line.file}\nbyte      {line.offset}")
        click.echo(f"set aside {line.at}\nreason    {line.reason}\ndetail    {printable(line.detail)}")
        click.echo(f"line      {printable(line.line) if line.line is not None else f'(base64) {line.line_base64}'}\n")
    if missing:
        click.echo(f"no dead line {', '.join(map(str, sorted(missing)))}", err=True)
    return 3 if missing else 0


@command.command("replay", epilog="\b\nExamples:\n  vosship dead replay --reason mapping\n  vosship dead replay 17 18")
@_choosing
@json_option
def replay(config_path: str | None, as_json: bool, **choosing: Any) -> int:
    """Send dead lines through today's configuration; exit 3 when some are dead again."""
    return _ask("replay", config_path, as_json, choosing)


@command.command("drop", epilog="\b\nExamples:\n  vosship dead drop 17 18\n  vosship dead drop --reason short_line --yes")
@_choosing
@json_option
@click.option("--yes", is_flag=True, help="Do not ask.")
def drop(config_path: str | None, as_json: bool, yes: bool, **choosing: Any) -> int:
    """Give dead lines up for good: they are counted as filtered from then on."""
    if not yes:
        if not sys.stdin.isatty():
            raise click.UsageError("`dead drop` asks before it drops; without a terminal say --yes")
        click.confirm("These lines will not be shipped. Drop them?", abort=True)
    return _ask("drop", config_path, as_json, choosing)


def _ask(kind: str, config_path: str | None, as_json: bool, choosing: dict[str, Any]) -> int:
    import msgspec

    from vosship.application import Application
    from vosship.commands.tables import counted
    from vosship.deadletters import ask
    from vosship.errors import Exit
    from vosship.telemetry import log_to_stderr

    log_to_stderr("warning")
    answer = ask(Application.load(config_path), kind, _choice(**choosing), lambda text: click.echo(text, err=True))
    if as_json:
        click.echo(msgspec.json.encode(answer))
    else:
        fates = ("stored", "duplicate", "filtered", "dead")
        click.echo(f"{counted(answer.tried, 'line')}: " + ", ".join(f"{getattr(answer, fate):,} {fate}" for fate in fates))
    return int(Exit.ANSWER_IS_NO if answer.dead else Exit.DONE)
