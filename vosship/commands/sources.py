"""From names on a command line to the two sides of a comparison: what to read, what it is known to lack, which way is quick.

It reads nothing before the comparison does.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from vosship.application import Application
from vosship.events import Block, Stream
from vosship.plugin import StreamSize
from vosship.records import Copy, Reading, Source, find, records, streams
from vosship.standing import standing
from vosship.window import Window
from vosship_reconcile.bulk import Plain, PlainFile, Span
from vosship_reconcile.engine import SideSource

ADDING = frozenset({"cdr", "codes", "gateways", "prefixes", "geoip"})
"""Processors that leave the compared columns as the line has them, so that equal lines are equal calls."""

NEAR_S = 3 * 86_400
"""How far around the window the switch's clock may not have changed for the quick way (chosen: beyond every file read)."""


def bounded(batches: Iterable[list[Copy]], check: Callable[[int], None]) -> Iterator[list[Copy]]:
    """The same, `check` told the count so far: it raises where that is more than one may ask for."""
    count = 0
    for batch in batches:
        count += len(batch)
        check(count)
        yield batch


def side(application: Application, names: str, window: Window, filters: dict[str, Any], check: Callable[[int], None]) -> SideSource:
    """One side; several names, with commas, are one source (two receivers behind one address). Raises ConfigError.

    `check` is told how many of its calls were read so far; the quick way counts only at the end, in the report.
    """
    sources = [find(application, name) for name in names.split(",")]
    known = [standing(application, source, window) for source in sources]

    def batches() -> Iterator[list[Copy]]:
        for source in sources:
            yield from records(application, source.name, window, filters)

    return SideSource(
        name=names,
        batches=bounded(batches(), check),
        repeats=len(sources) > 1 or sources[0].repeats,
        alive_ms=max((one.alive_ms for one in known if one.alive_ms is not None), default=None),
        gaps=[gap for one in known for gap in one.gaps],
        attendances=[one.attendance for one in known if one.attendance is not None],
        plain=_plain(application, sources, window, filters),
    )


def local_span(application: Application, names: Sequence[str], window: Window) -> Span | None:
    """The window in the switch's clock; None where the sides have not one clock, or it changed near the window."""
    zones = {application.inputs[name].timezone for name in names if name in application.inputs}
    if len(zones) != 1:
        return None
    zone = ZoneInfo(zones.pop())
    moment, end = window.start.astimezone(UTC) - timedelta(seconds=NEAR_S), window.end.astimezone(UTC) + timedelta(seconds=NEAR_S)
    offset = moment.astimezone(zone).utcoffset()
    while moment < end:
        moment += timedelta(hours=1)
        if moment.astimezone(zone).utcoffset() != offset:
            return None
    assert offset is not None
    begin, last = (at.astimezone(zone).replace(tzinfo=None) for at in (window.start, window.end))
    if begin.microsecond or last.microsecond:
        return None
    return Span(_text(begin), _text(last), round(offset.total_seconds() * 1000))


def _plain(application: Application, sources: Sequence[Source], window: Window, filters: dict[str, Any]) -> Plain | None:
    """The quick way of a side, where everything that it relies on holds."""
    entry = sources[0].entry
    if len(sources) != 1 or entry is None or getattr(entry.plugin, "family", "") != "pipe" or window.time != "stop":
        return None
    if any(bool(value) or value is False for value in filters.values()) or not _adding_only(application):
        return None
    zone = ZoneInfo(entry.timezone)
    _, wanted = streams(entry, window)
    plain = {size.stream.path: size for size in wanted if _is_plain(size)}
    files = [PlainFile(path, size.size, _local(size.stream, zone)) for path, size in plain.items()]
    others = [size.stream.name for size in wanted if size.stream.path not in plain]
    # Made when it is first needed: its processors load their tables, and whole files of regular lines need none.
    made = functools.cache(lambda: Reading(application, entry, window, filters))

    def parse(file: PlainFile, head: bytes, groups: Iterator[Sequence[tuple[int, bytes]]]) -> Iterator[list[Copy]]:
        reading = made()
        stream = plain[file.path].stream
        reading.copies(Block(stream, 0, len(head), head, b"", {}))
        for places in groups:
            data = b"\n".join([line for _, line in places]) + b"\n"
            at = [place for place, _ in places]
            yield reading.copies(Block(stream, at[0], at[-1] + len(places[-1][1]) + 1, data, b"", {}, offsets=at))

    def rest(irregular: Sequence[str]) -> Iterator[list[Copy]]:
        names = [*others, *(plain[path].stream.name for path in irregular)]
        return records(application, entry.name, window, filters, names) if names else iter(())

    return Plain(files=files, parse=parse, rest=rest)


def _adding_only(application: Application) -> bool:
    for item in application.config.processors:
        options = item.options
        usual = options.get("layout", "auto") in ("auto", "pipe") and options.get("hold_unit", "auto") in ("auto", "ms")
        usual = usual and options.get("times", "auto") in ("auto", "text") and options.get("max_skew_days", 2) in (0, 2)
        if item.type not in ADDING or (item.type == "cdr" and not usual):
            return False
    return True


def _is_plain(size: StreamSize) -> bool:
    """Whether the file is finished, uncompressed and ends with a newline."""
    path = Path(size.stream.path)
    if size.newest or path.suffix == ".gz" or size.stream.starts_at is None or not size.size:
        return False
    try:
        with path.open("rb") as file:
            file.seek(-1, 2)
            return file.read(1) == b"\n" and file.tell() == size.size
    except OSError:
        return False


def _local(stream: Stream, zone: ZoneInfo) -> str:
    assert stream.starts_at is not None
    return _text(datetime.fromtimestamp(stream.starts_at, UTC).astimezone(zone))


def _text(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S}"
