"""The input `files`: the walk over the CDR directory as an asynchronous stream of blocks.

It does not decide what to read (`walk`), and it keeps no positions: the core hands them in.
"""

from __future__ import annotations

import asyncio
import glob
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar
from zoneinfo import ZoneInfo

import msgspec

from vosship.events import Block, Field, Gone, Stream
from vosship.plugin import Context, Known, Remark, StreamSize, Until
from vosship_files.checks import examine
from vosship_files.directory import Directory, Entry, pattern
from vosship_files.gaps import Gaps
from vosship_files.lines import Pause
from vosship_files.looking import too_old
from vosship_files.names import one_family
from vosship_files.options import Options as _Options
from vosship_files.rescue import Rescue, holds
from vosship_files.source import gzip_size
from vosship_files.walk import Walk
from vosship_files.watch import Watch

Wait = Callable[[asyncio.Event, float], Awaitable[None]]
"""Return when the event is set, or after so many seconds."""

KEEP_FILES_PARAMETER = "SERVER_CDR_FILE_WRITE_MAX"
"""The switch parameter that says how many files are kept (domain: the files)."""


async def wait(event: asyncio.Event, seconds: float) -> None:
    """Wait for the event, but no longer than that."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        pass


class Files:
    """The rotating directory of CDR files. Each `read` is a walk of its own; only the rescue directory is shared."""

    Options = _Options
    series: ClassVar[str] = "vos3000-cdr"
    channel: ClassVar[str] = "file"
    fields: Sequence[Field] = ()

    def __init__(self, options: _Options, context: Context, *, wait: Wait = wait) -> None:
        self.options = options
        self.context = context
        self.family = one_family(options.paths)
        """`pipe` or `csv`: both families hold the same calls, so two inputs of one channel may not differ in it."""
        self._wait = wait
        self._zone = ZoneInfo(context.timezone)
        self._patterns = [pattern(path, context.base_dir) for path in options.paths]
        self._rescue = self._make_rescue()
        self._unreadable: dict[object, Mapping[str, str]] = {}  # of each `read`

    def _make_rescue(self) -> Rescue | None:
        if self.options.rescue_dir is None:
            return None
        keep_files = self.context.switch_parameters.get(KEEP_FILES_PARAMETER)
        return Rescue(
            self.context.base_dir / self.options.rescue_dir,
            self.options.rescue_max_bytes,
            self._zone,
            [found.folder for found in self._patterns],
            self.options.rescue_last_files,
            int(keep_files) if keep_files is not None and str(keep_files).isdigit() else None,
            self.context.log,
        )

    def walk(self, known: Known, until: Until) -> Walk:
        """A walk to be driven by hand: `look`, then `advance` until it pauses. `read` is that, in a thread."""
        return Walk(
            self.options,
            Directory(self._patterns, self._zone),
            known,
            until,
            now=self.context.now,
            log=self.context.log,
            rescue=self._rescue,
            gaps=Gaps(self._zone, self.options.still_s, enabled=self.options.report_gaps),
        )

    async def read(self, known: Known, until: Until) -> AsyncGenerator[Block | Gone, None]:
        """Blocks from the settled positions on; the oldest file first, a share of the reading for the newest.

        Looking at the directory goes on while nobody asks for blocks, so that files about to be deleted are opened or
        rescued in an outage too. Closing the iterator gives back every descriptor.
        """
        loop = asyncio.get_running_loop()
        walk, reader = self.walk(known, until), object()
        thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"files-{self.context.name}")
        hint, looked = asyncio.Event(), asyncio.Event()
        watch = Watch(lambda: loop.call_soon_threadsafe(hint.set), self.context.log) if self.options.watch else None
        looking: asyncio.Task[None] | None = None
        try:
            self._unreadable[reader] = await loop.run_in_executor(thread, _look, walk)
            looking = loop.create_task(self._look(walk, reader, thread, watch, hint, looked))
            looking.add_done_callback(lambda _: looked.set())
            while True:
                item = await loop.run_in_executor(thread, walk.advance)
                if not isinstance(item, Pause):
                    yield item
                elif item is Pause.END:
                    self._unreadable[reader] = await loop.run_in_executor(thread, walk.unreadable)
                    if until == "now":
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
            thread.submit(walk.close)
            thread.shutdown(wait=False)

    async def _look(
        self,
        walk: Walk,
        reader: object,
        thread: ThreadPoolExecutor,
        watch: Watch | None,
        hint: asyncio.Event,
        looked: asyncio.Event,
    ) -> None:
        loop = asyncio.get_running_loop()
        while True:
            if watch is not None:
                await loop.run_in_executor(thread, watch.follow, walk.folders())
            await self._wait(hint, self.options.poll_s)
            hint.clear()
            self._unreadable[reader] = await loop.run_in_executor(thread, _look, walk)
            looked.set()

    def unreadable(self) -> Mapping[str, str]:
        """See `Hindered`: what any of its readers could not read."""
        return {path: why for found in self._unreadable.values() for path, why in found.items()}

    def narrowed(self, streams: Collection[str]) -> Files:
        """See `Narrows`: those files and their `.gz` copies; nothing is rescued, held or watched."""
        paths = [glob.escape(name) for name in sorted(streams)] or [str(self.context.data_dir / "none.txt")]
        options = msgspec.structs.replace(
            self.options, paths=paths, rescue_dir=None, watch=False, report_gaps=False, ignore_older_days=None
        )
        return Files(options, self.context, wait=self._wait)

    def settled(self, pipeline: str, positions: Known) -> None:
        """Note what a pipeline has settled, so that rescued files can go (see `vosship.plugin.Settled`).

        Never blocks: the files are removed at a later look. Without `rescue_dir` it does nothing.
        """
        if self._rescue is not None:
            self._rescue.settled(pipeline, positions)

    def survey(self, known: Known) -> Sequence[StreamSize]:
        """Every stream as it is now, oldest first. Raises nothing: what cannot be listed is not listed."""
        directory = Directory(self._patterns, self._zone)
        directory.look(full=True)
        rescued = {name: found[-1] for name, found in self._rescue.find().items()} if self._rescue else {}
        entries = dict(rescued)
        entries.update(directory.entries)
        found, now = [], self.context.now()
        for entry in sorted(entries.values(), key=lambda entry: entry.order):
            position = known.get(entry.name)
            stream = position.stream if position else Stream(entry.name, entry.base, entry.path, 1, entry.starts_at)
            size = _plain_size(entry, position.offset if position else 0)
            damaged = entry.compressed and position is not None and position.gone  # what is unread of it was entered as lost
            flags = {
                "newest": entry.name in directory.newest,
                "lost": damaged,
                "skipped": too_old(self.options, entry, now),
                "kept": entry.name in rescued and holds(rescued[entry.name], entry),
                "deleted": entry.name not in directory.entries,
            }
            found.append(StreamSize(stream, size, entry.mtime_ns / 1e9, **flags))
        return found

    def check(self) -> Iterator[Remark]:
        """See `Checks`."""
        return examine(self.options, self._patterns, self._zone, self.context, self.family)


def _look(walk: Walk) -> Mapping[str, str]:
    walk.look()
    return walk.unreadable()


def _plain_size(entry: Entry, offset: int) -> int:
    if not entry.compressed:
        return entry.size
    if offset:
        return offset
    try:
        return gzip_size(entry.path)
    except OSError:
        return 0
