"""The segments of a spool as they lie on disk, and reading them without any receiver.

It writes nothing: `spool` does. Everything here may run beside a receiver that is writing.

A segment's name is its number and the moment it was made (`0000000017-00001776945600123456`): the number gives the order, and the
moment makes it unique for ever, so that document ids never meet again after a spool was lost and numbered anew.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from vosship_forward.frames import HEADER_BYTES, DamagedError, Flag, Frame, Kind, decode, encode, unpack_address, walk

SUFFIX = ".seg"
LOST_SUFFIX = ".lost"
"""What a segment leaves behind when it had to go unread: its seal, so that every reader learns how much it lost."""

_NAME = re.compile(r"(\d{10,})-(\d{20})\.(seg|lost)")
_SEAL = struct.Struct("<QQQQQQ")  # end of the last record, records, first and last arrival and longest silence in µs, starts
_SEALED = ("data_end", "records", "first_us", "last_us", "silence_us", "starts")
SEAL_BYTES = HEADER_BYTES + _SEAL.size

_INTERVAL = struct.Struct("<I")  # heartbeat interval in ms, in START and HEARTBEAT frames
SILENT_INTERVALS = 3
"""Heartbeats missing before the receiver counts as absent (chosen: one may be late on a loaded disk, two in a row are not)."""


class Segment(msgspec.Struct):
    """One segment: `data_end` is the byte after its last safe record, `size` the bytes it takes on disk.

    `silence_us` is the longest time between two of its frames, `starts` how often a receiver started in it.
    `sealed`: complete, nothing will follow. `lost`: its records were given up unread.
    """

    number: int
    name: str
    path: Path
    created_us: int
    size: int = 0
    data_end: int = 0
    records: int = 0
    first_us: int = 0
    last_us: int = 0
    silence_us: int = 0
    starts: int = 0
    sealed: bool = False
    lost: bool = False

    def note(self, frame: Frame) -> None:
        """Take one more frame into the account."""
        self.size = frame.end
        self.first_us = self.first_us or frame.arrival_us
        if self.last_us and frame.arrival_us - self.last_us > self.silence_us:
            self.silence_us = frame.arrival_us - self.last_us
        self.starts += frame.kind == Kind.START
        self.last_us = max(self.last_us, frame.arrival_us)
        if frame.kind == Kind.DATA:
            self.data_end = frame.end
            self.records += 1

    def seal(self, now_us: int) -> bytes:
        """The frame that closes it."""
        return encode(Kind.SEAL, now_us, _SEAL.pack(*(getattr(self, name) for name in _SEALED)))


class Arrival(NamedTuple):
    """One record as it arrived, and where its untouched bytes begin (`offset`) in which segment."""

    arrival_ms: int
    peer: str
    line: bytes
    segment: str
    offset: int
    resend: bool
    unterminated: bool


def segment_name(number: int, created_us: int) -> str:
    """A segment's name; zeros lead both parts, so that nothing in it can be read as the date of a file."""
    return f"{number:010d}-{created_us:020d}"


def interval_payload(heartbeat_s: float) -> bytes:
    """What START and HEARTBEAT frames carry: how soon the next one is due."""
    return _INTERVAL.pack(max(1, round(heartbeat_s * 1000)))


def segments(directory: Path) -> list[Segment]:
    """The segments of a spool in the order they were written; sizes of those without a seal are not yet known.

    A spool that does not exist has none.
    """
    found: dict[str, Segment] = {}
    try:
        entries = sorted(directory.iterdir())
    except FileNotFoundError:
        return []
    for path in entries:
        match = _NAME.fullmatch(path.name)
        if not match:
            continue
        lost = match[3] == "lost"
        name = path.stem
        if name in found and not lost:
            continue  # a crash between leaving the remains and deleting the segment: the remains say what is true
        segment = Segment(int(match[1]), name, path, int(match[2]), lost=lost)
        if _read_seal(segment) or not lost:
            found[name] = segment
    return sorted(found.values(), key=lambda one: (one.number, one.created_us))


def _read_seal(segment: Segment) -> bool:
    try:
        with segment.path.open("rb") as file:
            segment.size = file.seek(0, 2)
            if segment.size < SEAL_BYTES:
                return False
            file.seek(segment.size - SEAL_BYTES)
            tail = file.read(SEAL_BYTES)
        frames, _ = decode(tail, segment.size - SEAL_BYTES)
    except (FileNotFoundError, DamagedError):
        return False
    if len(frames) != 1 or frames[0].kind != Kind.SEAL:
        return False
    for name, value in zip(_SEALED, _SEAL.unpack(frames[0].payload), strict=True):
        setattr(segment, name, value)
    segment.sealed = True
    return True


