"""What an operator is told when an export cannot be: what was tried, on what, what came of it, what to do."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlite_calls import calls, send
from unprivileged import as_nobody, needs_root

from vosship import cli
from vosship.errors import FatalError
from vosship.exporting import forget_manifest, usable

DAYS = ("--from", "2026-04-25", "--to", "2026-04-27", "--channel", "all", "--resends")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with a configuration and a store of 3,000 calls over three days."""
    inputs = {"cdr": {"type": "files", "paths": ["cdr/*.txt"]}}
    (tmp_path / "vosship.yaml").write_text(
        json.dumps({"switch": "dhaka-1", "timezone": "Asia/Dhaka", "data_dir": "data", "inputs": inputs})
    )
    documents = calls(3000, seed=21)
    send(tmp_path / "data" / "store", [documents[start : start + 2000] for start in range(0, 3000, 2000)])
    return tmp_path


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 0.9 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["/bin/mount", "-t", "tmpfs", "-o", "size=900k", "tmpfs", str(disk)], check=False).returncode:
        pytest.skip("a small disk needs the right to mount one")
    try:
        yield disk
    finally:
        subprocess.run(["/bin/umount", str(disk)], check=True)


def export(place: Path, out: str | Path, *more: str, form: str = "ndjson") -> int:
    """One export of all three days; its exit code."""
    return cli.run(["export", "-c", str(place / "vosship.yaml"), *DAYS, "--format", form, "--out", str(out), *more])


