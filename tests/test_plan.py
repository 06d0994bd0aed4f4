"""The sizing, against figures worked out by hand."""

import json
import subprocess
import sys

import pytest

from vosship.errors import ConfigError
from vosship_switch.plan import Load, Plan, plan, recommended_interval_s, span


def planned(**given: float | int) -> Plan:
    return plan(Load(**given))  # type: ignore[arg-type]  # the mixed keywords of a table of cases


@pytest.mark.parametrize(
    ("interval_s", "max_files", "retention_s", "text"),
    [
        (3600, 2048, 7_372_800, "85.3 days"),
        (300, 2048, 614_400, "7.1 days"),
        (60, 10, 600, "10 minutes"),
        (86_400, 4096, 353_894_400, "4096 days"),
    ],
)
def test_retention_is_interval_times_files(interval_s: int, max_files: int, retention_s: int, text: str) -> None:
    """As the vendor's own figures have it: 3600 x 2048 = 85.3 days, 300 x 2048 = 7.1 days, 60 x 10 = 10 minutes."""
    found = planned(interval_s=interval_s, max_files=max_files)
    assert (found.retention_s, found.retention_text) == (retention_s, text)
    assert bool(found.warnings) == (retention_s < 2 * 86_400)


def test_files_needed_for_a_retention() -> None:
    """Days x 86400 / interval: 30 days of hours are 720 files; 90 days of half hours are 4,320, past what a switch keeps."""
    assert planned(interval_s=3600, retain_days=30).required_max_files == 720
    assert not planned(interval_s=3600, retain_days=30).archive_needed
    long = planned(interval_s=1800, retain_days=90)
    assert (long.required_max_files, long.archive_needed, long.retention_s) == (4_320, True, 4_096 * 1_800)
    assert any("only an archive" in warning for warning in long.warnings)
    edge = planned(interval_s=86_400, retain_days=4_096)
    assert (edge.required_max_files, edge.archive_needed) == (4_096, False)
    assert planned(interval_s=3600, retain_days=0.01).required_max_files == 10, "the switch takes no fewer"


def test_the_queue_and_the_outage_it_covers() -> None:
    """At 100 calls a second the default queue lasts 100 s, and ten minutes need 60,000."""
    found = planned(cps=100, pending=10_000)
    assert (found.outage_covered_s, found.queue_needed_for_10_min) == (100.0, 60_000)
    assert any("1.7 minutes" in warning for warning in found.warnings)
    assert not planned(cps=100, pending=60_000).warnings
    assert any("no queue" in warning for warning in planned(cps=200).warnings), "120,000 is past the switch's 100,000"


def test_disk_a_day() -> None:
    """100 calls a second of 300 bytes are 2.592 GB a day."""
    assert planned(cps=100).disk_bytes_per_day == 2_592_000_000
    assert planned(cps=100, bytes_per_record=200).disk_bytes_per_day == 1_728_000_000


@pytest.mark.parametrize(
    ("cps", "interval_s"), [(1, 3600), (49.9, 3600), (50, 1800), (199, 1800), (200, 900), (499, 900), (500, 300), (5000, 300)]
)
def test_interval_by_load(cps: float, interval_s: int) -> None:
    """Under 50 calls/s an hour, to 200 half an hour, above a quarter, in a flood five minutes."""
    assert recommended_interval_s(cps) == interval_s


def test_nothing_is_assumed() -> None:
    """What was not given stays open; the recommended interval serves a retention only because it is shown."""
    bare = planned(cps=100)
    assert (bare.retention_s, bare.required_max_files, bare.outage_covered_s) == (None, None, None)
    assert planned(interval_s=3600).retention_s is None
    assert planned(cps=30, retain_days=10).required_max_files == 240


@pytest.mark.parametrize(
    ("given", "word"),
    [
        ({"interval_s": 30, "max_files": 4_096}, "INTERVAL"),
        ({"interval_s": 3600, "max_files": 5_000}, "WRITE_MAX"),
        ({"cps": 1, "pending": 500}, "PENDING"),
        ({"cps": 300, "interval_s": 3600, "max_files": 2048}, "900 s is usual"),
    ],
)
def test_out_of_bounds_is_warned_of(given: dict[str, int], word: str) -> None:
    """A value the switch would not take, or one that does not suit the load, is named."""
    assert any(word in warning for warning in planned(**given).warnings)


@pytest.mark.parametrize(
    "given", [{}, {"max_files": 5}, {"pending": 5_000}, {"retain_days": 3}, {"pending": 1_000, "interval_s": 60}]
)
def test_figures_that_say_nothing_are_refused(given: dict[str, int]) -> None:
    """With a sentence naming the option that is missing."""
    with pytest.raises(ConfigError):
        planned(**given)
    with pytest.raises(ConfigError, match="exclude each other"):
        planned(interval_s=60, max_files=10, retain_days=3)


def test_durations_for_people() -> None:
    """One unit, one decimal, none where it is whole."""
    assert [span(value) for value in (5, 90, 3600, 7200, 86_400, 129_600)] == [
        "5 seconds", "1.5 minutes", "1 hour", "2 hours", "1 day", "1.5 days",
    ]  # fmt: skip


def test_the_command_prints_people_and_json() -> None:
    """JSON has the documented keys on standard output; nonsense ends with exit code 2."""
    call = [sys.executable, "-m", "vosship.cli", "plan"]
    done = subprocess.run([*call, "--cps", "100", "--interval-s", "3600", "--max-files", "2048", "--json"], capture_output=True)
    assert list(json.loads(done.stdout)) == [
        "retention_s", "retention_text", "required_max_files", "recommended_interval_s", "archive_needed", "outage_covered_s",
        "queue_needed_for_10_min", "disk_bytes_per_day", "warnings",
    ]  # fmt: skip
    people = subprocess.run([*call, "--cps", "100", "--retain-days", "90"], capture_output=True, text=True)
    assert people.returncode == 0
    assert "4,320" in people.stdout
    assert "2.59 GB" in people.stdout
    nonsense = subprocess.run(call, capture_output=True, text=True)
    assert (nonsense.returncode, nonsense.stdout) == (2, "")
