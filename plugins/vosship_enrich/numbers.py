"""A telephone number as a switch writes it, reduced to the digits that tell a country or a destination.

It does not know which column a number came from, nor what any digits mean.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from vosship.events import Field


class Rules(msgspec.Struct, frozen=True):
    """Technical prefixes, from long to short, each with what stands in its place (mostly nothing)."""

    pairs: tuple[tuple[str, str], ...] = ()


NO_RULES = Rules()
"""Of a gateway that strips nothing: one object, so that two such gateways are told by identity."""

ACCESS = "00"
"""The international prefix that ITU-T E.164 recommends; no country code begins with 0."""

MAX_LEADS = 64
"""Leads remembered between two gateways; chosen: there are one or two, and hostile numbers must not grow the memory."""

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
    return Rules(tuple(sorted(rules.items(), key=lambda rule: (-len(rule[0]), rule[0]))))


def digits(text: str, rules: Rules = NO_RULES) -> str:
    """The number's digits in international form as far as the text and the rules give it; empty when it is no number.

    The longest rule that fits is applied once, and only where digits remain. Then `+`, separators and the access code
    00 go. What still holds anything but digits (a word, a SIP user, a `#`) is no number.
    """
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


NAMES = ("caller.number", "caller.number_sent", "callee.number", "callee.number_sent")

Numbers = tuple[str, str, str, str]
"""What `reduce` gives for these fields: the caller's number and, where it differs, the one sent out; and the callee's two.

Empty is what is no number.
"""


class Between:
    """The rules for the numbers of a call between two gateways, each side's first the incoming gateway's, then the outgoing's.

    Digits that begin with none of the `firsts` of their side stay as they are. `leads` are what may stand before such a callee's
    number as it is sent and leaves nothing to say of that: the vendor's prefix, `+`, or what makes it no number.
    """

    __slots__ = ("callee", "callee_firsts", "caller", "caller_firsts", "leads")

    def __init__(self, caller: tuple[Rules, Rules], callee: tuple[Rules, Rules]) -> None:
        self.caller, self.callee = caller, callee
        self.caller_firsts, self.callee_firsts = _firsts(caller), _firsts(callee)
        self.leads = {""}

    def learn(self, lead: str) -> None:
        """Take the lead of a number of which nothing was to say, where the same holds for every number behind it."""
        longer = any(prefix.startswith(lead) and prefix != lead for prefix, _ in self.callee[1].pairs)
        if not longer and len(self.leads) < MAX_LEADS:
            self.leads.add(lead)


def _firsts(side: tuple[Rules, Rules]) -> frozenset[str]:
    return frozenset({"0", *(prefix[0] for rules in side for prefix, _ in rules.pairs)})


NO_BETWEEN = Between((NO_RULES, NO_RULES), (NO_RULES, NO_RULES))
"""Of gateways that strip nothing."""


def reduce(caller: str, caller_sent: str, callee: str, callee_sent: str, between: Between) -> Numbers:
    """Both sides' numbers, of the texts as billed (else as received) and as sent.

    The first by the incoming gateway's rules, the second by the outgoing gateway's.
    """
    if caller and caller == caller_sent and caller[0] not in between.caller_firsts and _all_digits(caller):
        caller_sent = ""
    else:
        caller, caller_sent = _side(caller, caller_sent, between.caller)
    text = callee
    if not callee or callee[0] in between.callee_firsts or not _all_digits(callee):
        callee = digits(callee, between.callee[0])
        if not callee or callee[0] in between.callee_firsts:
            return caller, caller_sent, *_side(text, callee_sent, between.callee)
    lead = callee_sent.removesuffix(callee)
    behind = not lead or lead != callee_sent
    if behind and lead in between.leads:
        return caller, caller_sent, callee, ""
    sent = digits(callee_sent, between.callee[1])
    if sent and sent != callee:
        return caller, caller_sent, callee, sent
    if behind:
        between.learn(lead)
    return caller, caller_sent, callee, ""


def _side(text: str, sent: str, rules: tuple[Rules, Rules]) -> tuple[str, str]:
    incoming, outgoing = rules
    number = digits(text, incoming)
    if not sent or (sent == text and outgoing is incoming):
        return number, ""
    sent = digits(sent, outgoing)
    return number, sent if sent != number else ""


def set_fields(fields: dict[str, Any], numbers: Numbers) -> None:
    """Each of the four that is not empty."""
    fields.update({name: number for name, number in zip(NAMES, numbers, strict=True) if number})


def members(numbers: Numbers) -> str:
    """Each of the four that is not empty as a member of a JSON object, behind a comma: digits need no escaping."""
    return "".join([f',"{name}":"{number}"' for name, number in zip(NAMES, numbers, strict=True) if number])


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
