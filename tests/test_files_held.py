"""The input `files`: which streams only the reader still holds, and what becomes of them after a kill."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import msgspec
import pytest
from directory_model import DirectoryModel
from files_reader import Clock, Reader, blocks, content, gones, make

from vosship.events import Held, Position
from vosship_files import Files
from vosship_files.held import UNSETTLED


def two_files(model: DirectoryModel) -> str:
    """An old file of 400 bytes and a new one; gives the old one's name."""
    base = model.append(10)
    model.new_hour()
    model.append(1)
    return base


def spans(held: list[Held]) -> list[tuple[str, int, int, bool]]:
    """Name, generation, size and doubt of what is held."""
    return [(each.stream.base, each.stream.generation, each.size, each.elsewhere) for each in held]


def killed(reader: Reader, held: list[Held]) -> Reader:
    """The next agent's reader after a kill, with what was noted."""
    for each in held:
        position = reader.known.get(each.stream.name, Position(each.stream, 0))
        reader.known[each.stream.name] = msgspec.structs.replace(position, held=each)
    reader.restart()
    return reader


@pytest.mark.parametrize("hold", [0, 16], ids=["read to its end", "open"])
def test_a_deleted_file_is_held_until_its_end_is_settled(tmp_path: Path, model: DirectoryModel, clock: Clock, hold: int) -> None:
    """From its deletion on, whether its bytes are in an open file or handed over, until the core says that the end is settled."""
    base = two_files(model)
    reader = Reader(make(tmp_path, clock, hold_files=hold))
    reader.look()
    if not hold:
        reader.take()
    assert reader.walk.look() == []
    model.delete(base)
    assert spans(reader.walk.look()) == [(base, 1, 400, False)]
    (end,) = gones(reader.take())
    assert spans(reader.walk.look()) == [(base, 1, 400, False)]
    reader.walk.let_go([end])
    assert reader.walk.look() == []


def test_what_is_rescued_is_not_held(tmp_path: Path, model: DirectoryModel, clock: Clock) -> None:
    """A second name outlives the reader: nothing of such a file is named."""
    base = two_files(model)
    reader = Reader(make(tmp_path, clock, rescue_dir="rescue"))
    reader.look()
    model.delete(base)
    assert reader.walk.look() == []
    reader.take()
    assert reader.walk.finish() == []


def test_a_damaged_archive_that_is_still_there_is_not_held(tmp_path: Path, model: DirectoryModel, clock: Clock) -> None:
    """Its end comes, but what was read of it can be read again."""
    base = two_files(model)
    model.compress(base)
    path = tmp_path / "cdr" / f"{base}.gz"
    path.write_bytes(path.read_bytes()[:-12])
    reader = Reader(make(tmp_path, clock))
    reader.step()
    clock.at += 121
    assert [end.stream.base for end in gones(reader.step())] == [base]
    assert reader.walk.look() == []


def test_the_last_look_sees_a_deletion_that_none_saw_before(tmp_path: Path, model: DirectoryModel, clock: Clock) -> None:
    """A file deleted just before the agent ends is named too."""
    base = two_files(model)
    reader = Reader(make(tmp_path, clock))
    reader.look()
    model.delete(base)
    assert spans(reader.walk.finish()) == [(base, 1, 400, False)]


@pytest.mark.parametrize("settled", [0, 1])
def test_after_a_kill_it_is_named_with_what_was_unsettled(
    tmp_path: Path, model: DirectoryModel, clock: Clock, settled: int
) -> None:
    """The next reader finds it nowhere: lost from the settled byte to its size when it was deleted, later growth included."""
    base = two_files(model)
    reader = Reader(make(tmp_path, clock))
    reader.look()
    if settled:
        reader.take(1)
        reader.settle()
        model.append(5, base=base)
        reader.look()
    model.delete(base)
    killed(reader, reader.walk.look())
    (end,) = gones(reader.step())
    assert (end.stream.base, end.offset, end.lost_bytes, end.reason) == (base, 400 * settled, 400 - 200 * settled, UNSETTLED)
    assert not end.never_seen
    assert spans(reader.walk.look()) == [(base, 1, 400 + 200 * settled, False)]  # until that is settled
    reader.settle()
    reader.restart()
    assert gones(reader.step()) == []


