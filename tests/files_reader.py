"""A reader of the input `files` for tests: it drives a walk by hand, settles like the core, and forgets like a crash.

It decides nothing: what came out is compared by `directory_model` and by the tests.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from directory_model import Place, Span, places

from vosship.config import convert
from vosship.events import Block, Gone, Position
from vosship.plugin import Context
from vosship.schema import Schema
from vosship_files import Files
from vosship_files.lines import Pause


class NoMetrics:
    """Metrics nobody reads."""

    def count(self, name: str, amount: float = 1, **labels: str) -> None: ...
    def set(self, name: str, value: float, **labels: str) -> None: ...
    def observe(self, name: str, value: float, **labels: str) -> None: ...


class Clock:
    """A clock that moves when told."""

    def __init__(self) -> None:
        self.at = time.time()

    def __call__(self) -> float:
        return self.at


def make(base_dir: Path, now: Clock, parameters: Mapping[str, str | int] | None = None, **options: Any) -> Files:
    """The input over `base_dir`/cdr, in Dhaka's time."""
    context = Context(
        name="cdr",
        switch="dhaka-1",
        timezone="Asia/Dhaka",
        schema=Schema([]),
        log=logging.getLogger("vosship.test.files"),
        metrics=NoMetrics(),
        data_dir=base_dir / "data",
        base_dir=base_dir,
        now=now,
        switch_parameters=parameters or {},
    )
    options.setdefault("paths", ["cdr/*.txt"])
    return Files(convert(options, Files.Options, ""), context)


class Reader:
    """One pipeline's reading: `events` holds what was settled, `waiting` what a crash would lose."""

    def __init__(self, files: Files, until: Literal["forever", "now"] = "forever") -> None:
        self.files = files
        self.known: dict[str, Position] = {}
        self.events: list[Block | Gone] = []
        self.waiting: list[Block | Gone] = []
        self.walk = files.walk({}, until)

    def look(self) -> None:
        """Let the agent look at the directory."""
        self.walk.look()

    def take(self, count: int = 1_000_000) -> list[Block | Gone]:
        """Read up to `count` blocks or ends; fewer when nothing is left."""
        taken: list[Block | Gone] = []
        while len(taken) < count:
            item = self.walk.advance()
            if item is Pause.END:
                break
            if not isinstance(item, Pause):
                taken.append(item)
        self.waiting.extend(taken)
        return taken

    def step(self) -> list[Block | Gone]:
        """Look, and read all there is."""
        self.look()
        return self.take()

    def settle(self) -> None:
        """What was read is durable."""
        for item in self.waiting:
            gone = isinstance(item, Gone)
            before = self.known.get(item.stream.name)
            end, proof = (item.offset, before.proof if before else b"") if isinstance(item, Gone) else (item.end, item.proof)
            self.known[item.stream.name] = Position(item.stream, end, proof, gone)
        self.events.extend(self.waiting)
        self.waiting.clear()

    def restart(self, until: Literal["forever", "now"] = "forever") -> None:
        """A crash and a new start: what was not settled is read again."""
        self.walk.close()
        self.waiting.clear()
        self.walk = self.files.walk(dict(self.known), until)

    def lines(self) -> list[Place]:
        """Whole lines settled, a cut one left out."""
        blocks = [item for item in self.events if isinstance(item, Block) and not item.cut]
        return [place for block in blocks for place in places(block.stream.base, block.offset, block.data)]

    def halves(self) -> list[Place]:
        """Unterminated last lines settled."""
        found = []
        for item in self.events:
            if isinstance(item, Block) and item.unterminated:
                start = item.data.rfind(b"\n") + 1
                found.append(Place(item.stream.base, item.offset + start, item.data[start:]))
        return found

    def lost(self) -> list[Span]:
        """Spans settled as lost."""
        ends = [item for item in self.events if isinstance(item, Gone) and item.lost_bytes]
        return [Span(gone.stream.base, gone.offset, gone.offset + gone.lost_bytes) for gone in ends]

    def check_tiling(self) -> None:
        """Blocks of each generation begin at 0, join without hole or overlap, and nothing follows a Gone."""
        at: dict[tuple[str, int], int] = {}
        gone: set[tuple[str, int]] = set()
        newest: dict[str, int] = {}
        for item in self.events:
            if isinstance(item, Gone) and (item.never_seen or item.skipped):
                continue
            key = item.stream.name, item.stream.generation
            assert key not in gone, f"{item} after its Gone"
            assert item.stream.generation >= newest.get(item.stream.name, 1), f"{item} of an old generation"
            newest[item.stream.name] = item.stream.generation
            assert item.offset == at.get(key, 0), f"{item.stream} continues at {item.offset}, not at {at.get(key, 0)}"
            if isinstance(item, Gone):
                gone.add(key)
                continue
            assert item.end > item.offset
            assert item.cut or item.end - item.offset == len(item.data)
            assert item.cut or item.unterminated or item.data.endswith(b"\n")
            at[key] = item.end


def blocks(items: Iterable[Block | Gone]) -> list[tuple[str, int, bytes]]:
    """File, offset and bytes of the blocks."""
    return [(item.stream.base, item.offset, item.data) for item in items if isinstance(item, Block)]


def gones(items: Iterable[Block | Gone]) -> list[Gone]:
    """The ends."""
    return [item for item in items if isinstance(item, Gone)]


def content(items: Iterable[Block | Gone], generation: int) -> bytes:
    """What came out of one generation, of whatever streams, in order."""
    return b"".join(item.data for item in items if isinstance(item, Block) and item.stream.generation == generation)
