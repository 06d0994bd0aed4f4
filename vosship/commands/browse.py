"""`vosship browse`: the embedded store in the browser."""

from __future__ import annotations

import contextlib
import os
import sys
import webbrowser
from typing import TYPE_CHECKING, Any

import click

from vosship.commands.options import config_option, word

if TYPE_CHECKING:
    from vosship.application import Application

EXAMPLE = """\b
Examples:
  vosship browse
  vosship browse --port 0 --no-open          any free port, and no browser opened
  vosship browse --until 2026-04-26          the ten days that end with this one
"""


@click.command("browse", epilog=EXAMPLE)
@config_option
@click.option("--port", type=click.IntRange(0, 65535), default=8001, show_default=True, help="On 127.0.0.1; 0 takes any free one.")
@click.option("--no-open", is_flag=True, help="Do not open a browser.")
@click.option("--until", default="", callback=word, metavar="DATE", help="The last of the days shown.  [default: the newest]")
@click.option("--output", "output", default=None, metavar="NAME", help="Which store, where several are configured.")
def command(config_path: str | None, port: int, no_open: bool, until: str, output: str | None) -> int:
    """Look at the embedded store in a browser: dashboards, lists with facets, one call's page.

    Read-only and for this machine only, until Ctrl-C. Deny hours and limits of `search` do not hold here.
    """
    from datetime import date

    from vosship.application import Application
    from vosship.config import check_timezone
    from vosship.errors import ConfigError

    try:
        until = date.fromisoformat(until).isoformat() if until else ""
    except ValueError as error:
        raise ConfigError(f"{until!r} is no date", path="--until", hint="for instance 2026-04-26") from error
    try:
        from vosship_browse.days import day_files
        from vosship_browse.pages import Site
        from vosship_browse.server import serve
    except ModuleNotFoundError as error:
        raise ConfigError(f"{error.name} is not installed", hint="pip install 'vosship[browse]'") from error
    application = Application.load(config_path)
    store = _store(application, output)
    day_files(store.directory)  # one that may not be listed is said here, not on every page
    zone = check_timezone(application.config.timezone, "timezone")
    site = Site(application.config.switch, zone, store.directory, store, until)

    def ready(address: str) -> None:
        click.echo(f"{address}  (read-only, this machine only; Ctrl-C ends it)", err=True)
        if not no_open and has_desktop():
            webbrowser.open(address)

    with contextlib.suppress(KeyboardInterrupt):  # how it is meant to end
        serve(site, port, ready)
    return 0


def has_desktop() -> bool:
    """Whether a browser can be opened in front of whoever typed the command."""
    shown = sys.platform == "darwin" or any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))
    return sys.stdout.isatty() and shown


def _store(application: Application, name: str | None) -> Any:
    from vosship.errors import ConfigError

    stores = {key: entry.plugin for key, entry in application.outputs.items() if entry.type == "sqlite"}
    if name is not None and name in stores:
        return stores[name]
    if name is not None or len(stores) != 1:
        what = "several embedded stores are configured" if stores else "no embedded store is configured"
        hint = f"--output NAME, one of: {', '.join(stores)}" if stores else "add an output of `type: sqlite`"
        raise ConfigError(what if name is None else f"no embedded store {name!r} is configured", path="outputs", hint=hint)
    return next(iter(stores.values()))
