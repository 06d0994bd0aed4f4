"""The input `forward`: options, listeners and spool put together as the core's contract wants them.

It does not parse records or store documents.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import msgspec
from msgspec import Meta

from vosship.errors import ConfigError
from vosship.events import Block, Field, Gone, Record
from vosship.plugin import Attendance, Context, Known, Remark, StreamSize, Until
from vosship_forward.addresses import Address, bind, parse
from vosship_forward.columns import Reading
from vosship_forward.diagnosis import diagnose
from vosship_forward.gauges import PENDING_PARAMETER, Gauges, records_per_s
from vosship_forward.intake import Intake
from vosship_forward.reader import Still, read, stream_of
from vosship_forward.resends import GENERATION_RECORDS, Window
from vosship_forward.shelf import absences, look, recent_keys, span
from vosship_forward.spool import Spool
from vosship_forward.tcp import Limits, Listener
from vosship_forward.udp import Datagrams

MEASURE_S = 5.0
"""Between two looks at the gauges (chosen: a third of the usual scrape interval)."""


class Reply(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a sender is answered once its record is on disk: a fixed text, or one field of the record."""

    text: Annotated[str, Meta(description="this text, for every record", max_length=1024)] = ""
    field: Annotated[int, Meta(description="this column of the record, counted from 1 (37 is flowno in datagram-46)", ge=0)] = 0


