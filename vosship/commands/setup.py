"""`vosship setup`: what the configured outputs need on their servers."""

from __future__ import annotations

import click

from vosship.commands.options import config_option, json_option


@click.command(
    "setup",
    epilog="\b\nExamples:\n  vosship setup --print    show what would be installed\n  vosship setup\n  vosship setup --json",
)
@config_option
@json_option
@click.option("--print", "show", is_flag=True, help="Print the bodies as JSON and install nothing.")
def command(config_path: str | None, as_json: bool, show: bool) -> int:
    """Install or update index templates, lifecycle and dashboards; repeatable.

    --json: {"outputs": [{"name", "steps": []}]}, a sentence for each thing done or found unchanged.
    """
    import msgspec

    from vosship.application import Application
    from vosship.plugin import SetsUp

    application = Application.load(config_path)
    able = {name: entry.plugin for name, entry in application.outputs.items() if isinstance(entry.plugin, SetsUp)}
    if show:
        click.echo(msgspec.json.format(msgspec.json.encode({name: plugin.artefacts() for name, plugin in able.items()})))
        return 0
    if not able:
        click.echo("no configured output needs setting up", err=True)
    done: dict[str, list[str]] = {name: [] for name in able}
    for name, plugin in able.items():
        for line in plugin.setup():
            done[name].append(line)
            click.echo(f"{name}: {line}", err=as_json)  # also said while it goes on, and when the next step fails
    if as_json:
        shape = {"outputs": [{"name": name, "steps": steps} for name, steps in done.items()]}
        click.echo(msgspec.json.encode(shape))
    return 0
