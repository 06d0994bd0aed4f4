"""A telephone number as a switch writes it, reduced to the digits that tell a country or a destination.

It does not know which column a number came from, nor what any digits mean.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from vosship.events import Field


class Rules(msgspec.Struct, frozen=True):
    """Technical prefixes, from long to short, each with what stands in its place (mostly nothing).

    `firsts` are the characters they begin with, and 0: a number that begins with another one needs no more than to be digits.
    `leads` are what may stand before a number that does not begin with 0 and simply goes: `S`, `S00`, `+`.
    """

    pairs: tuple[tuple[str, str], ...] = ()
    firsts: frozenset[str] = frozenset("0")
    leads: frozenset[str] = frozenset({"00", "+"})


NO_RULES = Rules()
"""Of a gateway that strips nothing: one object, so that two such gateways are told by identity."""

ACCESS = "00"
"""The international prefix that ITU-T E.164 recommends; no country code begins with 0."""

_SEPARATORS = str.maketrans("", "", " -.()/")
_RULE = re.compile(r"[^\s|=]+(=[0-9]*)?")


def parse_rules(text: str) -> Rules:
    """The strip rules in a table's cell: `00999|S|0=880`, longest first, so that `009` never hides `00999`.

    `0=880` puts 880 in the place of a leading 0. Raises ValueError with a sentence.
    """
    rules: dict[str, str] = {}
    for word in text.split("|"):
        word = word.strip()
        if not word:
            continue
        if not _RULE.fullmatch(word):
            raise ValueError(f"{word!r} is no strip rule: write PREFIX or PREFIX=DIGITS, several joined by |")
        prefix, _, instead = word.partition("=")
        if prefix in rules:
            raise ValueError(f"the strip rule for {prefix!r} stands twice")
        rules[prefix] = instead
    if not rules:
        return NO_RULES
    pairs = sorted(rules.items(), key=lambda rule: (-len(rule[0]), rule[0]))
    known = Rules(tuple(pairs), frozenset({"0", *(prefix[0] for prefix in rules)}), frozenset())
    return msgspec.structs.replace(known, leads=frozenset(_leads(known)))


def _leads(rules: Rules) -> Iterator[str]:
    prefixes = [prefix for prefix, _ in rules.pairs]
    for lead in {prefix + tail for prefix in ("", *prefixes) for tail in ("", "+", ACCESS)} - {""}:
        if digits(lead + "1", rules) == "1" and not any(longer.startswith(lead) for longer in prefixes if longer != lead):
            yield lead


def digits(text: str, rules: Rules = NO_RULES) -> str:
    """The number's digits in international form as far as the text and the rules give it; empty when it is no number.

    The longest rule that fits is applied once, and only where digits remain. Then `+`, separators and the access code
    00 go. What still holds anything but digits (a word, a SIP user, a `#`) is no number.
    """
    if text[:1] not in rules.firsts and _all_digits(text):
        return text
    for prefix, instead in rules.pairs:
        if text.startswith(prefix):
            return _plain(instead + text[len(prefix) :]) or _plain(text)
    return _plain(text)


def _plain(text: str) -> str:
    if not _all_digits(text):
        text = text.translate(_SEPARATORS).removeprefix("+")
        if not _all_digits(text):
            return ""
    return text[len(ACCESS) :] if text.startswith(ACCESS) else text


def _all_digits(text: str) -> bool:
    return text.isascii() and text.encode().isdigit()  # of bytes, because it costs half of str.isdigit (measured 2026-11-20)


COLUMNS = {
    "caller": ("callerE164", "callerAccessE164", "callerToGatewayE164"),
    "callee": ("calleeE164", "calleeAccessE164", "calleeToGatewayE164"),
}
"""Where each side's number stands as billed, as received, and as sent."""

Reduce = Callable[[dict[str, Any], str | None, str | None, Rules, Rules], None]
"""Sets, in the fields, a side's `number` (of the text as billed, else as received, by the incoming gateway's rules) and, where it
differs, `number_sent` (of the text as sent, by the outgoing gateway's); what is no number sets nothing."""


def _reducing(side: str) -> Reduce:
    number_name, sent_name = f"{side}.number", f"{side}.number_sent"

    def reduce(fields: dict[str, Any], text: str | None, sent: str | None, incoming: Rules, outgoing: Rules) -> None:
        number = ""
        if text:
            first = text[0]
            if first not in incoming.firsts and text.isascii() and text.encode().isdigit():
                fields[number_name] = number = text
                if sent == text and first not in outgoing.firsts:  # sent as billed: most callers
                    return
            elif number := digits(text, incoming):
                fields[number_name] = number
        if not sent or (sent == text and outgoing is incoming):
            return
        if number and number[0] != "0" and sent.endswith(number):  # the same number behind the vendor's prefix: most calls
            lead = sent[: -len(number)]
            if lead in outgoing.leads if lead else number[0] not in outgoing.firsts:
                return
        sent = digits(sent, outgoing)
        if sent and sent != number:
            fields[sent_name] = sent

    return reduce


reduce_caller, reduce_callee = _reducing("caller"), _reducing("callee")

READS = frozenset(name for names in COLUMNS.values() for name in names)
"""What these look at."""

FIELDS: tuple[Field, ...] = tuple(
    field
    for name in ("caller", "callee")
    for field in (
        Field(
            name=f"{name}.number",
            type="keyword",
            description=f"Digits of {name}E164 (else {name}AccessE164) without the incoming gateway's technical prefix.",
        ),
        Field(
            name=f"{name}.number_sent",
            type="keyword",
            description=f"Likewise of {name}ToGatewayE164 with the outgoing gateway's rules, where it differs from {name}.number.",
        ),
    )
)
"""What these set."""
