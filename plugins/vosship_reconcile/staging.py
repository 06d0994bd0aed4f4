"""Copies of calls into DuckDB's tables, by way of plain text parts on disk, in bounded memory.

It knows the columns (`columns`) and compares nothing.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

from vosship.query import epoch_ms
from vosship_reconcile.columns import FURTHER, TEXTS, Seen

PART_ROWS = 400_000
"""Rows written before they are loaded (chosen: about 120 MB of text at a time)."""

LINE_SHOWN = 400
"""Characters kept of a line that could not be read (chosen: a whole usual line)."""

PLACES = (("file", "VARCHAR"), ("at_byte", "BIGINT"), ("arrival_ms", "BIGINT"), ("resend", "BOOLEAN"), ("id", "VARCHAR"))

COLUMNS: dict[str, str] = {
    "side": "TINYINT",
    "stopTime": "BIGINT",
    "startTime": "BIGINT",
    "holdTime": "BIGINT",
    **dict.fromkeys((*TEXTS, *FURTHER), "VARCHAR"),
    "destination": "VARCHAR",
    **dict(PLACES),
}
"""The table `copies`: a row a copy; times in epoch milliseconds, holdTime in milliseconds."""

UNREAD: dict[str, str] = {
    "side": "TINYINT", "file": "VARCHAR", "at_byte": "BIGINT", "arrival_ms": "BIGINT", "reason": "VARCHAR", "line": "VARCHAR",
}  # fmt: skip
"""The table `unread`: a row a line that is no call as far as anybody can tell."""


class OneCopy(Protocol):
    """What is staged: `vosship.records.Copy`."""

    fields: dict[str, Any]
    reason: str
    line: bytes | None


Batch = Sequence[OneCopy]


BULK: dict[str, str] = {
    "quarter": "BIGINT", "callerGatewayId": "VARCHAR", "calleeGatewayId": "VARCHAR", "calls": "BIGINT", "answered": "BIGINT",
    "hold_ms": "BIGINT", "billed_ms": "BIGINT",
}  # fmt: skip
"""The table `bulk`: sums of calls whose lines are the same bytes on both sides, so that they were never staged."""


def create(db: Any) -> None:
    """Make the tables."""
    for name, columns in (("copies", COLUMNS), ("unread", UNREAD), ("bulk", BULK)):
        db.execute(f"CREATE TABLE {name} ({', '.join(f'{quoted(key)} {kind}' for key, kind in columns.items())})")


def load(db: Any, side: int, batches: Iterable[Batch], work: Path, told: Callable[[int], None]) -> Seen:
    """Stage all batches as one side's copies; returns what they showed. `told` is given the count so far."""
    staged = _Parts(db, side, work)
    for batch in batches:
        staged.add(batch)
        told(staged.rows)
    staged.flush()
    told(staged.rows)
    return staged.seen


class _Parts:
    def __init__(self, db: Any, side: int, work: Path) -> None:
        self._db, self._side, self._path = db, side, work / f"part-{side}.tsv"
        self.seen = Seen()
        self.rows = 0
        self._unread: list[tuple[Any, ...]] = []
        self._open()

    def _open(self) -> None:
        self._file = self._path.open("w", encoding="utf-8", errors="backslashreplace", newline="")
        self._writer = csv.writer(self._file, delimiter="\t", lineterminator="\n")
        self._in_part = 0

    def add(self, batch: Batch) -> None:
        side, seen, texts = self._side, self.seen, (*TEXTS, *FURTHER)
        rows: list[tuple[Any, ...]] = []
        append = rows.append
        for copy in batch:
            fields = copy.fields
            get = fields.get
            received = get("forward.received_at")
            arrival = _ms(received) if received else None
            if copy.reason:
                self._unread.append((side, get("log.file.path"), get("log.offset"), arrival, copy.reason, shown(copy.line)))
                continue
            stop, start = _ms(fields["stopTime"]), _ms(get("startTime") or fields["stopTime"])
            seen.layouts.add(get("layout", ""))
            if stop % 1000 or start % 1000:
                seen.has_millis = True
            if "callerPdd" in fields or "calleePdd" in fields:
                seen.has_delays = True
            append((
                side, stop, start, get("holdTime", 0), *[get(name) for name in texts], get("callee.destination"),
                get("log.file.path"), get("log.offset"), arrival, "resend" in get("tags", ()), get("_id"),
            ))  # fmt: skip
        self._writer.writerows(rows)
        self._in_part += len(rows)
        self.rows += len(batch)
        if self._in_part >= PART_ROWS:
            self.flush()
            self._open()

    def flush(self) -> None:
        """Load what is written."""
        self._file.close()
        if self._in_part:
            insert_text(self._db, "copies", COLUMNS, self._path)
        self._path.unlink()
        if self._unread:
            marks = ", ".join("?" * len(UNREAD))
            self._db.executemany(f"INSERT INTO unread VALUES ({marks})", self._unread)
            self._unread.clear()


def insert_text(db: Any, table: str, columns: Mapping[str, str], path: Path) -> None:
    """Load a tab-separated part, quoted where needed; an empty cell is NULL."""
    kinds = ", ".join(f"'{name}': '{kind}'" for name, kind in columns.items())
    db.execute(
        f"INSERT INTO {table} SELECT * FROM read_csv(?, delim = '\t', quote = '\"', escape = '\"', header = false,"
        f" auto_detect = false, nullstr = '', max_line_size = 4000000, columns = {{{kinds}}})",
        [str(path)],
    )


def shown(line: bytes | None) -> str:
    """A line that could not be read, as far as it can be shown."""
    return (line or b"")[:LINE_SHOWN].decode("utf-8", "backslashreplace").replace("\0", "\\x00")


def quoted(name: str) -> str:
    """A column's name in SQL."""
    return f'"{name}"'


@lru_cache(maxsize=65536)
def _ms(text: str) -> int:
    return epoch_ms(text)
