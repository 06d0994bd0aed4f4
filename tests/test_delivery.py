"""Delivery: what is sent again, what is given up, and in which order positions move."""

import asyncio
import time

import pytest

from vosship.config import OutputCommon
from vosship.delivery import Batch, Delivery
from vosship.documents import Renderer
from vosship.errors import FatalError, HaltedError, TooLargeError, UnavailableError
from vosship.events import DUPLICATE, STORED, Block, Document, Outcome, Stream, Verdict
from vosship.pipeline import Pipeline
from vosship.telemetry import Telemetry

STREAM = Stream("/cdr/1", "1", "/cdr/1")
BLOCK = Block(STREAM, 0, 10, b"", b"", {})
RETRY = Outcome(Verdict.RETRY, "busy")
REJECTED = Outcome(Verdict.REJECTED, "mapping", "no")


class Script:
    """An output that answers as told, one entry an attempt, and remembers what it was asked."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.asked = []

    async def send(self, batch):
        self.asked.append([document.id for document in batch])
        answer = self.answers.pop(0) if self.answers else [STORED] * len(batch)
        if isinstance(answer, Exception):
            raise answer
        return answer(batch) if callable(answer) else answer


def delivery(output, **options):
    """A delivery whose waiting costs no time; `waits` collects how long it would have waited."""
    waits = []
    clock = [0.0]

    async def sleep(wait_s):
        waits.append(wait_s)
        clock[0] += wait_s

    renderer = Renderer(switch="s", host="h", channel="file", series="x")
    pipeline = Pipeline("a>b", source=None, processors=[], renderer=renderer, now=time.time)
    told = []
    made = Delivery(
        pipeline,
        output,
        OutputCommon(),
        metrics=Telemetry(),
        tell=lambda doing, reason: told.append((doing, reason)),
        sleep=sleep,
        clock=lambda: clock[0],
        **options,
    )
    made.waits, made.told = waits, told
    return made


def documents(count):
    return [Document(str(number), "i", b"{}", b"", number, BLOCK) for number in range(count)]


def insist(output, count, **options):
    made = delivery(output, **options)
    return asyncio.run(made.insist(documents(count))), made


def test_only_what_was_put_off_is_sent_again():
    """RETRY items go again, alone and in order; the others keep the outcome they got."""
    output = Script([STORED, RETRY, REJECTED, RETRY], [DUPLICATE, RETRY], [STORED])
    outcomes, made = insist(output, 4)
    assert outcomes == [STORED, DUPLICATE, REJECTED, STORED]
    assert output.asked == [["0", "1", "2", "3"], ["1", "3"], ["3"]]
    assert len(made.waits) == 2


def test_an_unavailable_output_is_asked_for_everything_again():
    """After an answer that tells nothing, nothing is taken for stored."""
    output = Script(UnavailableError("refused"), UnavailableError("refused"))
    outcomes, made = insist(output, 3)
    assert outcomes == [STORED] * 3
    assert output.asked == [["0", "1", "2"]] * 3
    assert [doing for doing, _ in made.told] == ["waiting", "waiting", "running"]


def test_a_wrong_number_of_outcomes_is_no_answer():
    """An output that answers for fewer documents than it was given is not believed for any."""
    output = Script([STORED, STORED])
    outcomes, _ = insist(output, 3)
    assert outcomes == [STORED] * 3
    assert output.asked == [["0", "1", "2"]] * 2


def test_a_request_too_large_is_halved_and_a_single_document_is_dead():
    """Halves go until they fit; a document that alone is too large is set aside."""

    def at_most_two(batch):
        if any(document.id == "4" for document in batch) or len(batch) > 2:
            raise TooLargeError("413")
        return [STORED] * len(batch)

    outcomes, _ = insist(Script(*[at_most_two] * 50), 5)
    assert outcomes[:4] == [STORED] * 4
    assert (outcomes[4].verdict, outcomes[4].reason) == (Verdict.REJECTED, "too_large")


def test_what_was_said_of_the_first_half_holds_when_the_second_finds_nobody():
    """The first half is not sent again, where it would come back as duplicates; the second is, and says that nobody is there."""
    output = Script(TooLargeError("413"), [STORED, REJECTED], UnavailableError("refused"), UnavailableError("refused"))
    outcomes, made = insist(output, 4)
    assert outcomes == [STORED, REJECTED, STORED, STORED]
    assert output.asked == [["0", "1", "2", "3"], ["0", "1"], ["2", "3"], ["2", "3"], ["2", "3"]]
    assert [doing for doing, _ in made.told] == ["waiting", "running"]


def test_a_halted_output_is_looked_at_again_and_said_to_be_halted():
    """Somebody must act; when they have, it goes on by itself."""
    outcomes, made = insist(Script(HaltedError("no template", hint="vosship setup"), HaltedError("no template")), 1)
    assert outcomes == [STORED]
    assert made.told[0] == ("halted", "no template (vosship setup)")
    assert made.told[-1][0] == "running"


def test_once_gives_up_after_its_time():
    """`run --once` ends with an error naming how long was waited."""
    with pytest.raises(FatalError, match="gave up after"):
        insist(Script(*[UnavailableError("refused")] * 1000), 1, give_up_s=30.0)


def test_waits_grow_and_stay_bounded():
    """Back-off grows from half a second to the longest wait, never beyond."""
    _, made = insist(Script(*[UnavailableError("refused")] * 40), 1)
    assert max(made.waits) <= OutputCommon().retry_max_s
    assert max(made.waits[:3]) <= 4.0
    assert len(set(made.waits)) > 10  # jitter: agents that were cut off together do not come back together


def test_outcomes_are_dealt_back_to_their_blocks():
    """Each block's ledger gets its own documents' outcomes, a rejected one with its line and place."""
    from vosship.pipeline import Prepared

    first = Prepared(
        BLOCK, 3, [Document("a", "i", b"{}", b"line a", 0, BLOCK), Document("b", "i", b"{}", b"line b", 7, BLOCK)], [], 1
    )
    second = Prepared(BLOCK, 1, [Document("c", "i", b"{}", b"line c", 14, BLOCK)], [], 0)
    batch = Batch()
    batch.add(first)
    batch.add(second)
    asyncio.run(delivery(Script([STORED, REJECTED, DUPLICATE])).deliver(batch))
    assert [(part.stored, part.duplicate, len(part.dead)) for part in batch.settled] == [(1, 0, 1), (0, 1, 0)]
    dead = batch.settled[0].dead[0]
    assert (dead.line, dead.offset, dead.reason) == (b"line b", 7, "mapping")
