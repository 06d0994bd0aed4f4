"""The account of every line, read from the state and from what the inputs see now: what `status` shows.

It opens the state read-only, needs no running agent, and changes nothing.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import msgspec

from vosship.application import Application, InputEntry
from vosship.documents import utc_text
from vosship.errors import FatalError
from vosship.events import Position, Stream
from vosship.forecast import Forecast, foresee
from vosship.lock import holder
from vosship.plugin import Reports, StreamSize
from vosship.state import STATE_FILE

FLUSH_S = 60.0
"""How long a call may wait in the switch before it is in the file (SS_CDR_FILE_WRITE_INTERVAL, docs/vos3000-cdr.md, section 2)."""

RIGHTS = "run as the agent's user; is the disk full?"

COUNTS = ("read", "stored", "duplicate", "dead", "filtered", "lost_bytes")


class FileStatus(msgspec.Struct, kw_only=True):
    """One file over all its generations. `done`: nothing of it is left to read."""

    name: str
    path: str
    size: int
    offset: int
    read: int = 0
    stored: int = 0
    duplicate: int = 0
    dead: int = 0
    filtered: int = 0
    lost_bytes: int = 0
    done: bool = False


class Loss(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes seen and deleted unread, or (`never_seen`) a gap between two files."""

    file: str
    offset: int
    bytes: int
    never_seen: bool
    reason: str
    at: str

    @property
    def at_s(self) -> float:
        """`at` in epoch seconds."""
        return datetime.fromisoformat(self.at).timestamp()


class PipelineStatus(msgspec.Struct, kw_only=True):
    """One pipeline's account. `files` are oldest first."""

    name: str
    read: int = 0
    stored: int = 0
    duplicate: int = 0
    dead: int = 0
    filtered: int = 0
    lost_bytes: int = 0
    unread_bytes: int = 0
    oldest_unread: str | None = None
    lag_s: float | None = None
    seconds_to_loss: float | None = None
    complete_until: str | None = None
    state: Literal["running", "waiting", "halted", "stopped"] = "stopped"
    reason: str = ""
    since: str | None = None
    dead_reasons: dict[str, int] = {}
    losses: list[Loss] = []
    forecast: Forecast | None = None
    files: list[FileStatus] = []

    @property
    def complete_until_s(self) -> float | None:
        """`complete_until` in epoch seconds."""
        return datetime.fromisoformat(self.complete_until).timestamp() if self.complete_until else None

    @property
    def since_s(self) -> float | None:
        """`since` in epoch seconds."""
        return datetime.fromisoformat(self.since).timestamp() if self.since else None


class _Row(msgspec.Struct):
    """A generation's row of the state."""

    stream: Stream
    offset: int
    counts: tuple[int, ...]
    last_at: int
    gone: bool

    @property
    def was_there(self) -> bool:
        """A gap, whose file nobody saw, is none that the switch was seen to delete."""
        return bool(self.counts[0] or self.counts[5])


def read_status(application: Application, now: float | None = None) -> list[PipelineStatus]:
    """The account of every configured pipeline. Raises FatalError when there is a state that cannot be read."""
    now = time.time() if now is None else now
    data_dir = application.config.data_dir
    running = holder(data_dir) is not None
    found = []
    with reading(data_dir / STATE_FILE) as db:
        surveys: dict[str, Sequence[StreamSize]] = {}
        for name, entry, _ in application.pipelines():
            found.append(_status(db, name, entry, surveys, running, now))
    return found


