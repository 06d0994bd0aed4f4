"""Batch into settled: send, judge, wait, send the rest; several batches in flight, settled in the order they were made.

It does not read, parse or know what a server said in which words: outputs classify, this decides.

Retry layers, outermost first: a pipeline insists on a batch for ever (`_insist`, exponential back-off with jitter);
within it a request that is too large is halved; an output's `send` is one attempt, and no client below it retries.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Literal

import msgspec
from tenacity import RetryCallState, wait_random_exponential

from vosship.config import OutputCommon
from vosship.errors import FatalError, HaltedError, TooLargeError, UnavailableError
from vosship.events import STORED, Block, Dead, Document, Gone, Outcome, Verdict
from vosship.pipeline import Pipeline, Prepared, dead_at
from vosship.plugin import BlockOutput, DocumentOutput, Metrics
from vosship.state import Settled

log = logging.getLogger("vosship.delivery")

FIRST_RETRY_S = 0.5
"""Chosen: long enough for a restarting proxy's next attempt, short enough to go unnoticed."""

HALTED_RETRY_S = 5.0
"""Chosen: how soon after `vosship setup` a halted output goes on."""

Doing = Literal["running", "waiting", "halted", "stopped"]
Send = Callable[[Sequence[Document]], Awaitable[Sequence[Outcome]]]


class Batch(msgspec.Struct, gc=False):
    """Whole blocks on their way to one output, with the streams that end among them; `size_bytes` of lines and bodies."""

    prepared: list[Prepared] = []
    gone: list[Gone] = []
    lines: int = 0
    size_bytes: int = 0
    settled: list[Settled] = []

    def add(self, prepared: Prepared) -> None:
        """Take one more block."""
        self.prepared.append(prepared)
        self.lines += prepared.lines
        self.size_bytes += len(prepared.block.data) + sum([len(document.body) for document in prepared.documents])


