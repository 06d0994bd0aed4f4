"""The simulated CDR directory: the same bytes for the same seed, bursts that cut lines, deletion, faults, a true account."""

import itertools
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest

from vosship import cli
from vosship.commands import simulate
from vosship.errors import ConfigError
from vosship_switch import account as accounts
from vosship_switch.account import Account
from vosship_switch.directory import Directory, Naming
from vosship_switch.simulation import FAULTS, Settings, Simulation

START_MS = 1_777_140_000_000  # 2026-04-26T00:00 in Dhaka


def run(path: Path, **settings: Any) -> Account:
    return Simulation(Settings(**{"directory": path, "start_ms": START_MS, "seed": 7, "calls": 3_000, **settings})).run()


def contents(path: Path) -> dict[str, bytes]:
    return {one.name: one.read_bytes() for one in sorted(path.iterdir())}


def scan(path: Path) -> list[tuple[str, int, bytes]]:
    """Every line of a directory with its place, read plainly."""
    found = []
    for name, data in contents(path).items():
        offset = 0
        for line in data.splitlines(keepends=True):
            found.append((name, offset, line.rstrip(b"\n")))
            offset += len(line)
    return found


def kept(account: Path) -> list[tuple[str, int, bytes]]:
    return sorted((one.file, one.offset, one.line) for one in accounts.written(account) if one.fate in ("kept", "cut"))


def test_one_seed_gives_the_same_bytes_in_any_process(tmp_path: Path) -> None:
    """Neither the process's hash seed nor the time of day shows in the files; another seed gives others."""
    for name, seed, hashing in (("a", 7, "1"), ("b", 7, "2"), ("c", 8, "1")):
        arguments = ["simulate", str(tmp_path / name), "--calls", "2000", "--seed", str(seed), "--cps", "0.3"]
        environ = {**os.environ, "PYTHONHASHSEED": hashing, "TZ": "America/New_York" if name == "b" else "UTC"}
        subprocess.run([sys.executable, "-m", "vosship.cli", *arguments], env=environ, check=True, capture_output=True)
    first = contents(tmp_path / "a")
    assert first == contents(tmp_path / "b")
    assert first != contents(tmp_path / "c")
    assert list(first)[:3] == ["2026042600.txt", "2026042601.txt", "2026042602.txt"]


def test_without_faults_the_lines_are_exactly_the_calls(tmp_path: Path) -> None:
    """As many lines as calls, all whole, each in the file of its stop's local hour."""
    run(tmp_path, cps=1.0)
    lines = scan(tmp_path)
    assert len(lines) == 3_000
    assert all(data.endswith(b"\n") for data in contents(tmp_path).values())
    for name, _, line in lines:
        fields = line.decode().split("|")
        assert len(fields) == 19
        assert fields[3][:13].replace("-", "").replace(" ", "") == name[:10]


@pytest.mark.parametrize("faults", [(), *[(fault,) for fault in FAULTS[:5]], FAULTS[:5]])
def test_the_account_is_what_a_plain_scan_finds(tmp_path: Path, faults: tuple[str, ...]) -> None:
    """Whatever went wrong, the lines said to be there are there, at their offsets, and no others."""
    directory, account = tmp_path / "cdr", tmp_path / "account.ndjson"
    run(directory, calls=12_000, cps=2.0, interval_s=300, max_files=15, account=account, faults=frozenset(faults))
    assert kept(account) == scan(directory)
    fates = Counter(one.fate for one in accounts.written(account))
    assert fates.total() == 12_000
    assert fates["deleted"] > 0
    marks = {row["event"] for row in accounts.rows(account)}
    expected = {"half-lines": "cut", "rewrite": "rewritten", "clock-back": "clock_back"}
    assert {expected[fault] for fault in faults if fault in expected} <= marks
    if "bad-bytes" in faults:
        assert len({one.fault for one in accounts.written(account)}) >= 4
    if faults == ("deletion",):
        assert {row["why"] for row in accounts.rows(account) if row["event"] == "deleted"} == {"max_files", "deletion"}


def directory_in(path: Path, **options: Any) -> Directory:
    naming = Naming("txt", options.pop("interval_s", 3600), ZoneInfo("UTC"))
    settings = {"seed": 1, "max_files": 0, "flush_s": 1.0, "flush_records": 10, **options}
    return Directory(path, naming, Account(), **settings)


def test_bursts_end_inside_lines_and_the_next_completes_them(tmp_path: Path) -> None:
    """A reader sees half a last line after most bursts; nothing is lost or doubled by it."""
    directory = directory_in(tmp_path)
    sizes, cut = set(), 0
    for number in range(1_000):
        directory.write(b"line-%06d" % number, number * 10, number * 10, number)
        data = (tmp_path / "1970010100.txt").read_bytes()
        if len(data) not in sizes:
            sizes.add(len(data))
            cut += bool(data) and not data.endswith(b"\n")
    assert 50 <= cut < len(sizes) <= 101
    directory.close()
    assert (tmp_path / "1970010100.txt").read_bytes() == b"".join(b"line-%06d\n" % number for number in range(1_000))


def test_the_oldest_file_goes_when_there_are_too_many(tmp_path: Path) -> None:
    """Past the limit the oldest is deleted, read or not; foreign files are left alone."""
    (tmp_path / "notes.txt").write_text("mine")
    directory = directory_in(tmp_path, max_files=3)
    for hour in range(6):
        directory.write(b"x", hour * 3_600_000, hour * 3_600_000, hour + 1)
        assert len(directory.existing()) <= 3
    directory.close()
    assert directory.existing() == ["1970010103.txt", "1970010104.txt", "1970010105.txt"]
    assert (tmp_path / "notes.txt").exists()


