"""One incarnation of the agent, in this process: the real core over the real input, driven step by step, killed at will.

It makes no judgement: `account` does.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Callable, Sequence
from pathlib import Path
from typing import Any

from tests.conservation.hearing import Hearing
from tests.conservation.loop import SteppedLoop
from tests.conservation.parts import LINE_LIMIT, SERIES, Journal, KilledError, Step, SteppedState, Store, Switch
from vosship.config import OutputCommon, convert
from vosship.deadletters import Choice, _post
from vosship.delivery import Delivery
from vosship.documents import Renderer
from vosship.errors import VosshipError
from vosship.events import Block, Dead, Gone
from vosship.pipeline import Pipeline
from vosship.plugin import Context, Known, Until
from vosship.revival import Revival
from vosship.running import RunningPipeline
from vosship.schema import Schema
from vosship.state import Revived
from vosship.telemetry import Telemetry
from vosship_files import Files
from vosship_files.reader import Reader

NAME = "cdr>search"

COMMON = OutputCommon(batch_records=8, batch_bytes=4096, batch_age_s=5.0, in_flight=2)
"""Small batches, so that a short history has many."""

QUEUE_BYTES = 4096
"""A few blocks read ahead."""

ROUNDS = 400
"""More rounds than any stop needs. Chosen: an agent that has not ended after that hangs."""


class Source(Files):
    """The real input; it looks when told, and what it hands over is noted."""

    switch: Switch
    early_halves: list[Block]
    reader: Reader

    def read(self, known: Known, until: Until) -> Reader:
        """See Files."""
        reader = super().read(known, until)
        reader._items = self._noted(reader._items)
        self.reader = reader
        return reader

    async def _noted(self, items: AsyncGenerator[Block | Gone, None]) -> AsyncGenerator[Block | Gone, None]:
        try:
            async for item in items:
                if isinstance(item, Block) and item.unterminated and self._is_live(item):
                    self.early_halves.append(item)
                yield item
        finally:
            await items.aclose()

    def _is_live(self, block: Block) -> bool:
        """The newest file is still being written: nobody may take its half last line."""
        base = block.stream.base
        held = self.switch.files.get(base, b"")
        return base == self.switch.seen_newest == self.switch.newest() and held.startswith(block.data, block.offset)


class Reviver(Revival):
    """The real revival; when a try cannot be entered (a full disk, a store given up), what it was told is of no more use."""

    hearing: Hearing

    async def revive(self, lines: Sequence[tuple[int, Dead]]) -> list[Revived]:
        """See Revival."""
        try:
            return await super().revive(lines)
        except VosshipError:
            self.hearing.forget_revived()
            raise


class Agent:
    """A running agent. After `kill` or `stop` it is of no more use."""

    def __init__(self, root: Path, data_dir: Path, switch: Switch, store: Store, step: Step, journal: Journal,
                 now: Callable[[], float], options: dict[str, Any]) -> None:  # fmt: skip
        self.store = store
        self.data_dir = data_dir
        self.loop = SteppedLoop()
        self.holding_commits = False
        self.noted = True
        """What only it still holds is in the state, as of its last look."""
        self.early_halves: list[Block] = []
        self._look = asyncio.Event()
        store.waiting = []
        store.hearing.begin()
        context = Context(
            name="cdr",
            switch="dhaka-1",
            timezone="Asia/Dhaka",
            schema=Schema([]),
            log=logging.getLogger("vosship.test.files"),
            metrics=Telemetry(),
            data_dir=data_dir,
            base_dir=root,
            now=now,
        )
        given = {"paths": ["cdr/*.txt"], "block_bytes": 1024, "max_line_bytes": LINE_LIMIT, "rescan_s": 1.0, "watch": False}
        self.source = Source(convert(given | options, Files.Options, ""), context, wait=self._wait)
        self.source.switch, self.source.early_halves = switch, self.early_halves
        self.state: SteppedState = SteppedState.open(data_dir)  # type: ignore[assignment]  # open makes what it is asked of
        self.state.journal = journal
        self.state.register(NAME, "dhaka-1", "Asia/Dhaka")
        renderer = Renderer(switch="dhaka-1", host="h", channel="file", series=SERIES)
        pipeline = Pipeline(NAME, source=self.source, processors=[step], renderer=renderer, now=now)
        self.delivery = Delivery(
            pipeline,
            store,
            COMMON,
            metrics=Telemetry(),
            tell=lambda doing, reason: self.running.tell(doing, reason),
            clock=self.loop.time,
        )
        self.running = RunningPipeline(
            pipeline,
            self.source,
            self.delivery,
            self.state,
            COMMON,
            until="forever",
            queue_bytes=QUEUE_BYTES,
            metrics=Telemetry(),
            now=now,
        )
        self.revival = Reviver(pipeline, self.delivery, self.state, now, clock=self.loop.time)
        self.revival.hearing = store.hearing
        self._main = self.loop.create_task(self._run())
        self.step()

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as group:
            self.running.start(group)
            revival = group.create_task(self.revival.run())
            await self.running.finished.wait()
            revival.cancel()

    async def _wait(self, event: asyncio.Event, seconds: float) -> None:
        await self._look.wait()
        self._look.clear()

    @property
    def ended(self) -> bool:
        """Whether it has come to its end by itself (a full disk)."""
        return self._main.done()

    def step(self) -> None:
        """Let it do all it can without time passing; commits are held back when asked for."""
        self.loop.step()
        while self.state.busy and not self.holding_commits and not self.ended:
            self.state.commit()
            self.loop.step()

    def look(self) -> None:
        """Let it look at the directory."""
        self._look.set()
        self.step()

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.loop.advance(seconds)
        self.step()

    def hold_reading(self, held: bool) -> None:
        """Keep it from reading on, or let it."""
        self.loop.holding = {"advance"} if held else set()
        if not held:
            self.loop.release(1_000_000)
        self.step()

    def read(self, count: int) -> None:
        """While reading is held: let it take so many steps."""
        for _ in range(count):
            self.loop.release()
            self.step()

    def answer(self, number: int, what: str) -> None:
        """One of the attempts on their way comes to its end."""
        self.store.answer(number, what)
        self.step()

    def ask(self, kind: str, choice: Choice) -> None:
        """What `vosship dead` leaves for a running agent."""
        assert not self.state.busy
        _post(self.data_dir, [NAME], kind, choice)

    def fill_disk(self, after: int) -> bool:
        """What waits to be committed meets a full disk. When that hurts the pipeline, the agent must end, not hang."""
        self.state.commit(full_after=after)
        self.holding_commits = self.noted = False
        self.step()
        hurt = self.running.failure is not None
        if hurt:
            self._come_to_an_end()
        return hurt

    def stop(self, what: str = "well") -> None:
        """What the first SIGTERM does, then the orderly end; so attempts on their way are answered."""
        self.holding_commits = False
        self.delivery.give_up_after(0.0)
        self.running.stop_reading()
        self._come_to_an_end(what)

    def _come_to_an_end(self, what: str = "well") -> None:
        for _ in range(ROUNDS):
            self.step()
            if self.ended:
                break
            self.store.answer(0, what)
            self.loop.advance(1.0)
        assert self.ended, "the agent does not come to its end"
        with contextlib.suppress(VosshipError):
            self._main.result()
        self.state.commit()  # closing the state finishes what was submitted
        self._bury()

    def kill(self) -> None:
        """Gone, as with kill -9: nothing more reaches the state or the store."""
        self._bury()

    def die_in_commit(self, after: int) -> None:
        """Killed after so many statements of the transaction that waits."""
        with contextlib.suppress(KilledError):
            self.state.commit(dies_after=after)
        self._bury()

    def _bury(self) -> None:
        self.store.waiting = []
        self.state.close()
        self.state.submit = _nothing  # type: ignore[method-assign]  # what its tasks do as they are cleared away has no effect
        self.loop.dropping = {"finish"}  # the last look of a reader that ends in order
        for task in asyncio.all_tasks(self.loop):
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError, VosshipError):
            self.loop.step()
        self.loop.holding = set()
        self.loop.release(1_000_000)
        self.loop.step()
        self.source.reader._walk.close()
        self.loop.close()


def _nothing(work: Any) -> Any:
    raise asyncio.CancelledError
