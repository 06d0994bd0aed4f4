"""What the receiver shows of itself from time to time: spool size, datagrams the kernel dropped, the switch's queue estimated.

It changes nothing about receiving.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from vosship.plugin import Metrics
from vosship_forward.intake import KERNEL_DROP, Intake
from vosship_forward.shelf import Segment
from vosship_forward.spool import Spool
from vosship_forward.udp import Datagrams

PENDING_PARAMETER = "EXTERNAL_MAX_CDR_PENDING_SIZE"
"""The switch parameter that bounds its queue of records not yet forwarded; past it the switch drops the oldest, silently."""

WARN_RATIO = 0.5
"""The share of the switch's queue at which operators want a word (CDR domain sheet, section 5)."""


class Gauges:
    """Call `started` once with the spool as it was found, and `tick` every few seconds."""

    def __init__(
        self, spool: Spool, intake: Intake, udp: Sequence[Datagrams], *, pending_size: int, metrics: Metrics, log: logging.Logger
    ) -> None:
        self._spool = spool
        self._intake = intake
        self._udp = udp
        self._pending_size = pending_size
        self._metrics = metrics
        self._log = log
        self._dropped = 0

    def started(self, absent_s: float, rate: float) -> None:
        """Say what the time without a receiver may have cost; `rate` as `records_per_s` found it before."""
        self._estimate(absent_s, rate, "the switch's queue may have filled while nobody listened")

    def tick(self, now: float) -> None:
        """Set every gauge."""
        self._metrics.set("vosship_spool_bytes", self._spool.size)
        stuck = self._spool.stuck_since
        stuck_s = now - stuck if stuck is not None else 0.0
        self._estimate(stuck_s, records_per_s(self._spool.shelf), "the switch's queue may be filling while nothing can be kept")
        dropped = sum(one.dropped() for one in self._udp)
        if dropped > self._dropped:
            self._intake.refuse(KERNEL_DROP, "any", dropped - self._dropped)
        self._dropped = dropped

    def _estimate(self, absent_s: float, rate: float, phrase: str) -> None:
        if not self._pending_size:
            return  # how long the switch's queue is set to be is not known, and not guessed
        ratio = absent_s * rate / self._pending_size
        self._metrics.set("vosship_forward_pending_estimate_ratio", min(1.0, ratio))
        if ratio >= WARN_RATIO:
            self._log.warning(
                phrase,
                extra={
                    "absent_s": round(absent_s),
                    "records_per_s": round(rate, 1),
                    "queue": self._pending_size,
                    "lost_estimate": max(0, round(absent_s * rate) - self._pending_size),
                },
            )


def records_per_s(shelf: Sequence[Segment]) -> float:
    """How fast records came lately: the mean over the newest segment that holds enough of them."""
    for segment in reversed(shelf):
        span_s = (segment.last_us - segment.first_us) / 1e6
        if segment.records > 1 and span_s > 0:
            return segment.records / span_s
    return 0.0
