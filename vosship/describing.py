"""What an option is, in words: its name (with the unit), type, default and meaning, read from its declaration.

From it come `vosship plugins` and docs/options.md. It knows no plugin.
"""

from __future__ import annotations

from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec

_BOUNDS = (("ge", ">="), ("gt", ">"), ("le", "<="), ("lt", "<"))


def describe(options: Any) -> list[dict[str, str]]:
    """Name, type, default and description of every field of an Options struct."""
    return [
        {
            "name": field.encode_name,
            "type": _spell(field.type),
            "default": _default(field),
            "description": _description(field.type),
        }
        for field in msgspec.structs.fields(options)
    ]


def _spell(kind: Any) -> str:
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Annotated:
        bounds = [
            f"{sign} {getattr(meta, key):,}" for meta in inner[1:] for key, sign in _BOUNDS if getattr(meta, key, None) is not None
        ]
        return " ".join([_spell(inner[0]), *bounds])
    if origin is Literal:
        return " | ".join(map(str, inner))
    if origin in (Union, UnionType):
        return " | ".join(_spell(part) for part in inner)
    if origin is list:
        return f"list of {_spell(inner[0])}"
    if origin is dict:
        return f"{{{_spell(inner[0])}: {_spell(inner[1])}}}"
    if kind is NoneType:
        return "null"
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return f"{{{', '.join(field.encode_name for field in msgspec.structs.fields(kind))}}}"
    return str(getattr(kind, "__name__", kind))


def _description(kind: Any) -> str:
    if get_origin(kind) is Annotated:
        base, *extras = get_args(kind)
        own = " ".join(meta.description for meta in extras if getattr(meta, "description", None))
        return own or _description(base)
    return next((found for part in get_args(kind) if (found := _description(part))), "")


def _default(field: Any) -> str:
    if field.default is not msgspec.NODEFAULT:
        return msgspec.json.encode(field.default).decode()
    if field.default_factory is not msgspec.NODEFAULT:
        return msgspec.json.encode(field.default_factory()).decode()
    return "(required)"
