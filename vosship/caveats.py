"""What bends a figure of `stats`, said beside it: switch parameters, gaps, clock changes, and what the calls themselves show.

It computes no figure. Sources: the switch's manual as reported in docs/, and ITU-T E.411 and E.425 for the definitions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from vosship.query import Row

ENOUGH_ATTEMPTS = 2000
"""Attempts without one failure that prove that failures are not written (chosen: at 99.5 % answered the
odds of that are 1 in 20,000)."""

_OFF = ("off", "0", "false", "no")

_BENDING: Mapping[str, tuple[str, str]] = {
    "SS_CDR_RECORD_NONCONNECT": (
        "off",
        "SS_CDR_RECORD_NONCONNECT is Off: failed calls are not written; ASR and NER mean nothing",
    ),
    "SS_CDR_RECORD_ILLEGAL": ("off", "SS_CDR_RECORD_ILLEGAL is Off: rejected calls are not written, so `illegal` is too low"),
    "RECORD_SERVER_HANG_UP": ("off", "RECORD_SERVER_HANG_UP is Off: calls that the switch ended are missing"),
    "RECORD_ZERO_HOLD_TIME": (
        "off",
        "RECORD_ZERO_HOLD_TIME is Off: calls of no duration are missing; ASR and NER are too high",
    ),
    "NO_CDR_E164S": ("set", "NO_CDR_E164S is set: calls of those numbers are missing"),
    "FREE_E164S": ("set", "FREE_E164S is set: billingMode -1 also marks calls that are free on purpose, so `illegal` is too high"),
}
"""Parameter, the setting that bends figures (`set`: any value), and how."""

_LAST_GATEWAY = ("callee_gateway", "vendor")
_PAYER = ("customer", "billing_mode")


def caveats(
    *,
    rows: Sequence[Row],
    by: Iterable[str],
    parameters: Mapping[str, str | int],
    has_end_code: bool = True,
    gaps: Iterable[str] = (),
    clock_changes: Iterable[str] = (),
) -> list[str]:
    """Everything that bends these figures, a sentence each; true of every row."""
    found = []
    for name, (bend, sentence) in _BENDING.items():
        value = str(parameters.get(name, "")).strip()
        if value and (bend == "set" or value.lower() in _OFF):
            found.append(sentence)
    attempts, answered = sum(row.attempts for row in rows), sum(row.answered for row in rows)
    if attempts == answered and attempts >= ENOUGH_ATTEMPTS and not any("NONCONNECT" in each for each in found):
        found.append(f"not one of {attempts:,} attempts failed: SS_CDR_RECORD_NONCONNECT seems Off; ASR and NER mean nothing")
    words = set(by)
    if words.intersection(_LAST_GATEWAY):
        found.append("a call that failed over names only its last gateway: a vendor's ASR and NER are flattering")
    if words.intersection(_PAYER) and str(parameters.get("SS_NO_BILLING_TO_PHONE", "")).lower() not in ("", *_OFF):
        found.append("SS_NO_BILLING_TO_PHONE is On: who is billed is shifted from the phone to its gateway")
    if not has_end_code:
        found.append("no processor names end codes: NER counts answered calls only (configure `codes`)")
    found += [f"the copy has a gap: {gap}" for gap in gaps]
    found += list(clock_changes)
    return found


def clock_changes(from_ms: int, to_ms: int, zone: ZoneInfo) -> list[str]:
    """A sentence for each hour or so that the switch's clock wrote twice or never within the window."""
    found = []
    step = timedelta(hours=1)
    moment = datetime.fromtimestamp(from_ms // 1000, UTC).replace(minute=0, second=0)
    end = datetime.fromtimestamp(to_ms / 1000, UTC)
    before = moment.astimezone(zone).utcoffset() or timedelta()
    while moment < end:
        moment += step
        after = moment.astimezone(zone).utcoffset() or timedelta()
        if after != before and moment < end:
            local = moment.astimezone(zone)
            if after < before:
                text = "the clock went back before {}: local times that occur twice were taken as the first (tag time_ambiguous)"
            else:
                text = "the clock went forward before {}: local times that never occurred were shifted (tag time_skipped)"
            found.append(text.format(f"{local:%Y-%m-%d %H:%M}"))
        before = after
    return found
