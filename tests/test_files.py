"""The input `files`, case by case: what comes out of a directory, in which order, and what is said of what is not there."""

from __future__ import annotations

import asyncio
import gzip
import logging
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from directory_model import DirectoryModel
from files_reader import Clock, Reader, make

from vosship.config import convert
from vosship.errors import ConfigError
from vosship.events import Block, Gone
from vosship.plugin import Checks, Reports
from vosship_files import Files


@pytest.fixture
def model(tmp_path: Path) -> DirectoryModel:
    """An empty CDR directory."""
    return DirectoryModel(tmp_path / "cdr")


@pytest.fixture
def clock() -> Clock:
    """A clock that stands."""
    return Clock()


def blocks(items: list[Block | Gone]) -> list[tuple[str, int, bytes]]:
    """File, offset and bytes of the blocks."""
    return [(item.stream.base, item.offset, item.data) for item in items if isinstance(item, Block)]


def gones(items: list[Block | Gone]) -> list[Gone]:
    """The ends."""
    return [item for item in items if isinstance(item, Gone)]


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


@pytest.mark.parametrize("length", [1022, 1023, 1024, 1025, 1026, 2048, 5000])
def test_limit_is_exact(tmp_path: Path, model: DirectoryModel, clock: Clock, length: int) -> None:
    """A line of exactly `max_line_bytes` is whole, one byte more is cut, wherever it lies in a block."""
    base = model.new_hour()
    model.path(base).write_bytes(b"a\n" * 300 + b"y" * length + b"\n" + b"b\n" * 300)
    reader = Reader(make(tmp_path, clock, block_bytes=4096, max_line_bytes=1024))
    reader.look()
    reader.take()
    reader.settle()
    reader.check_tiling()
    assert any(isinstance(item, Block) and item.cut for item in reader.events) == (length > 1024)
    assert len(reader.lines()) == 600 + (length <= 1024)


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


def test_rewritten_is_a_new_generation(tmp_path: Path, model: DirectoryModel, clock: Clock) -> None:
    """Other content in the same inode, open or after a restart, is read from 0 in the next generation."""
    model.append(10)
    reader = Reader(make(tmp_path, clock))
    reader.look()
    reader.take()
    reader.settle()
    model.rewrite("2026042600.txt", 12)
    reader.look()
    again = [item for item in reader.take() if isinstance(item, Block)]
    assert [(item.stream.generation, item.offset, item.end) for item in again] == [(2, 0, 480)]
    reader.settle()
    model.rewrite("2026042600.txt", 13)
    reader.restart()
    reader.look()
    again = [item for item in reader.take() if isinstance(item, Block)]
    assert [(item.stream.generation, item.offset, item.end) for item in again] == [(3, 0, 520)]


def test_copy_is_the_same_stream(tmp_path: Path, model: DirectoryModel, clock: Clock) -> None:
    """Another inode with the same content goes on where it was, open or after a restart."""
    model.append(10)
    reader = Reader(make(tmp_path, clock))
    reader.look()
    reader.take()
    reader.settle()
    model.copy_over("2026042600.txt")
    model.append(1)
    reader.look()
    assert [(item.stream.generation, item.offset) for item in reader.take()] == [(1, 400)]
    reader.settle()
    model.copy_over("2026042600.txt")
    reader.restart()
    reader.look()
    assert reader.take() == []


def test_gzip_is_the_same_stream(tmp_path: Path, model: DirectoryModel, clock: Clock) -> None:
    """A file compressed half-way goes on in its plain offsets under its plain name; the plain file wins over both."""
    model.append(1000)
    model.new_hour()
    reader = Reader(make(tmp_path, clock, block_bytes=4096, max_line_bytes=1024))
    reader.look()
    reader.take(3)
    reader.settle()
    model.compress("2026042600.txt")
    reader.restart()
    reader.look()
    items = [item for item in reader.take() if isinstance(item, Block)]
    reader.settle()
    reader.check_tiling()
    assert items[0].offset > 0
    assert items[-1].end == 40_000
    assert items[-1].stream.path.endswith(".txt.gz")
    assert not items[-1].stream.name.endswith(".gz")
    reader.restart()
    reader.look()
    assert reader.take() == []
    (tmp_path / "cdr" / "2026042600.txt").write_bytes(model.files["2026042600.txt"])
    clock.at += 60
    reader.look()
    assert reader.take() == []


