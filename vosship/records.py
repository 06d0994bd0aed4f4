"""The calls of a window out of any configured input or output, read beside a running agent: typed copies, batch by batch.

It opens no listener, moves no position and compares nothing. What a source is known to lack is `standing`'s business.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Iterator, Sequence
from typing import Any

import msgspec

from vosship.application import Application, InputEntry
from vosship.documents import utc_text
from vosship.errors import ConfigError
from vosship.events import Block, Gone, Position, Record
from vosship.pipeline import Pipeline
from vosship.plugin import Narrows, Reports, Searches, StreamSize, nearest
from vosship.query import TIME_COLUMNS, Query, matches
from vosship.window import Window

MARGIN_S = 7200
"""How far beyond a window files are still read (chosen: a clock set back an hour writes an hour's calls under the next name)."""

BATCH = 2000
"""Hits of an output handed over together (chosen: about a megabyte)."""


class Copy(msgspec.Struct, gc=False):
    """One call as one source has it: `fields` as a document would hold them, with switch, channel, file and offset.

    A line that cannot be read has a `reason`, and fields only for its place; `line` is what an input read, without newline,
    and of a line that cannot be read, which is kept to be shown, what the privacy rules leave.
    """

    fields: dict[str, Any]
    reason: str = ""
    line: bytes | None = None


class Source(msgspec.Struct, frozen=True):
    """A name on the command line, understood: an input, or an output and the channel of it."""

    name: str
    entry: InputEntry | None = None
    store: Searches | None = None
    output: str = ""
    channel: str = ""

    @property
    def repeats(self) -> bool:
        """Whether this source may hold a call twice by its nature: the switch sends again what was not answered."""
        return self.channel == "forward"


def find(application: Application, name: str) -> Source:
    """The source of that name: an input, an output, or `OUTPUT:CHANNEL`. Raises ConfigError with the nearest name."""
    entry = application.inputs.get(name)
    if entry is not None:
        return Source(name, entry=entry, channel=entry.channel)
    output, _, channel = name.partition(":")
    if output in application.outputs:
        _, store = application.searchable(output)
        return Source(name, store=store, output=output, channel=channel or "file")
    hint = nearest(name, [*application.inputs, *application.outputs])
    raise ConfigError(f"no input or output {name!r} is configured", hint=f"{hint}; a store's channel as NAME:CHANNEL")


def records(
    application: Application,
    name: str,
    window: Window,
    filters: dict[str, Any] | None = None,
    only: Collection[str] | None = None,
) -> Iterator[list[Copy]]:
    """The copies of a window's calls, in no promised order. Blocks while it reads.

    `filters` are those of a Query. Lines that cannot be read come where their neighbours lie in the window. Inputs are read
    from their beginning, pruned by the times of their streams' names, or to the streams named by `only`.
    """
    source = find(application, name)
    if source.entry is not None:
        return _of_input(application, source.entry, window, filters or {}, only)
    assert source.store is not None
    return _of_output(source.store, source.channel, window, filters or {})


def _of_output(store: Searches, channel: str, window: Window, filters: dict[str, Any]) -> Iterator[list[Copy]]:
    asked = {**filters, "channel": channel, "resends": True}
    for piece in window.pieces():
        batch: list[Copy] = []
        for hit in store.search(Query(from_ms=piece.from_ms, to_ms=piece.to_ms, time=window.time, limit=None, **asked)):
            batch.append(Copy({**hit.fields, "_id": hit.id, "_index": hit.index}))
            if len(batch) >= BATCH:
                yield batch
                batch = []
        if batch:
            yield batch


def streams(entry: InputEntry, window: Window) -> tuple[Sequence[StreamSize], list[StreamSize]]:
    """All streams that the input has, and those that can hold a call of the window (a stream without a time always can)."""
    sizes = entry.plugin.survey({}) if isinstance(entry.plugin, Reports) else ()
    begins = [size.stream.starts_at for size in sizes]
    first, last = window.from_ms / 1000 - MARGIN_S, window.to_ms / 1000 + MARGIN_S
    found = []
    for size in sizes:
        begin = size.stream.starts_at
        if begin is None:
            if size.modified_at >= first:
                found.append(size)
            continue
        end = min((at for at in begins if at is not None and at > begin), default=None)
        if begin < last and (end is None or end > first):
            found.append(size)
    return sizes, found


def _of_input(
    application: Application, entry: InputEntry, window: Window, filters: dict[str, Any], only: Collection[str] | None
) -> Iterator[list[Copy]]:
    every, wanted = streams(entry, window)
    reading = Reading(application, entry, window, filters)
    names = {size.stream.name for size in wanted} if only is None else set(only)
    if isinstance(entry.plugin, Narrows):
        items = entry.plugin.narrowed(names).read({}, "now")
    else:
        skipped = [size.stream for size in every if size.stream.name not in names]
        items = entry.plugin.read({stream.name: Position(stream, 0, gone=True) for stream in skipped}, "now")
    for item in steps(items):
        batch = [] if isinstance(item, Gone) else reading.copies(item)
        if batch:
            yield batch


def steps(items: AsyncIterator[Block | Gone]) -> Iterator[Block | Gone]:
    """What an input gives, one after the other, for plain functions; closing this closes the input's iterator."""
    loop = asyncio.new_event_loop()
    try:
        while True:
            try:
                yield loop.run_until_complete(_next(items))
            except StopAsyncIteration:
                return
    finally:
        loop.run_until_complete(items.aclose())  # type: ignore[attr-defined]  # inputs are async generators
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()


async def _next(items: AsyncIterator[Block | Gone]) -> Block | Gone:
    return await anext(items)


class Reading:
    """Blocks of one input through its configured processors, filtered to one window. Keeps the processors' view of streams."""

    def __init__(self, application: Application, entry: InputEntry, window: Window, filters: dict[str, Any]) -> None:
        self._entry = entry
        self._pipeline = Pipeline(
            f"{entry.name}>", source=entry.plugin, processors=application.processors(entry), renderer=None, now=lambda: 0.0
        )
        self._window = window
        self._column = TIME_COLUMNS[window.time]
        self._from, self._to = utc_text(window.from_ms / 1000), utc_text(window.to_ms / 1000)
        self._query = Query(
            from_ms=window.from_ms, to_ms=window.to_ms, time=window.time, **{**filters, "channel": "all", "resends": True}
        )
        self._filtered = any(bool(value) or value is False for key, value in filters.items() if key not in ("channel", "resends"))
        self._near: dict[str, bool] = {}

    def copies(self, block: Block) -> list[Copy]:
        """Those of the block's lines that lie in the window."""
        found: list[Copy] = []
        records, _ = self._pipeline.process(block)
        name, path = block.stream.name, block.stream.path
        switch, channel, column = self._entry.switch, self._entry.channel, self._column
        first, last = self._from, self._to
        near = self._near.get(name)
        if near is None:
            near = self._first_near(block, records)
        for record in records:
            if record.fate:
                if record.fate == "dead" and near and not self._filtered:
                    found.append(Copy(self._place(record, path), record.reason, self._pipeline.concealed(record.line)))
                continue
            fields = record.fields
            at = fields.get(column, "")
            near = first <= at < last  # written times of one form compare as texts
            if not near:
                continue
            fields["switch"], fields["channel"] = switch, channel
            fields["log.file.path"], fields["log.offset"] = path, record.offset
            if self._filtered and not matches(self._query, fields):
                continue
            found.append(Copy(fields, "", record.line))
        self._near[name] = near
        return found

    def _first_near(self, block: Block, records: Sequence[Record]) -> bool:
        times = (record.fields.get(self._column) for record in records if not record.fate)
        known = next((at for at in times if at), None)
        if known is not None:
            return bool(self._from <= known < self._to)
        begins = block.stream.starts_at
        return begins is None or self._window.from_ms <= begins * 1000 < self._window.to_ms

    def _place(self, record: Record, path: str) -> dict[str, Any]:
        place = {"switch": self._entry.switch, "channel": self._entry.channel}
        return {**record.fields, **place, "log.file.path": path, "log.offset": record.offset}
