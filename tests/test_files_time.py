"""The input `files`: hours, days and years, clocks that are set, names that recur, and holes between names."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from directory_model import DirectoryModel
from files_reader import Clock, Reader, blocks, content, gones, make

from vosship.events import Block
from vosship_files import Files


def in_zone(files: Files, zone: str) -> Files:
    """The same input on a switch elsewhere."""
    return Files(files.options, msgspec.structs.replace(files.context, timezone=zone))


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
    files = in_zone(files, "Europe/Berlin")
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


@pytest.mark.parametrize(
    ("names", "times"),
    [
        (["2026032901", "2026032902", "2026032903"], ["00:00", "01:00", "01:00"]),
        (["2026102501", "2026102502", "2026102503"], ["23:00", "00:00", "02:00"]),
        (["2026123122", "2026123123", "2027010100"], ["21:00", "22:00", "23:00"]),
    ],
)
def test_order_through_the_nights(tmp_path: Path, model: DirectoryModel, clock: Clock, names: list[str], times: list[str]) -> None:
    """In both clock-change nights and at New Year files are read in their order, and the times of their names are UTC.

    The hour of spring that never was begins with the next one; the hour of autumn that occurs twice with its first.
    """
    for name in reversed(names):
        (tmp_path / "cdr" / f"{name}.txt").write_bytes(b"a call\n")
    reader = Reader(in_zone(make(tmp_path, clock, live_share=0.01), "Europe/Berlin"), "now")
    items = sorted(reader.step(), key=lambda item: item.stream.base == f"{names[-1]}.txt")  # the newest has its share
    assert [item.stream.base for item in items] == [f"{name}.txt" for name in names]
    assert [f"{datetime.fromtimestamp(item.stream.starts_at or 0, UTC):%H:%M}" for item in items] == times


def test_clock_set_back_an_hour(tmp_path: Path, model: DirectoryModel, clock: Clock) -> None:
    """The hour that is written twice goes on in the file of its name: the same stream, from where it was read to."""
    reader = Reader(make(tmp_path, clock))
    for _ in range(3):
        model.new_hour()
        model.append(5)
        reader.step()
    clock.at += 400
    reader.step()
    base = model.go_back()
    clock.at += 1
    items = reader.step()
    assert [(item.stream.base, item.stream.generation, item.offset) for item in items] == [(base, 1, 200)]


@pytest.mark.parametrize("hours", [1, 5])
def test_late_flush_into_an_earlier_hour(tmp_path: Path, model: DirectoryModel, clock: Clock, hours: int) -> None:
    """Calls flushed into their file after the next has begun come out at the next look, or where it is old the next full one."""
    base = model.append(5)
    for _ in range(hours):
        model.new_hour()
        model.append(5)
    reader = Reader(make(tmp_path, clock))
    reader.step()
    model.append(2, base=base)
    clock.at += 1 if hours == 1 else 30
    assert [(name, offset) for name, offset, _ in blocks(reader.step())] == [(base, 200)]


def test_half_a_line_that_was_taken_is_gone_on_with(tmp_path: Path, model: DirectoryModel, clock: Clock) -> None:
    """A file written on after its half last line was taken gives the rest as a line of its own: no byte is missing."""
    base = model.append(2, cut_bytes=9)
    model.new_hour()
    reader = Reader(make(tmp_path, clock))
    reader.step()
    clock.at += 200
    reader.step()
    model.append(2, base=base)
    clock.at += 1
    reader.step()
    assert content(reader.waiting, 1) == model.files[base]
    assert [item.unterminated for item in reader.waiting if isinstance(item, Block)] == [False, True, False]


@pytest.mark.parametrize("restarted", [False, True])
def test_name_that_recurs(tmp_path: Path, model: DirectoryModel, clock: Clock, restarted: bool) -> None:
    """A name that is back with other content after its file was deleted and settled is read as the next generation."""
    base = model.append(5)
    model.new_hour()
    reader = Reader(make(tmp_path, clock))
    reader.step()
    model.delete(base)
    clock.at += 1
    reader.step()
    reader.settle()
    if restarted:
        reader.restart()
        reader.step()
    model.files[base] = b""
    model.append(7, base=base)
    clock.at += 1
    items = reader.step()
    assert content(items, 2) == model.files[base]
    assert gones(items) == []
    reader.settle()
    reader.check_tiling()


def test_too_old_is_skipped_with_what_was_read_of_it(tmp_path: Path, model: DirectoryModel, clock: Clock) -> None:
    """A file that came of age while no agent ran is skipped from where it was read to, once, whatever happens to it then."""
    base = model.append(50)
    model.new_hour()
    files = make(tmp_path, clock, block_bytes=1024, max_line_bytes=1024, ignore_older_days=10_000.0)
    reader = Reader(files)
    reader.look()
    reader.take(1)
    reader.settle()
    clock.at += 10_001 * 86_400
    reader.restart()
    skipped = [gone for gone in gones(reader.step()) if gone.stream.base == base]
    assert [(gone.offset > 0, gone.lost_bytes, gone.skipped) for gone in skipped] == [(True, 0, True)]
    reader.settle()
    model.append(1, base=base)
    clock.at += 31
    assert reader.step() == []
    model.delete(base)
    clock.at += 31
    assert reader.step() == []
    reader.restart()
    assert reader.step() == []
