"""What stands around the real core in the conservation tests: a switch whose lines say their fate, a step that reads them,
a store that answers when told, and a state that commits when told.

The pipeline, the delivery, the ledger, the input and the judgement of answers are the real ones: see `agent`.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from tests.conservation.hearing import Hearing
from tests.directory_model import DirectoryModel
from vosship.errors import HaltedError, TooLargeError, UnavailableError
from vosship.events import Block, Document, Field, Gone, Outcome, Record
from vosship.state import Revived, Settled, State, _connect
from vosship.testing.cluster import Cluster, Fault
from vosship_bulk.client import Answer
from vosship_bulk.wire import judge, render

GOOD, POISON, MALFORMED, BLANK, OLD_DAY, LONG = b"g", b"p", b"m", b"b", b"o", b"l"
MARKS = "gggpmbol"
"""What a line's mark may be; most are good."""

LINE_LIMIT = 1024
"""`max_line_bytes` of the input under test: the least it takes."""

SERIES = "vos3000-cdr"
TODAY, YESTERDAY = "2026.04.26", "2026.04.25"
OLD_INDEX = f"{SERIES}-{YESTERDAY}"


class Switch(DirectoryModel):
    """The directory's model, its lines marked with what is to become of them."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.marks: deque[bytes] = deque()
        """Marks of the coming lines; good when there are none."""
        self.seen_newest: str | None = None
        """The newest file when the agent last looked."""

    def line(self, width: int) -> bytes:
        """A line like no other, unless it is blank."""
        mark = self.marks.popleft() if self.marks else GOOD
        if mark == BLANK:
            self._count += 1
            return b"\n"
        if mark == LONG:
            width = LINE_LIMIT + 1 + width
        plain = super().line(width)
        return plain[:9] + mark + plain[10:]

    def saw(self) -> None:
        """See DirectoryModel."""
        super().saw()
        self.seen_newest = max(self.files, default=None)


def mark_of(line: bytes) -> bytes:
    """The mark of a line; a stretch that begins in the middle of one has none that counts."""
    if not line.strip():
        return BLANK
    return line[9:10] if line[8:9] == b"|" and line[:8].isdigit() else GOOD


class Step:
    """The only processor: reads the mark. With `strict`, malformed lines are rejected."""

    fields: Sequence[Field] = ()

    def __init__(self) -> None:
        self.strict = True

    def process(self, records: Sequence[Record]) -> None:
        """See Processor."""
        last = records[-1]
        for record in records:
            mark = mark_of(record.line)
            if mark == BLANK:
                record.drop("blank")
            elif mark == MALFORMED and self.strict:
                record.reject("malformed")
            else:
                record.fields["line"] = record.line.decode()
                record.day = YESTERDAY if mark == OLD_DAY else TODAY
                record.at = 1_777_000_000
                if record.block.unterminated and record is last:
                    record.fields["half"] = True


class Sending(NamedTuple):
    """One attempt that waits for its answer."""

    batch: Sequence[Document]
    answer: asyncio.Future[Sequence[Outcome]]


class Store:
    """An output on the fake cluster, without HTTP in between: every attempt waits until `answer` says what became of it."""

    def __init__(self, cluster: Cluster, hearing: Hearing) -> None:
        self.cluster = cluster
        self.hearing = hearing
        self.waiting: list[Sending] = []
        self._statuses: list[int] | None = None
        """What the cluster said of each document of the attempt that is being answered, if it came to the cluster."""

    async def send(self, batch: Sequence[Document]) -> Sequence[Outcome]:
        """See DocumentOutput."""
        sending = Sending(list(batch), asyncio.get_running_loop().create_future())
        self.waiting.append(sending)
        self.hearing.goes_out(sending.batch)
        return await sending.answer

    def answer(self, number: int, what: str) -> None:
        """Let one of the waiting attempts come to its end: `well`, or with a fault of FAULTS."""
        waiting = [sending for sending in self.waiting if not sending.answer.done()]
        if not waiting:
            return
        sending = waiting[number % len(waiting)]
        self.waiting = [each for each in waiting if each is not sending]
        self._statuses = None
        try:
            sending.answer.set_result(FAULTS[what](self, sending.batch))
        except UnavailableError as error:
            sending.answer.set_exception(error)
        self.hearing.answered(sending.batch, None if what in UNHEARD else self._statuses)

    def store(self, batch: Sequence[Document], fault: Fault | None = None) -> list[dict[str, Any]]:
        """What the cluster does with the batch, whoever hears of it."""
        found = self.cluster.bulk(render(batch), fault)
        self._statuses = [item["create"]["status"] for item in found]
        self.hearing.carried_out(batch, self._statuses)
        return found

    def judged(self, batch: Sequence[Document], fault: Fault | None = None, *, items: int | None = None) -> Sequence[Outcome]:
        """The cluster's answer as the real wire judges it; `items`: only so many of its items arrive."""
        found = self.store(batch, fault)
        return judge(Answer(200, msgspec.json.encode({"items": found[:items]}), "the fake cluster"), len(batch))


def _refused(store: Store, batch: Sequence[Document]) -> Sequence[Outcome]:
    raise UnavailableError("connection refused")


def _halted(store: Store, batch: Sequence[Document]) -> Sequence[Outcome]:
    raise HaltedError("no template", hint="vosship setup")


def _too_large(store: Store, batch: Sequence[Document]) -> Sequence[Outcome]:
    if len(batch) == 1:  # that one can never be stored
        store._statuses = [413]
    raise TooLargeError("413")


