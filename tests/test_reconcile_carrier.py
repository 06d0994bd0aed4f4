"""`vosship reconcile --map`: another carrier's file, held to figures worked out by hand."""

from __future__ import annotations

import json
import re
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import yaml

from tests.reconcile_parts import Place, place
from vosship.errors import ConfigError
from vosship_reconcile import carrier_map

__all__ = ["place"]

DHAKA, LONDON = ZoneInfo("Asia/Dhaka"), ZoneInfo("Europe/London")

MAP: dict[str, Any] = {
    "columns": {
        "caller": "ANI",
        "callee": "DNIS",
        "answered_at": "CONNECT",
        "duration": "SECS",
        "cost": "CHARGE",
        "destination": "DEST",
    },
    "timezone": "Europe/London",
    "time_format": "%d/%m/%Y %H:%M:%S",
    "currency": "USD",
    "numbers": {"callee": {"strip": ["00"]}},
    "ours": {"callee_gateways": ["VEN01"], "numbers": {"callee": {"strip": ["9996"]}}},
    "tolerance": {"answer_s": 5, "duration_s": 1},
}

NOON = datetime(2026, 4, 26, 12, tzinfo=DHAKA)


def test_clock_seconds_and_money_are_found(place: Place) -> None:
    """An offset of 3 s, one call 30.6 s too long, one never made, one not billed: classes, seconds and money by hand."""
    calls = [(f"88017{number:07d}", NOON + timedelta(minutes=number), 60_400) for number in range(12)]
    ours = [_line(callee, at, hold_ms) for callee, at, hold_ms in calls]
    ours.append(_line("8801799999999", NOON + timedelta(minutes=30), 10_000, gateway="OTHER"))
    theirs = [_row(callee, at, 61, "0.0610", shift_s=3) for callee, at, _ in calls]
    theirs[4] = _row(calls[4][0], calls[4][1], 91, "0.0910", shift_s=3)
    del theirs[7]
    theirs.append(_row("233555000111", NOON + timedelta(minutes=5), 60, "0.5000", shift_s=3, destination="Ghana"))
    code, report = _compare(place, ours, theirs)
    assert (code, report["verdict"]) == (3, "different")
    assert {word: count for word, count in report["classes"].items() if count} == {
        "matched": 10,
        "mismatched": 1,
        "left_only": 1,
        "right_only": 1,
    }
    assert report["clock_offset"]["estimated"]
    assert abs(report["clock_offset"]["seconds"] - 3) <= 0.5
    assert report["disputed_seconds"] == 30.6 + 60.4 + 60.0
    assert report["disputed_money"] == "0.5306"
    by_name = {one["destination"]: one for one in report["destinations"]}
    assert by_name["Ghana"]["disputed_money"] == "0.50"
    assert by_name["Bangladesh"]["disputed_money"] == "0.0306"


def test_a_file_that_agrees_is_equal(place: Place) -> None:
    """Rounded seconds and another clock are no differences: exit 0."""
    calls = [(f"88018{number:07d}", NOON + timedelta(minutes=number), 59_600 + number) for number in range(8)]
    ours = [_line(callee, at, hold_ms) for callee, at, hold_ms in calls]
    code, report = _compare(place, ours, [_row(callee, at, 60, "0.06", shift_s=-41) for callee, at, _ in calls])
    assert (code, report["classes"]["matched"], report["disputed_money"]) == (0, 8, "0.00")
    assert abs(report["clock_offset"]["seconds"] + 41) <= 1  # the file's stop is cut to whole seconds


def test_a_zone_that_does_not_fit_is_said(place: Place) -> None:
    """Times an hour off are still paired, and the note asks after the map's zone."""
    calls = [(f"88019{number:07d}", NOON + timedelta(minutes=number), 60_000) for number in range(8)]
    ours = [_line(callee, at, hold_ms) for callee, at, hold_ms in calls]
    code, report = _compare(place, ours, [_row(callee, at, 60, "0.06", shift_s=3600) for callee, at, _ in calls])
    assert code == 0
    assert "timezone" in report["clock_offset"]["note"]


