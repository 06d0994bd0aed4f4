"""The only module that moves a position: settled positions, ledger, losses and dead lines in one SQLite file.

It does not decide what is settled (`delivery` does) and answers no questions about it (`ledger` does).

A crash at any moment leaves the state as before or as after a settle, never between: everything a settle changes is
one transaction with `synchronous=FULL`. What was sent and not settled is sent again and recognised by its id.
"""

from __future__ import annotations

import os
import queue
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from vosship.errors import ConfigError, FatalError
from vosship.events import Dead, Gone, Position, Stream
from vosship.lock import AGENT, DIRECTORY_MODE, lock, refuse_network
from vosship.pipeline import Prepared

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], Any]

SCHEMA_VERSION = 1
STATE_FILE = "state.sqlite"

_TABLES = """
CREATE TABLE IF NOT EXISTS pipelines (
    name TEXT PRIMARY KEY, switch TEXT NOT NULL, timezone TEXT NOT NULL, state TEXT NOT NULL DEFAULT 'stopped',
    reason TEXT NOT NULL DEFAULT '', since REAL NOT NULL DEFAULT 0, bytes_per_s REAL NOT NULL DEFAULT 0,
    dead_lines INTEGER NOT NULL DEFAULT 0, dead_bytes INTEGER NOT NULL DEFAULT 0,
    pruned_read INTEGER NOT NULL DEFAULT 0, pruned_stored INTEGER NOT NULL DEFAULT 0,
    pruned_duplicate INTEGER NOT NULL DEFAULT 0, pruned_filtered INTEGER NOT NULL DEFAULT 0,
    pruned_lost_bytes INTEGER NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS streams (
    pipeline TEXT NOT NULL, name TEXT NOT NULL, generation INTEGER NOT NULL, base TEXT NOT NULL, path TEXT NOT NULL,
    starts_at REAL, offset INTEGER NOT NULL DEFAULT 0, proof BLOB NOT NULL DEFAULT x'',
    read INTEGER NOT NULL DEFAULT 0, stored INTEGER NOT NULL DEFAULT 0, duplicate INTEGER NOT NULL DEFAULT 0,
    dead INTEGER NOT NULL DEFAULT 0, filtered INTEGER NOT NULL DEFAULT 0, lost_bytes INTEGER NOT NULL DEFAULT 0,
    last_at INTEGER NOT NULL DEFAULT 0, gone INTEGER NOT NULL DEFAULT 0, gone_reason TEXT NOT NULL DEFAULT '',
    settled_at REAL NOT NULL, PRIMARY KEY (pipeline, name, generation)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS losses (
    id INTEGER PRIMARY KEY, pipeline TEXT NOT NULL, name TEXT NOT NULL, generation INTEGER NOT NULL,
    base TEXT NOT NULL, path TEXT NOT NULL, starts_at REAL, offset INTEGER NOT NULL, bytes INTEGER NOT NULL,
    never_seen INTEGER NOT NULL, reason TEXT NOT NULL, at REAL NOT NULL);
CREATE TABLE IF NOT EXISTS dead (
    id INTEGER PRIMARY KEY AUTOINCREMENT, pipeline TEXT NOT NULL, name TEXT NOT NULL, generation INTEGER NOT NULL,
    base TEXT NOT NULL, path TEXT NOT NULL, starts_at REAL, offset INTEGER NOT NULL, reason TEXT NOT NULL,
    detail TEXT NOT NULL, at REAL NOT NULL, line BLOB NOT NULL, fields BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS dead_by_reason ON dead (pipeline, reason, id);
CREATE TABLE IF NOT EXISTS requests (
    id INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, pipeline TEXT NOT NULL, arguments TEXT NOT NULL,
    asked_at REAL NOT NULL, done_at REAL, answer TEXT NOT NULL DEFAULT '');
"""

_MOVE = """
INSERT INTO streams (pipeline, name, generation, base, path, starts_at, offset, proof, read, stored, duplicate, dead,
                     filtered, last_at, settled_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (pipeline, name, generation) DO UPDATE SET
    gone = 0, path = excluded.path, offset = excluded.offset, proof = excluded.proof, read = read + excluded.read,
    stored = stored + excluded.stored, duplicate = duplicate + excluded.duplicate, dead = dead + excluded.dead,
    filtered = filtered + excluded.filtered, last_at = max(last_at, excluded.last_at), settled_at = excluded.settled_at
"""