class Delivery:
    """Insists on batches for one pipeline and counts what became of every document.

    `tell(doing, reason)` is called when the pipeline starts or stops waiting. With `give_up_s` an output that has
    been unreachable that long raises FatalError; without, it is waited for, for ever.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        output: DocumentOutput | BlockOutput,
        common: OutputCommon,
        *,
        metrics: Metrics,
        tell: Callable[[Doing, str], None],
        give_up_s: float | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._pipeline = pipeline
        self.name = pipeline.name
        self._output = output
        self._metrics = metrics
        self._tell = tell
        self._give_up_s = give_up_s
        self._sleep = sleep
        self._clock = clock
        self._backoff = wait_random_exponential(multiplier=FIRST_RETRY_S, max=common.retry_max_s)
        self._unreachable_since: float | None = None

    def give_up_after(self, give_up_s: float) -> None:
        """From now on an output unreachable for that long raises FatalError (0: the next failed attempt does)."""
        self._give_up_s = give_up_s

    @property
    def unreachable(self) -> bool:
        """Whether the last attempt told nothing of any document."""
        return self._unreachable_since is not None

    @property
    def takes_blocks(self) -> bool:
        """Whether the output takes whole blocks, which then are not parsed."""
        return not hasattr(self._output, "send")

    async def deliver(self, batch: Batch) -> None:
        """Send until every document of the batch has its fate; fills `batch.settled`."""
        if self.takes_blocks:
            output: Any = self._output
            blocks = [prepared.block for prepared in batch.prepared if not prepared.dead]
            await self._insist_blocks(output.send_blocks, blocks)
            batch.settled = [Settled(part, part.lines - len(part.dead), 0, part.dead) for part in batch.prepared]
            return
        documents = [document for prepared in batch.prepared for document in prepared.documents]
        outcomes = await self.insist(documents) if documents else []
        batch.settled = _counted(batch.prepared, outcomes)

    async def insist(self, documents: Sequence[Document], send: Send | None = None) -> list[Outcome]:
        """The final outcome of each document, in order; never RETRY."""
        output: Any = self._output
        send = send or output.send
        outcomes: list[Outcome | None] = [None] * len(documents)
        left: list[int] | range = range(len(documents))
        attempt, put_off_since = 0, self._clock()
        while left:
            attempt += 1
            waiting = [documents[place] for place in left]
            wait_s, reason = 0.0, ""
            try:
                answer = await self._halving(send, waiting)
            except UnavailableError as error:
                self._metrics.count("vosship_sends_total", pipeline=self.name, outcome="unavailable")
                wait_s = self._note_unavailable(error, attempt)
            else:
                self._metrics.count("vosship_sends_total", pipeline=self.name, outcome="answered")
                self._note_answered()
                if attempt == 1 and answer.count(STORED) == len(answer):  # the ordinary case, at one pointer a document
                    return answer
                again = []
                for place, outcome in zip(left, answer, strict=True):
                    if outcome.verdict is Verdict.RETRY:
                        again.append(place)
                        reason = outcome.reason
                    else:
                        outcomes[place] = outcome
                if len(again) < len(left):
                    put_off_since = self._clock()
                left = again
                if again:
                    self._give_up_if_put_off(self._clock() - put_off_since, reason)
                    wait_s = self._back_off(attempt)
                    log.warning("store put documents off", extra={"pipeline": self.name, "documents": len(again), "reason": reason})
            if wait_s:
                await self._sleep(wait_s)
        return [outcome for outcome in outcomes if outcome is not None]

    async def _halving(self, send: Send, documents: Sequence[Document]) -> list[Outcome]:
        started = self._clock()
        try:
            answer = await send(documents)
        except TooLargeError as error:
            if len(documents) == 1:
                return [Outcome(Verdict.REJECTED, "too_large", error.message)]
            middle = len(documents) // 2
            first = await self._halving(send, documents[:middle])
            try:
                second = await self._halving(send, documents[middle:])
            except UnavailableError as error:  # what was said of the first half holds; the rest goes again, and is judged then
                second = [Outcome(Verdict.RETRY, "unavailable", error.message)] * (len(documents) - middle)
            return first + second
        self._metrics.observe("vosship_send_seconds", self._clock() - started, pipeline=self.name)
        if len(answer) != len(documents):  # an output that breaks its contract: nothing can be believed
            raise UnavailableError(f"the output gave {len(answer)} outcomes for {len(documents)} documents")
        return list(answer)

    async def _insist_blocks(self, send: Callable[[Sequence[Block]], Awaitable[None]], blocks: Sequence[Block]) -> None:
        attempt = 0
        while True:
            attempt += 1
            try:
                await send(blocks)
            except UnavailableError as error:
                self._metrics.count("vosship_sends_total", pipeline=self.name, outcome="unavailable")
                await self._sleep(self._note_unavailable(error, attempt))
            else:
                self._metrics.count("vosship_sends_total", pipeline=self.name, outcome="answered")
                self._note_answered()
                return

    def _note_unavailable(self, error: UnavailableError, attempt: int) -> float:
        """Say so once, give up when that is due, and return how long to wait."""
        now = self._clock()
        halted = isinstance(error, HaltedError)
        if self._unreachable_since is None:
            self._unreachable_since = now
        since_s = now - self._unreachable_since
        level = logging.ERROR if halted else logging.WARNING
        phrase = "output halted" if halted else "output unavailable, waiting"
        log.log(level, phrase, extra={"pipeline": self.name, "reason": str(error), "for_s": round(since_s)})
        self._tell("halted" if halted else "waiting", str(error))
        if self._give_up_s is not None and since_s >= self._give_up_s:
            raise FatalError(f"{self.name}: gave up after {since_s:.0f} s: {error.message}", hint=error.hint)
        wait_s = HALTED_RETRY_S if halted else self._back_off(attempt)
        if self._give_up_s is not None:
            wait_s = min(wait_s, max(self._give_up_s - since_s, 0.01))
        return wait_s

    def _give_up_if_put_off(self, for_s: float, reason: str) -> None:
        """An output that answers and takes nothing is as good as unreachable."""
        if self._give_up_s is not None and for_s >= self._give_up_s:
            raise FatalError(f"{self.name}: gave up after {for_s:.0f} s: the store puts documents off: {reason}")

    def _note_answered(self) -> None:
        if self._unreachable_since is not None:
            after_s = round(self._clock() - self._unreachable_since)
            log.warning("output available again", extra={"pipeline": self.name, "after_s": after_s})
            self._unreachable_since = None
            self._tell("running", "")

    def _back_off(self, attempt: int) -> float:
        state = RetryCallState(retry_object=None, fn=None, args=(), kwargs={})  # type: ignore[arg-type]  # only the number is read
        state.attempt_number = attempt
        return max(0.05, self._backoff(state))


def _counted(prepared: Sequence[Prepared], outcomes: list[Outcome]) -> list[Settled]:
    """Deal the outcomes back to the blocks their documents came from."""
    settled, start = [], 0
    if outcomes and len(outcomes) == outcomes.count(STORED):
        return [Settled(part, len(part.documents), 0, part.dead) for part in prepared]
    for part in prepared:
        end = start + len(part.documents)
        stored = duplicate = 0
        dead: list[Dead] = list(part.dead)
        for document, outcome in zip(part.documents, outcomes[start:end], strict=True):
            if outcome.verdict is Verdict.STORED:
                stored += 1
            elif outcome.verdict is Verdict.DUPLICATE:
                duplicate += 1
            else:
                dead.append(dead_at(document.block, document.offset, document.line, outcome.reason, outcome.detail))
        settled.append(Settled(part, stored, duplicate, dead))
        start = end
    return settled
