"""The input `files`, case by case: what comes out of a directory, in which order, and what is said of what is not there."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from directory_model import DirectoryModel
from files_reader import Clock, Reader, blocks, gones, make

from vosship.config import convert
from vosship.errors import ConfigError
from vosship.events import Block, Gone
from vosship.plugin import Reports
from vosship_files import Files


async def collect(source: AsyncIterator[Block | Gone], count: int) -> list[Block | Gone]:
    """The next so many items, within ten seconds."""
    found: list[Block | Gone] = []
    async with asyncio.timeout(10):
        async for item in source:
            found.append(item)
            if len(found) == count:
                break
    return found


def test_now_reads_what_is_there_and_ends(tmp_path: Path, model: DirectoryModel, clock: Clock) -> None:
    """`now` gives every whole line, the half last line only of the file that is not the newest, and then ends."""
    old = model.new_hour()
    model.append(2, width=12, cut_bytes=1)
    new = model.new_hour()
    model.append(2, width=12, cut_bytes=5)

    async def run() -> list[Block | Gone]:
        return [item async for item in make(tmp_path, clock).read({}, "now")]

    items = asyncio.run(run())
    found = {(item.stream.base, item.offset, len(item.data), item.unterminated) for item in items if isinstance(item, Block)}
    assert found == {(old, 0, 12, False), (old, 12, 11, True), (new, 0, 12, False)}


def test_forever_goes_on_and_gives_descriptors_back(tmp_path: Path, model: DirectoryModel) -> None:
    """New lines and new files come out as they appear; closing the iterator closes every file."""
    model.append(1)

    async def run() -> list[Block | Gone]:
        source = make(tmp_path, Clock(), poll_s=0.02, rescan_s=0.2).read({}, "forever")
        found = await collect(source, 1)
        model.append(1)
        found += await collect(source, 1)
        model.new_hour()
        model.append(1)
        found += await collect(source, 1)
        await source.aclose()
        return found

    found = asyncio.run(run())
    assert [(item.stream.base, item.offset) for item in found] == [
        ("2026042600.txt", 0),
        ("2026042600.txt", 40),
        ("2026042601.txt", 0),
    ]
    deadline = time.monotonic() + 5
    while _open_below(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.01)  # the reading thread closes them after the iterator has ended
    assert _open_below(tmp_path) == []


def test_looking_goes_on_while_nobody_reads(tmp_path: Path, model: DirectoryModel) -> None:
    """A file that comes and goes while the outputs are down is opened meanwhile, so that nothing of it is lost."""
    model.append(1)

    async def run() -> list[Block | Gone]:
        source = make(tmp_path, Clock(), poll_s=0.01).read({}, "forever")
        found = await collect(source, 1)
        model.new_hour()
        base = model.append(3)
        async with asyncio.timeout(10):
            while not any(base in path for path in _open_below(tmp_path)):  # noqa: ASYNC110 - descriptors have no event
                await asyncio.sleep(0.01)
        model.delete(base)
        found += await collect(source, 2)
        await source.aclose()
        return found

    found = asyncio.run(run())
    assert [len(data) for _, _, data in blocks(found)] == [40, 120]
    assert [gone.lost_bytes for gone in gones(found)] == [0]


def test_oldest_first_with_a_share_for_the_newest(tmp_path: Path, model: DirectoryModel, clock: Clock) -> None:
    """Of a backlog the oldest file is read first, and the newest gets about its share of the bytes."""
    for _ in range(8):
        model.new_hour()
        model.append(1000, width=41)
    reader = Reader(make(tmp_path, clock, block_bytes=2048, max_line_bytes=1024, live_share=0.25))
    reader.look()
    first = [base for base, _, _ in blocks(reader.take(60))]
    assert first[0] == "2026042600.txt"
    assert 0.2 <= first.count("2026042607.txt") / 60 <= 0.3
    assert sorted(set(first)) == [*sorted(set(first) - {"2026042607.txt"}), "2026042607.txt"]


def test_live_calls_do_not_wait_for_a_backlog(tmp_path: Path, model: DirectoryModel, clock: Clock) -> None:
    """With 2,000 unread files a new call comes out within a handful of blocks, and the rest oldest first all the same."""
    for _ in range(2000):
        model.new_hour()
        model.append(50)
    live = model.newest()
    reader = Reader(make(tmp_path, clock, block_bytes=2048, max_line_bytes=1024, report_gaps=False))
    reader.look()
    while live in (base for base, _, _ in blocks(reader.take(4))):
        pass  # what the newest held at the start
    for _ in range(20):
        written = len(model.files[live])
        model.append(1)
        clock.at += 1
        reader.look()
        assert (live, written) in [(base, offset) for base, offset, _ in blocks(reader.take(4))]
    reader.take()
    order = [base for base, _, _ in blocks(reader.waiting) if base != live]
    assert order == sorted(order)
    assert len(set(order)) == 1999


def test_half_a_last_line(tmp_path: Path, model: DirectoryModel, clock: Clock) -> None:
    """It waits in the newest file for ever; in an older file it is taken after `still_s`, as unterminated."""
    model.append(1, width=20, cut_bytes=3)
    reader = Reader(make(tmp_path, clock))
    for _ in range(3):
        reader.look()
        assert blocks(reader.take()) == []
        clock.at += 1000
    base = model.append(1, width=20, cut_bytes=3)
    model.new_hour()
    reader.look()
    assert model.newest() != base
    clock.at += 119
    reader.look()
    assert reader.take() == []
    clock.at += 2
    reader.look()
    taken = [item for item in reader.take() if isinstance(item, Block)]
    assert taken[0].unterminated
    assert (taken[0].offset, taken[0].end) == (0, 34)


def test_line_over_the_limit(tmp_path: Path, model: DirectoryModel, clock: Clock) -> None:
    """A 10 MB line is one cut block that spans it; its neighbours come whole, and it is one line on resuming too."""
    base = model.new_hour()
    model.path(base).write_bytes(b"before\n" + b"z" * 10_000_000 + b"\nafter\n")
    reader = Reader(make(tmp_path, clock))
    reader.look()
    items = [item for item in reader.take() if isinstance(item, Block)]
    assert [(item.offset, item.end, len(item.data), item.cut) for item in items] == [
        (0, 7, 7, False),
        (7, 10_000_008, 65_536, True),
        (10_000_008, 10_000_014, 6, False),
    ]
    reader.settle()
    reader.restart()
    reader.look()
    assert reader.take() == []


@pytest.mark.parametrize("block_bytes", [1024, 4096])
@pytest.mark.parametrize("length", [1022, 1023, 1024, 1025, 1026, 2048, 5000])
def test_limit_is_exact(tmp_path: Path, model: DirectoryModel, clock: Clock, length: int, block_bytes: int) -> None:
    """A line of exactly `max_line_bytes` is whole, one byte more is cut, wherever it lies in a block."""
    base = model.new_hour()
    model.path(base).write_bytes(b"a\n" * 300 + b"y" * length + b"\n" + b"b\n" * 300)
    reader = Reader(make(tmp_path, clock, block_bytes=block_bytes, max_line_bytes=1024))
    reader.step()
    reader.settle()
    reader.check_tiling()
    assert any(isinstance(item, Block) and item.cut for item in reader.events) == (length > 1024)
    assert len(reader.lines()) == 600 + (length <= 1024)


def test_half_a_line_at_the_limit(tmp_path: Path, model: DirectoryModel, clock: Clock) -> None:
    """A half line of exactly `max_line_bytes` waits for its newline: it is not over the limit yet."""
    base = model.append(1, width=1025, cut_bytes=1)
    reader = Reader(make(tmp_path, clock, block_bytes=4096, max_line_bytes=1024))
    assert reader.step() == []
    model.finish(base)
    assert [(item.end, item.cut) for item in reader.step() if isinstance(item, Block)] == [(1025, False)]


def test_deleted_unread_is_named_with_its_bytes(
    tmp_path: Path, model: DirectoryModel, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """What was seen and deleted without a descriptor is lost to the byte, and that is an ERROR."""
    for _ in range(4):
        model.new_hour()
        model.append(10)
    reader = Reader(make(tmp_path, clock, hold_files=0))
    reader.look()
    model.delete("2026042600.txt")
    reader.look()
    with caplog.at_level(logging.ERROR):
        ends = gones(reader.take())
    assert [(end.stream.base, end.offset, end.lost_bytes, end.reason) for end in ends] == [
        ("2026042600.txt", 0, 400, "deleted unread")
    ]
    assert any(record.levelno == logging.ERROR for record in caplog.get_records("call"))


def test_deleted_while_open_loses_nothing(tmp_path: Path, model: DirectoryModel, clock: Clock) -> None:
    """The oldest unread files are held open, so that deleting them costs nothing."""
    for _ in range(4):
        model.new_hour()
        model.append(10)
    reader = Reader(make(tmp_path, clock))
    reader.look()
    model.delete_oldest()
    model.delete_oldest()
    reader.look()
    items = reader.take()
    assert sum(len(data) for _, _, data in blocks(items)) == 1600
    assert [end.lost_bytes for end in gones(items)] == [0, 0]


def test_deleted_while_away(tmp_path: Path, model: DirectoryModel, clock: Clock) -> None:
    """After a restart, what vanished is gone; of what was live then, nobody can tell whether more followed."""
    for _ in range(3):
        model.new_hour()
        model.append(10)
    clock.at += 200.0  # longer than a late flush takes
    clock.at += 200  # no last flush can follow into any but the newest
    reader = Reader(make(tmp_path, clock))
    reader.look()
    reader.take()
    reader.settle()
    for base in ("2026042600.txt", "2026042602.txt"):
        model.delete(base)
    reader.restart()
    reader.look()
    ends = {end.stream.base: end for end in gones(reader.take())}
    assert not ends["2026042600.txt"].never_seen
    assert ends["2026042602.txt"].never_seen
    assert {end.lost_bytes for end in ends.values()} == {0}


def test_late_flush_missed_while_away(tmp_path: Path, model: DirectoryModel, clock: Clock) -> None:
    """What vanished soon after it was no longer the newest may have grown: nobody can tell, and that is said."""
    for _ in range(2):
        model.new_hour()
        model.append(10)
    reader = Reader(make(tmp_path, clock))
    reader.look()
    reader.take()
    reader.settle()
    model.append(5, base="2026042600.txt")
    model.delete("2026042600.txt")
    reader.restart()
    reader.look()
    assert [end.never_seen for end in gones(reader.take())] == [True]


def test_zero_bytes_and_strangers(tmp_path: Path, model: DirectoryModel, clock: Clock) -> None:
    """An empty file is not yet; hidden files, folders, pipes and other names are left alone."""
    model.new_hour()
    (tmp_path / "cdr" / ".hidden.txt").write_text("no\n")
    (tmp_path / "cdr" / "notes.log").write_text("no\n")
    (tmp_path / "cdr" / "folder.txt").mkdir()
    os.mkfifo(tmp_path / "cdr" / "pipe.txt")
    reader = Reader(make(tmp_path, clock))
    reader.look()
    assert reader.take() == []


def test_a_link_to_itself_is_no_closed_directory(tmp_path: Path, model: DirectoryModel, clock: Clock) -> None:
    """Nor is one that leads nowhere: both are no file, and what is deleted beside them is noticed all the same."""
    for _ in range(2):
        model.new_hour()
        model.append(2)
    for name, target in (("loop.txt", "loop.txt"), ("nowhere.txt", "gone")):
        (tmp_path / "cdr" / name).symlink_to(target)
    reader = Reader(make(tmp_path, clock))
    reader.step()
    reader.settle()
    model.delete("2026042600.txt")
    reader.restart()
    assert [end.stream.base for end in gones(reader.step())] == ["2026042600.txt"]
    assert [remark.level for remark in make(tmp_path, clock).check()][:2] == ["good", "good"]


def test_survey_lists_oldest_first(tmp_path: Path, model: DirectoryModel, clock: Clock) -> None:
    """Streams come with size and the newest marked; a finished archive counts as far as it was settled."""
    for _ in range(3):
        model.new_hour()
        model.append(2)
    model.compress("2026042600.txt")
    files = make(tmp_path, clock)
    assert isinstance(files, Reports)
    found = files.survey({})
    assert [(one.stream.base, one.size, one.newest) for one in found] == [
        ("2026042600.txt", 80, False),
        ("2026042601.txt", 80, False),
        ("2026042602.txt", 80, True),
    ]


def test_both_families_in_one_input_are_refused(tmp_path: Path, clock: Clock) -> None:
    """`*.txt` and `*.csv` hold the same calls: one input reads one of them, and says which."""
    assert make(tmp_path, clock, paths=["cdr/cdr_*.csv"]).family == "csv"
    assert make(tmp_path, clock, paths=["cdr"]).family == "pipe"
    with pytest.raises(ConfigError, match="both file families"):
        make(tmp_path, clock, paths=["cdr/*.txt", "cdr/cdr_*.csv"])


def test_options_have_bounds() -> None:
    """An impossible value is refused with its name."""
    with pytest.raises(ConfigError, match=r"float|>= |> 0"):
        convert({"paths": ["x"], "poll_s": 0}, Files.Options, "inputs.cdr")


def _open_below(folder: Path) -> list[str]:
    found = []
    for fd in Path("/proc/self/fd").iterdir():
        try:
            target = str(fd.readlink())
        except OSError:
            continue
        if target.startswith(str(folder)):
            found.append(target)
    return found


def test_an_outage_of_many_files_keeps_few_descriptors(tmp_path):
    """While nobody asks for blocks, files that were the newest once are closed again: `hold_files` and the recent stay open."""
    folder = tmp_path / "cdr"
    folder.mkdir()
    clock = Clock()
    reader = Reader(make(tmp_path, clock, hold_files=4))
    reader.look()
    before = len(list(Path("/proc/self/fd").iterdir()))
    for hour in range(60):
        (folder / f"202604{26 + hour // 24}{hour % 24:02d}.txt").write_bytes(b"a line\n")
        clock.at += 31.0
        reader.look()
    assert len(list(Path("/proc/self/fd").iterdir())) <= before + 4 + 4
    assert len(reader.take()) == 60
