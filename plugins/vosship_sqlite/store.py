"""The output `sqlite`: options, opening and closing, and one thread that writes.

It does not know tables or queries: `writer`, `reader` and `figures` do.

What it costs is in docs/search.md, measured by `python -m benchmarks.embedded_store`.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from vosship.errors import HaltedError
from vosship.events import Document, Outcome
from vosship.plugin import Context, Remark
from vosship.query import Hit, Query, Row, StatsQuery
from vosship_sqlite import figures, reader
from vosship_sqlite.columns import Columns
from vosship_sqlite.writer import Writer


class Sqlite:
    """An embedded store: one file a day and index name, read by any number of processes while it is written."""

    class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
        """Options of the output `sqlite`."""

        directory: Annotated[str, Meta(description="where the files go (default: `store/` below `data_dir`)")] = ""

    def __init__(self, options: Options, context: Context) -> None:
        self._context = context
        self.directory: Path = context.base_dir / options.directory if options.directory else context.data_dir
        self._columns = Columns(context.schema)
        self._thread: ThreadPoolExecutor | None = None
        self._writer: Writer | None = None

    async def open(self) -> None:
        """Make the directory. Raises HaltedError when that is refused."""
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise HaltedError(f"cannot make {self.directory}: {error.strerror}", hint="check the owner of `data_dir`") from error
        self._writer = Writer(self.directory, self._columns, self._context.now)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"sqlite-{self._context.name}")

    async def close(self) -> None:
        """Close every file; what was answered STORED is safe with or without it. Idempotent."""
        thread, writer, self._thread, self._writer = self._thread, self._writer, None, None
        if thread is None or writer is None:
            return
        await asyncio.get_running_loop().run_in_executor(thread, writer.close)
        thread.shutdown()

    async def send(self, batch: Sequence[Document]) -> Sequence[Outcome]:
        """Store new documents; those already there are DUPLICATE and stay as they are."""
        return await self._store(batch, overwrite=False)

    async def overwrite(self, batch: Sequence[Document]) -> Sequence[Outcome]:
        """Store documents in place of those with the same id, whatever was there: never DUPLICATE."""
        return await self._store(batch, overwrite=True)

    async def _store(self, batch: Sequence[Document], overwrite: bool) -> Sequence[Outcome]:
        assert self._thread is not None, "send before open"
        assert self._writer is not None
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, self._writer.store, batch, overwrite)

    def search(self, query: Query) -> Iterator[Hit]:
        """Hits newest first; works without `open`, beside an agent that writes."""
        return reader.search(self.directory, query)

    def stats(self, query: StatsQuery) -> list[Row]:
        """The figures, a line for each key; works without `open`."""
        return figures.stats(self.directory, query)

    def check(self) -> Iterator[Remark]:
        """Whether the directory can be written, what it holds and how much room is left."""
        existing = next(path for path in (self.directory, *self.directory.absolute().parents) if path.exists())
        if not os.access(existing, os.W_OK | os.X_OK):
            yield Remark("bad", f"{existing} cannot be written", hint="check its owner and mode")
            return
        paths = [path for _, path in reader.day_files(self.directory, Query(from_ms=0, to_ms=1 << 53))]
        for path in paths:
            try:
                reader.DayFile(path).close()
            except (sqlite3.Error, HaltedError) as error:
                yield Remark("bad", f"{path.name} cannot be read: {error}", hint="upgrade vosship, or move the file away")
        free = os.statvfs(existing)
        size = sum(path.stat().st_size for path in paths)
        free_bytes = free.f_bavail * free.f_frsize
        yield Remark("good", f"{self.directory}: {len(paths)} days, {size >> 20} MB; {free_bytes >> 20} MB free")
