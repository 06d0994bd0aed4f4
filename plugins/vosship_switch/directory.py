"""The CDR directory as the switch keeps it: files by the stop's interval, bursts that cut lines, the oldest deleted.

It does not make the lines, and it keeps no time: the caller says what time it is.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import IO, Literal
from zoneinfo import ZoneInfo

from vosship.errors import ConfigError, FatalError
from vosship_switch.account import Account
from vosship_switch.clock import LocalClock

LATE_MS = 5_000
"""A file stays open this long after its interval, for calls noted a moment after they ended. Chosen: above the disorder of 2 s."""

CUT_SHARE = 0.7
"""How many bursts end inside a line. Chosen: most, as a buffer of fixed size would."""

DELETION_SHARE = 0.2
"""Fault `deletion`: at how many closings a random older file vanishes. Chosen."""

Family = Literal["txt", "csv"]


class Naming:
    """What a file is called: by the local wall clock at the start of its interval.

    `txt`: `YYYYMMDDHH.txt` for intervals of whole hours, `YYYYMMDDHHMM.txt` of whole minutes, else `YYYYMMDDHHMMSS.txt` (how the
    switch names sub-hour files is not documented). `csv`: `cdr_YYYYMMDD_HHMMSS.csv`.
    """

    def __init__(self, family: Family, interval_s: int, zone: ZoneInfo) -> None:
        self.family = family
        self.interval_s = interval_s
        self.local_s = LocalClock(zone).local_s
        if family == "csv":
            self._format, self._pattern = "cdr_%Y%m%d_%H%M%S.csv", re.compile(r"cdr_\d{8}_\d{6}\.csv")
        else:
            digits = "" if interval_s % 3600 == 0 else "%M" if interval_s % 60 == 0 else "%M%S"
            self._format, self._pattern = f"%Y%m%d%H{digits}.txt", re.compile(r"\d{10}(\d\d){0,2}\.txt")

    def interval(self, epoch_ms: int) -> int:
        """The number of the interval a moment lies in, counted on the wall clock: it can recur when the clock goes back."""
        return self.local_s(epoch_ms // 1000) // self.interval_s

    def name(self, interval: int) -> str:
        return datetime.fromtimestamp(interval * self.interval_s, UTC).strftime(self._format)

    def matches(self, name: str) -> bool:
        return self._pattern.fullmatch(name) is not None


class _OpenFile:
    def __init__(self, name: str, handle: IO[bytes], size: int) -> None:
        self.name = name
        self.handle = handle
        self.end = size
        """Where the next line will begin: bytes on disk and those still held back."""
        self.held = bytearray()
        self.last_line_bytes = 0
        self.lines = 0


class Directory:
    """Appends lines, burst by burst. The bytes of every burst follow from the seed and the order of calls alone."""

    def __init__(
        self, path: Path, naming: Naming, account: Account, *, seed: int, max_files: int, flush_s: float, flush_records: int,
        faults: frozenset[str] = frozenset(),
    ) -> None:  # fmt: skip
        self.path = path
        self._naming = naming
        self._account = account
        self._random = Random(f"directory:{seed}")
        self._max_files = max_files
        self._flush_ms = flush_s * 1000
        self._flush_records = flush_records
        self._faults = faults
        self._open: dict[int, _OpenFile] = {}
        self._unflushed = 0
        self._cut = False  # the first file that can be cut is, so that a short run is dirty too
        self._next_flush_ms = 0.0
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"cannot make the directory {path}: {error.strerror}", hint="name another directory") from error

    def existing(self) -> list[str]:
        """The CDR files there are, oldest first."""
        return sorted(one.name for one in self.path.iterdir() if self._naming.matches(one.name))

    def write(self, line: bytes, stop_ms: int, now_ms: int, call: int, fault: str = "") -> None:
        """Add one line (without newline) of a call that ended at `stop_ms`; it reaches the disk with a later burst."""
        interval = self._naming.interval(stop_ms)
        file = self._open.get(interval) or self._begin(interval, now_ms)
        self._account.line("line", line, file=file.name, offset=file.end, call=call, **({"fault": fault} if fault else {}))
        file.held += line
        file.held += b"\n"
        file.last_line_bytes = len(line) + 1
        file.end += len(line) + 1
        file.lines += 1
        self._unflushed += 1
        if self._unflushed >= self._flush_records or now_ms >= self._next_flush_ms:
            self.flush(now_ms)

    def flush(self, now_ms: int) -> None:
        """Write one burst to every open file: most end inside a line, which the next burst completes."""
        for file in self._open.values():
            if file.held:
                keep = 0
                if self._random.random() < CUT_SHARE and file.last_line_bytes > 1:
                    keep = min(self._random.randrange(1, file.last_line_bytes), len(file.held))
                self._append(file, len(file.held) - keep)
        self._unflushed = 0
        self._next_flush_ms = now_ms + self._flush_ms
        self._close_older(now_ms)

    def rewrite(self) -> None:
        """Fault: empty the live file in place; what follows begins at its byte 0 again."""
        if not self._open:
            return
        file = self._open[max(self._open)]
        self._append(file, len(file.held))
        self._account.note("rewritten", file=file.name, bytes=file.end)
        file.handle.truncate(0)
        file.end = file.lines = 0

    def next_event_ms(self) -> float:
        """When the next burst is due, whether or not a line comes."""
        return self._next_flush_ms

    def close(self) -> None:
        """Write what is held back and close every file, complete unless a fault wants otherwise."""
        for interval in sorted(self._open):
            self._finish(interval)

    def _append(self, file: _OpenFile, count: int) -> None:
        try:
            file.handle.write(file.held[:count])
        except OSError as error:
            raise FatalError(f"cannot write {file.name}: {error.strerror}", hint="is the disk full?") from error
        del file.held[:count]

    def _begin(self, interval: int, now_ms: int) -> _OpenFile:
        name = self._naming.name(interval)
        path = self.path / name
        try:
            handle = path.open("ab", buffering=0)
        except OSError as error:
            raise FatalError(f"cannot open {path}: {error.strerror}", hint="is the directory writable?") from error
        file = self._open[interval] = _OpenFile(name, handle, handle.tell())
        self._delete_oldest()
        if self._next_flush_ms == 0.0 or self._next_flush_ms > now_ms + self._flush_ms:
            self._next_flush_ms = now_ms + self._flush_ms
        return file

    def _close_older(self, now_ms: int) -> None:
        if len(self._open) > 1:
            live = self._naming.interval(now_ms - LATE_MS)
            newest = max(self._open)
            for interval in sorted(self._open):
                if interval < live and interval != newest:
                    self._finish(interval)

    def _finish(self, interval: int) -> None:
        file = self._open.pop(interval)
        rest = min(file.last_line_bytes, len(file.held))
        if "half-lines" in self._faults and rest > 1 and (self._random.random() < 0.75 or not self._cut):
            self._cut = True
            lost = 1 if self._random.random() < 0.3 else self._random.randrange(1, rest)
            self._append(file, len(file.held) - lost)
            self._account.note("cut", file=file.name, bytes=lost - 1, at=file.end - lost)
        else:
            self._append(file, len(file.held))
        file.handle.close()
        if "deletion" in self._faults and self._random.random() < DELETION_SHARE:
            closed = [name for name in self.existing() if name not in {one.name for one in self._open.values()}]
            if closed:
                self._delete(self._random.choice(closed), "deletion")

    def _delete_oldest(self) -> None:
        if self._max_files:
            names = self.existing()
            for name in names[: max(0, len(names) - self._max_files)]:
                self._delete(name, "max_files")

    def _delete(self, name: str, why: str) -> None:
        for interval, file in list(self._open.items()):
            if file.name == name:
                self._append(file, len(file.held))
                file.handle.close()
                del self._open[interval]
        path = self.path / name
        size = path.stat().st_size
        path.unlink()
        self._account.note("deleted", file=name, bytes=size, why=why)
