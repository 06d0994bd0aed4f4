"""`vosship run`: the agent."""

from __future__ import annotations

import click

from vosship.commands.options import config_option


@click.command(
    "run",
    epilog="""\b
Examples:
  vosship run -c /etc/vosship/vosship.yaml      until SIGTERM or Ctrl-C
  vosship run --once                            ship what is there now, then end""",
)
@config_option
@click.option(
    "--once",
    is_flag=True,
    help="Ship what is there now, then end: 3 when lines were set aside or lost, else 4 when something could not be read.",
)
@click.option(
    "--rebuild-state", is_flag=True, help="Put the state aside and read everything again; ids keep that from doubling anything."
)
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="info",
    show_default=True,
    help="Least level shown.",
)
def command(config_path: str | None, once: bool, rebuild_state: bool, log_level: str) -> int:
    """Ship records from every configured input to every configured output."""
    import asyncio

    from vosship.application import Application
    from vosship.daemon import Daemon
    from vosship.errors import ConfigError
    from vosship.telemetry import log_to_stderr

    log_to_stderr(log_level)
    application = Application.load(config_path)
    try:
        return int(asyncio.run(Daemon(application, once=once, rebuild_state=rebuild_state).run()))
    except ConfigError as error:  # found out only on opening: a data_dir, a port
        error.file = error.file or application.config.file
        raise
