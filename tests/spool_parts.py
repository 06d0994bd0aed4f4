"""Spools of small segments for tests, a clock for them, and the plain ways to fill and empty one."""

from __future__ import annotations

import asyncio
import logging
import time
from pathlib import Path
from typing import Any

from tests.forward_parts import WAIT_S
from vosship.events import Block, Gone
from vosship.plugin import Known
from vosship_forward import scan
from vosship_forward.frames import Kind, encode
from vosship_forward.reader import read
from vosship_forward.spool import Spool, Ticket

LOG = logging.getLogger("vosship.forward")


class Clock:
    """A time that moves when told to."""

    def __init__(self, at: float = 1_776_000_000.0) -> None:
        self.at = at

    def __call__(self) -> float:
        """Now."""
        return self.at


def spool(place: Path, **changes: Any) -> Spool:
    """A spool of small segments without heartbeats in the way."""
    settings: dict[str, Any] = {
        "segment_bytes": 4096,
        "max_bytes": 1 << 20,
        "keep_s": 3600.0,
        "heartbeat_s": 600.0,
        "gather_s": 0.0,
        "now": time.time,
        "log": LOG,
    }
    return Spool(place, **{**settings, **changes})


def frame(line: bytes, at: float = 0.0) -> bytes:
    """A record's frame."""
    return encode(Kind.DATA, int((at or time.time()) * 1e6), line, key=1)


async def keep(into: Spool, *lines: bytes) -> None:
    """Hand over records and return when they are told safe."""
    landed = asyncio.Event()
    into.append(Ticket([frame(line, into._now()) for line in lines], landed.set))
    await asyncio.wait_for(landed.wait(), WAIT_S)


async def everything(source: Any, known: Known | None = None) -> list[Block | Gone]:
    """What a reader gets now."""
    return [item async for item in read(source, known or {}, "now")]


def kept(place: Path) -> list[bytes]:
    """All records on disk."""
    return [arrival.line for arrival in scan(place)]


def run(steps: Any) -> Any:
    """Run with a limit."""
    return asyncio.run(asyncio.wait_for(steps, WAIT_S))
