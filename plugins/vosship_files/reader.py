"""One reader's walk as an asynchronous stream of blocks, in a thread, and as news of what only it still holds.

It does not decide what to read (`walk`), and it keeps no positions: the core hands them in.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from vosship.events import Block, Gone, Held
from vosship.plugin import Context, Until
from vosship_files.lines import Pause
from vosship_files.options import Options
from vosship_files.walk import Walk
from vosship_files.watch import Watch

Wait = Callable[[asyncio.Event, float], Awaitable[None]]
"""Return when the event is set, or after so many seconds."""


class Reader:
    """What `Files.read` gives: blocks from the settled positions on. Closing it gives back every descriptor.

    Looking at the directory goes on while nobody asks for blocks, so that files about to be deleted are opened or rescued in
    an outage too. `held` and `let_go` are as `vosship.holding.Holds` says.
    """

    def __init__(self, walk: Walk, until: Until, options: Options, context: Context, wait: Wait) -> None:
        self._walk = walk
        self._until = until
        self._options = options
        self._context = context
        self._wait = wait
        self._items = self._read()
        self._held: list[Held] | None = None  # even an empty first list is news: it replaces an earlier agent's
        self._news = asyncio.Event()
        self._begun = self._over = False
        self.unreadable: Mapping[str, str] = {}
        """By path what the system said, as of the last look; once reading has ended, what was left out."""

    def __aiter__(self) -> Reader:
        return self

    async def __anext__(self) -> Block | Gone:
        return await anext(self._items)

    async def aclose(self) -> None:
        """End reading."""
        await self._items.aclose()
        if not self._begun:
            self._over = True
            self._news.set()

    async def held(self) -> AsyncIterator[Sequence[Held]]:
        """See `Holds`."""
        while not self._over or self._news.is_set():
            await self._news.wait()
            self._news.clear()
            yield self._held or []

    def let_go(self, gone: Sequence[Gone]) -> None:
        """See `Holds`."""
        self._walk.let_go(gone)

    async def _read(self) -> AsyncGenerator[Block | Gone, None]:
        self._begun = True
        loop = asyncio.get_running_loop()
        thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"files-{self._context.name}")
        hint, looked = asyncio.Event(), asyncio.Event()
        watch = Watch(lambda: loop.call_soon_threadsafe(hint.set), self._context.log) if self._options.watch else None
        looking: asyncio.Task[None] | None = None
        try:
            self._tell(*await loop.run_in_executor(thread, self._look_once))
            looking = loop.create_task(self._look(thread, watch, hint, looked))
            looking.add_done_callback(lambda _: looked.set())
            while True:
                item = await loop.run_in_executor(thread, self._walk.advance)
                if not isinstance(item, Pause):
                    yield item
                elif item is Pause.END:
                    self.unreadable = await loop.run_in_executor(thread, self._walk.unreadable)
                    if self._until == "now":
                        return
                    await looked.wait()
                    looked.clear()
                if looking.done():
                    looking.result()
        finally:
            if looking is not None:
                looking.cancel()
            if watch is not None:
                watch.close()
            loop.run_in_executor(thread, self._walk.finish).add_done_callback(self._end)
            thread.shutdown(wait=False)

    async def _look(self, thread: ThreadPoolExecutor, watch: Watch | None, hint: asyncio.Event, looked: asyncio.Event) -> None:
        loop = asyncio.get_running_loop()
        while True:
            if watch is not None:
                await loop.run_in_executor(thread, watch.follow, self._walk.folders())
            await self._wait(hint, self._options.poll_s)
            hint.clear()
            self._tell(*await loop.run_in_executor(thread, self._look_once))
            looked.set()

    def _look_once(self) -> tuple[list[Held], Mapping[str, str]]:
        return self._walk.look(), self._walk.unreadable()

    def _tell(self, held: list[Held], unreadable: Mapping[str, str]) -> None:
        self.unreadable = unreadable
        if held != self._held:
            self._held = held
            self._news.set()

    def _end(self, finished: asyncio.Future[list[Held]]) -> None:
        self._over = True
        self._news.set()
        if not finished.cancelled():
            self._held = finished.result()
