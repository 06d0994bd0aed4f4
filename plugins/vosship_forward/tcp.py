"""The TCP side of the receiver: connections, their limits, and when they may end.

It does not know what a record means or how it is kept: `intake` does.
"""

from __future__ import annotations

import asyncio
import fcntl
import socket
import struct
import termios
from typing import cast

import msgspec

from vosship_forward.frames import Flag
from vosship_forward.intake import FOREIGN, TOO_LONG, TOO_MANY, Intake
from vosship_forward.lines import Splitter

PENDING_MAX_BYTES = 256 << 10
"""What one connection may have waiting for the disk before it is not read further (chosen: 0.1 s of 5,000 records/s; many
connections together are held by the spool's own bound)."""

READ_BYTES = 64 << 10
"""Read from a connection at a time (chosen: some 200 records, after which the others have their turn)."""

REMEMBERED_PEERS = 4096
"""Addresses remembered to end their records with newlines (chosen: far more than a switch has)."""

DRAIN_S = 1.0
"""At the end, how long what has already arrived is still read (chosen: well within the daemon's own limit for a stop)."""

BACKLOG = 1024
"""Connections waiting to be accepted (chosen: a burst of one connection a record)."""


class Limits(msgspec.Struct, frozen=True):
    """What one listener allows its senders."""

    connections: int
    line_bytes: int
    idle_s: float
    record_s: float


