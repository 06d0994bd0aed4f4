"""The state machine: what a switch, an operator, a store, a disk and a crash do to the agent, in any order.

It performs; `account` judges, after each history.
"""

from __future__ import annotations

import contextlib
import functools
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from tests.conservation import account
from tests.conservation.agent import Agent
from tests.conservation.hearing import Hearing
from tests.conservation.parts import FAULTS, MARKS, OLD_INDEX, Journal, Step, Store, Switch
from tests.directory_model import Place, places
from vosship.deadletters import Choice
from vosship.testing.cluster import Cluster

STILL_S = 120.0
"""`still_s` of the input, its default."""

MEMORY = Path("/dev/shm")
"""Where the state lies in these tests, so that 2,000 histories cost no 100,000 fsyncs."""

NUMBER = st.integers(0, 9)


def needs_agent(step: Callable[..., None]) -> Callable[..., None]:
    """Does nothing while no agent runs.

    Not a precondition: whether one runs can hang on an inode that another process took, and what Hypothesis draws must not.
    """

    @functools.wraps(step)
    def guarded(self: Conservation, *given: Any, **drawn: Any) -> None:
        if self.agent is not None:
            step(self, *given, **drawn)

    return guarded


class Conservation(RuleBasedStateMachine):
    """Histories over the real `files` input, the real core and a real directory."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp(prefix="vosship-conservation-"))
        self.data_dir = Path(tempfile.mkdtemp(prefix="vosship-state-", dir=MEMORY if MEMORY.is_dir() else None))
        self.switch = Switch(self.root / "cdr")
        self.cluster = Cluster()
        self.hearing = Hearing()
        self.store = Store(self.cluster, self.hearing)
        self.processor = Step()
        self.journal = Journal(self.hearing)
        self.now_s = time.time()
        self.options: dict[str, Any] = {}
        self.rescued: set[Place] = set()
        """Lines of which the agent was seen to hold a second name or copy: no crash may lose them."""
        self.withdrawn: set[str | None] = set()
        self.early_halves: list[Any] = []
        self.agent: Agent | None = None
        self.noted = False
        """The last agent ended in order, or had time to note what only it still held."""
        self.mend("documents", False)

    @initialize(
        rescue=st.sampled_from(["none", "link", "copy"]),
        hold=st.sampled_from([0, 1, 64]),
        files=st.lists(st.text(MARKS, max_size=30), min_size=1, max_size=5),
    )
    def begin(self, rescue: str, hold: int, files: list[str]) -> None:
        """What is there at first, and which precautions against deletion are configured: a copy is made where the rescue
        directory is on another file system."""
        self.options = {"hold_files": hold, "report_gaps": False}
        self.rescue_dir = (self.data_dir if rescue == "copy" else self.root) / "rescue"
        if rescue != "none":
            self.options["rescue_dir"] = str(self.rescue_dir)
        for marks in files:
            self.switch.new_hour()
            self._write(marks, 60, 0)
        self.start()

    def some(self, number: int) -> str | None:
        """One of the names there are."""
        names = sorted(self.switch.files)
        return names[number % len(names)] if names else None

    # -- the switch, its operator, its disk ------------------------------------------------------------------------

    @rule(marks=st.text(MARKS, min_size=1, max_size=30), width=st.integers(12, 120), cut=st.integers(0, 11))
    def append(self, marks: str, width: int, cut: int) -> None:
        self._write(marks, width, cut)

    def _write(self, marks: str, width: int, cut: int) -> None:
        self.switch.marks.extend(mark.encode() for mark in marks)
        self.switch.append(len(marks), width=width, cut_bytes=cut)

    @rule()
    def new_hour(self) -> None:
        self.switch.new_hour()

    @rule()
    def finish_line(self) -> None:
        self.switch.finish()

    @rule()
    def go_back(self) -> None:
        self.switch.go_back()

    @rule()
    def delete_oldest(self) -> None:
        if len(self.switch.files) > 1:
            self.switch.delete_oldest()

    @rule(
        what=st.sampled_from(["recreate", "rewrite", "truncate", "restore", "copy over", "compress"]),
        number=NUMBER,
        lines=st.integers(1, 40),
        share=st.floats(0, 1),
    )
    def meddle(self, what: str, number: int, lines: int, share: float) -> None:
        """What an operator or an accident does to one file."""
        switch, base = self.switch, self.some(number)
        if what == "rewrite":
            self._forget_rescued(switch.rewrite(base, lines))
        elif what == "truncate":
            self._forget_rescued(switch.truncate(base, share))
        elif what == "restore":
            names = sorted(switch.removed)
            switch.restore(names[number % len(names)] if names else None)
        else:
            if what == "recreate" and self.rescue_dir.is_relative_to(self.data_dir):
                self._forget_rescued(base)  # a copy passes for its inode's next file: see docs/delivery.md
            {"recreate": switch.recreate, "copy over": switch.copy_over, "compress": switch.compress}[what](base)

    # -- the agent -------------------------------------------------------------------------------------------------

    @rule()
    def start(self) -> None:
        if self.agent is not None:
            return
        self.switch.forgot(noted=self.noted)
        self.agent = Agent(
            self.root, self.data_dir, self.switch, self.store, self.processor, self.journal, lambda: self.now_s, self.options
        )
        self.agent.early_halves = self.agent.source.early_halves = self.early_halves
        self._seen()

    @rule()
    def look(self) -> None:
        self.start()
        self.now_s += 1.0
        self.agent.look()
        self._seen()

    @rule(seconds=st.sampled_from([6.0, STILL_S + 1, 3600.0]))
    @needs_agent
    def pass_time(self, seconds: float) -> None:
        self.now_s += seconds
        self.agent.advance(seconds)

    @rule(held=st.booleans(), count=st.integers(0, 6))
    @needs_agent
    def read(self, held: bool, count: int) -> None:
        self.agent.hold_reading(held)
        self.agent.read(count)

    @rule(number=st.integers(0, 2))
    @needs_agent
    def answer(self, number: int) -> None:
        self.agent.answer(number, "well")

    @rule(number=st.integers(0, 2), what=st.sampled_from(sorted(FAULTS)))
    @needs_agent
    def answer_badly(self, number: int, what: str) -> None:
        self.agent.answer(number, what)

    @rule(rounds=st.integers(1, 3))
    def work(self, rounds: int) -> None:
        """An undisturbed while."""
        for _ in range(rounds):
            self.look()
            self.answer(0)
            self.pass_time(6.0)
            self.answer(0)

    @rule(held=st.booleans())
    @needs_agent
    def hold_commits(self, held: bool) -> None:
        self.agent.holding_commits = held
        self.agent.step()

    # -- ends: in order, by a full disk, and kill -9 inside each arrow of the path of one line --------------------------

    @rule(how=st.sampled_from(["stop", "stop in an outage", "full disk"]), number=st.integers(0, 2), after=st.integers(0, 8))
    @needs_agent
    def end(self, how: str, number: int, after: int) -> None:
        """SIGTERM, or a disk that is full at the next settle: then the agent ends with what was settled before."""
        if how == "full disk":
            self.agent.holding_commits = True
            self.agent.answer(number, "well")
            if not self.agent.state.busy:
                self.agent.holding_commits = False
                return
            if not self.agent.fill_disk(after):
                return
            self.agent = None
        else:
            self.agent.stop("refused" if how == "stop in an outage" else "well")
            self.agent = None
            account.check_stop(self.hearing)
        self.noted = True
        self._seen()  # it looks a last time
        if how != "full disk":
            account.check_leave(self.switch, self.journal, self._rescued_names())

    @rule(
        where=st.sampled_from(["wherever", "after storing", "after storing half", "while committing", "while settling"]),
        number=st.integers(0, 2),
        after=st.integers(0, 8),
    )
    @needs_agent
    def kill(self, where: str, number: int, after: int) -> None:
        """kill -9: as things stand (before sending, before the answer, before the settle); when the store has the batch, or
        its first half, and nobody heard; or after so many statements of a transaction, at the latest right after its COMMIT."""
        agent = self.agent
        self.noted = agent.noted and not agent.holding_commits
        waiting = [sending for sending in self.store.waiting if not sending.answer.done()]
        if where.startswith("after storing") and waiting:
            batch = waiting[number % len(waiting)].batch
            self.store.store(batch[: len(batch) // 2] if where.endswith("half") else batch)
        if where == "while settling":
            agent.holding_commits = True
            agent.answer(number, "well")
        if where in ("while settling", "while committing"):
            agent.die_in_commit(after)
        else:
            agent.kill()
        self.agent = None

    # -- the store's bad days, dead lines -----------------------------------------------------------------------------

    @rule(what=st.sampled_from(["old day", "documents", "rules"]), well=st.booleans())
    def mend(self, what: str, well: bool) -> None:
        """Make or break what lines die of: an index blocked for writing, a mapping, a rule of our own."""
        if what == "documents":
            self.cluster.poison = lambda body: "poison" if body["line"][9:10] == "p" and not well else ""
        elif what == "rules":
            self.processor.strict = not well
        else:
            if OLD_INDEX not in self.cluster.indices:
                self.cluster.create(OLD_INDEX)
            self.cluster.indices[OLD_INDEX].block = "" if well else "FORBIDDEN/8/index write (api)"

    @rule(kind=st.sampled_from(["replay", "drop"]), reason=st.sampled_from(["", "mapping", "malformed", "index_blocked"]))
    @needs_agent
    def ask_for_dead(self, kind: str, reason: str) -> None:
        if not self.agent.holding_commits:
            self.agent.ask(kind, Choice(reason=reason))
            self.agent.advance(1.0)

    # -- the end -------------------------------------------------------------------------------------------------------

    def teardown(self) -> None:
        try:
            self.finish()
        finally:
            if self.agent is not None:
                self.agent.kill()
            shutil.rmtree(self.root)
            shutil.rmtree(self.data_dir)

    def finish(self) -> None:
        """Come to rest, judge; mend everything, have the dead lines tried again, judge again."""
        if self.agent is None:
            self.start()
        self._rest()
        self.judge(healed=False)
        for what in ("old day", "documents", "rules"):
            self.mend(what, True)
        self.agent.ask("replay", Choice())
        self._rest()
        self.judge(healed=True)

    def judge(self, *, healed: bool) -> None:
        """Hold everything against everything else."""
        held = account.Held(self.cluster, self.data_dir)
        assert not self.early_halves, f"half a line of the live file was taken: {self.early_halves[0].stream.base}"
        account.check_tiling(self.journal)
        account.check_fates(self.journal, held, healed=healed)
        account.check_directory(self.switch, self.journal, held, self.rescued)
        status = account.status_of(self.agent.source, self.data_dir)
        account.check_ledger(status, self.journal, held, self.switch)

    def _rest(self) -> None:
        """Until nothing moves any more: four looks in a row, the last half lines included."""
        agent = self.agent
        agent.holding_commits = False
        agent.hold_reading(False)
        quiet = 0
        while quiet < 4:
            before = len(self.journal.events)
            self.look()
            while any(not sending.answer.done() for sending in self.store.waiting):
                agent.answer(0, "well")
            self.pass_time(STILL_S + 1)
            while any(not sending.answer.done() for sending in self.store.waiting):
                agent.answer(0, "well")
            assert not agent.ended, "the agent has ended by itself"
            quiet = quiet + 1 if len(self.journal.events) == before else 0

    def _seen(self) -> None:
        self.switch.saw()
        with contextlib.suppress(FileNotFoundError, AttributeError):
            for path in self.rescue_dir.iterdir():
                base = path.name.split("-")[-1]
                if base not in self.withdrawn and not base.endswith((".gz", ".partial")):
                    self.rescued.update(places(base, 0, path.read_bytes()))

    def _rescued_names(self) -> set[str]:
        names = [path.name.removesuffix(".gz") for path in self.rescue_dir.glob("*")]
        return {name.split("-")[-1] for name in names if not name.endswith(".partial")}

    def _forget_rescued(self, base: str | None) -> None:
        """Content was withdrawn from the file, and so from its second name; a copy of it is no longer a copy."""
        self.withdrawn.add(base)
        self.rescued = {place for place in self.rescued if place.base != base}