def test_a_late_call_goes_into_its_own_hour(tmp_path: Path) -> None:
    """The stop decides the file, also for a call noted just after the hour."""
    directory = directory_in(tmp_path)
    directory.write(b"on time", 3_599_000, 3_599_000, 1)
    directory.write(b"next", 3_600_500, 3_600_500, 2)
    directory.write(b"late", 3_599_900, 3_601_000, 3)
    directory.close()
    assert contents(tmp_path) == {"1970010100.txt": b"on time\nlate\n", "1970010101.txt": b"next\n"}


@pytest.mark.parametrize(
    ("family", "interval_s", "name"),
    [
        ("txt", 3600, "2026042600.txt"),
        ("txt", 1800, "202604260030.txt"),
        ("txt", 5, "20260426003125.txt"),
        ("csv", 300, "cdr_20260426_003000.csv"),
    ],
)
def test_files_are_named_by_the_local_start_of_their_interval(family: Any, interval_s: int, name: str) -> None:
    """Below an hour the name says minutes, below a minute seconds."""
    naming = Naming(family, interval_s, ZoneInfo("Asia/Dhaka"))
    assert naming.name(naming.interval(START_MS + (31 * 60 + 27) * 1000)) == name
    assert naming.matches(name)
    assert not naming.matches("notes.txt")


def test_an_hour_that_occurs_twice_is_written_twice(tmp_path: Path) -> None:
    """When summer time ends, one file name holds both hours."""
    end_of_summer_ms = 1_792_889_940_000  # 2026-10-25T02:59 in Berlin, still summer time
    run(tmp_path, timezone="Europe/Berlin", start_ms=end_of_summer_ms - 7_200_000, calls=4_000, cps=2.0)
    names = list(contents(tmp_path))
    assert names[:4] == ["2026102500.txt", "2026102501.txt", "2026102502.txt", "2026102503.txt"]
    stops = [line.decode().split("|")[3] for name, _, line in scan(tmp_path) if name == "2026102502.txt"]
    assert any(earlier[11:16] > "02:50" and later[11:16] < "02:10" for earlier, later in itertools.pairwise(stops))


def test_a_full_directory_is_not_written_again(tmp_path: Path) -> None:
    """The same hours twice would be doubled lines, so the second run is refused."""
    run(tmp_path)
    before = contents(tmp_path)
    with pytest.raises(ConfigError, match="holds CDR files already"):
        run(tmp_path)
    assert contents(tmp_path) == before


def test_csv_files_of_an_interval(tmp_path: Path) -> None:
    """The other family: 52 columns, a new file per interval."""
    run(tmp_path, layout="csv-52", interval_s=900, cps=2.0)
    assert next(iter(contents(tmp_path))) == "cdr_20260426_000000.csv"
    assert len(contents(tmp_path)) > 3
    assert len(scan(tmp_path)) == 3_000


def test_in_real_time_files_rotate_within_seconds(tmp_path: Path) -> None:
    """Stops are the time of writing, files of one second follow each other and the oldest go."""
    directory, account = tmp_path / "cdr", tmp_path / "account.ndjson"
    made = run(directory, calls=None, seconds=3.2, cps=100, interval_s=1, max_files=2, flush_s=0.1, account=account)
    assert made.totals["line"] == 320
    assert 1 <= made.totals["deleted"] <= 3
    assert kept(account) == scan(directory)


def test_the_command_names_every_fault_and_says_what_it_did(tmp_path: Path) -> None:
    """Totals as JSON; the words of the command are those of the engine; contradictions end with exit code 2."""
    assert simulate.FAULTS == FAULTS
    call = [sys.executable, "-m", "vosship.cli", "simulate", str(tmp_path / "d")]
    done = subprocess.run([*call, "--calls", "50", "--json"], capture_output=True, check=True)
    assert msgspec.json.decode(done.stdout)["account"]["line"] == 50
    for wrong in (["--calls", "5", "--seconds", "5"], ["--tz", "Mars/Olympus"], ["--start", "soon"], ["--forward", "nowhere"]):
        assert subprocess.run([*call, *wrong], capture_output=True).returncode == 2


@pytest.mark.parametrize(("fault", "mark"), [("half-lines", "cut"), ("bad-bytes", "damaged"), ("rewrite", "rewritten")])
def test_a_short_run_is_dirty_too(tmp_path: Path, fault: str, mark: str) -> None:
    """Forty calls, one file: whoever asks for a fault sees it, whatever the seed."""
    for seed in range(8):
        account = tmp_path / f"{seed}.ndjson"
        run(tmp_path / str(seed), calls=40, seed=seed, account=account, flush_s=60.0, faults=frozenset({fault}))
        events = [msgspec.json.decode(line) for line in account.read_text(encoding="utf-8").splitlines()]
        assert mark in {"damaged" if event.get("fault") else event["event"] for event in events}, seed


def test_a_fault_of_forwarded_copies_without_a_forward_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It would do nothing, in silence."""
    assert cli.run(["simulate", str(tmp_path / "cdr"), "--calls", "5", "--fault", "resend", "--fault", "bad-bytes"]) == 0
    assert "without --forward these faults do nothing: resend" in capsys.readouterr().err


def test_a_start_outside_of_what_calls_can_have_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Not a traceback of the calendar's."""
    for start in ("0001-01-01", "9999-12-31T23:59", "yesterday"):
        assert cli.run(["simulate", str(tmp_path / "cdr"), "--calls", "5", "--start", start]) == 2
        assert "--start is" in capsys.readouterr().err