class Listener:
    """All connections of one TCP address."""

    def __init__(self, intake: Intake, limits: Limits) -> None:
        self.intake = intake
        self.limits = limits
        self.connections: set[Connection] = set()
        self.newline_peers: dict[str, None] = {}
        self.buffer = bytearray(READ_BYTES)
        """Where every connection's bytes land: they are taken out before the next connection is read."""
        self._server: asyncio.Server | None = None

    async def open(self, bound: socket.socket) -> None:
        """Begin to accept on a bound socket."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: Connection(self), sock=bound, backlog=BACKLOG)

    async def drain(self) -> None:
        """Accept nobody new, take what has already arrived, and end every connection once its records are safe."""
        if self._server is not None:
            self._server.close()
        until = asyncio.get_running_loop().time() + DRAIN_S
        for connection in list(self.connections):
            # A turn of the loop reads what is there; there is no event to wait for. A sender that never ends is cut off.
            while connection.has_arrived() and asyncio.get_running_loop().time() < until:  # noqa: ASYNC110 - see above
                await asyncio.sleep(0)
            connection.end()

    async def close(self) -> None:
        """Drop what is still connected."""
        for connection in list(self.connections):
            connection.drop()
        if self._server is not None:
            await self._server.wait_closed()

    def note_newlines(self, host: str) -> None:
        """Remember that this sender ends its records with newlines: a record of its that does not is then half of one."""
        self.newline_peers.pop(host, None)
        self.newline_peers[host] = None
        if len(self.newline_peers) > REMEMBERED_PEERS:
            del self.newline_peers[next(iter(self.newline_peers))]


class Connection(asyncio.BufferedProtocol):
    """One sender's connection."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._intake = listener.intake
        self._limits = listener.limits
        self._lines = Splitter(listener.limits.line_bytes)
        self._transport: asyncio.Transport | None = None
        self._host, self._port = "", 0
        self._pending_bytes = 0
        self._paused = False
        self._answers_held = False
        self._ending = False
        self._refused = 0
        self._timer: asyncio.TimerHandle | None = None
        self._heard_at = self._record_at = 0.0
        self._loop = asyncio.get_running_loop()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Let the sender in, or not."""
        self._transport = cast("asyncio.Transport", transport)
        peer = transport.get_extra_info("peername") or ("0.0.0.0", 0)  # noqa: S104 - an unknown peer, not a listener
        self._host, self._port = peer[0], peer[1]
        refusal = ""
        if not self._intake.may_send(self._host):
            refusal = FOREIGN
        elif len(self._listener.connections) >= self._limits.connections:
            refusal = TOO_MANY
        if refusal:
            self._intake.refuse(refusal, self._host)
            self._ending = True
            self._transport.abort()
            return
        connection = transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self._listener.connections.add(self)
        self._heard_at = self._loop.time()
        self._watch()

    def get_buffer(self, sizehint: int) -> bytearray:
        """Where the transport puts what it reads."""
        return self._listener.buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Take what has come."""
        if self._ending:
            return
        data = bytes(memoryview(self._listener.buffer)[:nbytes])
        now = self._heard_at = self._loop.time()
        was_unfinished = self._lines.unfinished
        lines = self._lines.feed(data)
        if lines or not was_unfinished:
            self._record_at = now
        if self._lines.too_long > self._refused:
            self._intake.refuse(TOO_LONG, self._host, self._lines.too_long - self._refused)
            self._refused = self._lines.too_long
        if lines:
            self._listener.note_newlines(self._host)
            self._keep(lines, 0)
        if not was_unfinished and self._lines.unfinished:
            self._watch()

    def eof_received(self) -> bool:
        """The sender has said all; it may still wait for answers."""
        self._finish(broken=False)
        return True

    def connection_lost(self, error: Exception | None) -> None:
        """The connection is gone, in good order or not."""
        self._finish(broken=error is not None)
        self._listener.connections.discard(self)
        if self._timer is not None:
            self._timer.cancel()

    def pause_writing(self) -> None:
        """A sender that does not read its answers is not read either."""
        self._answers_held = True
        self._pause()

    def resume_writing(self) -> None:
        """It reads again."""
        self._answers_held = False
        if self._pending_bytes <= PENDING_MAX_BYTES // 2:
            self._resume()

    def end(self) -> None:
        """Finish as if the sender had closed: what is begun is kept, what is safe is answered."""
        self._finish(broken=True)

    def drop(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()

    def has_arrived(self) -> bool:
        """Whether bytes lie in the kernel that were not read yet."""
        if self._transport is None or self._transport.is_closing() or self._ending:
            return False
        fd = self._transport.get_extra_info("socket").fileno()
        (count,) = struct.unpack("i", fcntl.ioctl(fd, termios.FIONREAD, b"\0" * 4)) if fd >= 0 else (0,)
        return bool(count)

    def _keep(self, lines: list[bytes], flags: int) -> None:
        host, port, frame = self._host, self._port, self._intake.frame
        frames: list[bytes] = []
        answers: list[bytes] = []
        for line in lines:
            made, answer = frame(line, host, port, flags)
            frames.append(made)
            if answer:
                answers.append(answer)
        size = sum(map(len, frames))
        self._pending_bytes += size
        if self._pending_bytes > PENDING_MAX_BYTES or self._intake.spool.full:
            self._pause()
        reply = b"\n".join(answers) + b"\n" if answers else b""
        self._intake.keep(frames, lambda: self._landed(size, reply))

    def _landed(self, size: int, reply: bytes) -> None:
        self._pending_bytes -= size
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if reply:
            transport.write(reply)
        if self._ending and not self._pending_bytes:
            transport.close()
        elif self._pending_bytes <= PENDING_MAX_BYTES // 2:
            self._resume()

    def _finish(self, *, broken: bool) -> None:
        if self._ending:
            return
        self._ending = True
        # Whether a last record without its newline is whole cannot be seen. It is marked where there is reason to doubt: the
        # connection did not end in good order, or this sender otherwise ends its records with a newline.
        rest = self._lines.rest()
        if rest:
            doubtful = broken or self._lines.terminated or self._host in self._listener.newline_peers
            self._keep([rest], Flag.UNTERMINATED if doubtful else 0)
        elif not self._pending_bytes and self._transport is not None:
            self._transport.close()

    def _watch(self) -> None:
        """End a connection whose record stays unfinished (slow senders hold no memory for long) or that is silent for ages."""
        if self._timer is not None:
            self._timer.cancel()
        now = self._loop.time()
        due = self._heard_at + self._limits.idle_s
        if self._lines.unfinished:
            due = min(due, self._record_at + self._limits.record_s)
        if self._paused or self._pending_bytes:
            due = max(due, now + 1.0)
        if now < due:
            self._timer = self._loop.call_at(due, self._watch)
            return
        if self._lines.unfinished:
            self._intake.say("connection ended in the middle of a record, what there is of it is kept", self._host)
        self._finish(broken=True)

    def _pause(self) -> None:
        if not self._paused and self._transport is not None and not self._transport.is_closing():
            self._paused = True
            self._transport.pause_reading()

    def _resume(self) -> None:
        if self._paused and not self._answers_held and self._transport is not None and not self._transport.is_closing():
            self._paused = False
            self._transport.resume_reading()