class Forward:
    """Receives the switch's real-time report."""

    series: ClassVar[str] = "vos3000-fwd"
    channel: ClassVar[str] = "forward"
    fields: Sequence[Field] = (
        Field(name="forward.received_at", type="date", resolution="ms", description="When the record arrived."),
        Field(name="forward.peer", type="ip", description="The address that sent it."),
        Field(
            name="forward.lag_ms",
            type="long",
            unit="ms",
            resolution="s",
            description="From the call's stop to the record's arrival; negative where the clocks disagree.",
        ),
    )

    class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
        """Options of the input `forward`."""

        listen: Annotated[list[str], Meta(description="addresses to listen on: tcp://HOST:PORT, udp://HOST:PORT", min_length=1)] = (
            msgspec.field(default_factory=lambda: ["tcp://127.0.0.1:7060", "udp://127.0.0.1:7060"])
        )
        allow: Annotated[list[str], Meta(description="networks that may send (CIDR); empty: every address that can reach us")] = []
        reply: Annotated[Literal["none"] | Reply, Meta(description="none, {text: OK} or {field: 37}; sent after the fsync")] = (
            "none"
        )
        max_connections: Annotated[int, Meta(description="TCP connections at a time", ge=1, le=60_000)] = 1000
        max_line_bytes: Annotated[int, Meta(description="a longer record is refused", ge=64, le=16 << 20)] = 16 << 10
        idle_s: Annotated[float, Meta(description="a connection silent this long is closed", gt=0)] = 3600.0
        record_s: Annotated[float, Meta(description="a record not finished this long after it began is cut off", gt=0)] = 30.0
        spool_max_bytes: Annotated[int, Meta(description="the spool's bound; the oldest segments go first", ge=65_536)] = 4 << 30
        segment_bytes: Annotated[int, Meta(description="size at which a new segment begins", ge=4096)] = 16 << 20
        keep_h: Annotated[float, Meta(description="settled segments stay this long, for reconcile", ge=0)] = 48.0
        heartbeat_s: Annotated[float, Meta(description="a sign of life when nothing arrives this long", gt=0, le=3600)] = 5.0
        fsync_ms: Annotated[float, Meta(description="records arriving within this share one fsync", ge=0, le=1000)] = 3.0
        resend_window_s: Annotated[int, Meta(description="a record seen again within this is tagged resend; 0: off", ge=0)] = 600

    def __init__(self, options: Options, context: Context) -> None:
        self._options = options
        self._context = context
        self._log = context.log
        self._addresses = [parse(text, f"listen[{number}]") for number, text in enumerate(options.listen)]
        self._allow = [_network(text, f"allow[{number}]") for number, text in enumerate(options.allow)]
        if isinstance(options.reply, Reply) and bool(options.reply.text) == bool(options.reply.field):
            raise ConfigError("a reply is either a text or a field", path="reply", hint="reply: {text: OK} or reply: {field: 37}")
        self.spool_dir: Path = context.data_dir
        self.listening: list[Address] = []
        """The addresses as bound, with the ports the system chose where 0 was asked for."""
        self._spool: Spool | None = None
        self._tcp: list[Listener] = []
        self._udp: list[Datagrams] = []
        self._gauge: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Bind every address, open the spool, then take records. Raises ConfigError for an address that cannot be bound."""
        options, context = self._options, self._context
        try:
            sockets = bind(self._addresses)
        except ConfigError as error:
            error.path = f"inputs.{context.name}.{error.path}"
            raise
        spool = Spool(
            self.spool_dir,
            segment_bytes=options.segment_bytes,
            max_bytes=options.spool_max_bytes,
            keep_s=options.keep_h * 3600,
            heartbeat_s=options.heartbeat_s,
            gather_s=options.fsync_ms / 1000,
            now=context.now,
            log=self._log,
        )
        try:
            before = await asyncio.to_thread(look, self.spool_dir)
            spool.open()
        except BaseException:
            for bound in sockets:
                bound.close()
            raise
        self._spool = spool
        intake = self._intake(spool, await asyncio.to_thread(self._window, spool))
        await self._listen(sockets, intake)
        gauges = Gauges(spool, intake, self._udp, pending_size=self._pending_size(), metrics=context.metrics, log=self._log)
        last_us = max((segment.last_us for segment in before), default=0)
        gauges.started(context.now() - last_us / 1e6 if last_us else 0.0, records_per_s(before))
        self._gauge = asyncio.create_task(self._measure(gauges))
        self._log.info("listening for the switch", extra={"at": " ".join(map(str, self.listening))})

    async def _listen(self, sockets: Sequence[socket.socket], intake: Intake) -> None:
        options = self._options
        limits = Limits(options.max_connections, options.max_line_bytes, options.idle_s, options.record_s)
        self.listening = []
        for address, bound in zip(self._addresses, sockets, strict=True):
            port = bound.getsockname()[1]
            if address.protocol == "tcp":
                listener = Listener(intake, limits)
                self._tcp.append(listener)
                await listener.open(bound)
            else:
                datagrams = Datagrams(intake, bound, options.max_line_bytes)
                self._udp.append(datagrams)
                datagrams.open()
            self.listening.append(Address(address.protocol, address.host, port))

    async def close(self) -> None:
        """Take what has arrived, keep and answer it, then let everything go. May be called twice."""
        if self._spool is None:
            return
        if self._gauge is not None:
            self._gauge.cancel()
        for datagrams in self._udp:
            datagrams.drain()
        for listener in self._tcp:
            await listener.drain()
        await self._spool.close()
        await asyncio.sleep(0)  # one turn of the loop: the last answers go out
        for datagrams in self._udp:
            datagrams.close()
        for listener in self._tcp:
            await listener.close()
        self._spool, self._tcp, self._udp = None, [], []

    async def read(self, known: Known, until: Until) -> AsyncIterator[Block | Gone]:
        """Blocks of the spool. Without `open` it reads what the directory holds now, whoever may be writing it."""
        spool = self._spool
        if spool is None:
            async for item in read(await asyncio.to_thread(Still, self.spool_dir), known, "now"):
                yield item
            return
        if until == "forever":
            spool.progress.reader_opened()
        try:
            async for item in read(spool, known, until):
                yield item
        finally:
            if until == "forever":
                spool.progress.reader_closed()

    def settled(self, pipeline: str, positions: Known) -> None:
        """Learn how far a pipeline is, so that segments can go."""
        if self._spool is not None:
            offsets = {name: position.offset for name, position in positions.items()}
            self._spool.progress.settled(pipeline, offsets, self._spool.shelf)

    def finish(self, records: Sequence[Record]) -> None:
        """Add the lag from the call's stop to the record's arrival."""
        for record in records:
            received = record.fields.get("forward.received_at")
            if received and record.at:
                stopped = record.fields.get("@timestamp")  # finer than `at` where the layout has milliseconds
                stopped_ms = _epoch_ms(stopped) if isinstance(stopped, str) else record.at * 1000
                record.fields["forward.lag_ms"] = _epoch_ms(received) - stopped_ms

    def survey(self, known: Known) -> Sequence[StreamSize]:
        """The segments and the bytes of records in each."""
        shelf = self._spool.shelf if self._spool is not None else look(self.spool_dir)
        return [
            StreamSize(stream_of(one), one.data_end, one.last_us / 1e6, newest=one is shelf[-1], lost=one.lost) for one in shelf
        ]

    def attendance(self) -> Attendance | None:
        """When somebody listened (see `Attends`); walks the whole spool."""
        alive = span(self.spool_dir)
        if alive is None:
            return None
        away = tuple((begin / 1000, end / 1000) for begin, end in absences(self.spool_dir))
        return Attendance(alive[0] / 1000, alive[1] / 1000, away)

    def check(self) -> Iterator[Remark]:
        """Whether the addresses can be had, who may send, and, where nothing ever came, why that could be."""
        return diagnose(self._addresses, bool(self._allow), self._options.max_connections, self.spool_dir, self._context.now())

    def _window(self, spool: Spool) -> Window:
        window_s = self._options.resend_window_s
        window = Window(window_s)
        since_us = int((self._context.now() - window_s) * 1e6)
        for key, arrival_us in recent_keys(spool.shelf, since_us, GENERATION_RECORDS):
            window.arrived(key, arrival_us // 1_000_000)
        return window

    def _intake(self, spool: Spool, window: Window) -> Intake:
        reply = self._options.reply
        text, field = (reply.text, reply.field) if isinstance(reply, Reply) else ("", 0)
        return Intake(
            spool,
            window,
            reading=Reading(field),
            answer_text=text.encode(),
            answers=bool(text or field),
            allow=self._allow,
            now=self._context.now,
            log=self._log,
            metrics=self._context.metrics,
        )

    async def _measure(self, gauges: Gauges) -> None:
        while True:
            gauges.tick(self._context.now())
            await asyncio.sleep(MEASURE_S)

    def _pending_size(self) -> int:
        size = self._context.switch_parameters.get(PENDING_PARAMETER, 0)
        return int(size) if str(size).isdigit() else 0


def _network(text: str, path: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError as error:
        raise ConfigError(f"{text!r} is no network", path=path, hint="an address or a CIDR such as 10.0.0.0/8") from error


@lru_cache(maxsize=8192)
def _epoch_ms(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000)
