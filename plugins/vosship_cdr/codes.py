"""The processor `codes`: what endReason, endDirection, billingMode and calleeBilling of a call mean.

The tables are in `code_tables`; it reads only fields that a processor before it set.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar

import msgspec
from msgspec import Meta

from vosship.errors import ConfigError
from vosship.events import Field, Record
from vosship.plugin import Context
from vosship_cdr.code_tables import ACCOUNT_TYPES, CLASSES, ENDERS, PARTIES, Q850, Q850_RANGE, SIP, VENDOR, Code, sip_class

UNKNOWN_TAG = "unknown_end_reason"

_NUMBER = re.compile(r"[+-]?\d{1,9}", re.ASCII)

_REMEMBERED = 10_000
"""Chosen: a switch has a few hundred combinations; hostile texts must not grow the memory."""

_Key = tuple[Any, Any, Any, Any]


class OwnCode(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an operator knows of one end reason."""

    text: Annotated[str, Meta(description="its meaning in words", min_length=1)]
    class_: Annotated[str, Meta(description="success, redirect, client, server, global, q850 or vendor")] = msgspec.field(
        default="vendor", name="class"
    )


class CodesOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Additions to the tables of codes."""

    codes: Annotated[
        dict[str, OwnCode],
        Meta(description='end reasons of your own or corrected ones, e.g. {"-69": {text: No route, class: vendor}}'),
    ] = {}


class _Meanings(dict[_Key, tuple[dict[str, Any], bool]]):
    """Fields to add, and whether the end reason is unknown, by the four codes of a call."""

    def __init__(self, own: Mapping[str, OwnCode]) -> None:
        super().__init__()
        self._own = own

    def __missing__(self, key: _Key) -> tuple[dict[str, Any], bool]:
        reason, direction, mode, payer = key
        found: dict[str, Any] = {}
        unknown = False
        if reason is not None:
            code, meaning = self._meaning(reason.strip())
            if code is not None:
                found["end.code"] = code
            if meaning.text:
                found["end.text"] = meaning.text
            found["end.class"] = meaning.kind
            unknown = not meaning.text
        for name, table, value in (
            ("end.by", ENDERS, direction),
            ("billing.account_type", ACCOUNT_TYPES, mode),
            ("billing.party", PARTIES, payer),
        ):
            if value in table:
                found[name] = table[value]
        if len(self) >= _REMEMBERED:
            self.clear()
        self[key] = found, unknown
        return found, unknown

    def _meaning(self, reason: str) -> tuple[int | None, Code]:
        code = int(reason) if _NUMBER.fullmatch(reason) else None
        own = self._own.get(reason) or (self._own.get(str(code)) if code is not None else None)
        if own:
            return code, Code(own.text, own.class_)
        if code is None:
            return None, Code("", "unknown")
        if code in Q850_RANGE:
            return code, Code(Q850.get(code, ""), "q850")
        if code < 0:
            return code, Code(VENDOR[code], "vendor") if code in VENDOR else Code("", "unknown")
        return code, Code(SIP[code], sip_class(code)) if code in SIP else Code("", "unknown")


class Codes:
    """Names end reasons and billing codes; an end reason in no table is kept, marked `unknown` and tagged."""

    Options: ClassVar[type[CodesOptions]] = CodesOptions

    fields: Sequence[Field] = (
        Field(name="end.code", type="integer", description="endReason as a number, where it is one."),
        Field(name="end.text", type="keyword", description="endReason in words; absent when it is in no table."),
        Field(name="end.class", type="keyword", description="success, redirect, client, server, global, q850, vendor or unknown."),
        Field(name="end.by", type="keyword", description="Who hung up: caller, callee or server."),
        Field(name="billing.account_type", type="keyword", description="Account charged: none, phone, gateway, card or bound."),
        Field(name="billing.party", type="keyword", description="Who pays: caller, callee or external."),
    )

    def __init__(self, options: CodesOptions, context: Context) -> None:
        for reason, own in options.codes.items():
            if own.class_ not in CLASSES:
                raise ConfigError(f"{own.class_!r} is no class", path=f"codes.{reason}.class", hint=f"one of {', '.join(CLASSES)}")
        self._meanings = _Meanings(options.codes)

    def process(self, records: Sequence[Record]) -> None:
        """Add the meanings to each record's fields."""
        meanings = self._meanings
        for record in records:
            fields = record.fields
            get = fields.get
            found, unknown = meanings[get("endReason"), get("endDirection"), get("billingMode"), get("calleeBilling")]
            fields.update(found)
            if unknown:
                fields["tags"] = [*get("tags", ()), UNKNOWN_TAG]
