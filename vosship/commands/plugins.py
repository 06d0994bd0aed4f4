"""`vosship plugins`: every installed plugin with its options."""

from __future__ import annotations

from typing import Annotated, Any, get_args, get_origin

import click

from vosship.commands.options import json_option


@click.command("plugins", epilog="\b\nExample:\n  vosship plugins files")
@click.argument("name", required=False)
@json_option
def command(name: str | None, as_json: bool) -> int:
    """List every plugin with its options, their types, units (in the names) and defaults."""
    import msgspec

    from vosship.errors import ConfigError
    from vosship.plugin import KINDS, load, names, nearest

    found = [(kind, each) for kind in KINDS for each in names(kind) if name in (None, each)]
    if not found:
        raise ConfigError(f"no plugin {name!r} is installed", hint=nearest(name or "", [n for kind in KINDS for n in names(kind)]))
    shown: list[dict[str, Any]] = []
    for kind, each in found:
        try:
            cls = load(kind, each)
        except ConfigError as error:
            shown.append({"kind": kind, "name": each, "summary": str(error), "options": []})
            continue
        summary = (cls.__doc__ or "").strip().splitlines()[0]
        shown.append({"kind": kind, "name": each, "summary": summary, "options": describe(cls.Options)})
    if as_json:
        click.echo(msgspec.json.encode(shown).decode())
        return 0
    for item in shown:
        click.echo(f"{item['kind']} {item['name']}: {item['summary']}")
        for option in item["options"]:
            click.echo(f"    {option['name']:<24} {option['type']:<28} {option['default']:<20} {option['description']}")
    return 0


def describe(options: Any) -> list[dict[str, str]]:
    """Name, type, default and description of every field of an Options struct; the unit is in the name."""
    import msgspec

    described = []
    for field in msgspec.structs.fields(options):
        described.append(
            {
                "name": field.encode_name,
                "type": _spell(field.type),
                "default": _default(field),
                "description": _description(field.type),
            }
        )
    return described


def _description(kind: Any) -> str:
    if get_origin(kind) is Annotated:
        base, *extras = get_args(kind)
        own = " ".join(meta.description for meta in extras if getattr(meta, "description", None))
        return own or _description(base)
    for part in get_args(kind):
        if found := _description(part):
            return found
    return ""


def _spell(kind: Any) -> str:
    if get_origin(kind) is Annotated:
        base, *extras = get_args(kind)
        bounds = [
            f"{sign}{getattr(meta, key)}"
            for meta in extras
            for key, sign in (("ge", ">="), ("gt", ">"), ("le", "<="), ("lt", "<"))
            if getattr(meta, key, None) is not None
        ]
        return " ".join([_spell(base), *bounds])
    text = getattr(kind, "__name__", None) if not get_args(kind) else str(kind)
    return str(text or kind).replace("typing.", "").replace("NoneType", "null")


def _default(field: Any) -> str:
    import msgspec

    if field.default is not msgspec.NODEFAULT:
        return msgspec.json.encode(field.default).decode()
    if field.default_factory is not msgspec.NODEFAULT:
        return msgspec.json.encode(field.default_factory()).decode()
    return "(required)"
