"""One pipeline at work: read, prepare, gather, send, settle, as tasks in the daemon's group.

It does not decide what a failure of one pipeline means to the others, nor when to stop: `daemon` does.

Data flows reader → queue → assembler → deliveries → settler, and stopping follows the same order.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from typing import Any

from vosship.config import OutputCommon
from vosship.delivery import Batch, Delivery, Doing
from vosship.errors import FatalError, VosshipError
from vosship.events import Block, Gone, Position
from vosship.holding import Holding, Holds
from vosship.pipeline import LINE_TOO_LONG, Pipeline, Prepared, dead_at
from vosship.plugin import Metrics, Settled, Until
from vosship.state import State

log = logging.getLogger("vosship.running")

ITEM_BYTES = 512
"""What an item without data weighs in the queue (chosen: about the size of its objects)."""

DEAD_FULL_RETRY_S = 5.0
"""Chosen: how soon after `vosship dead drop` a pipeline with a full dead table goes on."""

RATE_EVERY_S = 10.0
"""Chosen: how often the measured drain rate is written down for the forecast."""


STOP_GIVE_UP_S = 0.0
"""Once stopping, an output that does not answer is not waited for: what is unsettled is sent again next time."""

SHOWN_PATHS = 3
"""Chosen: unreadable paths that fit one line."""


class BlockQueue:
    """Blocks read and not yet prepared, bounded in bytes. `None` out of `get` within the time given: nothing came."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._items: deque[Block | Gone | None] = deque()
        self._bytes = 0
        self._room = asyncio.Event()
        self._filled = asyncio.Event()
        self._room.set()
        self.ended = False

    async def put(self, item: Block | Gone) -> None:
        """Add one item; waits while the queue holds more than its limit."""
        await self._room.wait()
        self._items.append(item)
        self._bytes += _weight(item)
        self._filled.set()
        if self._bytes >= self._limit_bytes:
            self._room.clear()

    def end(self, *, drop: bool = False) -> None:
        """No more will come; with `drop`, what is waiting is forgotten (it is unsettled and will be read again)."""
        if drop:
            self._items.clear()
            self._bytes = 0
            self._room.set()
        self.ended = True
        self._filled.set()

    @property
    def exhausted(self) -> bool:
        """Whether nothing more will come: ending alone does not say so, items may have come while a batch was handed over."""
        return self.ended and not self._items

    async def get(self, timeout_s: float | None) -> Block | Gone | None:
        """The next item; None after `timeout_s` or, with `ended` set, when there is nothing left."""
        if not self._items and not self.ended:
            self._filled.clear()
            try:
                async with asyncio.timeout(timeout_s):
                    await self._filled.wait()
            except TimeoutError:
                return None
        if not self._items:
            return None
        item = self._items.popleft()
        assert item is not None
        self._bytes -= _weight(item)
        if self._bytes < self._limit_bytes:
            self._room.set()
        return item


def _weight(item: Block | Gone) -> int:
    return len(item.data) + ITEM_BYTES if isinstance(item, Block) else ITEM_BYTES


def cannot_read(paths: Mapping[str, str]) -> str:
    """What an input cannot read, in a sentence with what to do."""
    shown = ", ".join(f"{path}: {why}" for path, why in sorted(paths.items())[:SHOWN_PATHS])
    more = f" and {len(paths) - SHOWN_PATHS} more" if len(paths) > SHOWN_PATHS else ""
    return f"cannot read {shown}{more} (`vosship check`, as the agent's user, names what is missing)"