_BURY = """
INSERT INTO dead (pipeline, name, generation, base, path, starts_at, offset, reason, detail, at, line, fields)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""

_FOLDED = ("read", "stored", "duplicate", "filtered", "lost_bytes")


class Settled(msgspec.Struct, gc=False):
    """One block with the fate of its documents counted; its dead lines include the ones a store rejected."""

    prepared: Prepared
    stored: int
    duplicate: int
    dead: list[Dead]


class Revived(msgspec.Struct, frozen=True):
    """What became of one dead line that was tried again: `fate` is a column of the ledger."""

    id: int
    fate: str
    reason: str = ""
    detail: str = ""


class State:
    """The open state of one agent. All work runs on one thread; whatever is waiting shares one commit.

    Every method raises FatalError when the disk is full or fails: then nothing was changed.
    """

    def __init__(self, path: Path, lock_fd: int) -> None:
        self.path = path
        self._lock_fd = lock_fd
        self._jobs: queue.SimpleQueue[tuple[Work, Future[Any]] | None] = queue.SimpleQueue()
        opened: Future[None] = Future()
        self._thread = threading.Thread(target=self._serve, args=(opened,), name="vosship-state", daemon=True)
        self._thread.start()
        opened.result()

    @classmethod
    def open(cls, data_dir: Path, *, rebuild: bool = False, work: str = AGENT) -> State:
        """Open the state below `data_dir`, making it when absent.

        Raises HeldError when another process holds it, ConfigError when the file system cannot be trusted; FatalError
        when the state is damaged or from a newer version. With `rebuild` a damaged state is put aside and everything is read again:
        ids make that harmless.
        """
        try:
            data_dir.mkdir(DIRECTORY_MODE, parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"cannot make {data_dir}: {error.strerror}", path="data_dir") from error
        refuse_network(data_dir)
        lock_fd = lock(data_dir, work)
        path = data_dir / STATE_FILE
        try:
            if rebuild and path.exists():
                _put_aside(path)
            _examine(path)
            return cls(path, lock_fd)
        except BaseException:
            os.close(lock_fd)
            raise

    def submit(self, work: Callable[[sqlite3.Connection], T]) -> Future[T]:
        """Run `work` within a transaction of the state's thread; the future is done once it is committed."""
        done: Future[T] = Future()
        self._jobs.put((work, done))
        return done

    def close(self) -> None:
        """Finish what was submitted and let the next agent in."""
        self._jobs.put(None)
        self._thread.join()
        os.close(self._lock_fd)

    def submit_known(self, pipeline: str) -> Future[dict[str, Position]]:
        """Per stream name the newest generation's position."""
        return self.submit(lambda db: _known(db, pipeline))

    def submit_dead_totals(self, pipeline: str) -> Future[tuple[int, int]]:
        """How many lines and bytes the pipeline's dead lines hold."""
        ask = "SELECT dead_lines, dead_bytes FROM pipelines WHERE name = ?"
        return self.submit(lambda db: tuple(db.execute(ask, (pipeline,)).fetchone()))

    def register(self, pipeline: str, switch: str, timezone: str) -> None:
        """Enter a pipeline, or check that its switch and zone are still those its documents were made with."""
        self.submit(lambda db: _register(db, pipeline, switch, timezone)).result()

    def settle(self, pipeline: str, blocks: Sequence[Settled], gone: Sequence[Gone], now: float) -> Future[None]:
        """Move positions past `blocks`, enter their dead lines, and enter streams that are gone."""
        return self.submit(lambda db: _settle(db, pipeline, blocks, gone, now))

    def tell(self, pipeline: str, state: str, reason: str, since: float) -> Future[None]:
        """Note what a pipeline is doing, for `status`."""
        note = "UPDATE pipelines SET state = ?, reason = ?, since = ? WHERE name = ?"
        return self.submit(lambda db: _discard(db.execute(note, (state, _sound(reason), since, pipeline))))

    def tell_rate(self, pipeline: str, bytes_per_s: float) -> Future[None]:
        """Note how fast a pipeline settles, for the forecast."""
        note = "UPDATE pipelines SET bytes_per_s = ? WHERE name = ?"
        return self.submit(lambda db: _discard(db.execute(note, (bytes_per_s, pipeline))))

    def prune(self, before: float) -> Future[int]:
        """Fold the rows of streams that were gone and settled before `before` into their pipeline's totals.

        Streams with dead lines stay, and so do gaps and skipped files, which would be entered anew. Gives the number
        of rows. A file of that name that comes back is read again, and its ids tell every line for a duplicate.
        """
        return self.submit(lambda db: _prune(db, before))

    def revive(self, pipeline: str, revived: Sequence[Revived], now: float) -> Future[None]:
        """Enter what became of dead lines that were tried again or dropped."""
        return self.submit(lambda db: _revive(db, pipeline, revived, now))

    def _serve(self, opened: Future[None]) -> None:
        try:
            db = _connect(self.path)
        except (sqlite3.Error, OSError) as error:
            opened.set_exception(_fatal(self.path, error))
            return
        opened.set_result(None)
        while True:
            jobs = [self._jobs.get()]
            while not self._jobs.empty():
                jobs.append(self._jobs.get())
            self._commit(db, [job for job in jobs if job])
            if None in jobs:
                db.close()
                return

    def _commit(self, db: sqlite3.Connection, jobs: Sequence[tuple[Work, Future[Any]]]) -> None:
        if not jobs:
            return
        results: list[tuple[Future[Any], Any, BaseException | None]] = []
        try:
            db.execute("BEGIN IMMEDIATE")
            for work, done in jobs:
                try:
                    results.append((done, work(db), None))
                except ConfigError as refusal:  # nothing was written by that job; the others are not its business
                    results.append((done, None, refusal))
            db.execute("COMMIT")  # a crash before this line leaves the state as it was: everything is sent again
        except (sqlite3.Error, OSError, ValueError, OverflowError) as error:  # the last two: a value SQLite cannot hold
            if db.in_transaction:
                db.execute("ROLLBACK")
            results = [(done, None, _fatal(self.path, error)) for _, done in jobs]
        for done, result, failure in results:
            if done.cancelled():
                continue
            if failure:
                done.set_exception(failure)
            else:
                done.set_result(result)


