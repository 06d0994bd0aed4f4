"""From lines just received to frames in the spool, and from safe frames to answers: what TCP and UDP share.

It opens no socket: `tcp` and `udp` do.
"""

from __future__ import annotations

import ipaddress
import logging
import time
from collections.abc import Callable, Sequence

from vosship.plugin import Metrics
from vosship_forward.columns import Reading
from vosship_forward.frames import Flag, Kind, encode, pack_address
from vosship_forward.resends import Window
from vosship_forward.spool import Spool, Ticket

REPEAT_S = 60.0
"""A reason for refusing is logged at most this often (chosen: a flood must not fill the log)."""

FOREIGN = "foreign"
TOO_MANY = "too_many_connections"
TOO_LONG = "line_too_long"
BUSY = "busy"
KERNEL_DROP = "kernel_buffer_full"
REASONS = (FOREIGN, TOO_MANY, TOO_LONG, BUSY, KERNEL_DROP)
"""Why something is not taken: labels of `vosship_forward_refused_total`, all there from the start, so that a first refusal is
an increase that an alert can see."""


class Intake:
    """Takes lines of any sender, marks resends, hands them to the spool, and answers when they are safe."""

    def __init__(
        self,
        spool: Spool,
        window: Window,
        *,
        reading: Reading,
        answer_text: bytes,
        answers: bool,
        allow: Sequence[ipaddress.IPv4Network | ipaddress.IPv6Network],
        now: Callable[[], float],
        log: logging.Logger,
        metrics: Metrics,
    ) -> None:
        self.spool = spool
        self.answers = answers
        self._window = window
        self._reading = reading
        self._answer_text = answer_text
        self._allow = allow
        self._allowed: dict[str, bool] = {}
        self._now = now
        self._log = log
        self._metrics = metrics
        self._said: dict[str, tuple[float, int]] = {}
        for reason in REASONS:
            metrics.count("vosship_forward_refused_total", 0, reason=reason)

    def may_send(self, host: str) -> bool:
        """Whether that address is on the allow-list; an empty list allows every address."""
        if not self._allow:
            return True
        known = self._allowed.get(host)
        if known is None:
            if len(self._allowed) > 10_000:  # chosen: forged addresses must not fill memory
                self._allowed.clear()
            address = ipaddress.ip_address(host.partition("%")[0])
            if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
                address = address.ipv4_mapped
            known = self._allowed[host] = any(address in network for network in self._allow)
        return known

    def frame(self, line: bytes, host: str, port: int, flags: int) -> tuple[bytes, bytes]:
        """The frame of one record received just now, and the answer its sender waits for (empty: none)."""
        now = self._now()
        key, answer = self._reading.examine(line)
        if self._window.arrived(key, int(now)):
            flags |= Flag.RESEND
        if self._answer_text:
            answer = self._answer_text
        elif self.answers and not answer:
            self.say("record lacks the field to answer with, kept without an answer", host)
        frame = encode(Kind.DATA, int(now * 1e6), line, flags=flags, peer=pack_address(host), port=port, key=key)
        return frame, answer

    def keep(self, frames: list[bytes], landed: Callable[[], None]) -> None:
        """Hand frames to the spool; `landed` is called on the loop once they are on disk, never before."""
        count = len(frames)

        def safe() -> None:
            self._metrics.count("vosship_forward_received_total", count)
            landed()

        self.spool.append(Ticket(frames, safe))

    def refuse(self, reason: str, host: str, count: int = 1) -> None:
        """Count what is not taken; say so now and then."""
        self._metrics.count("vosship_forward_refused_total", count, reason=reason)
        self.say("sender refused", host, count, reason=reason)

    def say(self, phrase: str, host: str, count: int = 1, **keys: str) -> None:
        """Log something that a sender can cause as often as it likes: at most once in REPEAT_S, with the count."""
        kind = phrase + "".join(keys.values())
        now = time.monotonic()
        said_at, held = self._said.get(kind, (-REPEAT_S, 0))
        if now - said_at < REPEAT_S:
            self._said[kind] = (said_at, held + count)
            return
        self._said[kind] = (now, 0)
        self._log.warning(phrase, extra={**keys, "peer": host, "count": held + count})
