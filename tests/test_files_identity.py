"""The input `files`: when a file is still the one that was read, and what follows when it is not."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from directory_model import DirectoryModel
from files_reader import Clock, Reader, blocks, content, gones, make

from vosship.events import Block


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
        clock.at += 400  # nobody writes on
        reader.look()
        reader.take()
    assert 0 < sum(len(data) for base, _, data in blocks(reader.waiting) if base == "2026042600.txt") < len(text)
    said = [record for record in caplog.records if "damaged" in record.message]
    assert len(said) == 1
    (gone,) = gones(reader.waiting)
    assert (gone.never_seen, gone.lost_bytes) == (True, 0)
    assert "ends in the middle: what followed byte" in gone.reason
    reader.settle()
    reader.restart()
    reader.step()
    assert gones(reader.waiting) == []
    assert len([record for record in caplog.records if "damaged" in record.message]) == 1
    archive.write_bytes(packed)
    clock.at += 40
    reader.look()
    reader.take()
    reader.settle()
    reader.check_tiling()
    whole = b"".join(data for base, _, data in blocks(reader.events) if base == "2026042600.txt")
    assert whole.startswith(text[:1000])
    assert b"".join(place.line for place in reader.lines() if place.base == "2026042600.txt")[-16:] == text[-16:]


def test_the_rest_of_a_damaged_archive_is_lost_by_what_its_trailer_says(
    tmp_path: Path, model: DirectoryModel, clock: Clock
) -> None:
    """Bytes that were there and cannot be had are in the account; a start later says nothing new, mending it reads it anew."""
    text = b"".join(b"%06d|some call\n" % number for number in range(50_000))
    packed = bytearray(gzip.compress(text))
    whole = bytes(packed)
    packed[len(packed) // 2 : len(packed) // 2 + 64] = bytes(64)
    archives = {"2026042600.txt.gz": bytes(packed), "2026042601.txt.gz": b"no gzip file at all, but long enough for a trailer"}
    for name, content_ in archives.items():
        (tmp_path / "cdr" / name).write_bytes(content_)
    model.skip_hour(), model.skip_hour()
    model.append(1)
    files = make(tmp_path, clock, report_gaps=False)
    reader = Reader(files)
    for _ in range(2):
        clock.at += 400
        reader.look()
        reader.take()
    first, second = sorted(gones(reader.waiting), key=lambda gone: gone.stream.base)
    assert first.lost_bytes == len(text) - first.offset > 0
    assert "the gzip file is damaged" in first.reason
    assert (second.offset, "the gzip file is damaged" in second.reason) == (0, True)
    reader.settle()
    assert [size.lost for size in files.survey(reader.known)] == [True, True, False]
    reader.restart()
    reader.step()
    assert gones(reader.waiting) == []
    (tmp_path / "cdr" / "2026042600.txt.gz").write_bytes(whole)
    clock.at += 40
    assert content(reader.step(), 2) == text


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize("number", [0, -1])
def test_one_line_changed_in_place(tmp_path: Path, model: DirectoryModel, clock: Clock, number: int, restarted: bool) -> None:
    """Another first line, or another last one, at the same length and in the same inode: read anew from its beginning."""
    base = model.append(50)
    reader = Reader(make(tmp_path, clock))
    reader.step()
    reader.settle()
    model.patch(base, number)
    if restarted:
        reader.restart()
    items = reader.step()
    assert content(items, 2) == model.files[base]
    assert [gone.lost_bytes for gone in gones(items)] == [0]


@pytest.mark.parametrize("number", [0, -1])
def test_changed_just_before_it_was_deleted(tmp_path: Path, model: DirectoryModel, clock: Clock, number: int) -> None:
    """A file held open, half read, whose first or last line changes just before its name goes: all it held comes out."""
    base = model.append(100)
    reader = Reader(make(tmp_path, clock, block_bytes=1024, max_line_bytes=1024))
    reader.look()
    reader.take(1)
    model.patch(base, number)
    last = model.files[base]
    model.delete(base)
    items = reader.step()
    came = content(items, 2) if number == 0 else content(reader.waiting, 1)
    assert came == last


def test_copied_in_the_middle_of_a_line(tmp_path: Path, model: DirectoryModel, clock: Clock) -> None:
    """A half last line is not taken from the file that a copy replaced: the copy goes on with it."""
    base = model.append(2, cut_bytes=7)
    reader = Reader(make(tmp_path, clock))
    reader.step()
    model.copy_over(base)
    assert reader.step() == []
    model.finish(base)
    items = reader.step()
    assert [(item.offset, item.data.count(b"\n"), item.unterminated) for item in items] == [(40, 1, False)]


def test_live_file_deleted_in_the_middle_of_a_line(tmp_path: Path, model: DirectoryModel, clock: Clock) -> None:
    """The half last line of the newest file was never whole: it is named as lost and not taken."""
    model.new_hour()
    base = model.append(1)
    reader = Reader(make(tmp_path, clock))
    reader.step()
    model.append(1, cut_bytes=7)
    reader.step()
    model.delete(base)
    items = reader.step()
    assert blocks(items) == []
    assert [(gone.offset, gone.lost_bytes, gone.reason) for gone in gones(items)] == [(40, 33, "deleted with half a line")]


def test_old_file_deleted_in_the_middle_of_a_line(tmp_path: Path, model: DirectoryModel, clock: Clock) -> None:
    """The half last line of a file that was not the newest is all there will ever be: it is taken, as unterminated."""
    base = model.append(2, cut_bytes=7)
    model.new_hour()
    reader = Reader(make(tmp_path, clock))
    reader.step()
    model.delete(base)
    items = reader.step()
    assert [(item.offset, item.end, item.unterminated) for item in items if isinstance(item, Block)] == [(40, 73, True)]
    assert [(gone.offset, gone.lost_bytes) for gone in gones(items)] == [(73, 0)]


@pytest.mark.parametrize("read", [True, False])
def test_inode_used_again(tmp_path: Path, model: DirectoryModel, clock: Clock, read: bool) -> None:
    """Deleted and made again in the same inode between two looks: a read file is read anew, an unread one named as lost."""
    for _ in range(5):
        model.new_hour()
        model.append(5)
    base = "2026042600.txt"
    reader = Reader(make(tmp_path, clock, hold_files=0, rescan_s=1.0))
    reader.look()
    if read:
        reader.take()
    model.recreate(base)
    assert model.same_inodes == 1
    clock.at += 1
    items = reader.step()
    assert [(gone.stream.base, gone.lost_bytes) for gone in gones(items)] == [(base, 0 if read else 200)]
    assert content(items, 2) == model.files[base]


def test_name_taken_between_look_and_reading(tmp_path: Path, model: DirectoryModel, clock: Clock) -> None:
    """An unread file without descriptor that another replaces before its turn is named as lost, and the other is read."""
    for _ in range(5):
        model.new_hour()
        model.append(5)
    reader = Reader(make(tmp_path, clock, hold_files=0, rescan_s=1.0))
    reader.look()
    base = "2026042600.txt"
    model.delete(base)
    (tmp_path / "cdr" / ".taken").touch()  # the freed inode
    model.recreate(model.restore(base))
    reader.take()
    clock.at += 1
    items = reader.step()
    assert [(gone.stream.base, gone.lost_bytes) for gone in gones(items)] == [(base, 200)]
    assert content(items, 2) == model.files[base]


def test_cut_short_and_gone_on_before_it_moved(tmp_path: Path, model: DirectoryModel, clock: Clock) -> None:
    """What a cut file was continued with is not read as its old content, even when the name moves to an archive at once."""
    base = model.append(50)
    reader = Reader(make(tmp_path, clock))
    reader.look()
    model.truncate(base, 0.515)
    clock.at += 1
    reader.look()
    model.append(1, width=12)
    model.compress(base)
    items = reader.step()
    assert content(items, 1) == model.files[base][:1000]
    assert next((gone.offset, gone.lost_bytes) for gone in gones(items)) == (1000, 1000)
    assert content(items, items[-1].stream.generation) == model.files[base]


@pytest.mark.parametrize("read", [True, False])
@pytest.mark.parametrize("hold_files", [0, 16])
def test_cut_short_between_look_and_reading(
    tmp_path: Path, model: DirectoryModel, clock: Clock, hold_files: int, read: bool
) -> None:
    """What was seen and is no longer there is named as lost once, and one new generation follows."""
    base = model.append(50)
    for _ in range(6):
        model.new_hour()
        model.append(1)
    reader = Reader(make(tmp_path, clock, hold_files=hold_files, block_bytes=1024, max_line_bytes=1024))
    reader.look()
    if read:
        reader.take(1)
    model.truncate(base, 0.24)
    items = reader.take(100)
    assert [(gone.stream.base, gone.offset + gone.lost_bytes) for gone in gones(items)] == [(base, 2000)]
    assert {item.stream.generation for item in items if item.stream.base == base} <= {1, 2}
    assert content(items, 2) == model.files[base]
    clock.at += 31
    assert reader.step() == []


def test_grown_and_cut_short_unread(tmp_path: Path, model: DirectoryModel, clock: Clock) -> None:
    """What was seen after a file had been read to its end, and then cut off, is lost to the byte."""
    base = model.append(1)
    reader = Reader(make(tmp_path, clock))
    reader.step()
    model.append(50)
    reader.look()
    model.truncate(base, 1000 / 2040)
    items = reader.step()
    assert [(gone.offset, gone.lost_bytes) for gone in gones(items)] == [(1000, 1040)]


def test_partly_read_and_deleted_while_away(tmp_path: Path, model: DirectoryModel, clock: Clock) -> None:
    """What was seen of a file when it was last read, and is gone at the next start, is lost to the byte."""
    base = model.append(50)
    reader = Reader(make(tmp_path, clock, block_bytes=1024, max_line_bytes=1024))
    reader.look()
    reader.take(1)
    reader.settle()
    model.delete(base)
    reader.restart()
    (gone,) = gones(reader.step())
    assert gone.offset == 1000
    assert gone.lost_bytes == 1000


def test_held_unread_and_overwritten(tmp_path: Path, model: DirectoryModel, clock: Clock) -> None:
    """Of a file held open its beginning is known before a line of it is read: larger other content does not pass for its own."""
    base = model.append(50)
    reader = Reader(make(tmp_path, clock))
    reader.look()
    model.rewrite(base, 60)
    items = reader.step()
    assert [(gone.offset, gone.lost_bytes) for gone in gones(items)] == [(0, 2000)]
    assert content(items, 2) == model.files[base]


def test_rewritten_after_it_was_read_and_deleted_before_its_turn(tmp_path: Path, model: DirectoryModel, clock: Clock) -> None:
    """An old file that is not open is compared when it is seen to change: deleted before its turn, all new content is lost."""
    base = model.append(1)
    later = [model.new_hour() for _ in range(3)]
    reader = Reader(make(tmp_path, clock, hold_files=0, rescan_s=1.0))
    reader.step()
    reader.settle()
    model.rewrite(base, lines=3)
    for other in later:
        model.append(1, base=other)
    clock.at += 2
    reader.look()
    model.delete(base)
    ends = gones(reader.step())
    assert [(end.stream.generation, end.offset, end.lost_bytes) for end in ends] == [(1, 40, 0), (2, 0, 120)]


def test_half_a_line_too_long_is_cut_short_and_finished(tmp_path: Path, model: DirectoryModel, clock: Clock) -> None:
    """What is left of it is a line like others, and is not waited for beyond the end of the file."""
    base = model.append(1)
    model.append(1, width=1200, cut_bytes=1)
    reader = Reader(make(tmp_path, clock, max_line_bytes=1024))
    assert [offset for _, offset, _ in blocks(reader.step())] == [0]
    model.truncate(base, 0.5)
    model.finish()
    assert blocks(reader.step()) == [(base, 40, model.files[base][40:])]
