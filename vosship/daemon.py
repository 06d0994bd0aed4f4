"""Configuration into running pipelines: what starts and stops in which order, signals, the drain limit.

It does not know how a pipeline works (`running`) or how a batch is insisted on (`delivery`).
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import socket
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from vosship.application import Application
from vosship.delivery import Delivery
from vosship.documents import Renderer
from vosship.errors import Exit, FatalError, VosshipError
from vosship.lock import AGENT, HeldError
from vosship.pipeline import Pipeline
from vosship.plugin import Hindered, Notices, Opens, Processor, Until
from vosship.revival import Answer, Request, Revival
from vosship.running import RunningPipeline, cannot_read
from vosship.state import State
from vosship.watch import Watch

log = logging.getLogger("vosship.daemon")

KEEP_EVERY_S = 5.0
"""How often what processors noticed, and what inputs cannot read, is written down for `status`; chosen: a small file each time,
soon enough to follow."""


LOCK_WAIT_S = 60.0
"""Chosen: a replay of some thousand dead lines is done by then; after it exit 1, for which a service manager starts us again."""

LOCK_RETRY_S = 0.5
"""Chosen: the start after a replay goes unnoticed."""

ONCE = "run --once"


class Daemon:
    """One run of the agent. `run` returns the exit code; the state is open only while it runs."""

    def __init__(self, application: Application, *, once: bool = False, rebuild_state: bool = False) -> None:
        self._application = application
        self._until: Until = "now" if once else "forever"
        self._rebuild_state = rebuild_state
        self._stopping = asyncio.Event()
        self._running: list[RunningPipeline] = []

    async def run(self) -> Exit:
        """Run until everything is shipped (`once`) or a signal comes. Raises VosshipError when it cannot start or go on."""
        application = self._application
        # Before anything is opened or written: a table that cannot be used stops the start, not the first line.
        chains = {name: application.processors(entry) for name, entry, _ in application.pipelines()}
        state = await self._open_state()
        opened: list[Opens] = []
        try:
            for name, entry, _ in application.pipelines():
                state.register(name, entry.switch, entry.timezone)
            outputs = [entry.plugin for entry in application.outputs.values()]
            for plugin in [*outputs, *(entry.plugin for entry in application.inputs.values())]:  # listeners start last
                if isinstance(plugin, Opens):
                    await plugin.open()
                    opened.append(plugin)
            gc.collect()
            gc.freeze()  # start-up's objects live as long as the process: never walk them again
            try:
                await self._run_pipelines(state, chains)
            except* VosshipError as group:
                raise _first(group) from None
            return self._verdict()
        finally:
            _keep_notices(chains)
            for plugin in reversed(opened):
                await plugin.close()
            for running in self._running:
                if running.failure is None:
                    running.tell("stopped", "")
            state.close()

    async def _open_state(self) -> State:
        """The state. A command that holds it for a while is waited for: a service manager does not start us again for exit 2."""
        data_dir, once = self._application.config.data_dir, self._until == "now"
        told, until = False, time.monotonic() + LOCK_WAIT_S
        while True:
            try:
                return State.open(data_dir, rebuild=self._rebuild_state, work=ONCE if once else AGENT)
            except HeldError as error:
                if error.work == AGENT or (once and error.work == ONCE):
                    raise
                if time.monotonic() >= until:
                    raise FatalError(f"waited {LOCK_WAIT_S:.0f} s, and still {error.message}", hint=error.hint) from error
                if not told:
                    log.warning("data_dir is in use, waiting for it", extra={"reason": error.message, "at_most_s": LOCK_WAIT_S})
                    told = True
            await asyncio.sleep(LOCK_RETRY_S)

    async def revive(self, pipelines: Sequence[str], request: Request) -> Answer:
        """Without reading anything new, have dead lines of these pipelines replayed or dropped."""
        application, total = self._application, Answer()
        chains = {name: application.processors(entry) for name, entry, _ in application.pipelines() if name in pipelines}
        state = State.open(application.config.data_dir, work=f"dead {request.kind}")
        opened: list[Opens] = []
        try:
            for name, entry, output in application.pipelines():
                if name not in pipelines:
                    continue
                state.register(name, entry.switch, entry.timezone)  # a line replayed under another name would be another call
                if isinstance(output.plugin, Opens) and output.plugin not in opened:
                    await output.plugin.open()
                    opened.append(output.plugin)
                running = self._build(name, entry, output, state, chains[name])
                total.add(await Revival(running.pipeline, running.delivery, state, self._now).carry_out(request))
        finally:
            for plugin in opened:
                await plugin.close()
            state.close()
        return total

    async def _run_pipelines(self, state: State, chains: Mapping[str, Sequence[Processor]]) -> None:
        loop = asyncio.get_running_loop()
        for sign in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(sign, self._on_signal)
        async with asyncio.TaskGroup() as group:
            for name, entry, output in self._application.pipelines():
                running = self._build(name, entry, output, state, chains[name])
                self._running.append(running)
                running.start(group)
            log.info("agent started", extra={"pipelines": len(self._running), "pid": os.getpid(), "state": str(state.path)})
            side = [group.create_task(task) for task in self._side_tasks(state, chains)]
            stopper = group.create_task(self._stop_when_told())
            for running in self._running:
                await running.finished.wait()
            for task in [*side, stopper]:
                task.cancel()

    def _side_tasks(self, state: State, chains: Mapping[str, Sequence[Processor]]) -> list[Any]:
        if self._until == "now":
            return []
        revivals = [Revival(running.pipeline, running.delivery, state, self._now).run() for running in self._running]
        return [*revivals, self._keeping(chains), Watch(self._application, state, self._running).run()]

    def _build(self, name: str, entry: Any, output: Any, state: State, processors: Sequence[Processor]) -> RunningPipeline:
        application = self._application
        renderer = Renderer(switch=entry.switch, host=socket.gethostname(), channel=entry.channel, series=entry.plugin.series)
        pipeline = Pipeline(
            name,
            source=entry.plugin,
            processors=processors,
            renderer=renderer,
            now=self._now,
            keep_original=entry.keep_original,
        )
        delivery = Delivery(
            pipeline,
            output.plugin,
            output.common,
            metrics=application.telemetry,
            tell=lambda doing, reason: running.tell(doing, reason),
            give_up_s=output.common.give_up_s if self._until == "now" else None,
            sleep=self._sleep,
        )
        running = RunningPipeline(
            pipeline,
            entry.plugin,
            delivery,
            state,
            output.common,
            until=self._until,
            queue_bytes=application.config.queue_bytes,
            metrics=application.telemetry,
            now=self._now,
        )
        return running

    @staticmethod
    def _now() -> float:
        return time.time()

    async def _sleep(self, wait_s: float) -> None:
        """Wait before another attempt; a stop cuts it short."""
        try:
            async with asyncio.timeout(wait_s):
                await self._stopping.wait()
        except TimeoutError:
            return

    def _on_signal(self) -> None:
        if self._stopping.is_set():
            log.warning("second signal, leaving at once")
            leave_at_once(self._stopped())
        log.info("stopping", extra={"drain_s": self._application.config.drain_s})
        self._stopping.set()

    async def _stop_when_told(self) -> None:
        await self._stopping.wait()
        for running in self._running:
            running.stop()
        await asyncio.sleep(self._application.config.drain_s)
        log.warning("drain limit reached, leaving; what is unsettled is sent again next time")
        leave_at_once(self._stopped())

    def _stopped(self) -> Exit:
        """What a stop at this moment means: nothing to an agent, but `--once` has not done what it was asked for."""
        return Exit.DONE if self._until == "forever" else Exit.CANNOT_JUDGE

    def _verdict(self) -> Exit:
        counts: Counter[str] = Counter()
        for running in self._running:
            counts += running.counts
            log.info("pipeline ended", extra={"pipeline": running.name, **running.counts})
        if self._stopping.is_set() and self._until == "forever":
            return Exit.DONE
        failures = [running.failure for running in self._running if running.failure and not running.cut_off]
        if failures:
            raise _joined(failures)
        left_out = self._say_what_is_left_out()  # in any case: what follows may be a worse answer
        if counts["dead"] or counts["lost_bytes"]:
            return Exit.ANSWER_IS_NO
        return Exit.CANNOT_JUDGE if left_out else Exit.DONE

    def _say_what_is_left_out(self) -> bool:
        """Log what `--once` did not read, if anything."""
        said = False
        for running in self._running:
            if running.cut_off:
                log.error("stopped before everything there was read", extra={"pipeline": running.name})
                said = True
            if paths := _unreadable(running):
                log.error("not everything there was read", extra={"pipeline": running.name, "reason": cannot_read(paths)})
                said = True
        return said

    async def _keeping(self, chains: Mapping[str, Sequence[Processor]]) -> None:
        while True:
            for running in self._running:
                paths = _unreadable(running)
                running.tell_unreadable(paths)
                self._application.telemetry.set("vosship_unreadable_paths", len(paths), pipeline=running.name)
            await asyncio.sleep(KEEP_EVERY_S)
            _keep_notices(chains)


def _unreadable(running: RunningPipeline) -> Mapping[str, str]:
    return running.source.unreadable() if isinstance(running.source, Hindered) else {}


def _keep_notices(chains: Mapping[str, Sequence[Processor]]) -> None:
    for chain in chains.values():
        for processor in chain:
            if isinstance(processor, Notices):
                processor.keep()


def leave_at_once(code: Exit) -> None:
    """End the process without waiting for threads: a blocked send would hold the exit up for its whole time-out.

    The state needs no closing: a committed settle is on the disk, and an open transaction is rolled back.
    """
    logging.shutdown()
    os._exit(code)


def _first(group: BaseExceptionGroup[VosshipError]) -> VosshipError:
    for error in group.exceptions:
        return _first(error) if isinstance(error, BaseExceptionGroup) else error
    raise AssertionError("an exception group is never empty")


def _joined(failures: list[VosshipError]) -> VosshipError:
    if len(failures) == 1:
        return failures[0]
    return FatalError("; ".join(str(failure) for failure in failures))
