"""One run of the simulated switch: calls, their lines, the directory and the forward, on a simulated or the real clock.

It parses no command line: `vosship simulate` and `vosship demo` give it its settings.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

import msgspec
from msgspec import Meta

from vosship.errors import ConfigError
from vosship_switch.account import Account, Copies
from vosship_switch.directory import Directory, Naming
from vosship_switch.forward import Forward, Target
from vosship_switch.forward_faults import FAULTS as FORWARD_FAULTS
from vosship_switch.forward_faults import ForwardFaults
from vosship_switch.rendering import flow_base, renderer
from vosship_switch.traffic import DISORDER_MS, Call, Traffic, arrivals

FILE_FAULTS = ("half-lines", "bad-bytes", "rewrite", "clock-back", "deletion")
FAULTS = FILE_FAULTS + FORWARD_FAULTS

BAD_SHARE = 1 / 400
"""Fault `bad-bytes`: how many lines are damaged. Chosen: enough to meet each kind of damage in a few thousand lines."""

REWRITE_EVERY = 2_000
"""Fault `rewrite`: lines between two rewrites, on average. Chosen."""

SURELY_AT = 20
"""Faults `bad-bytes` and `rewrite`: this line is hit in any case, so that a short run is dirty too. Chosen."""

CLOCK_BACK_MS = 3_600_000
"""Fault `clock-back`: once, half-way through, the clock goes back by an hour, as it does when summer time ends."""

TICK_S = 0.05
"""Real time: the longest pause between two looks at the clock. Chosen: twenty a second cost nothing and follow any rate."""


Writer = Callable[[int, int], None]
"""Makes and writes the call that ends at a moment, with the disorder it may have (both ms)."""


class ForwardSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How each record is sent when its call ends."""

    to: Target
    layout: Literal["pipe", "datagram-46"] = "pipe"
    pending: int = 10_000
    resend_s: float = 1.0
    drain_s: float = 10.0


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What a run is. With `calls` it runs on a simulated clock as fast as it can, else in real time for `seconds`."""

    directory: Path
    cps: float = 50.0
    seconds: float = 60.0
    calls: int | None = None
    seed: int = 1
    layout: Literal["pipe", "csv-52"] = "pipe"
    fields: Annotated[int, Meta(description="columns of a pipe line")] = 19
    timezone: str = "Asia/Dhaka"
    start_ms: int = 0
    interval_s: int = 3600
    max_files: int = 0
    flush_s: float = 1.0
    flush_records: int = 1000
    account: Path | None = None
    faults: frozenset[str] = frozenset()
    forward: ForwardSettings | None = None


class Progress(msgspec.Struct):
    """How far a run is, for whoever shows it."""

    calls: int = 0
    answered: int = 0
    bytes: int = 0
    latest: Call | None = None
    """The latest answered call."""


class Simulation:
    """Runs once; then `classes` says what a reconciliation of its files with its forward has to find.

    `stop` may be called from another thread or a signal handler: the run ends clean within a tick.
    """

    def __init__(self, settings: Settings, told: Callable[[Progress], None] | None = None) -> None:
        self.settings = settings
        self.progress = Progress()
        self._told = told
        self._stopping = False
        self._zone = ZoneInfo(settings.timezone)
        self._damage = Random(f"damage:{settings.seed}")
        self._shift_ms = 0
        self.classes: dict[str, int] = {}

    def stop(self) -> None:
        self._stopping = True

    def run(self) -> Account:
        """Run to the end and return the account, closed. Files are complete and closed however it ends."""
        settings = self.settings
        account = Account(settings.account)
        wire: Wire | None = None
        start_ms = settings.start_ms if settings.calls is not None else int(time.time() * 1000)
        try:
            begin = {**msgspec.to_builtins(settings, enc_hook=str), "faults": sorted(settings.faults)}
            account.note("begin", settings=begin, start_ms=start_ms)
            naming = Naming("csv" if settings.layout == "csv-52" else "txt", settings.interval_s, self._zone)
            directory = Directory(
                settings.directory, naming, account, seed=settings.seed, max_files=settings.max_files,
                flush_s=settings.flush_s, flush_records=settings.flush_records, faults=settings.faults,
            )  # fmt: skip
            with contextlib.ExitStack() as ends:
                ends.callback(directory.close)
                if settings.forward is not None:
                    wire = Wire(settings, settings.forward, account, start_ms)
                    ends.callback(wire.close)
                write = self._writer(directory, wire, start_ms)
                if settings.calls is None:
                    self._in_real_time(directory, account, write)
                else:
                    self._as_fast_as_possible(directory, account, write, settings.calls)
        finally:
            self.classes = wire.copies.classes() if wire is not None else {}
            account.close(**({"classes": self.classes} if wire is not None else {}))
        return account

    def _as_fast_as_possible(self, directory: Directory, account: Account, write: Writer, calls: int) -> None:
        settings = self.settings
        if directory.existing():
            raise ConfigError(
                f"{settings.directory} holds CDR files already, and --calls would add the same hours to them",
                hint="name an empty directory, or use --seconds",
            )
        moments = arrivals(settings.seed, settings.start_ms, settings.cps, self._zone)
        for number, at in enumerate(moments):
            if number >= calls or self._stopping:
                break
            if number == calls // 2:
                self._maybe_turn_back(account, at)
            write(at, min(DISORDER_MS, at - settings.start_ms))

    def _in_real_time(self, directory: Directory, account: Account, write: Writer) -> None:
        settings = self.settings
        begun = time.monotonic()
        written = 0
        while not self._stopping:
            elapsed = time.monotonic() - begun
            now_ms = int(time.time() * 1000)
            due = int(min(elapsed, settings.seconds) * settings.cps)
            while written < due:
                write(now_ms, 0)
                written += 1
            if now_ms + self._shift_ms >= directory.next_event_ms():
                directory.flush(now_ms + self._shift_ms)
            if elapsed >= settings.seconds:
                break
            if elapsed >= settings.seconds / 2:
                self._maybe_turn_back(account, now_ms)
            if self._told:
                self._told(self.progress)
            time.sleep(min(TICK_S, max(0.0, settings.seconds - elapsed)))

    def _maybe_turn_back(self, account: Account, at: int) -> None:
        if "clock-back" in self.settings.faults and not self._shift_ms:
            self._shift_ms = -CLOCK_BACK_MS
            account.note("clock_back", at_ms=at, by_ms=CLOCK_BACK_MS)

    def _writer(self, directory: Directory, wire: Wire | None, start_ms: int) -> Writer:
        settings, progress = self.settings, self.progress
        call_at = Traffic(settings.seed).call
        render = renderer(settings.layout, self._zone, flow_base(start_ms), settings.fields)
        bad, rewriting = "bad-bytes" in settings.faults, "rewrite" in settings.faults
        damage = self._damage.random
        told = self._told if settings.calls is not None else None

        def write(at: int, disorder_ms: int) -> None:
            now_ms = at + self._shift_ms
            call = call_at(now_ms, disorder_ms)
            if wire is None or wire.take(call):
                line, fault = render(call).encode(), ""
                surely = progress.calls == SURELY_AT
                if bad and (damage() < BAD_SHARE or surely):
                    line, fault = damaged(line, self._damage)
                if rewriting and (damage() < 1 / REWRITE_EVERY or surely):
                    directory.rewrite()
                directory.write(line, call.stop_ms, now_ms, call.number, fault)
                progress.bytes += len(line) + 1
            progress.calls += 1
            if call.hold_ms:
                progress.answered += 1
                progress.latest = call
            if told is not None and not progress.calls % 1000:
                told(progress)

        return write


class Wire:
    """The forward of one run: the faults, the copies counted, the sender."""

    def __init__(self, settings: Settings, forward: ForwardSettings, account: Account, start_ms: int) -> None:
        zone, base = ZoneInfo(settings.timezone), flow_base(start_ms)
        self._base = base
        self.copies = Copies(base)
        self._faults = ForwardFaults(settings.seed, settings.faults, account, self.copies)
        self._render = renderer(forward.layout, zone, base, settings.fields)
        self._sender = Forward(
            forward.to, account, self.copies, answered=forward.layout == "datagram-46", pending=forward.pending,
            resend_s=forward.resend_s, drain_s=forward.drain_s, patient=settings.calls is not None,
        )  # fmt: skip

    def take(self, call: Call) -> bool:
        """Forward one call as its faults will have it; True when it is to be filed too."""
        filed, fault = self._faults.filed(call)
        self.copies.enter(call.number, filed)
        self._faults.forward(call, fault, self._render, b"%d" % (self._base + call.number), self._sender.submit)
        return filed

    def close(self) -> None:
        """Send what is left, as far as the receiver takes it."""
        self._faults.release(self._sender.submit)
        self._sender.close()


def damaged(line: bytes, random: Random) -> tuple[bytes, str]:
    """The line as a faulty disk, an old install or a hostile caller would leave it, and what was done to it."""
    kind = random.choice(("no_encoding", "nul", "too_few_fields", "impossible_date", "empty"))
    at = random.randrange(len(line))
    if kind == "no_encoding":
        return line[:at] + b"\xff\xfe\x80" + line[at:], kind
    if kind == "nul":
        return b"\0" * len(line), kind
    if kind == "too_few_fields":
        return line[: len(line) // 3], kind
    if kind == "impossible_date":
        return line.replace(b"-0", b"-99").replace(b"-1", b"-99"), kind
    return b"", kind