def test_redials_are_paired_one_to_one(place: Place) -> None:
    """Five calls between the same two numbers, seconds apart, of which they bill four: one is ours only, none is paired twice."""
    unique = [(f"88016{number:07d}", NOON + timedelta(minutes=number), 30_000) for number in range(6)]
    redials = [("8801711111111", NOON + timedelta(minutes=40, seconds=7 * number), 4_000) for number in range(5)]
    ours = [_line(callee, at, hold_ms) for callee, at, hold_ms in [*unique, *redials]]
    theirs = [_row(callee, at, hold_ms // 1000, "0.01", shift_s=0) for callee, at, hold_ms in [*unique, *redials[:2], *redials[3:]]]
    _, report = _compare(place, ours, theirs)
    assert {word: count for word, count in report["classes"].items() if count} == {"matched": 10, "left_only": 1}


def test_a_row_that_cannot_be_read_is_named(place: Place) -> None:
    """A broken date is unparsable, with its line, and the rest is still compared."""
    calls = [(f"88015{number:07d}", NOON + timedelta(minutes=number), 60_000) for number in range(8)]
    theirs = [_row(callee, at, 60, "0.06", shift_s=0) for callee, at, _ in calls]
    theirs.append("+442071838750,00880150,31/02/2026 99:00:00,60,0.06,Bangladesh")
    code, report = _compare(place, [_line(callee, at, hold_ms) for callee, at, hold_ms in calls], theirs)
    assert (code, report["classes"]["unparsable"], report["classes"]["matched"]) == (3, 1, 8)
    assert report["samples"]["unparsable"][0]["place"] == "line 10"


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"columns": {"callee": "NOWHERE", "answered_at": "CONNECT", "duration": "SECS"}}, "NOWHERE"),
        ({"timezone": "Mars/Olympus"}, "Mars/Olympus"),
        ({"numbers": {"callee": {"replace": {"(": ""}}}}, "regular expression"),
        ({"tolerances": {}}, "tolerances"),
    ],
)
def test_a_map_that_cannot_be_used_is_a_sentence(place: Place, change: dict[str, Any], word: str) -> None:
    """Exit 2 (ConfigError) with what is wrong."""
    path = place.path / "vendor.csv"
    path.write_text("ANI,DNIS,CONNECT,SECS,CHARGE,DEST\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=re.escape(word)):
        list(carrier_map.read(path, carrier_map.parse({**MAP, **change})))


def test_the_map_of_the_docs_loads() -> None:
    """The worked example is a map."""
    text = (Path(__file__).parent.parent / "docs" / "reconcile.md").read_text(encoding="utf-8")
    maps = [block for block in re.findall(r"^```yaml\n(.*?)^```", text, re.M | re.S) if block.startswith("columns:")]
    (block,) = maps
    found = carrier_map.parse(yaml.safe_load(block))
    assert carrier_map.rewriter(found.ours.numbers.callee)("9996-8801712345678") == "8801712345678"


def _line(callee: str, answered: datetime, hold_ms: int, gateway: str = "VEN01") -> str:
    stop = answered + timedelta(milliseconds=hold_ms)
    start, end = (moment.astimezone(DHAKA).strftime("%Y-%m-%d %H:%M:%S") for moment in (answered - timedelta(seconds=8), stop))
    numbers = f"442071838750|{callee}|442071838750|9996{callee}"
    return f"442071838750|{callee}|{start}|{end}|{hold_ms}|200|0|CUST|{gateway}|10.0.0.1|10.0.0.2|{numbers}|0|1|900|800"


def _row(callee: str, answered: datetime, seconds: int, cost: str, *, shift_s: float, destination: str = "Bangladesh") -> str:
    at = (answered + timedelta(seconds=shift_s)).astimezone(LONDON).strftime("%d/%m/%Y %H:%M:%S")
    return f"+442071838750,00{callee},{at},{seconds},{cost},{destination}"


def _compare(place: Place, ours: list[str], theirs: list[str]) -> tuple[int, dict[str, Any]]:
    (place.path / "cdr").mkdir()
    hours: dict[str, list[str]] = {}
    for line in ours:
        stop = line.split("|")[3]
        hours.setdefault(re.sub(r"\D", "", stop)[:10], []).append(line)
    for hour, lines in hours.items():
        (place.path / "cdr" / f"{hour}.txt").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    vendor, mapped = place.path / "vendor.csv", place.path / "map.yaml"
    vendor.write_text("\n".join(["ANI,DNIS,CONNECT,SECS,CHARGE,DEST", *theirs]) + "\n", encoding="utf-8")
    mapped.write_text(yaml.safe_dump(MAP), encoding="utf-8")
    words = ("--left", "cdr", "--right", str(vendor), "--map", str(mapped), "--day", "2026-04-26", "--json")
    code, out = place.run("reconcile", *words)
    return code, json.loads(out)
