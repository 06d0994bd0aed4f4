"""The input `files`: rescued files are read, all of them, and removed when everybody has settled them, not before."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from directory_model import DirectoryModel
from files_reader import Clock, Reader, blocks, content, gones, make

from vosship.events import Gone, Position, Stream


def removed(files: Any, reader: Reader, clock: Clock, folder: Path) -> bool:
    """Whether nothing is left of the rescued files once the agent had time."""
    reader.look()
    clock.at += 31
    reader.look()
    return not list(folder.iterdir())


def test_gone_everywhere_is_removed(tmp_path: Path, model: DirectoryModel, clock: Clock) -> None:
    """The word that a stream is gone comes without proof; when every pipeline has given it, the rescued file goes."""
    base = model.append(10)
    name = str(tmp_path / "cdr" / base)
    model.new_hour()
    files = make(tmp_path, clock, rescue_dir="rescue", hold_files=0)
    reader = Reader(files)
    reader.look()
    model.delete_oldest()
    (end,) = gones(reader.step())
    folder = tmp_path / "rescue"
    for pipeline in ("a", "b"):
        files.settled(pipeline, {})
    for pipeline in ("a", "b"):
        assert not removed(files, reader, clock, folder)
        files.settled(pipeline, {name: Position(end.stream, end.offset, b"", gone=True)})
    assert removed(files, reader, clock, folder)


def test_gone_before_is_not_gone_again(tmp_path: Path, model: DirectoryModel, clock: Clock) -> None:
    """A name that recurs: its rescued bearer stays, through a crash too, while the one before is known to be gone."""
    base = model.append(10)
    name = str(tmp_path / "cdr" / base)
    model.new_hour()
    files = make(tmp_path, clock, rescue_dir="rescue", hold_files=0)
    reader = Reader(files)
    reader.step()
    model.delete_oldest()
    reader.step()
    reader.settle()
    files.settled("a", reader.known)
    assert removed(files, reader, clock, tmp_path / "rescue")
    (tmp_path / "cdr" / base).write_bytes(b"another\n" * 20)
    assert not removed(files, reader, clock, tmp_path / "rescue")
    (tmp_path / "cdr" / base).unlink()
    assert not removed(files, reader, clock, tmp_path / "rescue")
    reader.files = make(tmp_path, clock, rescue_dir="rescue", hold_files=0)
    reader.restart()
    items = reader.step()
    assert content(items, 2) == b"another\n" * 20
    reader.settle()
    reader.files.settled("a", {name: Position(Stream(name, base, name, 2), 160, b"", gone=True)})
    assert removed(reader.files, reader, clock, tmp_path / "rescue")


@pytest.mark.parametrize("read_first", [0, 1, 6])
def test_every_rescued_bearer_of_a_name_is_read(tmp_path: Path, model: DirectoryModel, clock: Clock, read_first: int) -> None:
    """A name recurs twice, each file deleted unread: after a crash all are read, oldest first, and none again after the next."""
    base = model.append(1)
    path = tmp_path / "cdr" / base
    model.new_hour()
    options = {"rescue_dir": "rescue", "hold_files": 0, "block_bytes": 1024, "max_line_bytes": 1024}
    reader = Reader(make(tmp_path, clock, **options))
    contents = [word * 400 for word in (b"first\n", b"second\n", b"third\n")]
    for content_ in contents:
        path.write_bytes(content_)
        os.utime(path, (clock.at, clock.at))
        clock.at += 31
        reader.look()
        path.rename(tmp_path / f"gone-{content_[:5].decode()}")  # its inode stays taken, as a second name keeps it
    found = b"".join(data for _, _, data in blocks(reader_after_crash(reader, make(tmp_path, clock, **options), read_first)))
    assert found == b"".join(contents)
    reader.settle()
    reader.files.settled("a", reader.known)
    assert removed(reader.files, reader, clock, tmp_path / "rescue")


def test_a_rescued_bearer_that_begins_like_the_one_read_before_it_is_read(
    tmp_path: Path, model: DirectoryModel, clock: Clock
) -> None:
    """The name recurs with the old content and more: that the old one is gone says nothing of what came after it."""
    base = model.append(1)
    path = tmp_path / "cdr" / base
    model.new_hour()
    reader = Reader(make(tmp_path, clock, rescue_dir="rescue", hold_files=0))
    for content_ in (b"first\n", b"first\nsecond\n"):
        path.write_bytes(content_)
        clock.at += 31
        reader.look()
        path.rename(tmp_path / f"gone-{len(content_)}")
    reader.restart()
    reader.look()
    assert isinstance(reader.take(2)[1], Gone)
    reader.settle()
    reader.restart()
    reader.look()
    assert content(reader.take(), 2) == b"first\nsecond\n"


def reader_after_crash(reader: Reader, files: Any, read_first: int) -> list[Any]:
    """What comes out of two further runs, the first killed after so many settled blocks."""
    reader.files = files
    reader.restart()
    reader.look()
    items = reader.take(read_first) if read_first else []
    reader.settle()
    reader.restart()
    reader.look()
    return [*items, *reader.take()]


def test_nothing_is_removed_too_early(tmp_path: Path, model: DirectoryModel, clock: Clock) -> None:
    """A rescued file stays while a pipeline has read half of it, and until pipelines that start later had time to speak."""
    base = model.append(50)
    model.new_hour()
    files = make(tmp_path, clock, rescue_dir="rescue", hold_files=0, block_bytes=1024, max_line_bytes=1024)
    reader = Reader(files)
    reader.look()
    reader.take(1)
    reader.settle()
    half = dict(reader.known)
    assert 0 < half[str(tmp_path / "cdr" / base)].offset < 2000
    model.delete(base)
    reader.look()
    files.settled("a", half)
    assert not removed(files, reader, clock, tmp_path / "rescue")
    reader.take()
    reader.settle()
    files = reader.files = make(tmp_path, clock, rescue_dir="rescue", hold_files=0)
    reader.restart()
    files.settled("a", reader.known)
    reader.look()
    clock.at += 29
    reader.look()
    assert len(list((tmp_path / "rescue").iterdir())) == 1
    files.settled("b", half)
    assert not removed(files, reader, clock, tmp_path / "rescue")
    files.settled("b", reader.known)
    assert removed(files, reader, clock, tmp_path / "rescue")
