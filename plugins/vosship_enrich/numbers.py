"""A telephone number as a switch writes it, reduced to the digits that tell a country or a destination.

It does not know which column a number came from, nor what any digits mean.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from vosship.events import Field

Rule = tuple[str, str]
"""A technical prefix and what stands in its place (mostly nothing)."""

ACCESS = "00"
"""The international prefix that ITU-T E.164 recommends; no country code begins with 0."""

_SEPARATORS = str.maketrans("", "", " -.()/")
_RULE = re.compile(r"[^\s|=]+(=[0-9]*)?")


def parse_rules(text: str) -> tuple[Rule, ...]:
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
    return tuple(sorted(rules.items(), key=lambda rule: (-len(rule[0]), rule[0])))


def digits(text: str, rules: Sequence[Rule] = ()) -> str:
    """The number's digits in international form as far as the text and the rules give it; empty when it is no number.

    The longest rule that fits is applied once, and only where digits remain. Then `+`, separators and the access code
    00 go. What still holds anything but digits (a word, a SIP user, a `#`) is no number.
    """
    for prefix, instead in rules:
        rest = text.removeprefix(prefix)
        if rest != text:  # rules go from long to short
            if instead:
                rest = instead + rest
            if rest.isdigit() and rest[0] != "0" and rest.isascii():
                return rest
            return _plain(rest) or _plain(text)
    return _plain(text)


def _plain(text: str) -> str:
    if not (text.isdigit() and text.isascii()):
        text = text.translate(_SEPARATORS).removeprefix("+")
        if not (text.isdigit() and text.isascii()):
            return ""
    if text[0] == "0" and text.startswith(ACCESS):
        return text[2:]
    return text


class Side(NamedTuple):
    """Where one side's numbers stand in a record, and where their digits go."""

    billed: str
    received: str
    sent: str
    number: str
    number_sent: str


CALLER = Side("callerE164", "callerAccessE164", "callerToGatewayE164", "caller.number", "caller.number_sent")
CALLEE = Side("calleeE164", "calleeAccessE164", "calleeToGatewayE164", "callee.number", "callee.number_sent")

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
"""What `reduce` sets."""


def reduce(fields: dict[str, Any], side: Side, incoming: Sequence[Rule] = (), outgoing: Sequence[Rule] = ()) -> None:
    """Set one side's `number` (as billed) and, where it differs, `number_sent`; what is no number sets nothing."""
    get = fields.get
    billed_at, received_at, sent_at, number_at, number_sent_at = side
    text = get(billed_at) or get(received_at)
    number = ""
    if text:
        number = digits(text, incoming) if incoming or not text.isdigit() or text[0] == "0" or not text.isascii() else text
        if number:
            fields[number_at] = number
    sent = get(sent_at)
    if sent and (sent != text or outgoing is not incoming):
        sent = digits(sent, outgoing)
        if sent and sent != number:
            fields[number_sent_at] = sent
