"""The evidence of one call as text, and as one self-contained page that can be sent to a carrier.

It decides nothing: every word is the evidence's.
"""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from vosship_reconcile.evidence import CopyOfCall, Evidence, Neighbour, Raw
from vosship_reconcile.markup import page, table
from vosship_reconcile.text import table as columns

HEADLINES = {True: "; their raw lines prove them", False: "; A COPY CONTRADICTS ITS RAW LINE", None: ""}

PROOFS = {True: "proved", False: "CONTRADICTED", None: "nothing to compare with"}


def headline(evidence: Evidence) -> str:
    """What was found, in one line."""
    if not evidence.found:
        return f"no call found for {evidence.question}"
    copies = len(evidence.copies)
    proof = {True: "; its raw line proves the stored copy", False: "; A STORED COPY CONTRADICTS ITS RAW LINE", None: ""}[
        evidence.proved
    ]
    agree = f"{len(evidence.differing)} fields differ" if evidence.differing else "all copies agree" if copies > 1 else "one copy"
    also = f"; {evidence.also_matching} further calls fit as well" if evidence.also_matching else ""
    return f"{copies} {'copy' if copies == 1 else 'copies'} of one call: {agree}{proof}{also}"


def lines(evidence: Evidence) -> Iterator[str]:
    """The dossier as text."""
    yield headline(evidence)
    if not evidence.found:
        return
    yield ""
    for copy in evidence.copies:
        yield f"{copy.source}: {_place(copy)}"
        if copy.raw is not None:
            yield f"  {_reread(copy.raw)}"
            yield f"  {copy.raw.line}"
        if copy.note:
            yield f"  {copy.note}"
    if evidence.differing:
        yield ""
        yield "fields that differ:"
        for name, values in evidence.differing.items():
            yield f"  {name}: {'; '.join(values)}"
    yield ""
    for claim in evidence.claims:
        yield f"{claim.question} {claim.answer}"
        for caveat in claim.caveats:
            yield f"  but: {caveat}"
    if evidence.neighbours:
        yield ""
        yield "other calls of the number:"
        rows = [
            (
                f"{one.apart_s:+,.0f} s",
                one.start,
                f"{one.seconds:g} s",
                f"{one.caller} > {one.callee}, {one.callee_gateway}, {one.end}",
            )
            for one in evidence.neighbours
        ]
        yield from columns(rows)


def _neighbour(one: Neighbour) -> tuple[str, ...]:
    what = f"{one.caller} > {one.callee}, {one.callee_gateway}, {one.end}"
    return f"{one.apart_s:+,.0f} s", one.start, f"{one.seconds:g} s", what


def render(evidence: Evidence) -> str:
    """The dossier as a page."""
    return page(f"Evidence: {evidence.question}", _body(evidence))


def _body(evidence: Evidence) -> Iterator[str]:
    kind = "equal" if evidence.found and not evidence.differing and evidence.proved is not False else "different"
    yield f"<h1>Evidence of one call</h1>\n<div class='quiet'>{escape(evidence.question)}</div>"
    yield f'<div class="verdict {kind}">{escape(headline(evidence))}</div>'
    if not evidence.found:
        return
    yield "<h2>What the record says</h2>"
    rows = [(claim.question, claim.answer, "; ".join(claim.caveats)) for claim in evidence.claims]
    yield table(("Question", "Answer", "What may bend it"), rows)
    yield "<h2>Copies</h2>"
    for copy in evidence.copies:
        yield f"<h3>{escape(copy.source)}</h3><div class='quiet'>{escape(_place(copy))}</div>"
        if copy.raw is not None:
            yield f"<pre>{escape(copy.raw.line)}</pre>"
            proof = _reread(copy.raw)
            yield f"<div>{escape(proof)}</div>"
        if copy.note:
            yield f"<div>{escape(copy.note)}</div>"
    if evidence.differing:
        yield "<h2>Fields that differ</h2>"
        yield table(("Field", "Values"), [(name, "; ".join(values)) for name, values in evidence.differing.items()])
    if evidence.neighbours:
        yield "<h2>Other calls of the number</h2>"
        shown = [
            (f"{one.apart_s:+,.0f} s", one.start, one.caller, one.callee, one.callee_gateway, f"{one.seconds:g}", one.end)
            for one in evidence.neighbours
        ]
        yield table(("Apart", "Start (UTC)", "Caller", "Called", "Out by", "Seconds", "End"), shown, (0, 5))
    yield "<h2>All fields</h2>"
    names = sorted({name for copy in evidence.copies for name in copy.fields})
    cells = [(name, *[_text(copy.fields.get(name)) for copy in evidence.copies]) for name in names]
    yield table(("Field", *[copy.source for copy in evidence.copies]), cells)


def _reread(raw: Raw) -> str:
    return f"read again from {raw.read_from} byte {raw.offset}: id {raw.id}, {PROOFS[raw.proved]}"


def _text(value: object) -> str:
    if value is None:
        return ""
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _place(copy: CopyOfCall) -> str:
    fields = copy.fields
    where = f"{fields.get('log.file.path', '?')} byte {fields.get('log.offset', '?')}"
    arrived = ""
    if "forward.received_at" in fields:
        arrived = f", arrived {fields['forward.received_at']} from {fields.get('forward.peer', '?')}"
    return f"{where}, document {copy.id}{arrived}"
