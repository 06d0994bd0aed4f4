"""Everything known of one call: its copies, its raw line proved by its document id, what it claims, its neighbours.

It is given copies and lines; it opens no file and no store.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from vosship.query import epoch_ms
from vosship_reconcile.claims import Claim, claims
from vosship_reconcile.columns import FURTHER, TEXTS, TIMES

NEIGHBOURS = 10
"""Calls of the same number that are shown (chosen: a page)."""

SLOP_MS = 2000
"""A moment still counts as within a call so far from its ends (chosen: somebody's watch, and whole seconds)."""

SAME_MS = 1000
"""Copies of one call differ at most so much in their times (layouts with whole seconds)."""


class Raw(msgspec.Struct, omit_defaults=True):
    """The raw line as read again, where, and whether its document id is the one it must have."""

    read_from: str
    offset: int
    line: str
    id: str
    proved: bool | None = None
    """None: there is no document to compare with."""


class CopyOfCall(msgspec.Struct, omit_defaults=True):
    """One copy: from which source, its fields, its raw line where that can still be read."""

    source: str
    kind: str
    """`input` (file or spool) or `index`."""
    fields: dict[str, Any]
    id: str = ""
    raw: Raw | None = None
    note: str = ""


class Neighbour(msgspec.Struct):
    """Another call of the same number, `apart_s` from this one's start."""

    apart_s: float
    start: str
    seconds: float
    caller: str
    callee: str
    callee_gateway: str
    end: str


class Evidence(msgspec.Struct):
    """The dossier of one call."""

    question: str
    found: bool
    proved: bool | None
    """True: every document there is was proved by its raw line; False: one contradicts it; None: nothing to compare."""
    also_matching: int
    copies: list[CopyOfCall]
    differing: dict[str, list[str]]
    codes: dict[str, str]
    claims: list[Claim]
    neighbours: list[Neighbour]


def choose(copies: Iterable[CopyOfCall], at_ms: int | None, wanted_id: str) -> tuple[list[CopyOfCall], list[CopyOfCall], int]:
    """The copies of the call that is meant, those of other calls, and how many further calls fit as well.

    Meant is the call of that id, else the one nearest to the moment, else the newest.
    """
    groups = _grouped(copies)
    if wanted_id:
        mine = next((group for group in groups if any(copy.id == wanted_id for copy in group)), [])
        also = 0
    else:
        groups.sort(key=lambda group: (_distance(group[0].fields, at_ms), group[0].fields["stopTime"], group[0].id))
        if at_ms is None:
            groups.sort(key=lambda group: group[0].fields["stopTime"], reverse=True)
        mine = groups[0] if groups else []
        also = sum(1 for group in groups[1:] if _distance(group[0].fields, at_ms) == 0)
    return mine, [copy for group in groups if group is not mine for copy in group], also


def assemble(question: str, mine: Sequence[CopyOfCall], others: Sequence[CopyOfCall], also: int, rule: str) -> Evidence:
    """Put the dossier together. The first input's copy speaks for the call, else the first of all."""
    if not mine:
        return Evidence(question, False, None, 0, [], {}, {}, [], [])
    ordered = sorted(mine, key=lambda copy: (copy.kind != "input", copy.fields.get("channel") != "file", copy.source, copy.id))
    fields = ordered[0].fields
    proofs = [copy.raw.proved for copy in ordered if copy.raw is not None and copy.raw.proved is not None]
    return Evidence(
        question=question,
        found=True,
        proved=all(proofs) if proofs else None,
        also_matching=also,
        copies=ordered,
        differing=differing(ordered),
        codes={name: str(fields[name]) for name in CODES if name in fields},
        claims=claims(fields, rule),
        neighbours=neighbours(fields, others),
    )


CODES = ("endReason", "end.code", "end.text", "end.class", "end.by", "billing.account_type", "billing.party")


def differing(copies: Sequence[CopyOfCall]) -> dict[str, list[str]]:
    """Per field in which copies that have it disagree, what each says; whole seconds agree with their milliseconds."""
    found: dict[str, list[str]] = {}
    coarse = any(copy.fields.get("layout") != "pipe" for copy in copies)
    for name in (*TIMES, "holdTime", *TEXTS, *FURTHER):
        values = [(copy.source, copy.fields[name]) for copy in copies if name in copy.fields]
        if len({_comparable(name, value, coarse) for _, value in values}) > 1:
            found[name] = [f"{source}: {value}" for source, value in values]
    return found


def _comparable(name: str, value: Any, coarse: bool) -> Any:
    if name in TIMES:
        return epoch_ms(value) // 1000
    return value // 1000 if name == "holdTime" and coarse else value


def neighbours(fields: Mapping[str, Any], others: Sequence[CopyOfCall]) -> list[Neighbour]:
    """The nearest other calls, one copy of each, in time."""
    begin = epoch_ms(fields.get("startTime", fields["stopTime"]))
    found: dict[tuple[Any, ...], Neighbour] = {}
    for copy in others:
        own = copy.fields
        start = own.get("startTime", own["stopTime"])
        neighbour = Neighbour(
            apart_s=round((epoch_ms(start) - begin) / 1000, 3),
            start=start,
            seconds=own.get("holdTime", 0) / 1000,
            caller=own.get("callerE164", ""),
            callee=own.get("calleeE164", ""),
            callee_gateway=own.get("calleeGatewayId", ""),
            end=f"{own.get('endReason', '')} {own.get('end.text', '')}".strip(),
        )
        found.setdefault(_call_key(own), neighbour)
    nearest = sorted(found.values(), key=lambda one: (abs(one.apart_s), one.start, one.callee))[:NEIGHBOURS]
    return sorted(nearest, key=lambda one: (one.start, one.callee))


def _grouped(copies: Iterable[CopyOfCall]) -> list[list[CopyOfCall]]:
    """Copies of one call together; further equal copies from one source are calls of their own, unless sent again."""
    groups: dict[tuple[Any, ...], list[list[CopyOfCall]]] = {}
    for copy in copies:
        alike = groups.setdefault(_call_key(copy.fields), [])
        resent = "resend" in copy.fields.get("tags", ())
        for group in alike:
            if resent or all(copy.source != other.source for other in group):
                group.append(copy)
                break
        else:
            alike.append([copy])
    return [group for alike in groups.values() for group in alike]


def _call_key(fields: Mapping[str, Any]) -> tuple[Any, ...]:
    start = epoch_ms(fields.get("startTime", fields["stopTime"])) // SAME_MS
    return (fields.get("callerE164"), fields.get("calleeE164"), start, fields.get("callerGatewayId"), fields.get("switch"))


def _distance(fields: Mapping[str, Any], at_ms: int | None) -> int:
    if at_ms is None:
        return 0
    begin, end = epoch_ms(fields.get("startTime", fields["stopTime"])), epoch_ms(fields["stopTime"])
    if begin - SLOP_MS <= at_ms <= end + SLOP_MS:
        return 0
    return min(abs(begin - at_ms), abs(end - at_ms))