class reading:  # noqa: N801  used as a function: `with reading(path) as db`
    """The state opened read-only; an absent one reads as empty, and so does one that a starting agent is just making."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> sqlite3.Connection | None:
        self._db: sqlite3.Connection | None = None
        try:
            if not self._path.exists():
                return None
            self._db = self._open()
            if not self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                self._db.close()
                self._db = None
                return None
            self._db.execute("SELECT count(*) FROM pipelines")
        except (sqlite3.Error, OSError) as error:
            raise _unreadable(self._path, error) from error
        return self._db

    def _open(self) -> sqlite3.Connection:
        try:
            return _begun(self._path, "mode=ro")
        except sqlite3.OperationalError:
            if self._path.with_name(f"{self._path.name}-wal").exists():
                raise
        # Its log is folded in, and this user may not make the shared memory that reading takes: nobody writes it now.
        return _begun(self._path, "mode=ro&immutable=1")

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if self._db:
            self._db.close()
        if isinstance(error, sqlite3.Error):  # damage beyond the first page shows only where it is read
            raise _unreadable(self._path, error) from error


def _begun(path: Path, mode: str) -> sqlite3.Connection:
    db = sqlite3.connect(f"{path.resolve().as_uri()}?{mode}", uri=True)
    try:
        db.execute("PRAGMA busy_timeout = 5000")
        db.execute("BEGIN")
        db.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.Error:
        db.close()
        raise
    return db


def _unreadable(path: Path, error: sqlite3.Error | OSError) -> FatalError:
    """Damage is mended by reading everything again; a missing right or a failing disk is not, and the state is still good."""
    damaged = isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.OperationalError)
    words = error.strerror if isinstance(error, OSError) else error
    hint = "`vosship run --rebuild-state` puts it aside and reads everything again" if damaged else RIGHTS
    return FatalError(f"the state {path} cannot be read: {words}", hint=hint)


def _status(
    db: sqlite3.Connection | None, name: str, entry: InputEntry, surveys: dict[str, Sequence[StreamSize]], running: bool, now: float
) -> PipelineStatus:
    status = PipelineStatus(name=name)
    rows: list[_Row] = []
    rate = 0.0
    if db is not None:
        rate = _read_pipeline(db, status, running)
        rows = _read_rows(db, name)
    known = {row.stream.name: Position(row.stream, row.offset, b"", row.gone) for row in rows}
    if entry.name not in surveys:
        surveys[entry.name] = entry.plugin.survey(known) if isinstance(entry.plugin, Reports) else ()
    sizes = surveys[entry.name]
    by_name = {size.stream.name: size for size in sizes}
    files = _files(rows, by_name)
    status.files = list(files.values())
    for key in COUNTS:
        setattr(status, key, getattr(status, key) + sum(getattr(file, key) for file in status.files))
    unread = {name: 0 if files[name].done else max(0, size.size - files[name].offset) for name, size in by_name.items()}
    status.unread_bytes = sum(unread.values())
    oldest = next((size for size in sizes if unread[size.stream.name]), None)
    if oldest:
        status.oldest_unread = oldest.stream.path
        status.lag_s = round(max(0.0, now - _waiting_since(status, oldest, rows, now)), 1)
    status.forecast = foresee(
        sizes,
        unread,
        parameters=_parameters(entry),
        deletions_seen=any(row.gone and row.was_there and row.stream.name not in by_name for row in rows),
        bytes_per_s=rate,
        answering=status.state == "running",
        now=now,
    )
    status.seconds_to_loss = status.forecast.seconds_to_loss if status.forecast else None
    until = _complete_until(rows, sizes, unread, _gap_starts(db, name), now)
    status.complete_until = utc_text(until) if until is not None else None
    return status


def _waiting_since(status: PipelineStatus, oldest: StreamSize, rows: Sequence[_Row], now: float) -> float:
    """Since when the oldest unread byte has been there, as far as it is known; of the live file while all is well: just now."""
    if not oldest.newest:
        return oldest.modified_at
    if status.state in ("waiting", "halted") and status.since_s is not None:
        return status.since_s
    if status.state == "stopped":
        return max((row.last_at for row in rows if row.stream.name == oldest.stream.name), default=0) or oldest.modified_at
    return now


def _parameters(entry: InputEntry) -> Mapping[str, str | int]:
    context = getattr(entry.plugin, "context", None)
    return context.switch_parameters if context else {}


def _read_pipeline(db: sqlite3.Connection, status: PipelineStatus, running: bool) -> float:
    row = db.execute(
        "SELECT state, reason, since, bytes_per_s, pruned_read, pruned_stored, pruned_duplicate, pruned_filtered,"
        " pruned_lost_bytes FROM pipelines WHERE name = ?",
        (status.name,),
    ).fetchone()
    if row is None:
        return 0.0
    status.state = row[0] if running else "stopped"
    status.reason = row[1] if running or row[0] == "halted" else ""
    status.since = utc_text(row[2]) if row[2] else None
    status.read, status.stored, status.duplicate, status.filtered, status.lost_bytes = row[4:]
    grouped = "SELECT reason, count(*) FROM dead WHERE pipeline = ? GROUP BY reason ORDER BY 2 DESC"
    status.dead_reasons = dict(db.execute(grouped, (status.name,)).fetchall())
    losses = "SELECT path, offset, bytes, never_seen, reason, at FROM losses WHERE pipeline = ? ORDER BY id"
    for path, offset, size, never_seen, reason, at in db.execute(losses, (status.name,)):
        status.losses.append(
            Loss(file=path, offset=offset, bytes=size, never_seen=bool(never_seen), reason=reason, at=utc_text(at))
        )
    return float(row[3])


def _gap_starts(db: sqlite3.Connection | None, pipeline: str) -> list[float]:
    ask = "SELECT starts_at FROM losses WHERE pipeline = ? AND never_seen AND starts_at IS NOT NULL"
    return [row[0] for row in db.execute(ask, (pipeline,))] if db is not None else []


def _read_rows(db: sqlite3.Connection, pipeline: str) -> list[_Row]:
    ask = (
        "SELECT name, base, path, generation, starts_at, offset, read, stored, duplicate, dead, filtered, lost_bytes,"
        " min(last_at, settled_at), gone"  # no call stopped after it was settled, whatever a damaged line says
        " FROM streams WHERE pipeline = ? ORDER BY coalesce(starts_at, 0), name, generation"
    )
    return [_Row(Stream(*row[:5]), row[5], row[6:12], row[12], bool(row[13])) for row in db.execute(ask, (pipeline,))]


def _files(rows: Sequence[_Row], seen: Mapping[str, StreamSize]) -> dict[str, FileStatus]:
    """Every stream the state or the input knows, oldest first; a gap (never seen, without a byte) is not a file."""
    files: dict[str, FileStatus] = {}
    order: list[tuple[float, str]] = []
    for row in rows:
        name = row.stream.name
        file = files.get(name)
        if file is None:
            file = files[name] = FileStatus(name=row.stream.base, path=row.stream.path, size=row.offset, offset=row.offset)
            order.append((row.stream.starts_at or 0.0, name))
        file.offset, file.done = row.offset, row.gone
        file.size = row.offset
        for key, count in zip(COUNTS, row.counts, strict=True):
            setattr(file, key, getattr(file, key) + count)
    for name, size in seen.items():
        if name not in files:
            files[name] = FileStatus(name=size.stream.base, path=size.stream.path, size=size.size, offset=0)
            order.append((size.stream.starts_at or size.modified_at, name))
        file = files[name]
        file.size = size.size
        if size.lost and not file.done:  # the pipeline has not come to it yet: its output is away
            file.lost_bytes += max(0, size.size - file.offset)
        file.done = size.lost or (size.skipped and file.done) or (size.size <= file.offset and not size.newest)
    return {name: files[name] for _, name in sorted(order)}


def _complete_until(
    rows: Sequence[_Row], sizes: Sequence[StreamSize], unread: Mapping[str, int], gaps: Sequence[float], now: float
) -> float | None:
    """The latest moment before which every call is settled, none dead or lost; None when nothing can be said.

    A file not wholly settled, or with a dead or lost line, holds it at the file's beginning; the newest file at the last
    settled call less the time a call may wait in the switch.
    """
    limits = list(gaps)
    last_at = max((row.last_at for row in rows), default=0)
    for row in rows:
        if (row.counts[3] or row.counts[5]) and row.stream.starts_at:
            limits.append(row.stream.starts_at)
    for size in sizes:
        start = size.stream.starts_at
        if start is None:
            continue
        if unread[size.stream.name] and not size.newest:
            limits.append(start)
        elif size.newest:
            limits.append(max(start, last_at - FLUSH_S) if last_at else start)
    if not limits or not last_at:
        return None
    return min([*limits, now])


def as_json(application: Application, pipelines: Sequence[PipelineStatus]) -> dict[str, Any]:
    """What `status --json` prints."""
    notices = [
        {"part": part, "subject": notice.subject, "counts": notice.counts, "text": notice.text, "hint": notice.hint}
        for part, notice in application.notices()
    ]
    return {"switch": application.config.switch, "pipelines": pipelines, "notices": notices}
