"""The input `files`: second names and copies of files that are about to be deleted unread."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from directory_model import DirectoryModel
from files_reader import Clock, Reader, blocks, content, gones, make
from unprivileged import NOBODY, as_nobody, needs_root

from vosship_files import rescue as module


@pytest.fixture
def memory() -> Iterator[Path]:
    """A directory on another file system."""
    folder = Path(tempfile.mkdtemp(prefix="vosship-rescue-", dir="/dev/shm"))
    yield folder
    shutil.rmtree(folder)


def deleted_unread(model: DirectoryModel, files: Any) -> Reader:
    """Two of four unread files are deleted, and the agent is killed: what it reads then is all there is."""
    for _ in range(4):
        model.new_hour()
        model.append(10)
    reader = Reader(files)
    reader.look()
    model.delete_oldest()
    model.delete_oldest()
    reader.restart()
    reader.step()
    return reader


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


def test_copied_from_another_file_system(tmp_path: Path, memory: Path, model: DirectoryModel, clock: Clock) -> None:
    """Where no link can be made because the rescue directory is on another file system, a copy serves as well."""
    if memory.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no second file system")
    reader = deleted_unread(model, make(tmp_path, clock, rescue_dir=str(memory / "rescue"), hold_files=0))
    assert len(content(reader.waiting, 1)) == 1600
    assert [gone.lost_bytes for gone in gones(reader.waiting)] == [0, 0]


@pytest.mark.parametrize("number", [errno.EPERM, errno.EXDEV, errno.EMLINK, errno.EOPNOTSUPP])
def test_copied_where_a_link_is_refused(
    tmp_path: Path, model: DirectoryModel, clock: Clock, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Whatever the reason a kernel gives for refusing a link, the file is copied; nothing unfinished is left behind."""

    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", refuse)
    reader = deleted_unread(model, make(tmp_path, clock, rescue_dir="rescue", hold_files=0))
    assert len(content(reader.waiting, 1)) == 1600
    assert [path.name for path in (tmp_path / "rescue").iterdir() if path.name.endswith(".partial")] == []


