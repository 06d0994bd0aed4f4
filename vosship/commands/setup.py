"""`vosship setup`: what the configured outputs need on their servers."""

from __future__ import annotations

import click

from vosship.commands.options import config_option


@click.command("setup", epilog="\b\nExamples:\n  vosship setup --print    show what would be installed\n  vosship setup")
@config_option
@click.option("--print", "show", is_flag=True, help="Print the bodies as JSON and install nothing.")
def command(config_path: str | None, show: bool) -> int:
    """Install or update index templates, lifecycle and dashboards; repeatable."""
    import msgspec

    from vosship.application import Application
    from vosship.plugin import SetsUp

    application = Application.load(config_path)
    able = {name: entry.plugin for name, entry in application.outputs.items() if isinstance(entry.plugin, SetsUp)}
    if show:
        click.echo(msgspec.json.format(msgspec.json.encode({name: plugin.artefacts() for name, plugin in able.items()})).decode())
        return 0
    if not able:
        click.echo("no configured output needs setting up", err=True)
    for name, plugin in able.items():
        for line in plugin.setup():
            click.echo(f"{name}: {line}")
    return 0
