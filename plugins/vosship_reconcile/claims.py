"""What one call's record says, claim by claim, with what each claim rests on and what may bend it.

It reads fields of a document and a rounding rule; it finds no call and prints nothing. Sources of the caveats: the switch's
manual as reported in docs/, and the habits of SIP networks named there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec


class Claim(msgspec.Struct, omit_defaults=True):
    """One question about the call, the answer of its record, the fields it rests on, and what may bend it."""

    question: str
    answer: str
    basis: list[str]
    caveats: list[str] = []


SERVER_ENDED = {
    "200": "the switch ended an answered call: the balance was used up, the longest duration was reached, or an operator cut it",
    "408": "a session timer or a time-out of the switch",
    "503": "the switch moved on to another gateway",
}
"""What endDirection 2 means beside these reasons (domain: codes)."""

FAILOVER = "failover tries several gateways and one record names only the last: earlier attempts on other gateways are not in it"
ALG = "an ALG (a router that rewrites SIP) or a session timer can turn who is seen to hang up; the other carrier's trace decides"
REWRITTEN = (
    "Replace Failed Reason on the switch rewrites causes (503 into 486, for one): the cause on the wire may have been another"
)
CLOCK = "the switch's own clock, in whole seconds where the layout is pipe; another carrier's clock may differ"


def claims(fields: Mapping[str, Any], rule: str) -> list[Claim]:
    """Every claim that can be read from the record; `rule` names the rounding rule in words, or says that there is none."""
    found = [_answered(fields), _duration(fields), _billed(fields, rule), _hung_up(fields), _why(fields), _route(fields)]
    return [*found, _numbers(fields), _addresses(fields), _charged(fields), _times(fields)]


def _answered(fields: Mapping[str, Any]) -> Claim:
    hold_ms = fields.get("holdTime", 0)
    if hold_ms > 0:
        at = fields.get("call.answered_at")
        answer = f"yes, at {at}" if at else "yes"
        return Claim("Was it answered?", answer, ["holdTime", "stopTime"], ["answer time is stopTime less holdTime: " + CLOCK])
    return Claim("Was it answered?", "no: it was never connected, holdTime is 0", ["holdTime"])


def _duration(fields: Mapping[str, Any]) -> Claim:
    hold_ms = fields.get("holdTime", 0)
    coarse = [] if fields.get("layout") == "pipe" else ["this layout writes whole seconds"]
    return Claim("How long was the conversation?", f"{hold_ms / 1000:.3f} s ({hold_ms:,} ms)", ["holdTime"], coarse)


def _billed(fields: Mapping[str, Any], rule: str) -> Claim:
    billed, fee_s = fields.get("call.billed_s"), fields.get("feeTime")
    basis = [name for name in ("call.billed_s", "feeTime", "fee") if name in fields]
    if billed is None and fee_s is None:
        text = "not stated: no rounding rule is configured and the layout carries no billed time"
        return Claim(
            "How many seconds are billed?", text, ["holdTime"], ["guides disagree on the switch's rounding: set `rounding`"]
        )
    parts = [f"{billed} s ({rule})"] if billed is not None else []
    if fee_s is not None:
        parts.append(f"{fee_s} s by the switch's own feetime")
    if "fee" in fields:
        parts.append(f"charged {fields['fee']}")
    return Claim("How many seconds are billed?", "; ".join(parts), basis, ["the other side may round by another rule"])


def _hung_up(fields: Mapping[str, Any]) -> Claim:
    by, reason = fields.get("end.by"), str(fields.get("endReason", ""))
    if by is None:
        return Claim("Who hung up?", "the record does not say", ["endDirection"])
    caveats = [ALG]
    if by == "server" and reason in SERVER_ENDED:
        caveats.insert(0, SERVER_ENDED[reason])
    if {"-7": "caller", "-8": "callee"}.get(reason, by) != by:
        caveats.insert(0, f"endReason {reason} says otherwise: {fields.get('end.text', '')}")
    return Claim("Who hung up?", f"the {by}", ["endDirection"], caveats)


def _why(fields: Mapping[str, Any]) -> Claim:
    reason = fields.get("endReason")
    if reason is None:
        return Claim("Why did it end?", "the record does not say", ["endReason"])
    text, kind = fields.get("end.text", "not in any table of codes"), fields.get("end.class", "unknown")
    return Claim("Why did it end?", f"{reason}: {text} ({kind})", ["endReason"], [REWRITTEN])


def _route(fields: Mapping[str, Any]) -> Claim:
    came, went = fields.get("callerGatewayId"), fields.get("calleeGatewayId")
    answer = f"in by {came or 'no named gateway'}, out by {went or 'none: no route was chosen'}"
    return Claim("Which way did it go?", answer, ["callerGatewayId", "calleeGatewayId"], [FAILOVER])


def _numbers(fields: Mapping[str, Any]) -> Claim:
    parts = []
    for side, word in (("caller", "caller"), ("callee", "called")):
        received, billed, sent = (fields.get(f"{side}{name}") for name in ("AccessE164", "E164", "ToGatewayE164"))
        parts.append(f"{word} received as {received or '(none)'}, billed as {billed or '(none)'}, sent out as {sent or '(none)'}")
    basis = [f"{side}{name}" for side in ("caller", "callee") for name in ("AccessE164", "E164", "ToGatewayE164")]
    return Claim("Which numbers?", "; ".join(parts), basis, ["caller numbers are what the caller's side sent: they prove nothing"])


def _addresses(fields: Mapping[str, Any]) -> Claim:
    answer = f"from {fields.get('callerIp', '(none)')} to {fields.get('calleeIp', '(none)')}"
    return Claim(
        "Between which addresses?", answer, ["callerIp", "calleeIp"], ["signalling addresses; media may have gone elsewhere"]
    )


def _charged(fields: Mapping[str, Any]) -> Claim:
    party, account, mode = fields.get("billing.party"), fields.get("billing.account_type"), fields.get("billingMode")
    caveats = []
    if mode == -1:
        answer = "nobody: billingMode is -1"
        if fields.get("holdTime", 0) > 0:
            caveats.append("an answered call that nobody pays for: no rate was found, or the number is free (FREE_E164S)")
        else:
            caveats.append("rejected, illegal or free")
    else:
        answer = f"the {party or 'unnamed party'}, account of kind {account or mode}"
        caveats.append("SS_NO_BILLING_TO_PHONE shifts a phone's bill to its gateway")
    return Claim("Who is charged?", answer, ["calleeBilling", "billingMode"], caveats)


def _times(fields: Mapping[str, Any]) -> Claim:
    tags = set(fields.get("tags", ())) & {"time_ambiguous", "time_skipped", "stop_before_start"}
    caveats = [CLOCK, *(f"the times are doubtful: {tag}" for tag in sorted(tags))]
    answer = f"began {fields.get('startTime', '(unknown)')}, ended {fields.get('stopTime', '(unknown)')} (UTC)"
    return Claim("When?", answer, ["startTime", "stopTime"], caveats)