@pytest.mark.parametrize("how", ["restored", "compressed"])
def test_the_same_content_under_its_name_is_read_and_not_lost(
    tmp_path: Path, model: DirectoryModel, clock: Clock, how: str
) -> None:
    """Where a file with all of it bears the name again, the next reader goes on in that."""
    base = two_files(model)
    reader = Reader(make(tmp_path, clock))
    reader.look()
    held: list[Held] = []
    if how == "restored":
        model.delete(base)
        held = reader.walk.look()
        model.restore(base)
    else:
        model.compress(base)
        held = reader.walk.look()
        assert spans(held) == [(base, 1, 400, True)]  # at an orderly end nobody calls that lost either
    killed(reader, held)
    items = reader.step()
    assert gones(items) == []
    assert sum(len(data) for name, _, data in blocks(items) if name == base) == 400
    assert spans(reader.walk.look()) == []


def test_the_same_content_in_the_rescue_directory_is_read_and_not_lost(tmp_path: Path, model: DirectoryModel, clock: Clock) -> None:
    """Whoever rescued it."""
    base = two_files(model)
    rescuing, reader = Reader(make(tmp_path, clock, rescue_dir="rescue")), Reader(make(tmp_path, clock))
    rescuing.look()
    reader.look()
    model.delete(base)
    held = reader.walk.look()
    assert spans(held) == [(base, 1, 400, False)]
    items = killed(rescuing, held).step()
    assert [end.lost_bytes for end in gones(items)] == [0]
    assert sum(len(data) for name, _, data in blocks(items) if name == base) == 400


def test_other_content_under_its_name_is_another_generation(tmp_path: Path, model: DirectoryModel, clock: Clock) -> None:
    """The old content is named as lost, whole, and the new one read from its beginning."""
    base = two_files(model)
    reader = Reader(make(tmp_path, clock))
    reader.look()
    path = tmp_path / "cdr" / base
    path.rename(tmp_path / "aside")
    path.write_bytes(b"another line\n" * 50)
    os.truncate(tmp_path / "aside", 400)
    held = reader.walk.look()
    assert spans(held) == [(base, 1, 400, True)]
    killed(reader, held)
    items = reader.step()
    assert [(end.stream.generation, end.offset, end.lost_bytes) for end in gones(items)] == [(1, 0, 400)]
    assert content(items, 2) == b"another line\n" * 50


def test_nothing_is_decided_while_the_directory_cannot_be_read(tmp_path: Path, model: DirectoryModel, clock: Clock) -> None:
    """A directory that is away says nothing: the note stays, in doubt, and is settled when the directory is back."""
    base = two_files(model)
    reader = Reader(make(tmp_path, clock))
    reader.look()
    model.delete(base)
    held = reader.walk.look()
    (tmp_path / "cdr").rename(tmp_path / "away")
    killed(reader, held)
    assert spans(reader.walk.look()) == [(base, 1, 400, True)]
    assert gones(reader.take()) == []
    (tmp_path / "away").rename(tmp_path / "cdr")
    clock.at += 31
    assert [end.lost_bytes for end in gones(reader.step())] == [400]


def test_a_file_lost_whole_hides_no_hole_beside_it(tmp_path: Path, model: DirectoryModel, clock: Clock) -> None:
    """The hole after it is named by itself, and the file is not named a second time as a part of a hole."""
    bases = [model.new_hour() for _ in range(9)]
    for base in bases:
        model.append(1, base=base)
    for base in bases[5:8]:
        model.delete(base)
    (tmp_path / "cdr" / bases[5]).write_bytes(b"x" * 39 + b"\n")
    files = make(tmp_path, clock)
    reader = Reader(files)
    reader.look()
    (tmp_path / "cdr" / bases[5]).unlink()
    killed(reader, reader.walk.look())
    clock.at += 300
    reader.look()
    clock.at += 300
    reader.look()
    ends = gones(reader.take())
    assert [(end.stream.base, end.lost_bytes) for end in ends] == [(bases[5], 40), (bases[6], 0)]
    assert "(2 intervals" in ends[1].reason


def test_reading_that_is_closed_before_it_began_says_so(tmp_path: Path, model: DirectoryModel, clock: Clock) -> None:
    """Whoever waits for what is held at the end is not left waiting."""

    async def run(files: Files) -> list[list[Held]]:
        reading = files.read({}, "forever")
        await reading.aclose()
        async with asyncio.timeout(5):
            return [list(held) async for held in reading.held()]

    assert asyncio.run(run(make(tmp_path, clock))) == [[]]
