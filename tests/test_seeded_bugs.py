"""Known bugs, seeded one by one: the judgement over conservation histories finds each, and finds nothing without it.

A history here is the shortest that shows its bug; `test_conservation` finds them in random ones too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pytest

import vosship.delivery
import vosship.documents
import vosship.holding
import vosship.pipeline
import vosship.revival
import vosship.running
import vosship.state
import vosship_files.rescue
from tests.conservation.histories import History, begin, live
from tests.conservation.machine import Conservation
from vosship.delivery import Delivery
from vosship.errors import FatalError, TooLargeError, UnavailableError, VosshipError
from vosship.events import DUPLICATE, STORED, Gone, Outcome, Verdict
from vosship.running import BlockQueue, RunningPipeline
from vosship.state import Revived, Settled, State
from vosship_files.access import Access
from vosship_files.held import HeldStreams
from vosship_files.roster import Roster

Patch = pytest.MonkeyPatch


# -- the bugs ----------------------------------------------------------------------------------------------------------


def offset_settled_before_send(patch: Patch) -> None:
    deliver = Delivery.deliver

    async def early(self: Delivery, batch: Any) -> None:
        batch.settled = [Settled(part, len(part.documents), 0, part.dead) for part in batch.prepared]
        self.background = asyncio.ensure_future(deliver(self, batch))  # type: ignore[attr-defined]

    patch.setattr(Delivery, "deliver", early)


def retry_forgotten(patch: Patch) -> None:
    halving = Delivery._halving

    async def hasty(self: Delivery, send: Any, documents: Sequence[Any]) -> list[Outcome]:
        return [STORED if each.verdict is Verdict.RETRY else each for each in await halving(self, send, documents)]

    patch.setattr(Delivery, "_halving", hasty)


def unavailable_taken_for_success(patch: Patch) -> None:
    halving = Delivery._halving

    async def hopeful(self: Delivery, send: Any, documents: Sequence[Any]) -> list[Outcome]:
        try:
            return await halving(self, send, documents)
        except UnavailableError:
            return [STORED] * len(documents)

    patch.setattr(Delivery, "_halving", hopeful)


def second_half_not_sent(patch: Patch) -> None:
    async def halved(self: Delivery, send: Any, documents: Sequence[Any]) -> list[Outcome]:
        try:
            return list(await send(documents))
        except TooLargeError:
            first = await halved(self, send, documents[: len(documents) // 2])
            return first + [STORED] * (len(documents) - len(first))

    patch.setattr(Delivery, "_halving", halved)


def newline_not_counted(patch: Patch) -> None:
    right = vosship.pipeline.records_of

    def wrong(block: Any) -> Any:
        records = right(block)
        for number, record in enumerate(records):
            record.offset -= number
        return records

    patch.setattr(vosship.pipeline, "records_of", wrong)


def proof_not_checked(patch: Patch) -> None:
    def trusting(self: Access, track: Any) -> bool:
        cutter = track.cutter
        track.cutter = self._cutter(cutter.source, track.offset, b"", b"")
        track.verified = True
        return True

    patch.setattr(Access, "verify", trusting)


def second_name_removed_early(patch: Patch) -> None:
    patch.setattr(vosship_files.rescue, "_is_done", lambda *_: True)


def duplicates_counted_as_stored_too(patch: Patch) -> None:
    counted = vosship.delivery._counted

    def generous(prepared: Any, outcomes: Any) -> Any:
        settled = counted(prepared, outcomes)
        for each in settled:
            each.stored += each.duplicate
        return settled

    patch.setattr(vosship.delivery, "_counted", generous)


def duplicates_taken_for_stored(patch: Patch) -> None:
    counted = vosship.delivery._counted
    patch.setattr(
        vosship.delivery,
        "_counted",
        lambda prepared, outcomes: counted(prepared, [STORED if each == DUPLICATE else each for each in outcomes]),
    )


def answered_at_the_stop_and_not_settled(patch: Patch) -> None:
    enter = RunningPipeline._enter

    async def hasty(self: RunningPipeline, batch: Any) -> VosshipError | None:
        return FatalError("told to stop") if self._queue.exhausted else await enter(self, batch)

    patch.setattr(RunningPipeline, "_enter", hasty)


def end_before_its_blocks(patch: Patch) -> None:
    put = BlockQueue.put

    async def jump(self: BlockQueue, item: Any) -> None:
        await put(self, item)
        if isinstance(item, Gone):
            self._items.rotate(1)

    patch.setattr(BlockQueue, "put", jump)


def half_line_of_the_live_file(patch: Patch) -> None:
    patch.setattr(Roster, "may_take_tail", lambda self, track, now: True)


def settled_out_of_order(patch: Patch) -> None:
    async def quickest_first(self: RunningPipeline) -> None:
        travelling: dict[Any, Any] = {}
        ended = False
        while not ended or travelling:
            arrival = asyncio.ensure_future(self._order.get()) if not ended else None
            done, _ = await asyncio.wait([*travelling, *([arrival] if arrival else [])], return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                if task is arrival:
                    entry = task.result()
                    ended = entry is None
                    if entry is not None:
                        travelling[entry[1]] = entry[0]
                else:
                    await self._enter(travelling.pop(task))
                    self._slots.release()
            if arrival and not arrival.done():
                arrival.cancel()
        self.finished.set()

    patch.setattr(RunningPipeline, "_settle", quickest_first)


def loss_not_entered(patch: Patch) -> None:
    enter = vosship.state._enter_gone
    patch.setattr(
        vosship.state,
        "_enter_gone",
        lambda db, pipeline, item, now: enter(db, pipeline, msgspec.structs.replace(item, lost_bytes=0), now),
    )


def end_forgotten(patch: Patch) -> None:
    patch.setattr(vosship.state, "_enter_gone", lambda db, pipeline, item, now: None)


def replay_believed(patch: Patch) -> None:
    revive = State.revive

    def believing(self: State, pipeline: str, revived: Sequence[Revived], now: float) -> Any:
        return revive(self, pipeline, [Revived(each.id, "stored") for each in revived], now)

    patch.setattr(State, "revive", believing)


def line_left_out_of_the_id(patch: Patch) -> None:
    real = vosship.documents.blake2b

    class Place:
        """A digest that sees where a line stands and not what it says."""

        def __init__(self, data: bytes = b"", *, digest_size: int = 12, inner: Any = None) -> None:
            self.inner = inner or real(data, digest_size=digest_size)
            self.digest = self.inner.digest

        def copy(self) -> Place:
            return Place(inner=self.inner.copy())

        def update(self, data: bytes) -> None:
            self.inner.update(data.partition(b"\0")[0])

    patch.setattr(vosship.documents, "blake2b", Place)


def dead_line_forgotten(patch: Patch) -> None:
    settle = State.settle

    def bare_settle(self: State, pipeline: str, blocks: Any, gone: Any, now: float) -> Any:
        bare = [msgspec.structs.replace(each, dead=[]) for each in blocks]
        return settle(self, pipeline, bare, gone, now)

    patch.setattr(State, "settle", bare_settle)


def what_dies_with_the_agent_not_named(patch: Patch) -> None:
    patch.setattr(RunningPipeline, "_take_leave", lambda self: asyncio.sleep(0))


def what_only_the_agent_holds_not_noted(patch: Patch) -> None:
    patch.setattr(vosship.holding, "_note", lambda db, pipeline, held: None)


def read_and_unsettled_taken_for_safe(patch: Patch) -> None:
    patch.setattr(HeldStreams, "end", lambda self, stream, size, reason="", proof=b"": None)


# -- the shortest histories that show them ------------------------------------------------------------------------------


def killed_while_sending(machine: Conservation) -> None:
    begin(machine, "ggg")
    machine.pass_time(6.0)
    machine.kill("wherever", 0, 0)


def killed_when_stored(machine: Conservation) -> None:
    begin(machine, "ggg")
    machine.pass_time(6.0)
    machine.kill("after storing", 0, 0)


def stopped_in_order_after_a_lost_answer(machine: Conservation) -> None:
    answered("silent after storing")(machine)
    machine.work(2)
    machine.append("gg", 30, 0)
    machine.look()
    machine.pass_time(6.0)
    machine.end("stop", 0, 0)


def only_good_and_bad_lines(machine: Conservation) -> None:
    begin(machine, "ggmgg")


def answered(what: str) -> History:
    def history(machine: Conservation) -> None:
        begin(machine, "gggggg")
        machine.pass_time(6.0)
        machine.answer_badly(0, what)

    return history


def rewritten_while_down(machine: Conservation) -> None:
    begin(machine, "ggg", "g")
    machine.work(2)
    machine.end("stop", 0, 0)
    machine.meddle("rewrite", 0, 40, 0.0)


def rewritten_while_up(machine: Conservation) -> None:
    begin(machine, "ggg", "g")
    machine.work(2)
    machine.meddle("rewrite", 0, 3, 0.0)


def rescued_then_killed(machine: Conservation) -> None:
    begin(machine, "ggg", "g", rescue="link")
    machine.hold_commits(True)
    machine.pass_time(121.0)
    machine.look()
    machine.delete_oldest()
    machine.look()
    machine.kill("wherever", 0, 0)


def deleted_while_waiting(machine: Conservation) -> None:
    begin(machine, "g" * 85, "g", hold=64)
    machine.delete_oldest()
    machine.look()


def half_a_line(machine: Conservation) -> None:
    begin(machine, "g")
    machine.append("gg", 30, 5)
    machine.look()


def second_answer_first(machine: Conservation) -> None:
    begin(machine, "g" * 45, "")
    machine.answer(1)
    machine.kill("wherever", 0, 0)


def deleted_unread(machine: Conservation) -> None:
    begin(machine, "g")
    machine.read(True, 0)
    for _ in range(6):
        machine.new_hour()
        machine.append("gggg", 30, 0)
    machine.look()
    for _ in range(4):
        machine.delete_oldest()
    machine.look()


def replayed_too_soon(machine: Conservation) -> None:
    begin(machine, "gpg")
    machine.work(2)
    machine.ask_for_dead("replay", "mapping")
    machine.answer(0)


def deleted_in_an_outage(end: Callable[[Conservation], None], lines: int = 4) -> History:
    """The oldest file is deleted, held open or wholly read, nothing of it settled; the agent ends and comes back."""

    def history(machine: Conservation) -> None:
        begin(machine, "g" * lines, "g", "g", "g", hold=64)
        machine.delete_oldest()
        machine.look()
        end(machine)
        machine.start()

    return history


def stopped(machine: Conservation) -> None:
    machine.end("stop in an outage", 0, 0)


def killed(machine: Conservation) -> None:
    machine.kill("wherever", 0, 0)


BUGS: list[tuple[Callable[[Patch], None], History, str]] = [
    (offset_settled_before_send, killed_while_sending, "neither stored nor dead"),
    (dead_line_forgotten, only_good_and_bad_lines, "no trace of a malformed line"),
    (retry_forgotten, answered("every other busy"), "neither stored nor dead"),
    (unavailable_taken_for_success, answered("refused"), "neither stored nor dead"),
    (second_half_not_sent, answered("too large"), "neither stored nor dead"),
    (newline_not_counted, only_good_and_bad_lines, "dead 1 times, read 0 times"),
    (proof_not_checked, rewritten_while_down, "neither delivered nor lost"),
    (second_name_removed_early, rescued_then_killed, "neither delivered nor lost"),
    (duplicates_counted_as_stored_too, answered("silent after storing"), "accounted"),
    (duplicates_taken_for_stored, killed_when_stored, "3 entered as stored, 3 in the index, 3 of them never settled"),
    (answered_at_the_stop_and_not_settled, stopped_in_order_after_a_lost_answer, "answered and not settled at the stop"),
    (end_before_its_blocks, deleted_while_waiting, "goes on at"),
    (half_line_of_the_live_file, half_a_line, "half a line of the live file"),
    (settled_out_of_order, second_answer_first, "goes on at"),
    (loss_not_entered, deleted_unread, "bytes lost"),
    (end_forgotten, deleted_unread, "360 bytes lost, 0 entered"),
    (replay_believed, replayed_too_soon, "neither stored nor dead"),
    (line_left_out_of_the_id, rewritten_while_up, "neither stored nor dead"),
    (what_dies_with_the_agent_not_named, deleted_in_an_outage(stopped, lines=150), "not named at the stop"),
    (what_only_the_agent_holds_not_noted, deleted_in_an_outage(killed, lines=150), "neither delivered nor lost"),
    (read_and_unsettled_taken_for_safe, deleted_in_an_outage(killed), "neither delivered nor lost"),
]
"""Bug, history, and the words in which the judgement finds it."""


NAMES = [bug.__name__ for bug, _, _ in BUGS]


@pytest.mark.parametrize(("bug", "history", "words"), BUGS, ids=NAMES)
def test_a_seeded_bug_is_caught(bug: Callable[[Patch], None], history: History, words: str, monkeypatch: Patch) -> None:
    """The judgement names the bug in its own words."""
    bug(monkeypatch)
    with pytest.raises(AssertionError, match=words):
        live(history)


@pytest.mark.parametrize(("bug", "history", "words"), BUGS, ids=NAMES)
def test_the_same_history_is_sound_without_it(bug: object, history: History, words: str) -> None:
    """What the bug's history shows is the bug."""
    live(history)
