"""Reads a window of calls again from the inputs, with today's configuration, and overwrites them in the outputs.

It moves no position and opens no state: it works beside a running agent, which goes on with what is new. A line that is read
here before the agent has read it is a duplicate to the agent. Ids do not change, so a document is replaced, not doubled; one
whose day has changed (a mended zone) is removed where it was. Not replaced is what has no document any more: a line that
today's configuration leaves out or sets aside keeps the document it had; it is counted.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from vosship.application import Application, InputEntry, OutputEntry
from vosship.delivery import Delivery
from vosship.documents import Renderer, utc_text
from vosship.errors import ConfigError
from vosship.events import Block, Document, Gone, Position, Record, Verdict
from vosship.ledger import reading
from vosship.pipeline import Pipeline, Prepared
from vosship.plugin import Hindered, Narrows, Opens, Overwrites, nearest
from vosship.records import streams
from vosship.state import STATE_FILE
from vosship.window import Window

BATCH = 2_000
"""Documents sent together (chosen: as the outputs' own default)."""

Progress = Callable[[int, int], None]
"""Told bytes read so far, and bytes there are to read."""


class Reshipped(msgspec.Struct):
    """What became of the window's lines. `outputs`: documents overwritten by output; `dead`: lines without a document by
    reason; `refused`: documents that an output did not take, by output and reason; `unread`: by path why all or the rest of it
    could not be read."""

    lines: int = 0
    files: int = 0
    outputs: dict[str, int] = {}
    dead: Counter[str] = msgspec.field(default_factory=Counter)
    refused: dict[str, Counter[str]] = {}
    unread: dict[str, str] = {}


def targets(application: Application, named: str | None) -> dict[str, OutputEntry]:
    """The outputs to overwrite: `named`, or all that can. Raises ConfigError."""
    able = {name: entry for name, entry in application.outputs.items() if isinstance(entry.plugin, Overwrites)}
    if named is None:
        if not able:
            hint = "sqlite, opensearch and elasticsearch can"
            raise ConfigError("no configured output can overwrite what it holds", path="outputs", hint=hint)
        return able
    if named not in application.outputs:
        raise ConfigError(f"there is no output {named!r}", path="--output", hint=nearest(named, able))
    if named not in able:
        raise ConfigError(f"the output {named!r} cannot overwrite what it holds", path="--output", hint=nearest(named, able))
    return {named: able[named]}


def refuse_renamed(application: Application, outputs: Mapping[str, OutputEntry]) -> None:
    """Raises ConfigError when the switch was called otherwise when these outputs were filled: every id would be another."""
    before = dict(_switches(application.config.data_dir / STATE_FILE))
    for name, entry, output in application.pipelines():
        if output.name in outputs and before.get(name, entry.switch) != entry.switch:
            raise ConfigError(
                f"the switch of {name} was {before[name]!r} and is now {entry.switch!r}: its calls would stand there twice",
                path="switch",
                hint=f"put {before[name]!r} back; or remove its days from {output.name!r}, then `vosship run --rebuild-state`",
            )


def _switches(state: Path) -> Iterator[tuple[str, str]]:
    with reading(state) as db:
        if db is not None:
            yield from db.execute("SELECT name, switch FROM pipelines")


class Reshipping:
    """One run. `run` may raise VosshipError: UnavailableError never (an output is waited for up to its `give_up_s`)."""

    def __init__(
        self, application: Application, window: Window, outputs: Mapping[str, OutputEntry], progress: Progress = lambda *_: None
    ) -> None:
        self._application = application
        self._window = window
        self._outputs = outputs
        self._progress = progress
        self._from, self._to = utc_text(window.from_ms / 1000), utc_text(window.to_ms / 1000)
        self.result = Reshipped(outputs=dict.fromkeys(outputs, 0))

    async def run(self) -> Reshipped:
        """Overwrite the whole window; ends when every output has every document of it."""
        fed: dict[str, list[OutputEntry]] = {}
        for _, entry, output in self._application.pipelines():
            if output.name in self._outputs:
                fed.setdefault(entry.name, []).append(output)
        opened = [output.plugin for output in self._outputs.values() if isinstance(output.plugin, Opens)]
        sizes = {name: streams(self._application.inputs[name], self._window)[1] for name in fed}
        todo = sum(size.size for found in sizes.values() for size in found)
        done = 0
        try:
            for plugin in opened:
                await plugin.open()
            for name, outputs in fed.items():
                entry = self._application.inputs[name]
                self.result.files += len(sizes[name])
                feeding = _Feeding(self._application, entry, outputs, self.result)
                async for block in self._blocks(entry):
                    await feeding.add(self._prepare(feeding.pipeline, block))
                    done += block.end - block.offset
                    self._progress(done, max(todo, done))
                await feeding.flush()
        finally:
            for plugin in reversed(opened):
                await plugin.close()
        return self.result

    async def _blocks(self, entry: InputEntry) -> AsyncIterator[Block]:
        every, wanted = streams(entry, self._window)
        names = {size.stream.name for size in wanted}
        if not names:
            return
        if isinstance(entry.plugin, Narrows):
            source, known = entry.plugin.narrowed(names), {}
        else:
            skipped = [size.stream for size in every if size.stream.name not in names]
            source, known = entry.plugin, {stream.name: Position(stream, 0, gone=True) for stream in skipped}
        lost: list[Gone] = []
        async for item in source.read(known, "now"):
            if not isinstance(item, Gone):
                yield item
            elif item.lost_bytes:
                lost.append(item)
        unread = dict(source.unreadable()) if isinstance(source, Hindered) else {}
        for gone in lost:
            unread.pop(gone.stream.name, None)
            unread[gone.stream.path] = gone.reason
        self.result.unread.update(unread)

    def _prepare(self, pipeline: Pipeline, block: Block) -> Prepared:
        return pipeline.prepare(block, self._wanted)

    def _wanted(self, record: Record) -> bool:
        at: str = record.fields.get("@timestamp", "")
        return self._from <= at < self._to  # written times of one form compare as texts


class _Feeding:
    """The documents of one input on their way to the outputs that it feeds."""

    def __init__(self, application: Application, entry: InputEntry, outputs: Sequence[OutputEntry], result: Reshipped) -> None:
        self.pipeline = Pipeline(
            f"{entry.name}>",
            source=entry.plugin,
            processors=application.processors(entry),
            renderer=Renderer(switch=entry.switch, host=socket.gethostname(), channel=entry.channel, series=entry.plugin.series),
            now=time.time,
            keep_original=entry.keep_original,
        )
        self._result = result
        self._held: list[Document] = []
        self._ways = [(output.name, self._delivery(application, output), output.plugin.overwrite) for output in outputs]

    def _delivery(self, application: Application, output: OutputEntry) -> Delivery:
        return Delivery(
            self.pipeline,
            output.plugin,
            output.common,
            metrics=application.telemetry,
            tell=lambda *_: None,
            give_up_s=output.common.give_up_s,
        )

    async def add(self, prepared: Prepared) -> None:
        """Take a block's documents; sends when there are enough. Dead lines count unless their neighbours are not wanted."""
        if prepared.documents or not prepared.filtered:
            self._result.dead.update(dead.reason for dead in prepared.dead)
            self._result.lines += len(prepared.documents) + len(prepared.dead)
        self._held += prepared.documents
        if len(self._held) >= BATCH:
            await self.flush()

    async def flush(self) -> None:
        """Send what is held to every output at once, and wait until each has it."""
        held, self._held = self._held, []
        for start in range(0, len(held), BATCH):
            batch = held[start : start + BATCH]
            await asyncio.gather(*(self._overwrite(batch, *way) for way in self._ways))

    async def _overwrite(self, batch: Sequence[Document], name: str, delivery: Delivery, send: Any) -> None:
        for outcome in await delivery.insist(batch, send):
            if outcome.verdict is Verdict.REJECTED:
                self._result.refused.setdefault(name, Counter())[outcome.reason] += 1
            else:
                self._result.outputs[name] += 1