def test_out_must_be_a_place_for_a_file(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A directory, a pipe, nothing, a missing folder: exit 2, and each is left as it was."""
    os.mkfifo(place / "pipe")
    (place / "loop").symlink_to("loop")
    (place / "x.csv.manifest.json").mkdir()
    before = sorted(place.rglob("*"))
    for out, said in (
        (place, "is a directory (name a file in it"),
        ("", "is a directory"),
        (place / "pipe", "is no file but a device or a pipe (--out - writes to standard output)"),
        (place / "march" / "x.csv", f"there is no directory {place / 'march'}"),
        (place / "loop", f"{place / 'loop'} is a link that leads to itself (remove it, or another --out)"),
        (place / "x.csv", "x.csv.manifest.json is a directory (its manifest goes there: another --out)"),
    ):
        assert export(place, out) == 2
        assert said in capfd.readouterr().err
    assert sorted(place.rglob("*")) == before


def test_a_name_too_long_for_what_goes_beside_it_is_refused_at_once(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """240 letters are a file's name, but not with `.manifest.json` behind them; that was seen after the last day."""
    before = sorted(place.rglob("*"))
    assert export(place, place / ("x" * 240)) == 1
    assert "failed: File name too long (" in capfd.readouterr().err
    assert sorted(place.rglob("*")) == before


def test_a_folder_that_no_export_made_is_left_alone(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Somebody's own files in `x.csv.parts` are not cleared away, `--restart` or not; an earlier manifest neither."""
    parts = place / "x.csv.parts"
    (parts / "kept.part").mkdir(parents=True)
    (parts / "a.json").write_text("mine")
    (parts / "notes.txt").write_text("mine")
    before = sorted(place.rglob("*"))
    for more in ((), ("--restart",)):
        assert export(place, place / "x.csv", *more, form="csv") == 2
        assert "which no export wrote (another --out)" in capfd.readouterr().err
        assert sorted(place.rglob("*")) == before


@needs_root
def test_a_manifest_of_another_user_is_said(place: Path) -> None:
    """In a folder such as /tmp only its owner may remove it: a sentence."""
    for path in (place, *place.parents):
        if not path.stat().st_mode & 0o001:
            path.chmod(path.stat().st_mode | 0o011)
    place.chmod(0o1777)
    (place / "x.csv.manifest.json").touch()

    def refused() -> str:
        with pytest.raises(FatalError) as caught:
            forget_manifest(place / "x.csv")
        return str(caught.value)

    said = f"writing the manifest to {place / 'x.csv.manifest.json'} failed: Operation not permitted (mend owner or mode"
    assert as_nobody(refused).startswith(said)


def test_a_link_stays_one(place: Path) -> None:
    """The file is written where a link points."""
    (place / "elsewhere").mkdir()
    (place / "x.ndjson").symlink_to(place / "elsewhere" / "x.ndjson")
    assert export(place, place / "x.ndjson") == 0
    assert (place / "x.ndjson").is_symlink()
    assert len((place / "elsewhere" / "x.ndjson").read_bytes().splitlines()) == 3000


@needs_root
def test_a_folder_of_another_user_is_refused_at_once(place: Path) -> None:
    """Before a call is read, naming the folder."""
    (place / "locked").mkdir(mode=0o755)
    for path in (place, *place.parents):
        if not path.stat().st_mode & 0o001:
            path.chmod(path.stat().st_mode | 0o011)

    def refused() -> str:
        with pytest.raises(FatalError) as caught:
            usable(place / "locked" / "x.csv")
        return str(caught.value)

    said = f"this user may not make files in {place / 'locked'} (mend its owner or mode, or another --out)"
    assert as_nobody(refused).endswith(said)


def test_a_full_disk_is_said_and_the_same_command_goes_on(place: Path, small_disk: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Full amid a day and full when the days are put together: exit 1, nothing half written is left in the way."""
    (small_disk / "other").write_bytes(bytes(700_000))
    out = small_disk / "x.csv"
    assert export(place, out, form="csv") == 1
    said = capfd.readouterr().err
    assert "writing 2026-04-2" in said
    assert "No space left on device (free space there; the same command then goes on with the days it has)" in said
    assert not list(small_disk.rglob("*.unfinished"))
    (small_disk / "other").unlink()
    assert export(place, out, form="csv") == 1
    assert "MB beside its parts" in capfd.readouterr().err
    subprocess.run(["/bin/mount", "-o", "remount,size=4m", str(small_disk)], check=True)
    assert export(place, out, form="csv") == 0
    assert len(out.read_bytes().splitlines()) == 3001
    assert sorted(path.name for path in small_disk.iterdir()) == ["x.csv", "x.csv.manifest.json"]


def test_a_full_disk_behind_standard_output_is_said(place: Path) -> None:
    """Exit 1 and a sentence, not a traceback."""
    words = ["export", "-c", str(place / "vosship.yaml"), *DAYS, "--format", "csv", "--out", "-"]
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run([sys.executable, "-m", "vosship.cli", *words], stdout=full, stderr=subprocess.PIPE, check=False)
    assert done.returncode == 1
    assert "writing to standard output failed after" in done.stderr.decode()
    assert "Traceback" not in done.stderr.decode()


def test_two_exports_into_one_file_are_one_too_many(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The second says so and touches nothing, `--restart` or not."""
    parts = place / "x.csv.parts"
    parts.mkdir()
    (parts / "2026-04-25.part").write_bytes(b"the other's")
    held = os.open(parts, os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    for more in ((), ("--restart",)):
        assert export(place, place / "x.csv", *more, form="csv") == 1
        assert f"another vosship export is writing in {parts} (wait for it, or another --out)" in capfd.readouterr().err
    assert [path.read_bytes() for path in parts.iterdir()] == [b"the other's"]
    os.close(held)
    assert export(place, place / "x.csv", form="csv") == 0
    assert len((place / "x.csv").read_bytes().splitlines()) == 3001


def test_a_month_without_calls_says_so(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Exit 0 and a file of no calls, and a sentence beside it; figures likewise."""
    words = ["-c", str(place / "vosship.yaml"), "--month", "2026-03"]
    for form in ("csv", "ndjson", "parquet"):
        assert cli.run(["export", *words, "--format", form, "--out", str(place / f"x.{form}")]) == 0
        said = capfd.readouterr().err
        assert "no call matches" in said
        assert "0 calls in" in said
    assert cli.run(["stats", *words, "--by", "day"]) == 0
    assert "no call matches" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("layout", "said"),
    [
        ("columns: [{field: calerE164}]", "columns[0].field: no field 'calerE164' (did you mean 'callerE164'?)"),
        ('{columns: [{field: callerE164}], delimiter: "\\n"}', "delimiter: '\\n' cannot part columns (such as \";\")"),
        ("{columns: [{field: callerE164}], delimiter: '\"'}", "delimiter: '\"' cannot part columns"),
        ("columns: [a", "not YAML: while parsing a flow sequence"),
        ("", "expected"),
        ("columns: []", "columns"),
        ("columns: [{field: startTime, date: '%Q'}]", "columns[0].date: '%Q' is no way to write a date (iso, epoch_ms"),
        ("columns: [{field: startTime, date: iso8601}]", "columns[0].date: 'iso8601' is no way to write a date"),
        ("columns: [{field: callerE164, date: '%Y'}]", "columns[0].date: 'callerE164' is no date"),
        ("columns: [{field: callerE164, unit: s}]", "columns[0].unit: 'callerE164' is no duration in milliseconds"),
        ("columns: [{field: holdTime, name: A}, {field: callerE164, name: A}]", "columns[1].name: a second column 'A'"),
    ],
)  # fmt: skip
def test_a_layout_that_cannot_be_meant_is_refused(place: Path, layout: str, said: str, capfd: pytest.CaptureFixture[str]) -> None:
    """Exit 2 with the file, the place in it and what would do; nothing is written."""
    (place / "bill.yaml").write_text(layout)
    assert export(place, place / "x.csv", "--layout", "bill.yaml", form="csv") == 2
    found = capfd.readouterr().err
    assert f"{place / 'bill.yaml'}: " in found
    assert said in found
    assert not list(place.glob("x.csv*"))


def test_a_missing_layout_names_where_it_was_looked_for(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Exit 2, the whole path, and the names there are."""
    assert export(place, place / "x.csv", "--layout", "bil.yaml", form="csv") == 2
    found = capfd.readouterr().err
    assert f"no layout 'bil.yaml': {place / 'bil.yaml'}: No such file or directory (built in: calls, pipe, billing; or" in found
