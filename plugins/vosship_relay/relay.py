"""The output `relay`: blocks in, the same lines out, at least once.

It does not wait or try again (the core does), and keeps no position.

At least once: what the peer's kernel was given counts as sent, and a peer that dies may have left any of it unread; so after
every reconnect the last `overlap_s` of what was sent is repeated. A peer that hangs for long while its buffers fill may hold
more than that: `overlap_s` must be longer than the records that fit into those buffers take to arrive.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from vosship.errors import UnavailableError
from vosship.events import Block
from vosship.plugin import Context, Remark
from vosship_relay.order import Sorter
from vosship_relay.overlap import Overlap
from vosship_relay.peer import Datagrams, Peer, Stream, connect, parse

LEAST_SILENT_S = 5.0
"""A peer may leave bytes unacknowledged at least this long (chosen: a few retransmissions on a bad line)."""

MOST_SILENT_S = 30.0
"""And at most this long (chosen: then a dead machine is noticed while its switch's queue still holds)."""

LEAST_WAIT_S = 1.0
MOST_WAIT_S = 30.0
"""Waits between attempts to come back unasked (chosen: as the core's own between two sends)."""


class Relay:
    """Passes lines on to one further receiver."""

    class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
        """Options of the output `relay`."""

        target: Annotated[str, Meta(description="the receiver: tcp://HOST:PORT or udp://HOST:PORT")]
        overlap_s: Annotated[float, Meta(description="repeated after a reconnect, counted back from the last send", ge=0)] = 30.0
        overlap_max_bytes: Annotated[int, Meta(description="at most this much is kept to be repeated", ge=65_536)] = 16 << 20
        sort_by: Annotated[Literal["none", "start", "stop"], Meta(description="sort each gathered batch by this time")] = "none"
        sort_column: Annotated[int, Meta(description="column of that time, counted from 1; 0: as the layout has it", ge=0)] = 0
        connect_timeout_s: Annotated[float, Meta(description="longest wait for a connection", gt=0)] = 5.0
        newline: Annotated[Literal["lf", "crlf"], Meta(description="what ends a line on TCP; a line's own CR stays")] = "lf"
        datagrams_per_s: Annotated[int, Meta(description="UDP: at most this many a second; 0: no limit", ge=0)] = 5000

    def __init__(self, options: Options, context: Context) -> None:
        self._options = options
        self._context = context
        self._target = parse(options.target)
        self._peer: Peer
        if self._target.protocol == "tcp":
            silent_s = min(max(options.overlap_s / 2, LEAST_SILENT_S), MOST_SILENT_S)
            newline = b"\r\n" if options.newline == "crlf" else b"\n"
            self._peer = Stream(self._target, connect_s=options.connect_timeout_s, silent_s=silent_s, newline=newline)
        else:
            self._peer = Datagrams(
                self._target, connect_s=options.connect_timeout_s, per_s=options.datagrams_per_s, log=context.log
            )
        self._overlap = Overlap(context.data_dir, options.overlap_s, options.overlap_max_bytes)
        self._sorter = Sorter(options.sort_by, options.sort_column, context.timezone) if options.sort_by != "none" else None
        self._lock = asyncio.Lock()
        self._keeper: asyncio.Task[None] | None = None

    async def send_blocks(self, blocks: Sequence[Block]) -> None:
        """Pass on every line. Raises UnavailableError, and then any part of them may have gone out and all go again."""
        lines = self._lines(blocks)
        if not lines:
            return
        async with self._lock:  # lines of one batch stay together
            await self._connect()
            await self._peer.send(lines)
            try:
                self._overlap.add(b"\n".join(lines), self._context.now())
            except OSError as error:
                # Sent is sent: failing here would only repeat it. What is missing is the safety net.
                self._context.log.error(
                    "what was sent cannot be remembered for a repeat", extra={"reason": error.strerror or str(error)}
                )

    async def open(self) -> None:
        """Nothing to open: the first send connects."""

    async def close(self) -> None:
        """Let the connection go. May be called twice."""
        if self._keeper is not None:
            self._keeper.cancel()
            self._keeper = None
        async with self._lock:
            self._peer.close()

    def check(self) -> Iterator[Remark]:
        """Whether the receiver takes a connection now."""
        if self._target.protocol == "udp":
            yield Remark("warn", f"{self._target} cannot be asked: UDP promises nothing", "use tcp:// where the receiver has it")
            return
        try:
            asyncio.run(connect(self._target, self._options.connect_timeout_s)).close()
        except UnavailableError as error:
            yield Remark("bad", error.message, error.hint)
        else:
            yield Remark("good", f"{self._target} takes a connection")

    async def _keep_up(self) -> None:
        """Come back by itself to a peer that went: its last records are repeated even if no further ones follow."""
        while True:
            await self._peer.gone()
            wait_s = LEAST_WAIT_S
            while True:
                await asyncio.sleep(wait_s)
                try:
                    async with self._lock:
                        await self._connect()
                    break
                except UnavailableError:
                    wait_s = min(2 * wait_s, MOST_WAIT_S)

    async def _connect(self) -> None:
        if self._keeper is None:
            self._keeper = asyncio.create_task(self._keep_up())
        if not await self._peer.ready():
            return
        sent = 0
        try:
            for payload in await asyncio.to_thread(self._overlap.recall):
                lines = payload.split(b"\n")
                await self._peer.send(lines)
                sent += len(lines)
        except BaseException:
            self._peer.close()  # else the next send would find it connected and never repeat
            raise
        self._context.log.info("connected to the receiver", extra={"target": str(self._target), "repeated_lines": sent})

    def _lines(self, blocks: Sequence[Block]) -> list[bytes]:
        lines: list[bytes] = []
        for block in blocks:
            if block.cut:
                self._context.log.warning(
                    "line longer than the input's limit, not passed on",
                    extra={"file": block.stream.path, "offset": block.offset, "bytes": block.end - block.offset},
                )
                continue
            found = block.data.split(b"\n")
            if not found[-1]:
                found.pop()
            lines += found
        return self._sorter.sort(lines) if self._sorter else lines
