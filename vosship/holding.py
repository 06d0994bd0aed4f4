"""What only the agent still holds of a pipeline's streams: noted while it lives, entered as lost when it ends in order.

It does not know files: a reader says what it holds, and the next one what of it is lost after a kill.

A crash at any moment: a stream that was noted is named at the next start, with its bytes; one noticed and not yet noted (the
time of one commit) is not. What is settled meanwhile is left out both times, so nothing is named twice.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import AsyncIterator, Sequence
from typing import Any, Protocol, runtime_checkable

import msgspec

from vosship.errors import VosshipError
from vosship.events import Gone, Held, Position, Stream
from vosship.state import State

log = logging.getLogger("vosship.holding")

_TABLE = """
CREATE TABLE IF NOT EXISTS held (
    pipeline TEXT NOT NULL, name TEXT NOT NULL, generation INTEGER NOT NULL, base TEXT NOT NULL, path TEXT NOT NULL,
    starts_at REAL, size INTEGER NOT NULL, proof BLOB NOT NULL, reason TEXT NOT NULL,
    PRIMARY KEY (pipeline, name, generation)) WITHOUT ROWID
"""

_NOTE = """
INSERT OR REPLACE INTO held (pipeline, name, generation, base, path, starts_at, size, proof, reason)
SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9 WHERE NOT EXISTS (
    SELECT 1 FROM streams WHERE pipeline = ?1 AND name = ?2 AND generation = ?3 AND gone)
"""

_RECALL = """
SELECT held.name, held.base, held.path, held.generation, held.starts_at, size, held.proof, reason, coalesce(streams.offset, 0)
FROM held LEFT JOIN streams USING (pipeline, name, generation)
WHERE pipeline = ? AND NOT coalesce(gone, 0) ORDER BY held.name, held.generation
"""

_LOST_WHOLE = """
SELECT name, generation, lost_bytes FROM streams WHERE pipeline = ? AND gone AND NOT offset AND lost_bytes
"""

_SETTLED = "SELECT name, generation, offset, gone FROM streams WHERE pipeline = ?"


@runtime_checkable
class Holds(Protocol):
    """What an input's `read` may give: an iterator that knows which streams would end with the process."""

    def held(self) -> AsyncIterator[Sequence[Held]]:
        """All of them, each time that has changed; once reading is over what is left then, and that is the end."""
        ...

    def let_go(self, gone: Sequence[Gone]) -> None:
        """These ends are settled: they need not be named any more."""
        ...


class Holding:
    """One pipeline's notes of what its reader holds."""

    def __init__(self, pipeline: str, state: State) -> None:
        self._pipeline = pipeline
        self._state = state
        self._reader: Holds | None = None
        self._held: Sequence[Held] = ()

    async def known(self, now: float) -> dict[str, Position]:
        """Every known position, with what an earlier agent held of it. A generation that was followed by another is lost."""
        known = await asyncio.wrap_future(self._state.submit_known(self._pipeline))
        held, lost_whole = await asyncio.wrap_future(self._state.submit(lambda db: _recall(db, self._pipeline)))
        lost = []
        for item, offset in held:
            name, position = item.stream.name, known.get(item.stream.name)
            if position is not None and position.held is not None:
                lost.append(_end(position.held, position.offset))
            if position is not None and position.stream.generation > item.stream.generation:
                lost.append(_end(item, offset))
            elif position is not None and position.stream.generation == item.stream.generation:
                known[name] = msgspec.structs.replace(position, held=item)
            else:
                known[name] = Position(item.stream, offset, held=item)
        for (name, generation), size in lost_whole.items():
            position = known[name]
            if position.gone and position.stream.generation == generation:
                known[name] = msgspec.structs.replace(position, held=Held(position.stream, size))
        if lost:
            await asyncio.wrap_future(self._state.settle(self._pipeline, [], lost, now))
            self.shout(lost)
        return known

    async def follow(self, reader: Holds) -> None:
        """Note what the reader holds, whenever that changes, until reading is over."""
        self._reader = reader
        async for held in reader.held():
            self._held = held
            try:
                await asyncio.wrap_future(self._state.submit(lambda db, held=held: _note(db, self._pipeline, held)))  # type: ignore[misc]
            except VosshipError as error:  # the next settle meets the same disk, and says so
                log.warning(
                    "what only the agent still holds cannot be noted", extra={"pipeline": self._pipeline, "reason": str(error)}
                )

    def settled(self, gone: Sequence[Gone]) -> None:
        """The ends of these streams are in the ledger."""
        if self._reader is not None and gone:
            self._reader.let_go(gone)

    async def ends(self) -> list[Gone]:
        """What ends now that reading is over and nothing is on its way any more: lost, as far as it was not settled before."""
        certain = [item for item in self._held if not item.elsewhere]
        if not certain:
            return []
        settled = await asyncio.wrap_future(self._state.submit(lambda db: _settled(db, self._pipeline)))
        found = []
        for item in certain:
            offset, gone = settled.get((item.stream.name, item.stream.generation), (0, False))
            if not gone:
                found.append(_end(item, offset))
        return found

    def shout(self, lost: Sequence[Gone]) -> None:
        """Log losses as ERRORs."""
        for gone in (each for each in lost if each.lost_bytes):
            extra = {"pipeline": self._pipeline, "file": gone.stream.name, "offset": gone.offset, "bytes": gone.lost_bytes}
            log.error("bytes lost with the agent's end", extra={**extra, "reason": gone.reason})


def _end(held: Held, offset: int) -> Gone:
    lost = max(0, held.size - offset)
    return Gone(held.stream, offset, lost, held.reason if lost else "deleted")


def _note(db: sqlite3.Connection, pipeline: str, held: Sequence[Held]) -> None:
    db.execute("DELETE FROM held WHERE pipeline = ?", (pipeline,))
    for item in held:
        stream = item.stream
        place = (pipeline, stream.name, stream.generation, stream.base, stream.path, stream.starts_at)
        db.execute(_NOTE, (*place, item.size, item.proof, item.reason))


def _recall(db: sqlite3.Connection, pipeline: str) -> tuple[list[tuple[Held, int]], dict[tuple[str, int], int]]:
    """What was held, oldest generation first, with the settled offset; and the bytes of streams of which everything was lost."""
    db.execute(_TABLE)
    held = [(Held(Stream(*row[:5]), *row[5:8]), row[8]) for row in db.execute(_RECALL, (pipeline,))]
    return held, {(row[0], row[1]): row[2] for row in db.execute(_LOST_WHOLE, (pipeline,))}


def _settled(db: sqlite3.Connection, pipeline: str) -> dict[tuple[str, int], tuple[int, Any]]:
    return {(row[0], row[1]): (row[2], row[3]) for row in db.execute(_SETTLED, (pipeline,))}
