"""`vosship plugins`: every installed plugin with its options."""

from __future__ import annotations

from typing import Any

import click

from vosship.commands.options import json_option


@click.command("plugins", epilog="\b\nExamples:\n  vosship plugins\n  vosship plugins files")
@click.argument("name", required=False)
@json_option
def command(name: str | None, as_json: bool) -> int:
    """List every plugin with its options, their types, units (in the names) and defaults."""
    import msgspec

    from vosship.errors import ConfigError
    from vosship.plugin import KINDS, names, nearest

    everything = [each for kind in KINDS for each in names(kind)]
    if name is not None and name not in everything:
        raise ConfigError(f"no plugin {name!r} is installed", hint=nearest(name, everything))
    shown = [item for item in catalogue() if name in (None, item["name"])]
    if as_json:
        click.echo(msgspec.json.encode(shown))
        return 0
    for item in shown:
        click.secho(f"{item['kind']} {item['name']}".strip(), bold=True, nl=False)
        click.echo(f": {item['summary']}")
        for option in item["options"]:
            click.echo(f"    {option['name']:<22} {option['type']}, default {option['default']}\n{'':27}{option['description']}")
    return 0


def catalogue() -> list[dict[str, Any]]:
    """Every installed plugin, and what every input and output takes beside its own options."""
    from vosship.config import InputCommon, OutputCommon
    from vosship.describing import describe
    from vosship.errors import ConfigError
    from vosship.plugin import KINDS, load, names

    listed: list[dict[str, Any]] = []
    for kind in KINDS:
        for each in names(kind):
            try:
                cls = load(kind, each)
            except ConfigError as error:  # its extra is not installed: say so, show the others
                listed.append({"kind": kind, "name": each, "summary": str(error), "options": []})
                continue
            summary = (cls.__doc__ or "").strip().splitlines()[0]
            listed.append({"kind": kind, "name": each, "summary": summary, "options": describe(cls.Options)})
    for kind, common in (("input", InputCommon), ("output", OutputCommon)):
        summary = f"Options every {kind} takes beside its own."
        listed.append({"kind": f"every {kind}", "name": "", "summary": summary, "options": describe(common)})
    return listed