def _connect(path: Path) -> sqlite3.Connection:
    fresh = not path.exists()
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")  # a commit survives a power cut, not only a crash
    db.execute("PRAGMA busy_timeout = 10000")
    # All at once: who reads beside a starting agent finds every table or none.
    db.executescript(f"BEGIN IMMEDIATE; {_TABLES} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT")
    if fresh:  # else a power cut could lose the file's very name
        sync_directory(path.parent)
    return db


def sync_directory(directory: Path) -> None:
    """Make the names within a directory survive a power cut."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _examine(path: Path) -> None:
    if not path.exists():
        return
    hint = "`vosship run --rebuild-state` puts it aside and reads everything again; ids keep that from doubling anything"
    try:
        db = sqlite3.connect(f"{path.resolve().as_uri()}?mode=rw", uri=True)
        try:
            version = db.execute("PRAGMA user_version").fetchone()[0]
            verdict = db.execute("PRAGMA quick_check(1)").fetchone()[0]
        finally:
            db.close()
    except sqlite3.OperationalError as error:  # a full or failing disk, a missing right: that says nothing of the content
        raise _fatal(path, error) from error
    except sqlite3.DatabaseError as error:
        raise FatalError(f"the state {path} is damaged: {error}", hint=hint) from error
    if version > SCHEMA_VERSION:
        newer = f"the state {path} was written by a newer vosship (schema {version}, this one knows {SCHEMA_VERSION})"
        raise FatalError(newer, hint="install the newer version again")
    if verdict != "ok":
        raise FatalError(f"the state {path} is damaged: {verdict}", hint=hint)


def _put_aside(path: Path) -> None:
    stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
    for suffix in ("", "-wal", "-shm"):
        part = path.with_name(path.name + suffix)
        if part.exists():
            part.rename(path.with_name(f"{path.name}.{stamp}{suffix}"))
    sync_directory(path.parent)


def _known(db: sqlite3.Connection, pipeline: str) -> dict[str, Position]:
    rows = db.execute(
        "SELECT name, generation, base, path, starts_at, offset, proof, gone FROM streams WHERE pipeline = ?"
        " ORDER BY name, generation",
        (pipeline,),
    )
    return {row[0]: Position(Stream(row[0], row[2], row[3], row[1], row[4]), row[5], row[6], bool(row[7])) for row in rows}


def _register(db: sqlite3.Connection, pipeline: str, switch: str, timezone: str) -> None:
    if not refuse_change(db, pipeline, switch, timezone):
        db.execute("INSERT INTO pipelines (name, switch, timezone) VALUES (?, ?, ?)", (pipeline, switch, timezone))


def refuse_change(db: sqlite3.Connection, pipeline: str, switch: str, timezone: str) -> bool:
    """Whether the pipeline is known. Raises ConfigError when its documents were made with another switch or zone."""
    row = db.execute("SELECT switch, timezone FROM pipelines WHERE name = ?", (pipeline,)).fetchone()
    for what, before, today in zip(("switch", "timezone"), row or (switch, timezone), (switch, timezone), strict=True):
        if before != today:
            raise ConfigError(
                f"{what} was {before!r} for everything that {pipeline} has shipped and is now {today!r}",
                path=what,
                hint=f"put {before!r} back, or `vosship run --rebuild-state` to ship everything again under the new one",
            )
    return row is not None


def _settle(db: sqlite3.Connection, pipeline: str, blocks: Sequence[Settled], gone: Sequence[Gone], now: float) -> None:
    moves, dead = [], []
    for settled in blocks:
        block, prepared = settled.prepared.block, settled.prepared
        stream = block.stream
        place = (pipeline, stream.name, stream.generation, stream.base, stream.path, stream.starts_at)
        counts = (prepared.lines, settled.stored, settled.duplicate, len(settled.dead), prepared.filtered)
        moves.append((*place, block.end, block.proof, *counts, prepared.last_at, now))
        dead += [_dead_row(pipeline, line, now) for line in settled.dead]
    db.executemany(_MOVE, moves)
    if dead:
        db.executemany(_BURY, dead)
        _count_dead(db, pipeline, len(dead), sum(len(row[-2]) for row in dead))
    for item in gone:
        _enter_gone(db, pipeline, item, now)


def _dead_row(pipeline: str, dead: Dead, now: float) -> tuple[Any, ...]:
    stream = dead.stream
    place = (pipeline, stream.name, stream.generation, stream.base, stream.path, stream.starts_at, dead.offset)
    return (*place, dead.reason, _sound(dead.detail), now, dead.line, dead.fields)


def _sound(text: str) -> str:
    """The text without half characters, which a server's message may hold and SQLite refuses."""
    return text.encode("utf-8", "backslashreplace").decode()