class RunningPipeline:
    """The tasks of one pipeline and what they have done in this run (`counts`)."""

    def __init__(
        self,
        pipeline: Pipeline,
        source: Any,
        delivery: Delivery,
        state: State,
        common: OutputCommon,
        *,
        until: Until,
        queue_bytes: int,
        metrics: Metrics,
        now: Callable[[], float],
    ) -> None:
        self.name = pipeline.name
        self.pipeline = pipeline
        self.source = source
        self.delivery = delivery
        self.counts: Counter[str] = Counter()
        self.failure: VosshipError | None = None
        self.stopping = False
        self.cut_off = False
        """A stop came before everything was read and settled."""
        self.finished = asyncio.Event()
        self._doing: tuple[Doing, str, float] = ("stopped", "", 0.0)
        self._unreadable = ("", 0.0)
        self._state = state
        self._common = common
        self._until: Until = until
        self._metrics = metrics
        self._now = now
        self._queue = BlockQueue(queue_bytes)
        # An output that takes blocks keeps their order: a second batch could overtake a first that failed.
        self._slots = asyncio.Semaphore(1 if delivery.takes_blocks else common.in_flight)
        self._order: asyncio.Queue[tuple[Batch, asyncio.Task[VosshipError | None]] | None] = asyncio.Queue()
        self._tasks: list[asyncio.Task[None]] = []
        self._group: asyncio.TaskGroup | None = None
        self._rate: tuple[float, int] = (time.monotonic(), 0)
        self._holding = Holding(self.name, state)
        self._following: asyncio.Task[None] | None = None

    def start(self, group: asyncio.TaskGroup) -> None:
        """Begin; every task lives in `group`, and no failure of this pipeline leaves it as an exception."""
        self._group = group
        self.tell("running", "")
        for step in (self._read, self._assemble, self._settle):
            self._tasks.append(group.create_task(self._guarded(step), name=f"{self.name} {step.__name__}"))

    def stop_reading(self) -> None:
        """End reading; what is on the way still settles, then `finished` is set."""
        if self._tasks:
            self._tasks[0].cancel()
        self._queue.end(drop=True)

    def stop(self) -> None:
        """Somebody said so: from now on nobody waits for an output that does not answer."""
        self.stopping = True
        self.cut_off = self.failure is None and not self._queue.exhausted
        self.delivery.give_up_after(STOP_GIVE_UP_S)
        self.stop_reading()

    def tell(self, doing: Doing, reason: str) -> None:
        """Note what the pipeline is doing, for `status`, and since when: another reason for the same is no new beginning."""
        self._doing = (doing, reason, self._doing[2] if doing == self._doing[0] else self._now())
        self._tell()

    def tell_unreadable(self, paths: Mapping[str, str]) -> None:
        """Note what its input cannot read: a pipeline that does nothing else wrong waits for that."""
        reason = cannot_read(paths) if paths else ""
        if reason != self._unreadable[0]:
            self._unreadable = (reason, self._unreadable[1] if reason and self._unreadable[0] else self._now())
            self._tell()

    def _tell(self) -> None:
        doing, reason, since = self._doing
        if doing == "running" and self._unreadable[0]:
            doing = "waiting"
            reason, since = self._unreadable
        self._state.tell(self.name, doing, reason, since)

    async def _guarded(self, step: Callable[[], Any]) -> None:
        try:
            await step()
        except VosshipError as error:
            self._fail(error)

    def _fail(self, error: VosshipError) -> None:
        if self.failure is None:
            self.failure = error
            if self.stopping:  # told to stop, so nobody waits for an output that does not answer
                self.cut_off = True
                log.warning(
                    "stopped with documents unsettled, sent again next time", extra={"pipeline": self.name, "reason": str(error)}
                )
                self.tell("stopped", "")
            else:
                log.error("pipeline halted", extra={"pipeline": self.name, "reason": str(error)})
                self.tell("halted", str(error))
        self.delivery.give_up_after(0.0)  # what is still on its way will not be settled: it is not insisted on
        self.stop_reading()

    async def _read(self) -> None:
        known = await self._holding.known(self._now())
        if isinstance(self.source, Settled):
            self.source.settled(self.name, known)
        stream = self.source.read(known, self._until)
        if isinstance(stream, Holds):
            assert self._group is not None
            self._following = self._group.create_task(self._holding.follow(stream), name=f"{self.name} holding")
        try:
            async for item in stream:
                await self._queue.put(item)
        finally:
            self._queue.end()
            await stream.aclose()

    async def _assemble(self) -> None:
        batch, due = Batch(), 0.0
        try:
            while True:
                timeout_s = max(0.0, due - time.monotonic()) if batch.prepared or batch.gone else None
                item = await self._queue.get(timeout_s)
                if item is None:
                    await self._hand_over(batch)
                    batch = Batch()
                    if self._queue.exhausted:
                        return
                    continue
                if not (batch.prepared or batch.gone):
                    due = time.monotonic() + self._common.batch_age_s
                if isinstance(item, Gone):
                    batch.gone.append(item)
                    continue
                if any(gone.stream.name == item.stream.name for gone in batch.gone):  # a stream that came back
                    await self._hand_over(batch)
                    batch = Batch()
                batch.add(self._prepare(item))
                if batch.lines >= self._common.batch_records or batch.size_bytes >= self._common.batch_bytes:
                    await self._hand_over(batch)
                    batch = Batch()
                await asyncio.sleep(0)  # a block is a slice: signals, answers and other pipelines get their turn
        except VosshipError as error:
            await self._hand_over(batch)  # what came before the contradiction is good
            self._fail(error)
        finally:
            self._order.put_nowait(None)

    def _prepare(self, block: Block) -> Prepared:
        if self.delivery.takes_blocks:
            data = block.data
            if block.cut:  # its beginning alone would pass for a line
                size = f"{block.end - block.offset} bytes"
                return Prepared(block, 1, [], [dead_at(block, block.offset, data, LINE_TOO_LONG, size)], 0)
            lines = data.count(b"\n") + (not data.endswith(b"\n"))
            return Prepared(block, lines, [], [], 0)
        return self.pipeline.prepare(block)

    async def _hand_over(self, batch: Batch) -> None:
        if not (batch.prepared or batch.gone):
            return
        await self._slots.acquire()
        assert self._group is not None
        task = self._group.create_task(self._deliver(batch), name=f"{self.name} delivery")
        self._order.put_nowait((batch, task))

    async def _deliver(self, batch: Batch) -> VosshipError | None:
        try:
            await self.delivery.deliver(batch)
        except VosshipError as error:
            return error
        return None

    async def _settle(self) -> None:
        try:
            while (entry := await self._order.get()) is not None:
                batch, task = entry
                error = await task
                if not (self.failure or error):  # later batches may be fine, but positions move strictly in order
                    error = await self._enter(batch)
                self._slots.release()
                if error and not self.failure:
                    self._fail(error)
            await self._take_leave()
        finally:
            self.finished.set()

    async def _take_leave(self) -> None:
        """Enter as lost what only this pipeline's reader still held: nothing more of it is sent, and its descriptors are closed."""
        if self._following is None:
            return
        await self._following
        try:
            ends = await self._holding.ends()
            if ends and (error := await self._enter(Batch(gone=ends))):
                raise error
        except VosshipError as error:  # it is noted: the next start names it
            log.warning(
                "what is lost with the agent's end is entered at the next start",
                extra={"pipeline": self.name, "reason": str(error)},
            )
        else:
            self._holding.shout(ends)

    async def _enter(self, batch: Batch) -> VosshipError | None:
        try:
            await self._wait_for_dead_room(batch)
            # A crash here sends this batch again: every document comes back as a duplicate.
            await asyncio.wrap_future(self._state.settle(self.name, batch.settled, batch.gone, self._now()))
        except VosshipError as error:
            return error
        self._count(batch)
        return None

    async def _wait_for_dead_room(self, batch: Batch) -> None:
        lines = sum(len(settled.dead) for settled in batch.settled)
        size = sum(len(dead.line) for settled in batch.settled for dead in settled.dead)
        told = False
        while lines:
            held = await asyncio.wrap_future(self._state.submit_dead_totals(self.name))
            if held[0] + lines <= self._common.max_dead and held[1] + size <= self._common.max_dead_bytes:
                break
            limit = "max_dead" if held[0] + lines > self._common.max_dead else "max_dead_bytes"
            reason = f"the dead table is full: {held[0]} lines, {held[1]} bytes; {lines} lines, {size} bytes more do not fit"
            hint = f"raise {limit}"
            if lines <= self._common.max_dead and size <= self._common.max_dead_bytes:
                hint = f"`vosship dead list` shows why; then `dead replay` or `dead drop`, or {hint}"
            if self._until == "now" or self.stopping:
                raise FatalError(f"{self.name}: {reason}", hint=hint)
            if not told:
                log.error("pipeline halted", extra={"pipeline": self.name, "reason": f"{reason} ({hint})"})
                self.tell("halted", f"{reason} ({hint})")
                told = True
            await asyncio.sleep(DEAD_FULL_RETRY_S)
        if told:
            self.tell("running", "")

    def _count(self, batch: Batch) -> None:
        metrics, name, counts = self._metrics, self.name, Counter[str]()
        settled_bytes = 0
        for settled in batch.settled:
            counts["read"] += settled.prepared.lines
            counts["stored"] += settled.stored
            counts["duplicate"] += settled.duplicate
            counts["dead"] += len(settled.dead)
            counts["filtered"] += settled.prepared.filtered
            settled_bytes += settled.prepared.block.end - settled.prepared.block.offset
            for reason, amount in Counter(dead.reason for dead in settled.dead).items():
                metrics.count("vosship_lines_dead_total", amount, pipeline=name, reason=reason)
                log.warning("lines set aside", extra={"pipeline": name, "reason": reason, "lines": amount})
        counts["lost_bytes"] = sum(gone.lost_bytes for gone in batch.gone)
        self.counts += counts
        metrics.count("vosship_lines_read_total", counts["read"], pipeline=name)
        metrics.count("vosship_documents_stored_total", counts["stored"], pipeline=name)
        metrics.count("vosship_documents_duplicate_total", counts["duplicate"], pipeline=name)
        metrics.count("vosship_lines_filtered_total", counts["filtered"], pipeline=name)
        metrics.count("vosship_bytes_lost_total", counts["lost_bytes"], pipeline=name)
        self._note_rate(settled_bytes)
        self._holding.settled(batch.gone)
        if isinstance(self.source, Settled):
            blocks = [settled.prepared.block for settled in batch.settled]
            moved = {block.stream.name: Position(block.stream, block.end, block.proof) for block in blocks}
            for gone in batch.gone:
                at = moved.get(gone.stream.name)
                if at is None or at.stream.generation <= gone.stream.generation:
                    moved[gone.stream.name] = Position(gone.stream, gone.offset, gone=True)
            self.source.settled(name, moved)

    def _note_rate(self, settled_bytes: int) -> None:
        since, before = self._rate
        total, now = before + settled_bytes, time.monotonic()
        self._rate = (since, total)
        if now - since >= RATE_EVERY_S:
            self._state.tell_rate(self.name, total / (now - since))
            self._rate = (now, 0)
