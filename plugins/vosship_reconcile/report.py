"""Single calls and spans out of a comparison: every difference with its place, sample calls, gaps within the window.

It reads the tables that `comparison` left, counts nothing and formats nothing for people.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from vosship.documents import utc_text
from vosship.standing import Gap
from vosship_reconcile.columns import FURTHER, TEXTS, Terms
from vosship_reconcile.comparison import CLASSES
from vosship_reconcile.gaps import IN_FLIGHT_MS
from vosship_reconcile.shapes import Span
from vosship_reconcile.staging import quoted

SAMPLES = 5
"""Calls shown of each class (chosen: enough to see a pattern, few enough to read)."""


def spans(db: Any, gaps: tuple[Sequence[Gap], Sequence[Gap]], number: int, window: tuple[int, int], zone: ZoneInfo) -> list[Span]:
    """The gaps of a side that mean something within the window, clipped to it, with the other side's calls in them.

    A gap in which neither side has a call means nothing: the copies begin or end there, or it was a quiet minute. Unless the
    other side has a gap there too: then nobody knows.
    """
    found = []
    for gap in gaps[number]:
        begin, end = _clipped(gap, window)
        if begin >= end:
            continue
        span = [begin, end]
        ask = 'SELECT count(*) FROM rest WHERE class = \'cannot_judge\' AND side = ? AND "stopTime" >= ? AND "stopTime" < ?'
        calls = db.execute(ask, [1 - number, *span]).fetchone()[0]
        inner = [begin + IN_FLIGHT_MS, end]  # its edge reaches back over calls that were received
        heard = db.execute('SELECT count(*) FROM copies WHERE "stopTime" >= ? AND "stopTime" < ?', inner).fetchone()[0]
        if calls or (is_bounded(gap) and (heard or any(meets(gap, other, window) for other in gaps[1 - number]))):
            found.append(Span(_local(begin, zone), _local(end, zone), gap.reason, calls))
    return sorted(found, key=lambda span: (span.from_, span.to, span.reason))


def is_bounded(gap: Gap) -> bool:
    """Whether it lies between two times at which the source was there."""
    return gap.from_ms is not None and gap.to_ms is not None


def meets(one: Gap, two: Gap, window: tuple[int, int]) -> bool:
    """Whether two gaps between known times overlap within the window: then neither side knows what happened."""
    (begin, end), (other_begin, other_end) = _clipped(one, window), _clipped(two, window)
    return is_bounded(one) and is_bounded(two) and max(begin, other_begin) < min(end, other_end)


def _clipped(gap: Gap, window: tuple[int, int]) -> tuple[int, int]:
    begin = window[0] if gap.from_ms is None else max(window[0], gap.from_ms)
    return begin, window[1] if gap.to_ms is None else min(window[1], gap.to_ms)


_SHOWN = ("stopTime", "startTime", "holdTime", *TEXTS, *FURTHER, "file", "at_byte", "arrival_ms", "id")


def rows(db: Any, word: str, names: Sequence[str], limit: int | None = None) -> Iterator[dict[str, Any]]:
    """The copies of one class, in time; a mismatched pair is its left copy, with the right one and what differs."""
    if word == "unparsable":
        ask = "SELECT side, file, at_byte, reason, line FROM unread ORDER BY ALL"
        for number, file, at_byte, reason, line in _fetched(db, ask, limit):
            yield {"side": names[number], "file": file, "offset": at_byte, "reason": reason, "line": line}
        return
    shown = ", ".join(f"{{}}.{quoted(name)}" for name in _SHOWN)
    if word == "mismatched":
        ask = (
            f"SELECT {shown.replace('{}', 'l')}, {shown.replace('{}', 'r')}, l.differs FROM rest l JOIN rest r ON l.pair = r.n"
            " WHERE l.side = 0 AND l.class = 'mismatched' ORDER BY l.n"
        )
        for row in _fetched(db, ask, limit):
            one, other = row[: len(_SHOWN)], row[len(_SHOWN) : -1]
            yield {**_fields(one), "side": names[0], "differs": row[-1].split(" "), "other": {"side": names[1], **_fields(other)}}
        return
    ask = f"SELECT {shown.replace('{}', 'c')}, c.side FROM rest c WHERE class = '{word}' ORDER BY \"stopTime\", n"
    for row in _fetched(db, ask, limit):
        yield {**_fields(row[:-1]), "side": names[row[-1]]}


def _fetched(db: Any, ask: str, limit: int | None) -> Iterator[Sequence[Any]]:
    found = db.cursor().execute(ask if limit is None else f"{ask} LIMIT {limit}")
    while batch := found.fetchmany(10_000):
        yield from batch


def _fields(row: Sequence[Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in zip(_SHOWN, row, strict=True):
        if value is None:
            continue
        if name in ("stopTime", "startTime"):
            found[name] = utc_text(value / 1000)
        elif name == "arrival_ms":
            found["forward.received_at"] = utc_text(value / 1000)
        else:
            found[{"at_byte": "offset", "id": "_id"}.get(name, name)] = value
    return found


def samples(db: Any, names: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """The first few calls of each class that has any; matched ones need no showing."""
    found = {word: list(rows(db, word, names, SAMPLES)) for word in CLASSES if word != "matched"}
    return {word: shown for word, shown in found.items() if shown}


def compared(terms: Terms) -> dict[str, Any]:
    """What was compared, and how finely."""
    return {
        "fields": list(terms.names),
        "time_resolution": "ms" if terms.time_step_ms == 1 else "s",
        "hold_resolution": "ms" if terms.hold_step_ms == 1 else "s",
    }


def _local(at_ms: int, zone: ZoneInfo) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).astimezone(zone).isoformat(timespec="seconds")