@pytest.mark.parametrize("members", [1, 3])
def test_gzip_members_and_damage(
    tmp_path: Path, model: DirectoryModel, clock: Clock, members: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Joined archives are read through; a damaged one as far as it goes, said once, and again when it is mended."""
    text = b"".join(b"%06d|some call\n" % number for number in range(50_000))
    parts = [text[at : at + len(text) // members + 1] for at in range(0, len(text), len(text) // members + 1)]
    packed = b"".join(gzip.compress(part) for part in parts)
    archive = tmp_path / "cdr" / "2026042600.txt.gz"
    archive.write_bytes(packed[: len(packed) * 2 // 3])
    model.skip_hour()
    model.append(1)
    reader = Reader(make(tmp_path, clock))
    reader.look()
    reader.take()
    for _ in range(3):
        clock.at += 40
        reader.look()
        reader.take()
    assert 0 < sum(len(data) for base, _, data in blocks(reader.waiting) if base == "2026042600.txt") < len(text)
    said = [record for record in caplog.records if "damaged" in record.message]
    assert len(said) == 1
    archive.write_bytes(packed)
    clock.at += 40
    reader.look()
    reader.take()
    reader.settle()
    reader.check_tiling()
    whole = b"".join(data for base, _, data in blocks(reader.events) if base == "2026042600.txt")
    assert whole.startswith(text[:1000])
    assert b"".join(place.line for place in reader.lines() if place.base == "2026042600.txt")[-16:] == text[-16:]


def test_directory_that_comes_later(tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    """A missing directory is said once; reading goes on when it appears."""
    reader = Reader(make(tmp_path, clock))
    for _ in range(5):
        reader.look()
        clock.at += 1
    assert [record.message for record in caplog.records].count("directory cannot be read, waiting for it") == 1
    model = DirectoryModel(tmp_path / "cdr")
    model.append(1)
    reader.look()
    assert len(blocks(reader.take())) == 1


def test_vanished_directory_says_nothing_of_its_files(tmp_path: Path, model: DirectoryModel, clock: Clock) -> None:
    """A directory that is away (an unmounted disk) is no deletion; when it is back, reading goes on where it was."""
    model.append(5)
    reader = Reader(make(tmp_path, clock))
    reader.look()
    reader.take()
    (tmp_path / "cdr").rename(tmp_path / "away")
    reader.look()
    assert reader.take() == []
    (tmp_path / "away").rename(tmp_path / "cdr")
    model.append(1)
    reader.look()
    assert [item.offset for item in reader.take()] == [200]


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


def test_gap_in_the_names(tmp_path: Path, model: DirectoryModel, clock: Clock) -> None:
    """A hole by the learnt interval is named once, and not again after a restart that knows it."""
    for _ in range(6):
        model.new_hour()
    model.skip_hour()
    model.skip_hour()
    for _ in range(3):
        model.new_hour()
    reader = Reader(make(tmp_path, clock, paths=["cdr"]))
    reader.look()
    assert gones(reader.take()) == []
    clock.at += 121
    reader.look()
    (hole,) = gones(reader.take())
    assert hole.never_seen
    assert hole.stream.base == "2026042606.txt"
    assert "2026042606.txt to 2026042607.txt" in hole.reason
    reader.settle()
    reader.restart()
    for _ in range(2):
        reader.look()
        clock.at += 121
    reader.look()
    assert gones(reader.take()) == []


def test_clock_change_is_no_gap(tmp_path: Path, clock: Clock) -> None:
    """Neither the hour that is skipped in spring nor the one that occurs twice in autumn is a hole."""
    for day, hours in (("20260329", (0, 1, 3, 4, 5, 6)), ("20261025", (0, 1, 2, 3, 4, 5))):
        folder = tmp_path / day
        folder.mkdir()
        for hour in hours:
            (folder / f"{day}{hour:02d}.txt").touch()
    files = make(tmp_path, clock, paths=["20260329", "20261025"])
    files = Files(files.options, _in_zone(files, "Europe/Berlin"))
    reader = Reader(files, "now")
    reader.walk = files.walk({}, "now")
    reader.look()
    assert gones(reader.take()) == []


def test_too_old_is_skipped_once(tmp_path: Path, model: DirectoryModel, clock: Clock) -> None:
    """Files older than `ignore_older_days` are entered as skipped, once, with nothing lost."""
    for base in ("2020010100.txt", "2020010101.txt"):
        (tmp_path / "cdr" / base).write_text("old\n")
    reader = Reader(make(tmp_path, clock, ignore_older_days=365.0))
    reader.look()
    ends = gones(reader.take())
    assert [(end.skipped, end.lost_bytes, end.reason) for end in ends] == [(True, 0, "older than 365 days")] * 2
    reader.settle()
    reader.restart()
    reader.look()
    assert reader.take() == []


def test_rescued_file_outlives_deletion_and_crash(tmp_path: Path, model: DirectoryModel, clock: Clock) -> None:
    """An unread file is linked, read after the switch deleted it and the agent restarted, and removed once settled."""
    for _ in range(4):
        model.new_hour()
        model.append(10)
    files = make(tmp_path, clock, rescue_dir="rescue", hold_files=0)
    reader = Reader(files)
    reader.look()
    model.delete("2026042600.txt")
    model.delete("2026042601.txt")
    reader.restart()
    reader.look()
    items = reader.take()
    assert sum(len(data) for _, _, data in blocks(items)) == 1600
    assert [end.lost_bytes for end in gones(items)] == [0, 0]
    reader.settle()
    for pipeline, known, left in (("a", {}, 3), ("b", reader.known, 3), ("a", reader.known, 0)):
        files.settled(pipeline, known)
        clock.at += 31
        reader.look()
        assert len(list((tmp_path / "rescue").iterdir())) == left


def test_rescue_only_what_is_about_to_go(tmp_path: Path, model: DirectoryModel, clock: Clock) -> None:
    """Where the switch's limit is known, only files within the last places are rescued."""
    for _ in range(12):
        model.new_hour()
        model.append(1)
    parameters = {"SERVER_CDR_FILE_WRITE_MAX": 13}
    Reader(make(tmp_path, clock, parameters, rescue_dir="rescue", rescue_last_files=3)).look()
    assert sorted(path.name[-14:] for path in (tmp_path / "rescue").iterdir()) == ["2026042600.txt", "2026042601.txt"]


def test_rescue_respects_its_bound(tmp_path: Path, model: DirectoryModel, clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    """No more than `rescue_max_bytes` is kept, and that is said once."""
    for _ in range(4):
        model.new_hour()
        model.append(10, width=60_000)
    reader = Reader(make(tmp_path, clock, rescue_dir="rescue", rescue_max_bytes=1 << 20))
    reader.look()
    clock.at += 60
    reader.look()
    assert len(list((tmp_path / "rescue").iterdir())) == 1
    assert [record.message for record in caplog.records].count("rescue is full, files at risk are not kept") == 1


def test_survey_lists_oldest_first(tmp_path: Path, model: DirectoryModel, clock: Clock) -> None:
    """Streams come with size and the newest marked; a finished archive counts as far as it was settled."""
    for _ in range(3):
        model.new_hour()
        model.append(2)
    model.compress("2026042600.txt")
    found = make(tmp_path, clock).survey({})
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


def test_check_names_the_causes_in_order(tmp_path: Path, model: DirectoryModel, clock: Clock) -> None:
    """An empty directory gets the ordered list of causes; one with files gets none of it."""
    files = make(tmp_path, clock, rescue_dir="rescue")
    assert isinstance(files, Checks)
    assert isinstance(files, Reports)
    texts = [remark.text for remark in files.check()]
    assert any(text.startswith("1. SS_CDR_RECORD_TO_FILE") for text in texts)
    model.append(1)
    remarks = list(files.check())
    assert {remark.level for remark in remarks} == {"good"}, remarks
    assert not (tmp_path / "rescue").exists()


def test_options_have_bounds() -> None:
    """An impossible value is refused with its name."""
    with pytest.raises(ConfigError, match=r"float|>= |> 0"):
        convert({"paths": ["x"], "poll_s": 0}, Files.Options, "inputs.cdr")


def _in_zone(files: Files, zone: str):  # type: ignore[no-untyped-def]  # the context's type adds nothing here
    import msgspec

    return msgspec.structs.replace(files.context, timezone=zone)


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
