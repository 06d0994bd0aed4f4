"""`vosship check`: can it work, and if not, what is to be done, in which order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import click

from vosship.commands.options import config_option, json_option

if TYPE_CHECKING:
    from pathlib import Path

    from vosship.application import Application
    from vosship.plugin import Remark

USED = (
    "EXTERNAL_MAX_CDR_PENDING_SIZE", "FREE_E164S", "NO_CDR_E164S", "RECORD_SERVER_HANG_UP", "RECORD_ZERO_HOLD_TIME",
    "SERVER_CDR_FILE_WRITE_INTERVAL", "SERVER_CDR_FILE_WRITE_MAX", "SERVER_QUERY_CDR_DENY_TIME",
    "SERVER_QUERY_CDR_MAX_DAY_INTERVAL", "SERVER_QUERY_MAX_SIZE", "SS_CDR_RECORD_ILLEGAL", "SS_CDR_RECORD_NONCONNECT",
    "SS_CDR_RECORD_TO_FILE", "SS_NO_BILLING_TO_PHONE",
)  # fmt: skip
"""The switch parameters that something here is computed from; others are allowed and change nothing."""

MARKS = {"good": "ok  ", "warn": "warn", "bad": "BAD "}


@click.command("check", epilog="\b\nExample:\n  vosship check -c /etc/vosship/vosship.yaml")
@config_option
@json_option
def command(config_path: str | None, as_json: bool) -> int:
    """Examine configuration, files, outputs, templates, zone, units and the forecast; exit 3 when something is wrong."""
    import msgspec

    from vosship.application import Application
    from vosship.errors import Exit

    application = Application.load(config_path)
    found = []
    for part, remark in examine(application):
        found.append({"part": part, "level": remark.level, "text": remark.text, "hint": remark.hint})
        if not as_json:
            click.echo(f"{MARKS[remark.level]} {part}: {remark.text}" + (f"\n       {remark.hint}" if remark.hint else ""))
    if as_json:
        click.echo(msgspec.json.encode(found))
    return int(Exit.ANSWER_IS_NO if any(item["level"] == "bad" for item in found) else Exit.DONE)


def examine(application: Application) -> Iterator[tuple[str, Remark]]:
    """Every remark with the part of the configuration it is about."""
    from vosship.commands.newest import examine_newest
    from vosship.errors import VosshipError
    from vosship.plugin import Checks, Loads, Remark

    config = application.config
    yield "configuration", Remark("good", f"{config.file} is valid: switch {config.switch}, zone {config.timezone}")
    yield from _parameters(config.switch_parameters)
    yield from _data_dir(config.data_dir)
    parts = [(f"inputs.{entry.name}", entry.plugin) for entry in application.inputs.values()]
    parts += application.examined()
    parts += [(f"outputs.{entry.name}", entry.plugin) for entry in application.outputs.values()]
    for part, plugin in parts:
        try:
            if isinstance(plugin, Loads):
                plugin.load()
            if isinstance(plugin, Checks):
                for remark in plugin.check():
                    yield part, remark
        except VosshipError as error:
            yield part, Remark("bad", error.message, error.hint)
        except OSError as error:
            yield part, Remark("bad", f"cannot be examined: {error}", "run as the agent's user")
    for entry in application.inputs.values():
        for remark in examine_newest(application, entry):
            yield f"inputs.{entry.name}", remark
    yield from _forecast(application)


def _parameters(given: Mapping[str, object]) -> Iterator[tuple[str, Remark]]:
    from difflib import get_close_matches

    from vosship.plugin import Remark

    for name in given:
        close = get_close_matches(name, USED, n=1, cutoff=0.8)  # chosen: takes SS_CDR_FILE_WRITE_MAX for its look-alike
        if name not in USED and close:
            yield "switch_parameters", Remark("warn", f"{name} is not used by vosship", f"was {close[0]} meant?")


def _data_dir(place: Path) -> Iterator[tuple[str, Remark]]:
    """Whether the start could write there; silent where it could."""
    import os
    import shutil

    from vosship.errors import VosshipError
    from vosship.lock import refuse_network
    from vosship.plugin import Remark

    try:
        refuse_network(place)
        existing = next(parent for parent in (place, *place.absolute().parents) if parent.exists())
        if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
            yield "data_dir", Remark("bad", f"{place} cannot be written: {existing} forbids it", "check its owner and mode")
        elif not shutil.disk_usage(existing).free:
            yield "data_dir", Remark("bad", f"the disk of {place} is full", "make room: nothing is shipped until then")
    except VosshipError as error:
        yield "data_dir", Remark("bad", error.message, error.hint)
    except OSError as error:
        yield "data_dir", Remark("bad", f"{place} cannot be looked into: {error.strerror}", "run as the agent's user")


def _forecast(application: Application) -> Iterator[tuple[str, Remark]]:
    from vosship.errors import VosshipError
    from vosship.forecast import INTERVAL, MAX_FILES, interval_of
    from vosship.ledger import read_status, reading
    from vosship.plugin import Remark, Reports
    from vosship.state import STATE_FILE, refuse_change

    parameters = application.config.switch_parameters
    for entry in application.inputs.values():
        if not isinstance(entry.plugin, Reports) or entry.channel != "file":
            continue
        sizes = entry.plugin.survey({})
        interval_s, limit = interval_of(sizes, parameters), parameters.get(MAX_FILES)
        if limit is None:
            hint = f"set switch_parameters: {{{MAX_FILES}: …, {INTERVAL}: …}} as on the switch"
            yield (
                f"inputs.{entry.name}",
                Remark("warn", "how long the switch keeps files is not known: no forecast before a deletion is seen", hint),
            )
        elif interval_s:
            keeps_h = int(limit) * interval_s / 3600
            yield (
                f"inputs.{entry.name}",
                Remark("good", f"the switch keeps {limit} files of {interval_s:.0f} s: {keeps_h:.1f} hours"),
            )
    try:
        with reading(application.config.data_dir / STATE_FILE) as db:
            for name, entry, _ in application.pipelines():
                if db is not None:
                    refuse_change(db, name, entry.switch, entry.timezone)
        for status in read_status(application):
            if status.seconds_to_loss is not None:
                text = f"unread files will be deleted in {status.seconds_to_loss:.0f} s at the present rate"
                yield f"pipeline {status.name}", Remark("bad", text, "is the output reachable? `rescue_dir` keeps files at risk")
            elif status.forecast and status.forecast.seconds_to_late is not None:
                yield f"pipeline {status.name}", Remark("warn", "the switch deletes files before they are read, but they are kept")
            elif status.forecast:
                yield f"pipeline {status.name}", Remark("good", "the backlog will be read before the switch deletes it")
            if status.dead:
                yield f"pipeline {status.name}", Remark("warn", f"{status.dead} dead lines", "vosship dead list")
            if status.lost_bytes:
                yield f"pipeline {status.name}", Remark("warn", f"{status.lost_bytes} bytes were lost", "vosship status")
    except VosshipError as error:
        yield "state", Remark("bad", error.message, error.hint)
