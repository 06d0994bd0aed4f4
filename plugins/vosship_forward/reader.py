"""Blocks from the spool for one pipeline: from its own settled position on, oldest segment first.

It neither writes nor deletes segments, and does not know which pipeline it reads for.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from vosship.events import Block, Gone, Stream, Value
from vosship.plugin import Known, Until
from vosship_forward.frames import HEADER_BYTES, MAGIC, DamagedError, Flag, Frame, Kind, decode, unpack_address
from vosship_forward.shelf import Segment, look

BLOCK_BYTES = 64 << 10
"""Read at a time (chosen: some 200 records: the processors keep the loop for a few ms only, answers wait on it)."""

GATHER_S = 0.1
"""Least time between two small blocks of a live segment (chosen: a tenth of the default age of a batch)."""


class Shelf(Protocol):
    """Where segments are found: a live spool, or a directory looked at once."""

    shelf: list[Segment]
    version: int

    async def news(self, version: int) -> None: ...


class Still:
    """A directory as it was when looked at; nothing comes after."""

    def __init__(self, directory: Path) -> None:
        self.shelf = look(directory)
        self.version = 0

    async def news(self, version: int) -> None:
        """Never returns: there is no news."""
        await asyncio.Event().wait()


def stream_of(segment: Segment) -> Stream:
    """The stream a segment is to the core."""
    return Stream(name=segment.name, base=segment.name, path=str(segment.path))


async def read(source: Shelf, known: Known, until: Until) -> AsyncIterator[Block | Gone]:
    """Every safe record after the positions in `known`, once; with `now`, what is safe at the call and no more."""
    limits = {one.name: one.data_end for one in source.shelf} if until == "now" else None
    for missing in _missing(source.shelf, known):
        yield missing
    done = {name for name, position in known.items() if position.gone}
    while True:
        version = source.version
        segment = _next(source.shelf, done, limits)
        if segment is None:
            if limits is not None:
                return
            await source.news(version)
            continue
        at = known[segment.name].offset if segment.name in known else 0
        async for item in _segment(source, segment, at, limits):
            yield item
        done.add(segment.name)


def _missing(shelf: list[Segment], known: Known) -> list[Gone]:
    # A segment that left no remains was passed by all, or the operator deleted it: how much was in it nobody knows.
    there = {one.name for one in shelf}
    return [
        Gone(position.stream, position.offset, reason="missing")
        for name, position in sorted(known.items())
        if not position.gone and name not in there
    ]


def _next(shelf: list[Segment], done: set[str], limits: dict[str, int] | None) -> Segment | None:
    for segment in shelf:
        if segment.name not in done and (limits is None or segment.name in limits):
            return segment
    return None


async def _segment(source: Shelf, segment: Segment, at: int, limits: dict[str, int] | None) -> AsyncIterator[Block | Gone]:
    stream = stream_of(segment)
    read_at = 0.0
    while True:
        version = source.version
        # Sealed first: what is added between the two looks is then seen the next time round.
        complete = segment.sealed
        end = segment.data_end if limits is None else limits[segment.name]
        if segment.lost:
            yield Gone(stream, at, lost_bytes=max(0, segment.data_end - at), reason="spool full")
            return
        if at >= end:
            if complete and (limits is None or end == segment.data_end):
                yield Gone(stream, at, reason="finished")
                return
            if limits is not None:
                return
            await source.news(version)
            continue
        wait_s = read_at + GATHER_S - time.monotonic()
        if limits is None and not complete and wait_s > 0 and end - at < BLOCK_BYTES:
            await asyncio.sleep(wait_s)
            continue
        read_at = time.monotonic()
        try:
            block = await asyncio.to_thread(read_block, segment.path, stream, at, end)
        except FileNotFoundError:
            await asyncio.sleep(GATHER_S)  # it is being given up just now
            if segment.lost:
                continue
            yield Gone(stream, at, lost_bytes=end - at, reason="missing")
            return
        except DamagedError:
            yield Gone(stream, at, lost_bytes=end - at, reason="damaged")
            return
        at = block.end
        yield block


def read_block(path: Path, stream: Stream, start: int, stop: int, want: int = BLOCK_BYTES) -> Block:
    """One block of the records from `start` on, at least one; `stop` is the end of a record after it.

    Raises DamagedError when there is no whole record where there must be one.
    """
    with path.open("rb") as file:
        while True:
            file.seek(start)
            size = min(want, stop - start)
            buffer = file.read(size)
            skip = len(MAGIC) if start == 0 else 0
            try:
                frames, _ = decode(buffer, start, skip)
            except DamagedError as error:
                # What is whole before the damage is given; the next call meets the damage at its very start.
                frames, _ = decode(buffer[: error.offset - start], start, skip)
                if not any(frame.kind == Kind.DATA for frame in frames):
                    raise
            records = [frame for frame in frames if frame.kind == Kind.DATA]
            if records:
                return _block(stream, start, records)
            if size == stop - start:
                raise DamagedError(start)
            want *= 4  # a very long record, or hours of heartbeats


def _block(stream: Stream, start: int, records: list[Frame]) -> Block:
    data = b"\n".join(frame.payload for frame in records) + b"\n"
    return Block(
        stream=stream,
        offset=start,
        end=records[-1].end,
        data=data,
        proof=b"",
        fields={},
        each=_each(records),
        offsets=[frame.offset + HEADER_BYTES for frame in records],
    )


def _each(records: list[Frame]) -> list[dict[str, Value]]:
    each: list[dict[str, Value]] = []
    second, text = -1, ""
    for frame in records:
        millis = frame.arrival_us // 1000
        if millis // 1000 != second:
            second = millis // 1000
            text = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S.")
        fields: dict[str, Value] = {
            "forward.received_at": f"{text}{millis % 1000:03d}Z",
            "forward.peer": unpack_address(frame.peer),
        }
        flags = frame.flags
        if flags & (Flag.RESEND | Flag.UNTERMINATED):
            fields["tags"] = [name for flag, name in _TAGS if flags & flag]
        each.append(fields)
    return each


_TAGS = ((Flag.RESEND, "resend"), (Flag.UNTERMINATED, "unterminated"))
