"""What a source is known to lack: spans in which it was away, lost something or was never seen, and how far it reaches.

It reads the ledger and asks the inputs; it reads no call and judges nothing.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence

import msgspec

from vosship.application import Application, InputEntry
from vosship.ledger import reading
from vosship.plugin import Attendance, Attends, StreamSize
from vosship.records import Source, streams
from vosship.state import STATE_FILE
from vosship.window import Window

LEARN_FROM = 4
"""Equal steps between names needed before an interval is believed (chosen: fewer says nothing)."""

DAY_MS = 86_400_000
"""The longest a file holds (SERVER_CDR_FILE_WRITE_INTERVAL goes to 86,400 s): a lost file's span where no later one tells."""


class Gap(msgspec.Struct, frozen=True, kw_only=True):
    """A span of the calls' stop times (epoch ms, the end not included; None: open) in which a source may lack calls."""

    from_ms: int | None
    to_ms: int | None
    reason: str

    def holds(self, at_ms: int) -> bool:
        """Whether that moment lies in it."""
        return (self.from_ms is None or self.from_ms <= at_ms) and (self.to_ms is None or at_ms < self.to_ms)


class Standing(msgspec.Struct, kw_only=True):
    """How far a source can be believed.

    `alive_ms` is its last sign of life; `attendance` is in the receiver's clock, for whoever can tell which calls arrived
    when; `gaps` are in the calls' own stop times; `starts_ms` is where a source of named files begins.
    """

    alive_ms: int | None = None
    starts_ms: int | None = None
    attendance: Attendance | None = None
    gaps: list[Gap] = []


def standing(application: Application, source: Source, window: Window) -> Standing:
    """What is known of a source, without reading it."""
    if source.entry is not None:
        return _of_input(application, source.entry, window)
    found = Standing()
    for name, entry, output in application.pipelines():
        if output.name != source.output or entry.channel != source.channel:
            continue
        sizes, _ = streams(entry, window)
        found.gaps += _ledger_gaps(application, [name], sizes, read_again=False)
        attendance = entry.plugin.attendance() if isinstance(entry.plugin, Attends) else None
        if attendance is not None and found.attendance is None:
            # The store reaches further back than a spool that is trimmed: before it, nothing is known of absences.
            found.attendance = msgspec.structs.replace(attendance, first_at=0.0)
    return found


def _of_input(application: Application, entry: InputEntry, window: Window) -> Standing:
    plugin = entry.plugin
    if isinstance(plugin, Attends):
        attendance = plugin.attendance()
        if attendance is None:
            return Standing(gaps=[Gap(from_ms=None, to_ms=None, reason="nothing was ever received")])
        return Standing(alive_ms=round(attendance.last_at * 1000), attendance=attendance)
    sizes, _ = streams(entry, window)
    if not sizes:
        return Standing(gaps=[Gap(from_ms=None, to_ms=None, reason="there is no file at all")])
    names = [name for name, one, _ in application.pipelines() if one.name == entry.name]
    begins = [size.stream.starts_at for size in sizes]
    first = min((at for at in begins if at is not None), default=None)
    found = Standing(alive_ms=round(max(size.modified_at for size in sizes) * 1000))
    found.gaps = [*_ledger_gaps(application, names, sizes, read_again=True), *holes(sizes)]
    if first is not None and None not in begins:
        found.starts_ms = round(first * 1000)
        if window.from_ms < found.starts_ms:
            found.gaps.append(Gap(from_ms=None, to_ms=found.starts_ms, reason=f"before the oldest file, {_oldest(sizes)}"))
    return found


def holes(sizes: Sequence[StreamSize]) -> list[Gap]:
    """Spans between two files' names in which, by the usual step between names, a file should begin and none is there."""
    begins = sorted({size.stream.starts_at for size in sizes if size.stream.starts_at is not None})
    steps = Counter(later - earlier for earlier, later in itertools.pairwise(begins))
    if not steps:
        return []
    usual, times = steps.most_common(1)[0]
    if times < LEARN_FROM:
        return []
    return [
        Gap(from_ms=round((earlier + usual) * 1000), to_ms=round(later * 1000), reason="no file there covers it")
        for earlier, later in itertools.pairwise(begins)
        if later - earlier >= 1.5 * usual
    ]


def _ledger_gaps(application: Application, names: Sequence[str], sizes: Sequence[StreamSize], *, read_again: bool) -> list[Gap]:
    """What the ledger names as lost; with `read_again`, less what is there (again) now."""
    there = {size.stream.name: size.size for size in sizes}
    found: dict[tuple[str, int], Gap] = {}
    with reading(application.config.data_dir / STATE_FILE) as db:
        if db is None:
            return []
        ask = "SELECT pipeline, name, path, starts_at, offset, bytes, never_seen, reason FROM losses ORDER BY name, offset, id"
        for pipeline, name, path, starts_at, offset, size, never_seen, reason in db.execute(ask):
            if pipeline not in names or (read_again and there.get(name, -1) >= offset + size):
                continue
            what = "was never seen" if never_seen else f"lost {size:,} bytes from byte {offset:,}"
            found.setdefault((name, offset), _span(starts_at, f"{path} {what}: {reason}", sizes))
    return list(found.values())


def _span(starts_at: float | None, reason: str, sizes: Sequence[StreamSize]) -> Gap:
    if starts_at is None:
        return Gap(from_ms=None, to_ms=None, reason=reason)
    later = min(
        (s.stream.starts_at for s in sizes if s.stream.starts_at is not None and s.stream.starts_at > starts_at), default=None
    )
    from_ms = round(starts_at * 1000)
    return Gap(from_ms=from_ms, to_ms=round(later * 1000) if later is not None else from_ms + DAY_MS, reason=reason)


def _oldest(sizes: Sequence[StreamSize]) -> str:
    return min((size for size in sizes if size.stream.starts_at is not None), key=lambda s: s.stream.starts_at or 0.0).stream.base
