"""Words on the command line become the window an operator means, and the guard rails hold."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from vosship import config
from vosship.errors import ConfigError, DeniedError
from vosship.window import Guard, Window, parse

DHAKA = ZoneInfo("Asia/Dhaka")
NOW = datetime(2026, 5, 2, 10, 30, tzinfo=UTC).timestamp()


def window(zone: ZoneInfo = DHAKA, **words: str) -> Window:
    """A window as parsed on 2 May 2026 at 16:30 in Dhaka."""
    return parse(zone=zone, time="stop", now=NOW, max_days=31, **words)


def ends(found: Window) -> tuple[str, str, int]:
    """Both ends in UTC and the days counted."""
    return found.start.astimezone(UTC).isoformat()[:16], found.end.astimezone(UTC).isoformat()[:16], found.days


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ({"day": "2026-04-26"}, ("2026-04-25T18:00", "2026-04-26T18:00", 1)),
        ({"month": "2026-02"}, ("2026-01-31T18:00", "2026-02-28T18:00", 28)),
        ({"month": "2026-12"}, ("2026-11-30T18:00", "2026-12-31T18:00", 31)),
        ({"start": "2026-04-01", "end": "2026-05-01"}, ("2026-03-31T18:00", "2026-05-01T18:00", 31)),
        ({"start": "2026-04-26T12:00", "end": "2026-04-26T13:00"}, ("2026-04-26T06:00", "2026-04-26T07:00", 1)),
        ({"start": "2026-04-26T12:00Z", "end": "2026-04-27T00:00+06:00"}, ("2026-04-26T12:00", "2026-04-26T18:00", 1)),
        ({}, ("2026-04-01T18:00", "2026-05-02T18:00", 31)),
        ({"start": "2026-05-01"}, ("2026-04-30T18:00", "2026-05-02T18:00", 2)),
        ({"end": "2026-01-31"}, ("2025-12-31T18:00", "2026-01-31T18:00", 31)),
        ({"start": "2026-05-03"}, ("2026-05-02T18:00", "2026-05-03T18:00", 1)),
        ({"start": "2026-05-04T13:00"}, ("2026-05-04T07:00", "2026-05-04T18:00", 1)),
    ],
)
def test_words_become_a_window(words: dict[str, str], expected: tuple[str, str, int]) -> None:
    """A bare date in --to includes that day, a time does not; days are calendar days touched, as the switch counts."""
    assert ends(window(**words)) == expected


@pytest.mark.parametrize(
    "words",
    [
        {"day": "2026-02-30"}, {"day": "20260426"}, {"month": "2026-13"}, {"start": "yesterday"}, {"end": "20260426"},
        {"start": "2026-W17", "end": "2026-W18"}, {"month": "\N{ARABIC-INDIC DIGIT TWO}026-04"}, {"end": "2026-04-26T25:00"},
        {"day": "2026-04-26", "month": "2026-04"}, {"start": "2026-04-26T12:00", "end": "2026-04-26T12:00"},
        {"day": "9999-12-31"}, {"day": "0001-01-01"}, {"month": "9999-12"}, {"end": "0001-01-01"},
        {"start": "9999-12-31T23:00-10:00"},
    ],
)  # fmt: skip
def test_words_that_make_no_window_are_usage_errors(words: dict[str, str]) -> None:
    """Each is refused with a sentence and a hint."""
    with pytest.raises(ConfigError) as caught:
        window(**words)
    assert caught.value.hint


def test_a_day_of_a_clock_change_has_23_or_25_hours() -> None:
    """Days end at midnight by the clock there, and the window's pieces tile it."""
    berlin = ZoneInfo("Europe/Berlin")
    found = window(berlin, start="2026-03-28", end="2026-10-26")
    pieces = list(found.pieces())
    assert len(pieces) == found.days
    assert pieces[0].to_ms == found.to_ms
    assert pieces[-1].from_ms == found.from_ms
    assert all(one.from_ms == two.to_ms for one, two in pairwise(pieces))
    assert {(piece.to_ms - piece.from_ms) // 3_600_000 for piece in pieces} == {23, 24, 25}


def test_a_skipped_midnight_ends_a_day_like_any_other() -> None:
    """In Beirut 29 March 2026 begins at 01:00: the days up to the 28th are the 31 that end with it."""
    found = window(ZoneInfo("Asia/Beirut"), end="2026-03-28")
    assert (found.start.isoformat(), found.end.isoformat()) == ("2026-02-26T00:00:00+02:00", "2026-03-29T01:00:00+03:00")
    assert (found.days, len(list(found.pieces()))) == (31, 31)


def test_pieces_of_part_days_are_the_window() -> None:
    """A window that begins and ends within days is cut at midnights only."""
    found = window(start="2026-04-25T12:00", end="2026-04-27T01:00")
    assert [piece.sentence.split(" (")[0] for piece in found.pieces()] == [
        "calls that stopped from 2026-04-27T00:00:00+06:00 up to, not including, 2026-04-27T01:00:00+06:00",
        "calls that stopped from 2026-04-26T00:00:00+06:00 up to, not including, 2026-04-27T00:00:00+06:00",
        "calls that stopped from 2026-04-25T12:00:00+06:00 up to, not including, 2026-04-26T00:00:00+06:00",
    ]


def guard(tmp_path: Path, **more: object) -> Guard:
    """The guard of a configuration with these sections."""
    text = {"switch": "s", "timezone": "Asia/Dhaka", "data_dir": str(tmp_path), "inputs": {"cdr": {"type": "files"}}, **more}
    return Guard(config.parse(json.dumps(text), base_dir=tmp_path))


def test_a_search_of_32_days_is_denied_and_of_31_is_not(tmp_path: Path) -> None:
    """1 April to 1 May is 31 days; a day more is refused with the way out."""
    rail = guard(tmp_path)
    rail.check_days(window(start="2026-04-01", end="2026-05-01"))
    with pytest.raises(DeniedError, match="vosship export"):
        rail.check_days(window(start="2026-04-01", end="2026-05-02"))


def test_limits_come_from_the_configuration_before_the_switch(tmp_path: Path) -> None:
    """The switch's own parameters hold where the configuration is silent."""
    parameters = {"SERVER_QUERY_CDR_MAX_DAY_INTERVAL": 7, "SERVER_QUERY_MAX_SIZE": "5", "SERVER_QUERY_CDR_DENY_TIME": "18,19, 20"}
    switch = guard(tmp_path, switch_parameters=parameters)
    assert (switch.max_days, switch.max_results, switch.deny_hours) == (7, 5, {18, 19, 20})
    own = guard(tmp_path, switch_parameters=parameters, search={"max_days": 3, "max_results": 9, "deny_hours": []})
    assert (own.max_days, own.max_results, own.deny_hours) == (3, 9, set())
    with pytest.raises(DeniedError):
        own.check_results(10)
    with pytest.raises(ConfigError, match="SERVER_QUERY_CDR_DENY_TIME"):
        guard(tmp_path, switch_parameters={"SERVER_QUERY_CDR_DENY_TIME": "evening"})


def test_a_denied_hour_is_the_switch_s_and_an_override_is_written_down(tmp_path: Path) -> None:
    """16:30 in Dhaka is within hour 16, whatever the hour is here; a reason lets the question through and is kept."""
    rail = guard(tmp_path, search={"deny_hours": [16]})
    with pytest.raises(DeniedError, match="16:00"):
        rail.check_hour(NOW, "search", "")
    with pytest.raises(DeniedError):
        rail.check_hour(NOW, "search", "  ")
    assert list(tmp_path.iterdir()) == []
    rail.check_hour(NOW, "export", "court order 17")
    rail.check_hour(NOW + 3600, "search", "")
    [line] = (tmp_path / "audit.log").read_text().splitlines()
    record = json.loads(line)
    assert (record["at"], record["command"], record["reason"]) == ("2026-05-02T16:30:00+06:00", "export", "court order 17")