def _silent(store: Store, batch: Sequence[Document]) -> Sequence[Outcome]:
    store.store(batch)
    raise UnavailableError("time-out after storing")


def _miscounted(store: Store, batch: Sequence[Document]) -> Sequence[Outcome]:
    return list(store.judged(batch))[:-1]


FAULTS: dict[str, Callable[[Store, Sequence[Document]], Sequence[Outcome]]] = {
    "well": lambda store, batch: store.judged(batch),
    "refused": _refused,
    "halted": _halted,
    "too large": _too_large,
    "silent after storing": _silent,
    "half answer": lambda store, batch: store.judged(batch, items=len(batch) // 2),
    "wrong number of outcomes": _miscounted,
    "every other busy": lambda store, batch: store.judged(batch, Fault.EVERY_OTHER_BUSY),
    "all busy": lambda store, batch: store.judged(batch, Fault.ALL_BUSY),
    "one item unavailable": lambda store, batch: store.judged(batch, Fault.ITEM_ERROR),
}
"""What may become of one attempt."""

UNHEARD = frozenset({"silent after storing", "half answer", "wrong number of outcomes"})
"""Faults after which documents are stored and the answer cannot be believed: they come back as duplicates."""


class KilledError(BaseException):
    """The process is gone: nothing after this point happens."""


class Journal:
    """What was committed, in order, whatever became of the agent since: the witness of every settle."""

    def __init__(self, hearing: Hearing) -> None:
        self.hearing = hearing
        self.blocks: list[Block] = []
        self.events: list[Block | Gone] = []
        self.dropped: set[tuple[str, int, bytes]] = set()


Entry = tuple[list[Block], list[Gone], list[Revived]]


class SteppedState(State):
    """The real state without its thread: what is submitted waits for `commit`, which may die or fail on the way."""

    journal: Journal

    def __init__(self, path: Path, lock_fd: int) -> None:
        self.path = path
        self._lock_fd = lock_fd
        self._db = _connect(path)
        self._waiting: list[tuple[Callable[[sqlite3.Connection], Any], Future[Any]]] = []
        self._entries: list[Entry] = []
        self._immediate = False

    @property
    def busy(self) -> bool:
        """Whether anything waits to be committed."""
        return bool(self._waiting)

    def submit(self, work: Callable[[sqlite3.Connection], Any]) -> Future[Any]:
        """See State."""
        done: Future[Any] = Future()
        self._waiting.append((work, done))
        if self._immediate:
            self.commit()
        return done

    def settle(self, pipeline: str, blocks: Sequence[Settled], gone: Sequence[Gone], now: float) -> Future[None]:
        """See State."""
        self._entries.append(([settled.prepared.block for settled in blocks], list(gone), []))
        return super().settle(pipeline, blocks, gone, now)

    def revive(self, pipeline: str, revived: Sequence[Revived], now: float) -> Future[None]:
        """See State."""
        self._entries.append(([], [], list(revived)))
        return super().revive(pipeline, revived, now)

    def commit(self, *, dies_after: int | None = None, full_after: int | None = None) -> None:
        """One transaction over all that waits. `dies_after` so many statements the process is killed, at the latest right
        after the COMMIT; `full_after` so many the disk is full."""
        jobs, self._waiting = self._waiting, []
        entries, self._entries = self._entries, []
        dead = {row[0]: row[1:] for row in self._db.execute("SELECT id, base, offset, line FROM dead")}
        db = _Statements(self._db, dies_after, full_after)
        try:
            self._commit(db, jobs)  # type: ignore[arg-type]  # all that a transaction uses of a connection
        finally:
            if db.committed:
                for blocks, gone, revived in entries:
                    self.journal.blocks += blocks
                    self.journal.events += [*blocks, *gone]
                    self.journal.dropped.update(dead[each.id] for each in revived if each.fate == "filtered" and each.id in dead)
                    self.journal.hearing.settled(blocks)
                    self.journal.hearing.tried_again({dead[each.id] for each in revived if each.id in dead})

    def register(self, pipeline: str, switch: str, timezone: str) -> None:
        """See State; committed at once, since nothing runs yet."""
        self._immediate = True
        super().register(pipeline, switch, timezone)
        self._immediate = False

    def close(self) -> None:
        """Let the file go; what is not committed is rolled back."""
        self._db.close()
        os.close(self._lock_fd)


class _Statements:
    """A connection that ends after so many statements."""

    def __init__(self, db: sqlite3.Connection, dies_after: int | None, full_after: int | None) -> None:
        self._db = db
        self._dies_after = dies_after
        self._full_after = full_after
        self._count = 0
        self.committed = False

    @property
    def in_transaction(self) -> bool:
        return self._db.in_transaction

    def execute(self, statement: str, *values: Any) -> Any:
        if statement == "ROLLBACK":
            return self._db.execute(statement)
        self._before()
        result = self._db.execute(statement, *values)
        self.committed = self.committed or statement == "COMMIT"
        self._after()
        return result

    def executemany(self, statement: str, values: Any) -> Any:
        self._before()
        result = self._db.executemany(statement, values)
        self._after()
        return result

    def _before(self) -> None:
        if self._full_after is not None and self._count >= self._full_after:
            raise sqlite3.OperationalError("database or disk is full")
        self._count += 1

    def _after(self) -> None:
        if self._dies_after is not None and (self._count > self._dies_after or self.committed):
            raise KilledError
