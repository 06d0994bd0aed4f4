"""The input `files`: rights, missing directories, watches the kernel refuses, and what `check` says of it all."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import shutil
from pathlib import Path

import pytest
from directory_model import DirectoryModel
from files_reader import Clock, Reader, blocks, gones, make
from unprivileged import NOBODY, as_nobody, follow, needs_root
from watchdog.observers.api import BaseObserver

from vosship.events import Block, Gone
from vosship.plugin import Checks, Remark


class Said(logging.Handler):
    """The phrases logged in a child process, where `caplog` does not reach."""

    def __init__(self) -> None:
        super().__init__()
        self.phrases: list[str] = []
        log = logging.getLogger("vosship.test.files")
        log.setLevel(logging.INFO)
        log.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """See Handler."""
        self.phrases.append(record.getMessage())


@needs_root
def test_unreadable_file_is_said_once_and_read_later(open_dir: Path, clock: Clock) -> None:
    """One file that may not be opened holds up no other; when the right is given it is read at the next full look."""
    model = DirectoryModel(open_dir / "cdr")
    for _ in range(3):
        model.new_hour()
        model.append(1)
    for path in (open_dir / "cdr").iterdir():
        shutil.chown(path, NOBODY)
    (open_dir / "cdr" / "2026042600.txt").chmod(0)

    def work() -> tuple[list[str], list[str], list[str]]:
        said, reader = Said(), Reader(make(open_dir, clock))
        first = [base for base, _, _ in blocks(reader.step())]
        for _ in range(3):
            clock.at += 31
            reader.step()
        (open_dir / "cdr" / "2026042600.txt").chmod(0o600)
        clock.at += 31
        return first, [base for base, _, _ in blocks(reader.step())], said.phrases

    first, then, said = as_nobody(work)
    assert sorted(first) == ["2026042601.txt", "2026042602.txt"]
    assert then == ["2026042600.txt"]
    assert said == ["file cannot be read, looked at again later"]


@needs_root
@pytest.mark.parametrize("mode", [0o000, 0o400, 0o100])
def test_folder_without_rights_is_no_deletion(open_dir: Path, clock: Clock, mode: int) -> None:
    """A folder that may not be listed, or not be passed through, says nothing of its files; it is said once."""
    model = DirectoryModel(open_dir / "cdr")
    for _ in range(4):
        model.new_hour()
        model.append(2)
    shutil.chown(open_dir / "cdr", NOBODY)

    def work() -> tuple[int, list[Gone], list[tuple[str, int, bytes]], list[str]]:
        said, reader = Said(), Reader(make(open_dir, clock))
        whole = len(blocks(reader.step()))
        (open_dir / "cdr").chmod(mode)
        ends = []
        for _ in range(40):
            clock.at += 1
            ends += gones(reader.step())
        (open_dir / "cdr").chmod(0o755)
        clock.at += 31
        return whole, ends, blocks(reader.step()), said.phrases

    whole, ends, again, said = as_nobody(work)
    assert whole == 4
    assert ends == []
    assert again == []
    assert said == ["directory cannot be read, waiting for it", "directory can be read again"]


@needs_root
@pytest.mark.parametrize("mode", [0o000, 0o400])
def test_start_without_rights_loses_nothing(open_dir: Path, clock: Clock, mode: int) -> None:
    """An agent that starts before its rights are given waits, and ends no stream that it knew."""
    model = DirectoryModel(open_dir / "cdr")
    model.append(2)
    shutil.chown(open_dir / "cdr", NOBODY)

    def work() -> list[list[tuple[int, int]]]:
        reader = Reader(make(open_dir, clock))
        reader.step()
        reader.settle()
        (open_dir / "cdr").chmod(mode)
        reader.restart()
        found = [reader.step()]
        (open_dir / "cdr").chmod(0o755)
        with (open_dir / "cdr" / "2026042600.txt").open("ab") as file:
            file.write(b"one more\n")
        clock.at += 31
        found.append(reader.step())
        return [[(item.stream.generation, item.offset) for item in items] for items in found]

    for path in (open_dir / "cdr").iterdir():
        shutil.chown(path, NOBODY)
    assert as_nobody(work) == [[], [(1, 80)]]


@needs_root
def test_check_leads_an_unprivileged_user_to_its_rights(open_dir: Path, clock: Clock) -> None:
    """Each hint, followed to the letter, removes its own remark; in the end all is good, for files of tomorrow too."""
    home = open_dir / "vos3000"
    model = DirectoryModel(home / "cdr")
    for _ in range(2):
        model.new_hour()
        model.append(1)
    for path, mode in ((home / "cdr", 0o750), (home, 0o700)):
        path.chmod(mode)
    files = make(open_dir, clock, paths=["vos3000/cdr"])
    for path in (home / "cdr").iterdir():
        path.chmod(0o640)
    followed = []
    while True:
        remarks: list[Remark] = as_nobody(lambda: list(files.check()))
        bad = next((remark for remark in remarks if remark.level == "bad" and remark.hint.startswith("as root: ")), None)
        if bad is None or len(followed) == 5:
            break
        followed.append(bad.text.replace(str(open_dir), ""))
        follow(bad.hint)
    assert followed == [
        "/vos3000 may not be passed through by nobody",
        "/vos3000/cdr may not be listed by nobody: Permission denied",
        "2 files may not be read by nobody: /vos3000/cdr/2026042600.txt",
    ]
    assert {remark.level for remark in remarks} == {"good"}, remarks
    model.new_hour()
    tomorrow = model.append(1)

    def work() -> list[tuple[str, int, bytes]]:
        return blocks(Reader(make(open_dir, clock, paths=["vos3000/cdr"])).step())

    assert tomorrow in [base for base, _, _ in as_nobody(work)]


@pytest.mark.parametrize("method", ["start", "schedule"])
def test_no_watches_left(
    tmp_path: Path, model: DirectoryModel, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, method: str
) -> None:
    """Where the kernel gives no more inotify watches or instances, polling goes on, and that is said once."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC if method == "schedule" else errno.EMFILE, "inotify watch limit reached")

    monkeypatch.setattr(BaseObserver, method, refuse)

    async def run() -> list[Block | Gone]:
        found: list[Block | Gone] = []
        source = make(tmp_path, Clock(), poll_s=0.01).read({}, "forever")
        async with asyncio.timeout(10):
            for _ in range(3):
                model.new_hour()
                model.append(1)
                found.append(await anext(source))
        await source.aclose()
        return found

    assert [base for base, _, _ in blocks(asyncio.run(run()))] == ["2026042600.txt", "2026042601.txt", "2026042602.txt"]
    assert [record.message for record in caplog.records] == ["kernel gives no more watches, polling goes on"]


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