@pytest.mark.parametrize("rescue", [True, False])
def test_long_outage_leaves_descriptors(tmp_path: Path, model: DirectoryModel, clock: Clock, rescue: bool) -> None:
    """While the switch deletes one held file after the other, only a share of the descriptors goes to them.

    What does not fit is read from the rescue directory, or named as lost.
    """
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    reader = Reader(make(tmp_path, clock, hold_files=4, report_gaps=False, **({"rescue_dir": "rescue"} if rescue else {})))
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, before[1]))
    try:
        for _ in range(110):
            model.new_hour()
            model.append(10)
            if len(model.files) > 10:
                model.delete_oldest()
            clock.at += 1
            reader.look()
            held = [
                fd for fd in Path("/proc/self/fd").iterdir() if fd.is_symlink() and str(fd.readlink()).startswith(str(tmp_path))
            ]
            assert len(held) <= 256 // 4 + 8
        reader.take()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    lost = sum(gone.lost_bytes for gone in gones(reader.waiting))
    assert len(content(reader.waiting, 1)) + lost == 110 * 400
    assert lost == (0 if rescue else (100 - 256 // 4) * 400)


def test_check_tries_the_rescue_directory(tmp_path: Path, memory: Path, model: DirectoryModel, clock: Clock) -> None:
    """`check` says whether files will be linked or copied, by trying, and leaves nothing behind."""
    model.append(1)
    said = []
    for target in (tmp_path / "rescue", memory / "rescue"):
        remark = list(make(tmp_path, clock, rescue_dir=str(target)).check())[-1]
        said.append((remark.level, remark.text.partition(": ")[2]))
    assert said == [
        ("good", "files at risk are hard-linked"),
        ("warn", "files at risk are copied (another file system or mount)"),
    ]
    assert [path.name for folder in (tmp_path, memory) for path in folder.iterdir()] == ["cdr"]


@needs_root
def test_copied_from_the_switchs_user(open_dir: Path, clock: Clock) -> None:
    """As an unprivileged user, to whom `protected_hardlinks` refuses the switch's files, the agent keeps copies of them."""
    model = DirectoryModel(open_dir / "cdr")
    (open_dir / "rescue").mkdir()
    os.chown(open_dir / "rescue", NOBODY, NOBODY)
    for _ in range(3):
        model.new_hour()
        model.append(10)

    def work() -> tuple[list[int], str]:
        files = make(open_dir, clock, rescue_dir="rescue")
        Reader(files).look()
        return [path.stat().st_uid for path in (open_dir / "rescue").iterdir()], list(files.check())[-1].text

    owners, said = as_nobody(work)
    refused = Path("/proc/sys/fs/protected_hardlinks").read_text().strip() == "1"
    assert owners == [NOBODY if refused else 0] * 2
    assert ("copied (fs.protected_hardlinks" in said) == refused


def test_a_copy_follows_its_file(tmp_path: Path, memory: Path, model: DirectoryModel, clock: Clock) -> None:
    """What the switch still flushes into a file that was copied is copied too."""
    for _ in range(4):
        model.new_hour()
        model.append(10)
    reader = Reader(make(tmp_path, clock, rescue_dir=str(memory), hold_files=0, rescan_s=10.0))
    reader.look()
    base = model.append(2, base="2026042600.txt")
    clock.at += 10
    reader.look()
    (copy,) = [path for path in memory.iterdir() if path.name.endswith(base)]
    assert copy.read_bytes() == model.files[base]
    assert len(list(memory.iterdir())) == 3


def test_bytes_that_came_after_the_copy_are_lost(
    tmp_path: Path, model: DirectoryModel, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A copy that could not be made anew is read to its end, and what was seen behind that is named as lost."""

    def refuse(*_: object) -> None:
        raise PermissionError(errno.EPERM, "refused")

    monkeypatch.setattr(os, "link", refuse)
    for _ in range(6):
        model.new_hour()
        model.append(10)
    reader = Reader(make(tmp_path, clock, rescue_dir="rescue", hold_files=0, rescan_s=1.0))
    reader.look()

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "no space left")

    monkeypatch.setattr(module, "_copy", full)
    base = model.append(2, base="2026042600.txt")
    clock.at += 1
    reader.look()
    for _ in range(2):
        model.append(1)
        model.new_hour()
        model.append(1)
        clock.at += 1
        reader.look()  # the grown file is no longer among the latest changed, so nothing holds it open
    model.delete(base)
    items = reader.step()
    assert sum(len(data) for name, _, data in blocks(items) if name == base) in (400, 480)
    assert sum(len(data) for name, _, data in blocks(items) if name == base) + gones(items)[0].lost_bytes == 480


def test_unfinished_copy_is_removed(tmp_path: Path, model: DirectoryModel, clock: Clock) -> None:
    """What a crash left of a copy is removed at the next start and never read."""
    model.new_hour()
    model.append(10)
    model.new_hour()
    files = make(tmp_path, clock, rescue_dir="rescue", hold_files=0)
    Reader(files).look()
    (kept,) = (tmp_path / "rescue").iterdir()
    kept.rename(str(kept) + ".partial")
    model.delete_oldest()
    reader = Reader(make(tmp_path, clock, rescue_dir="rescue", hold_files=0))
    assert reader.step() == []
    assert list((tmp_path / "rescue").iterdir()) == []


def test_rescued_names_are_durable(
    tmp_path: Path, memory: Path, model: DirectoryModel, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A copy is synced before it gets its name, and the directory after each name: a power cut takes neither."""
    synced: list[str] = []
    real = os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: (synced.append(str(Path(f"/proc/self/fd/{fd}").readlink())), real(fd))[1])
    for _ in range(2):
        model.new_hour()
        model.append(1)
    for target in (tmp_path / "rescue", memory / "rescue"):
        Reader(make(tmp_path, clock, rescue_dir=str(target), hold_files=0)).look()
    linked, copied, named = synced
    assert (linked, named) == (str(tmp_path / "rescue"), str(memory / "rescue"))
    assert copied.endswith(".partial")


def test_what_was_read_and_not_settled_is_kept(tmp_path: Path, memory: Path, model: DirectoryModel, clock: Clock) -> None:
    """In an outage lines wait in memory, which a crash forgets: their file is still at risk, and so is what it grew by."""
    files = make(tmp_path, clock, rescue_dir=str(memory / "rescue"), hold_files=0)
    files.settled("a", {})
    model.new_hour()
    model.append(10)
    reader = Reader(files)
    reader.look()
    reader.take()
    model.new_hour()
    clock.at += 31
    reader.look()
    assert [path.stat().st_size for path in (memory / "rescue").iterdir()] == [400]
    with (tmp_path / "cdr" / "2026042600.txt").open("ab") as last_flush:
        last_flush.write(b"x" * 79 + b"\n")
    clock.at += 1
    reader.look()
    reader.take()
    clock.at += 31
    reader.look()
    assert [path.stat().st_size for path in (memory / "rescue").iterdir()] == [480]
    model.delete_oldest()
    reader.restart()
    reader.look()
    assert sum(len(data) for _, _, data in blocks(reader.take())) == 480


def test_what_is_kept_is_not_about_to_be_lost(tmp_path: Path, memory: Path, model: DirectoryModel, clock: Clock) -> None:
    """`status` must not cry for a file that the switch can delete without loss; a copy that lacks something is none."""
    for _ in range(3):
        model.new_hour()
        model.append(10)
    files = make(tmp_path, clock, rescue_dir=str(memory / "rescue"))
    Reader(files).look()
    assert [size.kept for size in files.survey({})] == [True, True, False]
    with (tmp_path / "cdr" / "2026042601.txt").open("ab") as last_flush:
        last_flush.write(b"more")
    model.delete_oldest()
    assert [(size.kept, size.deleted) for size in files.survey({})] == [(True, True), (False, False), (False, False)]
