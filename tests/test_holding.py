"""What only the agent still holds: noted in the state, and called lost once, whoever does it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from vosship.events import Block, Gone, Held, Stream
from vosship.holding import Holding
from vosship.pipeline import Prepared
from vosship.state import Settled, State

PIPELINE = "cdr>store"
NAME = "/cdr/2026042612.txt"


def stream(generation: int = 1, name: str = NAME) -> Stream:
    return Stream(name, name[5:], name, generation, 1000.0)


def held(size: int, generation: int = 1, *, elsewhere: bool = False) -> Held:
    return Held(stream(generation), size, b"proof", "it ended", elsewhere)


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    opened = State.open(tmp_path)
    opened.register(PIPELINE, "s", "UTC")
    yield opened
    opened.close()


class Reading:
    """A reader that holds what it is told, one list after the other."""

    def __init__(self, *lists: Sequence[Held]) -> None:
        self._lists = lists
        self.gone: list[Gone] = []

    async def held(self) -> AsyncIterator[Sequence[Held]]:
        """See Holds."""
        for each in self._lists:
            yield each

    def let_go(self, gone: Sequence[Gone]) -> None:
        """See Holds."""
        self.gone += gone


def holding(state: State, *lists: Sequence[Held]) -> Holding:
    """One whose reader has held those."""
    made = Holding(PIPELINE, state)

    async def live() -> None:
        await made.known(1.0)
        await made.follow(Reading(*lists))

    asyncio.run(live())
    return made


def settle(state: State, end: int, generation: int = 1) -> None:
    block = Block(stream(generation), 0, end, b"", b"", {})
    state.settle(PIPELINE, [Settled(Prepared(block, 1, [], [], 0, end), 1, 0, [])], [], 1.0).result()


def known(state: State) -> dict[str, Any]:
    return asyncio.run(Holding(PIPELINE, state).known(2.0))


def losses(state: State) -> list[tuple[int, int, int, str]]:
    ask = "SELECT generation, offset, bytes, reason FROM losses ORDER BY id"
    return state.submit(lambda db: db.execute(ask).fetchall()).result()


def test_what_was_noted_is_known_at_the_next_start(state: State) -> None:
    """With the settled offset where there is one; the last list counts, in whatever doubt."""
    holding(state, [held(50), Held(stream(name="/cdr/other"), 9)], [held(70, elsewhere=True)])
    position = known(state)[NAME]
    assert (position.offset, position.held) == (0, held(70))
    settle(state, 30)
    position = known(state)[NAME]
    assert (position.offset, position.held) == (30, held(70))
    assert known(state).keys() == {NAME}
    assert losses(state) == []


def test_a_note_of_what_has_come_to_its_end_says_nothing(state: State) -> None:
    """Settled meanwhile, before the note or after it."""
    first, second = Gone(stream(), 0, 5), Gone(stream(name="/cdr/other"), 0, 5)
    state.settle(PIPELINE, [], [first], 1.0).result()
    holding(state, [held(70), Held(second.stream, 9)])
    state.settle(PIPELINE, [], [second], 1.0).result()
    assert [(each.gone, each.held and each.held.size) for each in known(state).values()] == [(True, 5), (True, 5)]
    assert losses(state) == [(1, 0, 5, "deleted"), (1, 0, 5, "deleted")]


def test_of_several_generations_the_older_are_lost_and_the_newest_is_for_the_reader(state: State) -> None:
    """Only the newest can bear the name again; the others are entered at the start, once."""
    settle(state, 30)
    holding(state, [held(70), held(20, 2), held(40, 3)])
    for _ in range(2):
        position = known(state)[NAME]
        assert (position.stream.generation, position.offset, position.held) == (3, 0, held(40, 3))
        assert losses(state) == [(1, 30, 40, "it ended"), (2, 0, 20, "it ended")]


def test_a_note_that_was_overtaken_is_lost(state: State) -> None:
    """A later generation has been settled meanwhile: nobody reads the earlier one any more."""
    holding(state, [held(70)])
    settle(state, 10, 2)
    assert known(state)[NAME].stream.generation == 2
    assert losses(state) == [(1, 0, 70, "it ended")]


def test_the_end_calls_lost_what_is_beyond_doubt_and_unsettled(state: State, caplog: pytest.LogCaptureFixture) -> None:
    """From the settled byte on; what may be read again, and what came to its end meanwhile, is left alone."""
    gone, doubtful = Stream("/cdr/gone", "gone", "/cdr/gone"), Stream("/cdr/doubtful", "doubtful", "/cdr/doubtful")
    whole = Stream("/cdr/whole", "whole", "/cdr/whole")
    made = holding(state, [held(70), Held(gone, 5), Held(doubtful, 5, elsewhere=True), Held(whole, 30)])
    settle(state, 30)
    block = Block(whole, 0, 30, b"", b"", {})
    settled = [Settled(Prepared(block, 1, [], [], 0, 30), 1, 0, [])]
    state.settle(PIPELINE, settled, [Gone(gone, 0)], 1.0).result()
    ends = asyncio.run(made.ends())
    assert [(end.stream.name, end.offset, end.lost_bytes, end.reason) for end in ends] == [
        (NAME, 30, 40, "it ended"),
        ("/cdr/whole", 30, 0, "deleted"),
    ]
    with caplog.at_level(logging.ERROR):
        made.shout(ends)
    (record,) = caplog.records
    assert (record.file, record.bytes, record.offset, record.reason) == (NAME, 40, 30, "it ended")  # type: ignore[attr-defined]


def test_the_reader_is_told_what_is_settled(state: State) -> None:
    """So that it can forget it."""
    made, reading = Holding(PIPELINE, state), Reading()
    asyncio.run(made.follow(reading))
    made.settled([Gone(stream(), 5)])
    assert reading.gone == [Gone(stream(), 5)]
