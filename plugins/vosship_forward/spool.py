"""Writes frames into segments so that nothing is answered before it is on disk; keeps the spool within its bounds.

It does not listen, does not read records back for pipelines (`reader` does), and knows nothing of what a record says.

One thread writes. What the receiver hands over within a few milliseconds shares one write and one fsync (group commit); only
then is it told so. A crash at any point leaves whole frames, perhaps followed by a piece of one, which the next start cuts off.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

from vosship.errors import FatalError
from vosship_forward.disk import Disk
from vosship_forward.frames import MAGIC, Frame, Kind, encode
from vosship_forward.progress import Progress
from vosship_forward.shelf import LOST_SUFFIX, SUFFIX, Segment, interval_payload, measure, segment_name, segments

ROTATE_AFTER_S = 3600
"""A segment with records is closed after this (chosen: settled time is freed by the hour, as `keep_h` promises)."""

RETRY_S = 1.0
"""Wait before writing again to a disk that refused (chosen: an operator who makes room sees it work at once)."""

PENDING_MAX_BYTES = 8 << 20
"""What may wait for the disk; beyond it TCP is not read and datagrams are not taken (chosen: 5 s at 5,000 records/s)."""


class Ticket:
    """Frames handed over together; `landed` is called on the event loop once they are safe."""

    __slots__ = ("frames", "landed", "records", "size")

    def __init__(self, frames: list[bytes], landed: Callable[[], None]) -> None:
        self.frames = frames
        self.records = len(frames)
        self.size = sum(map(len, frames))
        self.landed = landed


class Spool:
    """A directory of segments with one writer. `open` before, `close` after; all else on the event loop's thread."""

    def __init__(
        self,
        directory: Path,
        *,
        segment_bytes: int,
        max_bytes: int,
        keep_s: float,
        heartbeat_s: float,
        gather_s: float,
        now: Callable[[], float],
        log: logging.Logger,
        disk: Disk | None = None,
    ) -> None:
        self.directory = directory
        # At least eight segments within the bound, so that a full spool gives up an eighth at a time, not everything.
        self._segment_bytes = min(segment_bytes, max(max_bytes // 8, 4096))
        self._max_bytes = max_bytes
        self._keep_s = keep_s
        self._heartbeat_s = heartbeat_s
        self._gather_s = gather_s
        self._now = now
        self._log = log
        self._disk = disk or Disk()
        self.shelf: list[Segment] = []
        self.version = 0
        self.stuck_since: float | None = None
        self._waiters: list[asyncio.Future[None]] = []
        self.progress = Progress()
        self._fd = -1
        self._opened_at = 0.0
        self._started = False
        self._condition = threading.Condition()
        self._pending: list[Ticket] = []
        self.pending_bytes = 0
        self._stopping = False
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def size(self) -> int:
        """What the spool takes on disk."""
        return sum(segment.size for segment in self.shelf)

    def open(self) -> None:
        """Cut what a crash left unfinished, go on in the newest segment, and start the writer.

        Raises FatalError when the directory cannot be written.
        """
        self._loop = asyncio.get_running_loop()
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            self.shelf = segments(self.directory)
            for segment in self.shelf:
                self._recover(segment, newest=segment is self.shelf[-1])
            self._commit([self._beat(Kind.START)])
            self._started = True
        except OSError as error:
            raise FatalError(
                f"the spool {self.directory} cannot be written: {error.strerror or error}", hint="see `data_dir` and its disk"
            ) from error
        self._thread = threading.Thread(target=self._run, name="vosship-spool", daemon=True)
        self._thread.start()

    async def close(self) -> None:
        """Write what is pending and a STOP frame; what a refusing disk does not take is not answered and stays with the switch."""
        with self._condition:
            self._stopping = True
            self._condition.notify()
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join)
            self._thread = None
        self._wake()

    def append(self, ticket: Ticket) -> None:
        """Hand over frames to be written; does not block."""
        with self._condition:
            idle = not self._pending
            self._pending.append(ticket)
            self.pending_bytes += ticket.size
            if idle:
                self._condition.notify()

    @property
    def full(self) -> bool:
        """Whether so much waits for the disk that nothing more should be taken."""
        return self.pending_bytes >= PENDING_MAX_BYTES

    async def news(self, version: int) -> None:
        """Return once `version` differs from the one given: a record landed, a segment closed or went."""
        while self.version == version:
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            await waiter

    # The writer's thread.

    def _run(self) -> None:
        while True:
            with self._condition:
                if not self._pending and not self._stopping:
                    self._condition.wait(self._heartbeat_s)
                stopping, idle = self._stopping, not self._pending
            if idle and not stopping:
                self._insist([self._beat(Kind.HEARTBEAT)])
                self._trim()
                continue
            if not stopping:
                time.sleep(self._gather_s)  # what arrives meanwhile shares the fsync
            with self._condition:
                tickets, self._pending = self._pending, []
            frames = [frame for ticket in tickets for frame in ticket.frames]
            if stopping and not self._pending:
                frames.append(encode(Kind.STOP, self._now_us()))
            safe = not frames or self._insist(frames)
            with self._condition:
                self.pending_bytes -= sum(ticket.size for ticket in tickets)
            self._call(self._landed, tickets if safe else [])
            if stopping:
                self._release()
                return

    def _insist(self, frames: list[bytes]) -> bool:
        """Commit until the disk takes it; False when the agent stops first."""
        while True:
            try:
                self._commit(frames)
            except OSError as error:
                self._abandon()
                if self.stuck_since is None:
                    self.stuck_since = self._now()
                    self._log.error(
                        "spool cannot be written, nothing is answered until it can",
                        extra={"reason": error.strerror or str(error), "path": str(self.directory)},
                    )
                self._trim()
                with self._condition:
                    if self._stopping or self._condition.wait_for(lambda: self._stopping, RETRY_S):
                        return False
                continue
            if self.stuck_since is not None:
                self._log.warning("spool can be written again", extra={"after_s": round(self._now() - self.stuck_since, 1)})
                self.stuck_since = None
            return True

    def _commit(self, frames: list[bytes]) -> None:
        """Write and sync. A crash before the sync loses what nobody was answered for; after it, nothing."""
        data = b"".join(frames)
        if self._fd >= 0 and self._is_time_to_rotate(len(data)):
            self._seal(self.shelf[-1])
        if self._fd < 0:
            self._begin()
        segment = self.shelf[-1]
        self._disk.write(self._fd, data)
        self._disk.sync(self._fd)
        at = segment.size
        for frame in frames:
            self._account(segment, frame, at)
            at += len(frame)

    def _account(self, segment: Segment, frame: bytes, at: int) -> None:
        kind = frame[8]
        arrival_us = int.from_bytes(frame[12:20], "little")
        segment.note(Frame(kind, 0, 0, arrival_us, 0, b"", b"", at, at + len(frame)))

    def _is_time_to_rotate(self, coming: int) -> bool:
        segment = self.shelf[-1]
        old = self._now() - self._opened_at > ROTATE_AFTER_S
        return segment.records > 0 and (segment.size + coming > self._segment_bytes or old)

    def _begin(self) -> None:
        number = self.shelf[-1].number + 1 if self.shelf else 1
        created_us = self._now_us()
        name = segment_name(number, created_us)
        path = self.directory / (name + SUFFIX)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o640)
        try:
            # A run whose predecessor died just after sealing begins here: its first frame must say that it is a start.
            head = MAGIC + self._beat(Kind.HEARTBEAT if self._started else Kind.START)
            self._disk.write(fd, head)
            self._disk.sync(fd)
            # Without this a crash could lose the name of a file whose bytes were synced.
            self._disk.sync_directory(self.directory)
        except OSError:
            os.close(fd)
            path.unlink(missing_ok=True)
            raise
        self._fd = fd
        self._opened_at = self._now()
        self.shelf = [*self.shelf, Segment(number, name, path, created_us, size=len(head))]

    def _seal(self, segment: Segment) -> None:
        frame = segment.seal(self._now_us())
        self._disk.write(self._fd, frame)
        self._disk.sync(self._fd)
        self._release()
        segment.size += len(frame)
        segment.sealed = True
        self._trim()

    def _abandon(self) -> None:
        """After a refused write or sync nothing past the last good sync can be trusted: cut there and begin a new segment."""
        if self._fd < 0:
            return
        segment = self.shelf[-1]
        try:
            os.ftruncate(self._fd, segment.size)
        except OSError as error:
            self._log.error("segment cannot be cut back", extra={"file": segment.name, "reason": error.strerror or str(error)})
        self._release()
        segment.sealed = True  # complete for its readers; the next start writes the seal

    def _release(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _recover(self, segment: Segment, *, newest: bool) -> None:
        """Make a segment of an earlier run fit to be read, and go on in it when it is the newest and has room."""
        if segment.sealed:
            return
        cut = measure(segment)
        if segment.size == 0 and cut >= len(MAGIC):
            raise FatalError(f"{segment.path} is no spool segment of this version", hint="move it out of the spool to go on")
        fd = os.open(segment.path, os.O_WRONLY | os.O_APPEND)
        try:
            if cut:
                self._log.warning(
                    "spool segment was damaged at its end, cut back to its last whole record",
                    extra={"file": segment.name, "bytes": cut, "at": segment.size},
                )
                os.ftruncate(fd, segment.size)
            if segment.size == 0:  # a crash before its first sync
                self._disk.write(fd, MAGIC)
                segment.size = len(MAGIC)
            self._disk.sync(fd)
        except OSError:
            os.close(fd)
            raise
        self._fd = fd
        self._opened_at = segment.created_us / 1e6
        if not newest:
            self._seal(segment)

    # Bounds.

    def _trim(self) -> None:
        """Delete what every pipeline has passed `keep_h` ago; when full, the oldest segments, passed or not."""
        kept: list[Segment] = list(self.shelf)
        total = self.size
        for segment in self.shelf[:-1]:
            over = total > self._max_bytes and not segment.lost
            before = segment.size
            try:
                if self.progress.all_passed(segment) and (over or self._age_s(segment) > self._keep_s):
                    segment.path.unlink(missing_ok=True)
                    kept.remove(segment)
                    total -= before
                elif over and segment.sealed:
                    self._give_up(segment)
                    total -= before - segment.size
            except OSError as error:
                self._log.error("segment cannot be removed", extra={"file": segment.name, "reason": error.strerror or str(error)})
                break
        if total != self.size or len(kept) != len(self.shelf):
            self.shelf = kept
            self._call(self._landed, [])

    def _give_up(self, segment: Segment) -> None:
        """Free an unread segment; its remains tell every reader what it lost, also after a crash at any point here."""
        remains = segment.path.with_suffix(LOST_SUFFIX)
        scratch = segment.path.with_suffix(".tmp")
        frame = segment.seal(self._now_us())
        fd = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o640)
        try:
            self._disk.write(fd, frame)
            self._disk.sync(fd)
        finally:
            os.close(fd)
        scratch.rename(remains)
        self._disk.sync_directory(self.directory)
        self._log.error(
            "spool is full, oldest segment deleted unread",
            extra={
                "file": segment.name,
                "bytes": segment.data_end,
                "records": segment.records,
                "pipelines": ",".join(self.progress.behind(segment)),
            },
        )
        segment.lost = True
        segment.path.unlink(missing_ok=True)
        segment.path = remains
        segment.size = len(frame)

    def _age_s(self, segment: Segment) -> float:
        try:
            return self._now() - segment.path.stat().st_mtime
        except FileNotFoundError:
            return self._keep_s + 1

    def _beat(self, kind: Kind) -> bytes:
        return encode(kind, self._now_us(), interval_payload(self._heartbeat_s))

    def _now_us(self) -> int:
        return int(self._now() * 1e6)

    # Back on the loop.

    def _call(self, what: Callable[[list[Ticket]], None], tickets: list[Ticket]) -> None:
        loop = self._loop
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(what, tickets)

    def _landed(self, tickets: list[Ticket]) -> None:
        for ticket in tickets:
            ticket.landed()
        self._wake()

    def _wake(self) -> None:
        self.version += 1
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)
