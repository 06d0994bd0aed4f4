"""Asking after dead lines: listing them, and having them replayed or dropped.

It does not try a line again itself: a running agent does (`revival`), or one run for the purpose when none is running.
"""

from __future__ import annotations

import asyncio
import base64
import sqlite3
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from vosship.application import Application
from vosship.daemon import Daemon
from vosship.documents import utc_text
from vosship.errors import ConfigError, FatalError
from vosship.ledger import reading
from vosship.lock import holder
from vosship.plugin import nearest
from vosship.revival import Answer, Request, matching
from vosship.state import STATE_FILE

ASK_EVERY_S = 0.2
"""Chosen: how often to look whether the agent has answered."""


TELL_AFTER_S = 5.0
"""Chosen: an agent whose output answers has begun by then."""


class DeadLine(msgspec.Struct, omit_defaults=True):
    """One line of `dead list --json`."""

    id: int
    pipeline: str
    file: str
    offset: int
    reason: str
    at: str
    line: str | None = None
    line_base64: str | None = None
    detail: str = ""


class Choice(msgspec.Struct, frozen=True, omit_defaults=True):
    """Which dead lines: by id, or by pipeline, reason, file and age; all by default."""

    ids: list[int] = []
    pipeline: str = ""
    reason: str = ""
    file: str = ""
    since: float = 0.0


def list_lines(application: Application, choice: Choice, limit: int | None = None, *, raw: bool = False) -> Iterator[DeadLine]:
    """The chosen dead lines, oldest entry first. Opens the state read-only.

    Unless `raw`, lines and details (which may quote a value) are concealed by the configured privacy rules.
    """
    conceal = _as_it_is if raw else application.concealed
    with reading(application.config.data_dir / STATE_FILE) as db:
        known = {row[0] for row in db.execute("SELECT name FROM pipelines")} if db is not None else set()
        _chosen_pipelines(application, choice, known)
        if db is None:
            return
        where, values = matching(_request(choice))
        if choice.pipeline:
            where += " AND pipeline = ?"
            values.append(choice.pipeline)
        ask = f"SELECT id, pipeline, path, offset, reason, at, line, detail FROM dead WHERE 1{where} ORDER BY id LIMIT ?"
        for row in db.execute(ask, [*values, -1 if limit is None else limit]):
            yield _shaped(row, conceal)


def _as_it_is(line: bytes) -> bytes:
    return line


def _shaped(row: Sequence[Any], conceal: Callable[[bytes], bytes]) -> DeadLine:
    number, pipeline, path, offset, reason, at, line, detail = row
    detail, line = conceal(detail.encode()).decode(errors="replace"), conceal(line)
    shaped = DeadLine(number, pipeline, path, offset, reason, utc_text(at), detail=detail)
    try:
        shaped.line = line.decode("utf-8")
    except UnicodeDecodeError:
        shaped.line_base64 = base64.b64encode(line).decode()
    return shaped


def ask(application: Application, kind: str, choice: Choice, progress: Callable[[str], None]) -> Answer:
    """Have the chosen lines replayed or dropped, by the running agent or, when there is none, by a run of our own.

    Raises FatalError when the agent ends before it has answered; what it did not get to stays dead.
    """
    pipelines = _chosen_pipelines(application, choice)
    process = holder(application.config.data_dir)
    if process is None:
        progress("no agent is running: doing it here")
        return asyncio.run(Daemon(application, once=True).revive(pipelines, _request(choice, kind)))
    progress(f"asked the agent, process {process}")
    numbers = _post(application.config.data_dir, pipelines, kind, choice)
    return _wait_for_agent(application.config.data_dir, numbers, progress)


def _chosen_pipelines(application: Application, choice: Choice, known: Collection[str] = ()) -> list[str]:
    """The configured pipelines that are meant. Raises ConfigError for a name that is neither configured nor `known` from before."""
    names = [name for name, _, _ in application.pipelines()]
    if choice.pipeline and choice.pipeline not in {*names, *known}:
        raise ConfigError(f"no pipeline {choice.pipeline!r} is configured", hint=nearest(choice.pipeline, names))
    return [name for name in names if choice.pipeline in ("", name)]


def _post(data_dir: Path, pipelines: Sequence[str], kind: str, choice: Choice) -> list[int]:
    arguments = msgspec.json.encode(_request(choice, kind)).decode()
    enter = "INSERT INTO requests (kind, pipeline, arguments, asked_at) VALUES (?, ?, ?, ?)"
    try:
        db = sqlite3.connect(data_dir / STATE_FILE, timeout=30)
        with db:
            numbers = [db.execute(enter, (kind, name, arguments, time.time())).lastrowid for name in pipelines]
        db.close()
    except sqlite3.Error as error:
        raise FatalError(
            f"cannot ask the agent through {data_dir / STATE_FILE}: {error}", hint="run as the agent's user"
        ) from error
    return [number for number in numbers if number is not None]


_HELD_UP = """
SELECT name, state, reason FROM pipelines WHERE state IN ('waiting', 'halted')
AND name IN (SELECT pipeline FROM requests WHERE done_at IS NULL)
"""


def _wait_for_agent(data_dir: Path, numbers: Sequence[int], progress: Callable[[str], None]) -> Answer:
    total = Answer()
    waiting = list(numbers)
    tell_at = time.monotonic() + TELL_AFTER_S
    while waiting:
        time.sleep(ASK_EVERY_S)
        with reading(data_dir / STATE_FILE) as db:
            assert db is not None
            look = "SELECT answer FROM requests WHERE id = ? AND done_at IS NOT NULL"
            answers = {number: db.execute(look, (number,)).fetchone() for number in waiting}
            if time.monotonic() >= tell_at:
                tell_at = float("inf")
                for name, state, reason in db.execute(_HELD_UP).fetchall():
                    progress(f"{name} is {state}: {reason}; the agent keeps the request, Ctrl-C ends only the waiting here")
        for number, row in answers.items():
            if row:
                waiting.remove(number)
                total.add(msgspec.json.decode(row[0], type=Answer))
        if waiting and holder(data_dir) is None:
            raise FatalError("the agent ended before it had answered", hint="ask again: what it did not get to is still dead")
    return total


def _request(choice: Choice, kind: str = "") -> Request:
    return Request(0, kind, choice.ids, choice.reason, choice.file, choice.since)
