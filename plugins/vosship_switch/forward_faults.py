"""What goes wrong between the file and the receiver, drawn from the seed and entered in the account.

It opens no socket: `forward` sends what is handed on here.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from random import Random

from vosship_switch.account import Account, Copies
from vosship_switch.forward import Report
from vosship_switch.traffic import Call

FAULTS = ("forward-drop", "resend", "reorder", "field-change", "file-drop")

SHARE = 0.005
"""How many calls each class of fault meets; at most one of them a call, so that the classes stay exact. Chosen."""

REORDER_SHARE, REORDER_REACH = 0.02, 40
"""Fault `reorder`: how many are held back, and behind how many later ones at most. Chosen."""

SHORTER_MS = 1_000
"""Fault `field-change` takes this off an answered call's duration: visible in every layout's resolution."""


class ForwardFaults:
    """Decides for each call, in the order of the calls, what the receiver and the file get."""

    def __init__(self, seed: int, faults: frozenset[str], account: Account, copies: Copies) -> None:
        self._draw = Random(f"forward:{seed}").random
        self._account = account
        self._copies = copies
        self._classes = [fault if fault in faults else "" for fault in ("forward-drop", "resend", "field-change", "file-drop")]
        self._reorder = "reorder" in faults
        self._held: list[tuple[int, int, Report]] = []
        self._count = 0

    def filed(self, call: Call) -> tuple[bool, str]:
        """Whether the call is to be written to its file, and the fault its forwarded copy is to have."""
        kind = int(self._draw() / SHARE)
        fault = self._classes[kind] if kind < len(self._classes) else ""
        if fault == "file-drop":
            self._account.note("unfiled", call=call.number)
            return False, ""
        return True, fault

    def forward(
        self, call: Call, fault: str, render: Callable[[Call], str], flow: bytes, submit: Callable[[Report], None]
    ) -> None:  # fmt: skip
        """Hand on the call's copy, or none, or two, now or after some later ones."""
        if fault == "forward-drop":
            self._account.note("lost", call=call.number)
        else:
            if fault == "field-change":
                changed, field = _changed(call)
                line = render(changed).encode()
                self._copies.change(call.number)
                self._account.line("changed", line, call=call.number, field=field)
            else:
                line = render(call).encode()
            report = Report(call.number, flow, line)
            if fault == "resend":
                self._account.note("sent_twice", call=call.number)
                self._hold(report)
            if self._reorder and self._draw() < REORDER_SHARE:
                self._account.note("reordered", call=call.number)
                self._hold(report)
            else:
                submit(report)
        self._count += 1
        while self._held and self._held[0][0] <= self._count:
            submit(heapq.heappop(self._held)[2])

    def release(self, submit: Callable[[Report], None]) -> None:
        """Hand on what is still held back."""
        while self._held:
            submit(heapq.heappop(self._held)[2])

    def _hold(self, report: Report) -> None:
        behind = self._count + 1 + int(self._draw() * REORDER_REACH)
        heapq.heappush(self._held, (behind, len(self._held), report))


def _changed(call: Call) -> tuple[Call, str]:
    if call.hold_ms > 3 * SHORTER_MS:
        return call._replace(hold_ms=call.hold_ms - SHORTER_MS), "holdTime"
    return call._replace(reason="502" if call.reason != "502" else "503"), "endReason"
