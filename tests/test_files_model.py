"""Conservation of the input `files`: whatever happens to the directory, every line seen comes out or is named as lost."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from directory_model import DirectoryModel
from files_reader import Clock, Reader, make
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from vosship.events import Block

STILL_S = 120.0


class Conservation(RuleBasedStateMachine):
    """Arbitrary writes, rotations, deletions, rewrites, copies and crashes against the model of the directory."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp(prefix="vosship-model-"))
        self.model = DirectoryModel(self.root / "cdr")
        self.clock = Clock()
        self.newest_seen: str | None = None
        """The newest file when the agent last looked."""
        self.model.new_hour()

    @initialize(hold_files=st.sampled_from([0, 1, 64]))
    def start(self, hold_files: int) -> None:
        """With few files held open, most unread ones have no descriptor; with many, all have."""
        self.held = hold_files == 64
        options = {"block_bytes": 1024, "max_line_bytes": 1024, "rescan_s": 1.0, "report_gaps": False}
        self.reader = Reader(make(self.root, self.clock, hold_files=hold_files, **options))

    def some(self, number: int) -> str | None:
        """One of the names there are."""
        names = sorted(self.model.files)
        return names[number % len(names)] if names else None

    @rule(lines=st.integers(1, 60), width=st.integers(12, 200), cut=st.integers(0, 11))
    def append(self, lines: int, width: int, cut: int) -> None:
        self.model.append(lines, width=width, cut_bytes=cut)

    @rule()
    def new_hour(self) -> None:
        self.model.new_hour()

    @rule()
    def finish(self) -> None:
        self.model.finish()

    @rule()
    def go_back(self) -> None:
        self.model.go_back()

    @rule()
    @precondition(lambda self: len(self.model.files) > 2)
    def delete_oldest(self) -> None:
        self.model.delete_oldest()

    @rule(number=st.integers(0, 9))
    def recreate(self, number: int) -> None:
        self.model.recreate(self.some(number))

    @rule(number=st.integers(0, 9), lines=st.integers(1, 40))
    def rewrite(self, number: int, lines: int) -> None:
        self.model.rewrite(self.some(number), lines)

    @rule(number=st.integers(0, 9), share=st.floats(0, 1))
    def truncate(self, number: int, share: float) -> None:
        self.model.truncate(self.some(number), share)

    @rule(number=st.integers(0, 9))
    def restore(self, number: int) -> None:
        names = sorted(self.model.removed)
        self.model.restore(names[number % len(names)] if names else None)

    @rule(number=st.integers(0, 9))
    def copy_over(self, number: int) -> None:
        self.model.copy_over(self.some(number))

    @rule(number=st.integers(0, 9))
    def compress(self, number: int) -> None:
        self.model.compress(self.some(number))

    @rule()
    def look(self) -> None:
        self.clock.at += 1.0
        self.reader.look()
        self.model.saw(held=self.held)
        self.newest_seen = self.model.newest()

    @rule()
    def stand_still(self) -> None:
        self.clock.at += STILL_S

    @rule(count=st.integers(1, 4))
    def take(self, count: int) -> None:
        """Some of what there is; never the half last line of a file that is still being written."""
        taken = self.reader.take(count)
        for item in taken:
            if isinstance(item, Block) and item.unterminated:
                content = self.model.files.get(item.stream.base, b"")
                live = item.stream.base == self.model.newest() == self.newest_seen
                assert not live or not content.startswith(item.data, item.offset), f"{item.stream.base} is still being written"
        if len(taken) < count:
            self.model.uncompared.clear()

    @rule()
    def settle(self) -> None:
        self.reader.settle()

    @rule()
    def restart(self) -> None:
        self.reader.restart()
        self.model.forgot()
        known = self.reader.known.values()
        self.model.saw(settled={position.stream.base: position.offset for position in known if not position.gone})
        self.look()

    def teardown(self) -> None:
        try:
            for _ in range(4):
                self.look()
                self.take(1_000_000)
                self.clock.at += STILL_S + 1
            self.reader.settle()
            self.reader.check_tiling()
            account = self.model.check(self.reader.lines(), self.reader.halves(), self.reader.lost())
            assert not account.missing, account.missing[:3]
            assert not account.invented, account.invented[:3]
            assert not account.baseless, account.baseless[:3]
            assert not (self.held and account.wasted), account.wasted[:3]
        finally:
            self.reader.walk.close()
            shutil.rmtree(self.root)


TestConservation = Conservation.TestCase
TestConservation.settings = settings(
    max_examples=60,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    print_blob=True,
)