def test_check_names_the_causes_in_order(tmp_path: Path, model: DirectoryModel, clock: Clock) -> None:
    """An empty directory gets the ordered list of causes; one with files gets none of it."""
    files = make(tmp_path, clock, rescue_dir="rescue")
    assert isinstance(files, Checks)
    texts = [remark.text for remark in files.check()]
    assert any(text.startswith("1. SS_CDR_RECORD_TO_FILE") for text in texts)
    model.append(1)
    remarks = list(files.check())
    assert {remark.level for remark in remarks} == {"good"}, remarks
    assert not (tmp_path / "rescue").exists()


def test_check_names_the_files_of_the_other_family(tmp_path: Path, model: DirectoryModel, clock: Clock) -> None:
    """`cdr/*` takes the family of its input and leaves the other alone: how many files that is stands beside the count."""
    model.append(1)
    for name in ("cdr_20260426_120000.csv", "cdr_20260426_130000.csv", "notes.csv"):
        (model.folder / name).write_text("x\n")
    texts = [remark.text for remark in make(tmp_path, clock, paths=["cdr/*"]).check()]
    assert any("holds 1 pipe files; 2 files beside them are the other family's" in text for text in texts), texts


def test_a_name_that_cannot_be_printed_is_said_once(
    tmp_path: Path, model: DirectoryModel, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """Its file would be a CDR file but for a byte in its name; whoever waits for its calls must hear of it."""
    model.append(1)
    strange = Path(os.fsdecode(os.fsencode(tmp_path / "cdr") + b"/2026042601\xff.txt"))
    strange.write_bytes(b"a call\n")
    (tmp_path / "cdr" / "no\x01te").write_bytes(b"not ours\n")
    files = make(tmp_path, clock)
    reader = Reader(files)
    for _ in range(3):
        clock.at += 40
        reader.step()
    (said,) = [record for record in caplog.records if record.message == "files are not read for their names"]
    assert (said.files, said.file) == (1, f"{tmp_path}/cdr/2026042601\\udcff.txt")
    walk = files.walk({}, "now")
    walk.look()
    assert list(walk.unreadable()) == [f"{tmp_path}/cdr/2026042601\\udcff.txt"]
    assert [remark.text for remark in files.check() if remark.level == "bad"] == [
        f"{tmp_path}/cdr/2026042601\\udcff.txt is not read: its name holds bytes that cannot be printed; rename it"
    ]
    strange.unlink()
    walk.look()
    assert walk.unreadable() == {}
