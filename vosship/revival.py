"""Dead lines that heal: one of each reason is tried again by itself, and what `vosship dead` asks for is carried out.

It does not set lines aside and does not decide what a store's answer means.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from vosship.delivery import Batch, Delivery
from vosship.errors import VosshipError
from vosship.events import Dead, Stream, Verdict
from vosship.pipeline import Pipeline, revived
from vosship.state import Revived, State

log = logging.getLogger("vosship.revival")

LOOK_EVERY_S = 1.0
"""Chosen: a request of `vosship dead replay` begins within a second."""

FIRST_PROBE_S = 60.0
LONGEST_PROBE_S = 6 * 3600.0
"""Chosen: within a coffee break of the cause being mended, and four times a day for what never heals."""

AT_A_TIME = 500
"""Chosen: lines tried again in one go, so that the live ones keep their turn."""

_SELECT = "SELECT id, name, base, path, generation, starts_at, offset, reason, detail, line, fields FROM dead WHERE pipeline = ?"


class Request(msgspec.Struct, frozen=True):
    """What `vosship dead` asked of one pipeline: lines by id, or by reason, file and time; everything by default."""

    id: int
    kind: str
    ids: list[int] = []
    reason: str = ""
    file: str = ""
    since: float = 0.0


class Answer(msgspec.Struct):
    """What became of the lines a request was about."""

    tried: int = 0
    stored: int = 0
    duplicate: int = 0
    dead: int = 0
    filtered: int = 0

    def add(self, other: Answer) -> None:
        """Count another pipeline's answer in."""
        for name in self.__struct_fields__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


class Revival:
    """Tries the dead lines of one pipeline again, beside its ordinary work."""

    def __init__(
        self,
        pipeline: Pipeline,
        delivery: Delivery,
        state: State,
        now: Callable[[], float],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._pipeline = pipeline
        self._delivery = delivery
        self._state = state
        self._now = now
        self._clock = clock
        self._due: dict[str, tuple[float, float]] = {}

    async def run(self) -> None:
        """For ever: requests as they come, one line a reason as it falls due."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            try:
                for request in await self._requests():
                    answer = await self.carry_out(request)
                    await self._done(request, answer)
                await self._probe()
            except VosshipError as error:
                log.error("dead lines cannot be tried again", extra={"pipeline": self._pipeline.name, "reason": str(error)})

    async def carry_out(self, request: Request) -> Answer:
        """Do what was asked, a part at a time; a crash in between leaves the rest dead, to be asked for again."""
        answer = Answer()
        where, values = matching(request)
        last = 0
        while True:
            lines = await self._lines(f"{where} AND id > ? ORDER BY id LIMIT {AT_A_TIME}", [*values, last])
            if not lines:
                return answer
            last = lines[-1][0]
            if request.kind == "drop":
                results = [Revived(number, "filtered") for number, _ in lines]
                await asyncio.wrap_future(self._state.revive(self._pipeline.name, results, self._now()))
            else:
                results = await self.revive(lines)
            answer.tried += len(results)
            for result in results:
                setattr(answer, result.fate, getattr(answer, result.fate) + 1)

    async def revive(self, lines: Sequence[tuple[int, Dead]]) -> list[Revived]:
        """Send dead lines through today's configuration and enter what became of them."""
        batch = Batch()
        for _, dead in lines:
            batch.add(self._pipeline.prepare(revived(dead)))
        await self._delivery.deliver(batch)
        results = []
        for (number, _), settled in zip(lines, batch.settled, strict=True):
            if settled.dead:
                results.append(Revived(number, "dead", settled.dead[0].reason, settled.dead[0].detail))
            elif settled.stored:
                results.append(Revived(number, Verdict.STORED.value))
            else:
                results.append(Revived(number, Verdict.DUPLICATE.value if settled.duplicate else "filtered"))
        # A crash here leaves the lines dead although they are stored: the next try finds them as duplicates.
        await asyncio.wrap_future(self._state.revive(self._pipeline.name, results, self._now()))
        return results

    async def _probe(self) -> None:
        ask = "SELECT reason, min(id) FROM dead WHERE pipeline = ? GROUP BY reason"
        reasons = await self._ask(ask, [])
        clock = self._clock()
        for gone in set(self._due) - {reason for reason, _ in reasons}:
            del self._due[gone]
        for reason, number in reasons:
            due_at, wait_s = self._due.setdefault(reason, (clock + FIRST_PROBE_S, FIRST_PROBE_S))
            if clock < due_at:
                continue
            results = await self.revive(await self._lines("AND id = ?", [number]))
            if results and results[0].fate != "dead":
                log.info("dead lines are taken again", extra={"pipeline": self._pipeline.name, "reason": reason})
                await self.carry_out(Request(0, "replay", reason=reason))
                del self._due[reason]
            else:
                longer_s = min(wait_s * 2, LONGEST_PROBE_S)
                self._due[reason] = (clock + longer_s, longer_s)

    async def _lines(self, where: str, values: Sequence[object]) -> list[tuple[int, Dead]]:
        rows = await self._ask(f"{_SELECT} {where}", values)
        return [
            (row[0], Dead(stream=Stream(row[1], row[2], row[3], row[4], row[5]), offset=row[6], reason=row[7], detail=row[8],
                          line=row[9], fields=row[10]))
            for row in rows
        ]  # fmt: skip

    async def _requests(self) -> list[Request]:
        rows = await self._ask("SELECT id, kind, arguments FROM requests WHERE pipeline = ? AND done_at IS NULL ORDER BY id", [])
        return [msgspec.convert({**msgspec.json.decode(row[2]), "id": row[0], "kind": row[1]}, Request) for row in rows]

    async def _done(self, request: Request, answer: Answer) -> None:
        text, at = msgspec.json.encode(answer).decode(), self._now()
        finish = "UPDATE requests SET done_at = ?, answer = ? WHERE id = ?"
        await asyncio.wrap_future(self._state.submit(lambda db: db.execute(finish, (at, text, request.id)) and None))

    async def _ask(self, statement: str, values: Sequence[object]) -> list[tuple[Any, ...]]:
        arguments = (self._pipeline.name, *values)
        return await asyncio.wrap_future(self._state.submit(lambda db: db.execute(statement, arguments).fetchall()))


def matching(request: Request) -> tuple[str, list[object]]:
    """The SQL condition (beginning with AND) and its values for what a request is about."""
    where = ""
    values: list[object] = []
    if request.ids:
        where += f" AND id IN ({', '.join('?' * len(request.ids))})"
        values += list(request.ids)
    if request.reason:
        where += " AND reason = ?"
        values.append(request.reason)
    if request.file:
        where += " AND (base = ? OR path = ?)"
        values += [request.file, request.file]
    if request.since:
        where += " AND at >= ?"
        values.append(request.since)
    return where, values
