"""The real-time report as the switch sends it: one receiver, a bounded queue that drops its oldest, resends until answered.

It does not make the lines and applies no seeded fault: `forward_faults` decides what is handed over here, and in which order.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
import time
from collections import deque
from typing import Literal, NamedTuple
from urllib.parse import urlsplit

import msgspec

from vosship.errors import ConfigError
from vosship_switch.account import Account, Copies

Transport = Literal["tcp", "udp"]

WINDOW = 64
"""Datagrams sent and not yet answered. Chosen: a receiver's default socket buffer (208 KiB) holds them several times over."""

CHUNK = 200
"""Records written to a connection at once, at most. Chosen: 40-80 KB, below a default send buffer."""

RECONNECT_S = 0.2
"""Pause between two attempts to connect. Chosen: soon enough for tests, harmless for a receiver."""

UNANSWERED_PER_S = 5_000
"""Datagrams a second where no answer paces them. Chosen: the rate a receiver is asked to take without loss."""


class Target(msgspec.Struct, frozen=True):
    """Where to send, and how."""

    host: str
    port: int
    transport: Transport


class Report(NamedTuple):
    """One record on its way: `flow` is what the receiver answers with."""

    call: int
    flow: bytes
    line: bytes


def target(text: str) -> Target:
    """`HOST:PORT`, `HOST:PORT/udp` or `HOST:PORT/tcp` (the default). Raises ConfigError."""
    address, _, transport = text.partition("/")
    try:
        parts = urlsplit(f"//{address}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host or not port or transport not in ("", "tcp", "udp"):
        raise ConfigError(f"--forward {text!r} names no receiver", hint="HOST:PORT, HOST:PORT/tcp or HOST:PORT/udp")
    return Target(host, port, "udp" if transport == "udp" else "tcp")


class Forward:
    """Sends reports from a thread of its own.

    `submit` never waits for an absent receiver: past `pending` records the oldest is dropped, silently but for the account.
    With `patient`, it waits for one that is there but slower, as a run on a simulated clock must.
    """

    def __init__(
        self, to: Target, account: Account, copies: Copies, *, answered: bool, pending: int, resend_s: float, drain_s: float,
        patient: bool,
    ) -> None:  # fmt: skip
        self._to = to
        self._account = account
        self._copies = copies
        self._answered = answered and to.transport == "udp"
        self._pending = pending
        self._resend_s = resend_s
        self._drain_s = drain_s
        self._patient = patient
        self._queue: deque[Report] = deque()
        self._changed = threading.Condition()
        self._away = True
        self._tried_at = 0.0
        self._heard_at = 0.0
        self._ending = False
        self._give_up_at = float("inf")
        try:
            found = socket.getaddrinfo(to.host, to.port, type=socket.SOCK_STREAM)[0]
        except OSError as error:
            raise ConfigError(f"--forward: {to.host} is no known host: {error.strerror}", hint="name an address") from error
        self._family, self._address = found[0], found[4]
        self._wake_read, self._wake_write = socket.socketpair()
        self._wake_read.setblocking(False)
        self._wake_write.setblocking(False)
        run = self._run_tcp if to.transport == "tcp" else self._run_udp
        self._thread = threading.Thread(target=run, name="forward", daemon=True)
        self._thread.start()

    def submit(self, report: Report) -> None:
        """Hand over one record."""
        with self._changed:
            if self._patient and len(self._queue) >= self._pending:
                self._changed.wait_for(lambda: len(self._queue) < self._pending or (self._away and self._tried_at > 0))
            if len(self._queue) >= self._pending:
                oldest = self._queue.popleft()
                self._account.note("dropped", call=oldest.call, why="pending")
            self._queue.append(report)
            if len(self._queue) == 1:
                self._changed.notify_all()
                self._wake()

    def close(self) -> None:
        """Wait up to `drain_s` until everything is sent (and answered), then end; what is left counts as dropped."""
        self._give_up_at = time.monotonic() + self._drain_s
        with self._changed:
            self._ending = True
            self._changed.notify_all()
        self._wake()
        self._thread.join()
        for report in self._queue:
            self._account.note("dropped", call=report.call, why="end")
        self._wake_read.close()
        self._wake_write.close()

    def _wake(self) -> None:
        with contextlib.suppress(BlockingIOError):  # a full pipe wakes just as well
            self._wake_write.send(b"\0")

    def _take(self, count: int) -> list[Report]:
        with self._changed:
            taken = [self._queue.popleft() for _ in range(min(count, len(self._queue)))]
            if taken:
                self._changed.notify_all()
        return taken

    def _is_away(self, away: bool) -> None:
        with self._changed:
            self._away = away
            self._tried_at = time.monotonic()
            self._changed.notify_all()

    def _over(self, idle: bool) -> bool:
        return self._ending and (idle or time.monotonic() >= self._give_up_at)

    # TCP: newline-terminated, one connection for as long as it lasts; what was in flight when it breaks is sent again.

    def _run_tcp(self) -> None:
        connection: socket.socket | None = None
        while not self._over(idle=not self._queue):
            if connection is None:
                connection = self._connect()
                continue
            with self._changed:
                self._changed.wait_for(lambda: bool(self._queue) or self._ending, timeout=RECONNECT_S)
            if not _alive(connection):
                self._broken(connection, [])
                connection = None
                continue
            batch = self._take(CHUNK)
            if not batch:
                continue
            try:
                connection.sendall(b"".join([report.line + b"\n" for report in batch]))
            except OSError:
                self._broken(connection, batch)
                connection = None
            else:
                for report in batch:
                    self._arrived(report)
        if connection is not None:
            _finish(connection)

    def _connect(self) -> socket.socket | None:
        connection = socket.socket(self._family, socket.SOCK_STREAM)
        connection.settimeout(max(1.0, self._resend_s))
        try:
            connection.connect(self._address)
        except OSError:
            connection.close()
            self._is_away(True)
            with self._changed:
                self._changed.wait(RECONNECT_S)
            return None
        self._account.note("connected")
        self._is_away(False)
        return connection

    def _broken(self, connection: socket.socket, batch: list[Report]) -> None:
        connection.close()
        self._account.note("broken", calls=[report.call for report in batch])
        with self._changed:
            self._queue.extendleft(reversed(batch))
        self._is_away(True)

    # UDP: one record a datagram; where answers are expected, each is sent again until its own comes back.

    def _run_udp(self) -> None:
        waiting: dict[bytes, tuple[Report, float]] = {}  # in order of deadline: the time-out is the same for all
        flow = socket.socket(self._family, socket.SOCK_DGRAM)
        with flow, selectors.DefaultSelector() as selector:
            flow.connect(self._address)
            flow.setblocking(False)
            selector.register(flow, selectors.EVENT_READ)
            selector.register(self._wake_read, selectors.EVENT_READ)
            self._is_away(False)
            while not self._over(idle=not self._queue and not waiting):
                self._send_datagrams(flow, waiting)
                now = time.monotonic()
                first_due = next(iter(waiting.values()))[1] if waiting else now + RECONNECT_S
                if not self._queue or len(waiting) >= WINDOW or not self._answered:
                    selector.select(max(0.0, min(first_due, self._give_up_at) - now) if waiting or not self._queue else 0)
                self._read_answers(flow, waiting)
                self._send_overdue(flow, waiting)
            if self._answered:
                self._late_answers(flow, selector, waiting)
            for report, _ in waiting.values():
                self._account.note("dropped", call=report.call, why="unanswered")

    def _send_datagrams(self, flow: socket.socket, waiting: dict[bytes, tuple[Report, float]]) -> None:
        if not self._answered:
            for report in self._take(CHUNK):
                if _send(flow, report.line):
                    self._arrived(report)
                else:
                    self._account.note("dropped", call=report.call, why="refused")
                if self._patient:
                    time.sleep(1 / UNANSWERED_PER_S)
            return
        for report in self._take(WINDOW - len(waiting)):
            _send(flow, report.line)
            self._account.note("sent", call=report.call)
            if report.flow in waiting:  # the same record twice on purpose: one answer settles the one, the next the other
                waiting[report.flow + b"'"] = (report, time.monotonic() + self._resend_s)
            else:
                waiting[report.flow] = (report, time.monotonic() + self._resend_s)

    def _read_answers(self, flow: socket.socket, waiting: dict[bytes, tuple[Report, float]]) -> None:
        with contextlib.suppress(BlockingIOError):
            self._wake_read.recv(4096)
        while True:
            try:
                answer = flow.recv(2048).strip()
            except BlockingIOError:
                return
            except ConnectionRefusedError:  # nobody listens at the moment
                self._is_away(True)
                continue
            except OSError:
                return
            self._take_answer(answer, waiting)

    def _take_answer(self, answer: bytes, waiting: dict[bytes, tuple[Report, float]]) -> None:
        self._heard_at = time.monotonic()
        key = answer if answer in waiting else answer + b"'"
        found = waiting.pop(key, None)
        if not self._copies.answer(answer):
            self._account.note("strange_answer")
        elif found is None:
            self._account.note("late_answer")
        if self._away:
            self._is_away(False)

    def _send_overdue(self, flow: socket.socket, waiting: dict[bytes, tuple[Report, float]]) -> None:
        now = time.monotonic()
        overdue = []
        for key, (_, due) in waiting.items():
            if due > now:
                break
            overdue.append(key)
        if overdue and not self._away and now - self._heard_at >= self._resend_s:
            self._is_away(True)
        for key in overdue:
            report, _ = waiting.pop(key)
            _send(flow, report.line)
            self._account.note("resent", call=report.call)
            waiting[key] = (report, now + self._resend_s)

    def _late_answers(
        self, flow: socket.socket, selector: selectors.BaseSelector, waiting: dict[bytes, tuple[Report, float]]
    ) -> None:
        """Gather answers to datagrams sent twice: each tells of one more copy that arrived."""
        until = time.monotonic() + (min(self._resend_s, 1.0) if self._account.totals["resent"] else 0.0)
        while (left := until - time.monotonic()) > 0:
            selector.select(left)
            self._read_answers(flow, waiting)

    def _arrived(self, report: Report) -> None:
        self._copies.arrived(report.call)
        self._account.note("sent", call=report.call)


def _send(flow: socket.socket, datagram: bytes) -> bool:
    try:
        flow.send(datagram)
    except OSError:  # refused, or the buffer is full: as good as lost on the way
        return False
    return True


def _alive(connection: socket.socket) -> bool:
    """Whether the peer is still there, as far as can be seen without sending; what it said is thrown away."""
    connection.setblocking(False)
    try:
        while connection.recv(65_536):
            pass
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        connection.settimeout(30)
    return False


def _finish(connection: socket.socket) -> None:
    """Say that no more will come and wait for the receiver to have read it all."""
    with connection, contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_WR)
        connection.settimeout(2)
        while connection.recv(65_536):
            pass
