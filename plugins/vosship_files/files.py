"""The input `files`: what is configured of it, what it sees, and its readers.

It does not read (`reader`), and it keeps no positions: the core hands them in.
"""

from __future__ import annotations

import asyncio
import glob
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import ClassVar
from zoneinfo import ZoneInfo

import msgspec

from vosship.events import Field, Stream
from vosship.plugin import Context, Known, Remark, StreamSize, Until
from vosship_files.checks import examine
from vosship_files.directory import Directory, Entry, pattern
from vosship_files.gaps import Gaps
from vosship_files.looking import too_old
from vosship_files.names import one_family
from vosship_files.options import Options as _Options
from vosship_files.reader import Reader, Wait
from vosship_files.rescue import Rescue, holds
from vosship_files.source import gzip_size
from vosship_files.walk import Walk

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
        self._readers: list[Reader] = []

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

    def read(self, known: Known, until: Until) -> Reader:
        """Blocks from the settled positions on; the oldest file first, a share of the reading for the newest (see `Reader`)."""
        reader = Reader(self.walk(known, until), until, self.options, self.context, self._wait)
        self._readers.append(reader)
        return reader

    def unreadable(self) -> Mapping[str, str]:
        """See `Hindered`: what any of its readers could not read."""
        return {path: why for reader in self._readers for path, why in reader.unreadable.items()}

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


def _plain_size(entry: Entry, offset: int) -> int:
    if not entry.compressed:
        return entry.size
    if offset:
        return offset
    try:
        return gzip_size(entry.path)
    except OSError:
        return 0