def measure(segment: Segment) -> int:
    """Walk an unsealed segment to find its last whole frame; returns how many damaged or unfinished bytes follow it."""
    on_disk = segment.path.stat().st_size
    fresh = Segment(segment.number, segment.name, segment.path, segment.created_us)
    try:
        for frame in walk(segment.path, 0, on_disk):
            fresh.note(frame)
    except DamagedError as error:
        fresh.size = error.offset
    for name in ("size", *_SEALED):
        setattr(segment, name, getattr(fresh, name))
    return on_disk - fresh.size


def look(directory: Path) -> list[Segment]:
    """Like `segments`, with the sizes of unsealed ones found by walking them."""
    found = []
    for segment in segments(directory):
        try:
            if not segment.sealed:
                measure(segment)
        except FileNotFoundError:
            continue  # deleted between the two looks
        found.append(segment)
    return found


def frames(segment: Segment) -> Iterator[Frame]:
    """The whole frames of a segment; ends at the first damage, and at once where the segment was deleted meanwhile."""
    if segment.lost:
        return
    try:
        yield from walk(segment.path, 0, segment.path.stat().st_size)
    except (DamagedError, FileNotFoundError):
        return


def scan(spool_dir: Path) -> Iterator[Arrival]:
    """Every record in the spool, in the order of its arrival, without any receiver or server."""
    for segment in segments(spool_dir):
        for frame in frames(segment):
            if frame.kind == Kind.DATA:
                yield arrival(segment.name, frame)


def arrival(segment: str, frame: Frame) -> Arrival:
    """A DATA frame as what it stands for."""
    return Arrival(
        frame.arrival_us // 1000,
        unpack_address(frame.peer),
        frame.payload,
        segment,
        frame.offset + HEADER_BYTES,
        bool(frame.flags & Flag.RESEND),
        bool(frame.flags & Flag.UNTERMINATED),
    )


def span(spool_dir: Path) -> tuple[int, int] | None:
    """First and last sign of life in the spool, in ms since 1970; None when there is none.

    Outside of it nothing is known: whoever compares must treat that time as absence too.
    """
    alive = [segment for segment in look(spool_dir) if not segment.lost and segment.first_us]
    return (alive[0].first_us // 1000, max(segment.last_us for segment in alive) // 1000) if alive else None


def absences(spool_dir: Path) -> list[tuple[int, int]]:
    """When nobody listened, or nothing could be kept, between the first and the last sign of life: (from, to) in ms.

    Three kinds: between an orderly stop and the next start; from the last sign of life before a crash to the next start; and
    any silence of several heartbeats. A segment that is lost or was deleted is an absence too.
    """
    found: list[tuple[int, int]] = []
    last_us = 0
    allowed_us = 0
    broken = False
    for segment in segments(spool_dir):
        if segment.lost:
            broken = True
            continue
        # A segment whose seal tells of no start and no long silence need not be walked: only its two ends count.
        quiet = segment.sealed and not segment.starts and 0 < segment.silence_us <= allowed_us
        for kind, at_us, payload in [(0, segment.first_us, b"")] if quiet else _signs(segment):
            if last_us and (kind == Kind.START or broken or at_us - last_us > allowed_us) and at_us > last_us:
                found.append((last_us // 1000, -(-at_us // 1000)))
            if kind in (Kind.START, Kind.HEARTBEAT):
                (interval_ms,) = _INTERVAL.unpack(payload)
                allowed_us = SILENT_INTERVALS * interval_ms * 1000
            broken = False
            last_us = max(last_us, at_us)
        if quiet:
            last_us = max(last_us, segment.last_us)
    return _joined(found)


def _signs(segment: Segment) -> Iterator[tuple[int, int, bytes]]:
    """Kind, time and payload of each sign of life in a segment."""
    for frame in frames(segment):
        if frame.kind != Kind.SEAL:
            yield frame.kind, frame.arrival_us, frame.payload


def _joined(spans: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    joined: list[tuple[int, int]] = []
    for begin, end in spans:
        if joined and begin <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((begin, end))
    return joined


def recent_keys(shelf: Sequence[Segment], since_us: int, most: int) -> list[tuple[int, int]]:
    """(key, arrival in µs) of the records since then, oldest first: the newest `most` of them, or a segment's worth more."""
    chosen: list[Segment] = []
    held = 0
    for segment in reversed(shelf):
        if held >= most or segment.last_us < since_us:
            break
        chosen.append(segment)
        held += segment.records
    keys: list[tuple[int, int]] = []
    for segment in reversed(chosen):
        try:
            for frame in walk(segment.path, 0, 0 if segment.lost else segment.data_end):
                if frame.kind == Kind.DATA:
                    keys.append((frame.key, frame.arrival_us))
        except (DamagedError, FileNotFoundError):
            continue
    return keys