def _count_dead(db: sqlite3.Connection, pipeline: str, lines: int, size: int) -> None:
    add = "UPDATE pipelines SET dead_lines = dead_lines + ?, dead_bytes = dead_bytes + ? WHERE name = ?"
    db.execute(add, (lines, size, pipeline))


def _enter_gone(db: sqlite3.Connection, pipeline: str, item: Gone, now: float) -> None:
    stream = item.stream
    place = (pipeline, stream.name, stream.generation, stream.base, stream.path, stream.starts_at)
    db.execute(
        "INSERT INTO streams (pipeline, name, generation, base, path, starts_at, offset, lost_bytes, gone, gone_reason, settled_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, 1, ?, ?)"
        " ON CONFLICT (pipeline, name, generation) DO UPDATE SET"
        " gone = 1, gone_reason = excluded.gone_reason, lost_bytes = lost_bytes + excluded.lost_bytes,"
        " settled_at = excluded.settled_at",
        (*place, item.offset, item.lost_bytes, item.reason, now),
    )
    if item.lost_bytes or item.never_seen:
        db.execute(
            "INSERT INTO losses (pipeline, name, generation, base, path, starts_at, offset, bytes, never_seen, reason, at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (*place, item.offset, item.lost_bytes, item.never_seen, item.reason, now),
        )


def _prune(db: sqlite3.Connection, before: float) -> int:
    old = "gone AND settled_at < ? AND dead = 0 AND read + lost_bytes > 0"
    of_pipeline = f"FROM streams WHERE pipeline = pipelines.name AND {old}"
    folded = ", ".join(f"pruned_{name} = pruned_{name} + (SELECT coalesce(sum({name}), 0) {of_pipeline})" for name in _FOLDED)
    db.execute(f"UPDATE pipelines SET {folded}", [before] * len(_FOLDED))
    return db.execute(f"DELETE FROM streams WHERE {old}", (before,)).rowcount


def _revive(db: sqlite3.Connection, pipeline: str, revived: Iterable[Revived], now: float) -> None:
    for item in revived:
        row = db.execute(
            "SELECT name, generation, length(line) FROM dead WHERE id = ? AND pipeline = ?", (item.id, pipeline)
        ).fetchone()
        if row is None:  # another request was quicker
            continue
        if item.fate == "dead":
            db.execute("UPDATE dead SET reason = ?, detail = ? WHERE id = ?", (item.reason, _sound(item.detail), item.id))
            continue
        assert item.fate in ("stored", "duplicate", "filtered")
        db.execute("DELETE FROM dead WHERE id = ?", (item.id,))
        db.execute(
            f"UPDATE streams SET dead = dead - 1, {item.fate} = {item.fate} + 1, settled_at = ?"
            " WHERE pipeline = ? AND name = ? AND generation = ?",
            (now, pipeline, row[0], row[1]),
        )
        _count_dead(db, pipeline, -1, -row[2])


def _fatal(path: Path, error: Exception) -> FatalError:
    text = str(error)
    if "full" in text or "No space" in text or not shutil.disk_usage(path.parent).free:  # SQLite may say "disk I/O error"
        return FatalError(f"the disk of {path} is full", hint="make room and start again: nothing is lost, nothing was settled")
    return FatalError(f"the state {path} cannot be opened or written: {text}", hint="check the disk and the rights of data_dir")


def _discard(_: object) -> None:
    return None
