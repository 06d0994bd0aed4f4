"""`vosship evidence`: copies found, the raw line read again and proved, claims with their caveats."""

from __future__ import annotations

import gzip
import json
import re
from typing import Any

import pytest

from tests.reconcile_parts import Place, place
from vosship import cli

__all__ = ["place"]


def test_a_call_with_all_its_copies_is_proved(place: Place) -> None:
    """File, spool and both indices: each line is read again at its byte, and its id is the stored one."""
    place.simulate(300)
    place.ship()
    line = _answered(place)
    code, found = _ask(place, line)
    assert (code, found["proved"], found["differing"]) == (0, True, {})
    assert [copy["source"].partition(" ")[0] for copy in found["copies"]] == ["cdr", "forward", "store", "store"]
    for copy in found["copies"]:
        assert copy["raw"]["line"].encode() == line
        assert copy["raw"]["proved"] is True
        assert copy["raw"]["id"] == copy["id"]
    file_bytes = b"".join(place.lines())
    assert found["copies"][0]["raw"]["offset"] == file_bytes.index(line)


def test_a_call_whose_file_is_gone_is_proved_from_its_archive(place: Place) -> None:
    """The switch has deleted the file; a `.gz` elsewhere still holds the line."""
    place.write_files(200)
    place.ship()
    line = _answered(place)
    file = next((place.path / "cdr").iterdir())
    (place.path / "archive").mkdir()
    (place.path / "archive" / f"{file.name}.gz").write_bytes(gzip.compress(file.read_bytes()))
    file.unlink()
    code, found = _ask(place, line, "--archive", str(place.path / "archive"))
    (copy,) = found["copies"]
    assert (code, copy["raw"]["proved"], copy["raw"]["line"].encode()) == (0, True, line)
    assert copy["raw"]["read_from"].endswith(".txt.gz")


def test_a_file_that_was_changed_afterwards_contradicts_the_store(place: Place) -> None:
    """One digit of the line altered after it was shipped: the id no longer fits, exit 3."""
    place.write_files(200)
    place.ship()
    line = _answered(place)
    file = next((place.path / "cdr").iterdir())
    cells = line.split(b"|")
    cells[4] = b"%d" % (10 ** (len(cells[4]) - 1))
    file.write_bytes(file.read_bytes().replace(line, b"|".join(cells)))
    code, found = _ask(place, line)
    assert (code, found["proved"]) == (3, False)
    assert "holdTime" in found["differing"]


def test_a_document_is_found_by_its_id_alone(place: Place) -> None:
    """`--id` needs no date; with one it does not look through everything."""
    place.write_files(100)
    place.ship()
    line = _answered(place)
    _, by_number = _ask(place, line)
    wanted = by_number["copies"][0]["id"]
    for words in ((), ("--at", "2026-04-26")):
        code, out = place.run("evidence", "--id", wanted, "--json", *words)
        assert code == 0
        assert [copy["id"] for copy in json.loads(out)["copies"]] == [wanted, wanted]


def test_claims_rest_on_fields_and_carry_their_caveats(place: Place) -> None:
    """Who hung up, why, how long: in words, each with what may bend it."""
    place.write_files(2000)
    line = next(one for one in place.lines() if one.split(b"|")[4] != b"0" and one.split(b"|")[6] == b"2").rstrip(b"\n")
    cells = line.decode().split("|")
    _, found = _ask(place, line)
    claims = {claim["question"]: claim for claim in found["claims"]}
    assert claims["Who hung up?"]["answer"] == "the server"
    assert any("ALG" in caveat for caveat in claims["Who hung up?"]["caveats"])
    assert claims["Was it answered?"]["answer"].startswith("yes, at ")
    assert f"{int(cells[4]):,} ms" in claims["How long was the conversation?"]["answer"]
    assert any("only the last" in caveat for caveat in claims["Which way did it go?"]["caveats"])


def test_neighbours_are_other_calls_of_the_number(place: Place) -> None:
    """They are near, in time, and never the call itself."""
    place.write_files(2000)
    numbers = [line.split(b"|")[1] for line in place.lines()]
    number = next(one for one in numbers if one and numbers.count(one) > 1)
    line = next(line for line in place.lines() if line.split(b"|")[1] == number)
    stop = line.split(b"|")[3].decode()
    _, out = place.run("evidence", "--number", number.decode(), "--at", stop, "--within-s", "86400", "--json")
    found = json.loads(out)
    assert len(found["neighbours"]) == min(10, numbers.count(number) - 1)
    assert all(one["callee"] == number.decode() or one["caller"] == number.decode() for one in found["neighbours"])


def test_the_page_can_be_sent(place: Place) -> None:
    """One file that asks no other host, with the raw line in it."""
    place.write_files(50)
    line = _answered(place)
    page = place.path / "call.html"
    _ask(place, line, "--html", str(page))
    text = page.read_text(encoding="utf-8")
    assert not re.search(r"""(?i)(src|href)\s*=|url\(|@import|https?://""", text)
    assert line.decode() in text


def test_a_call_that_is_not_there_is_a_no(place: Place) -> None:
    """Exit 3, and it says what was asked."""
    place.write_files(20)
    code, out = place.run("evidence", "--number", "999", "--at", "2026-04-26T00:00:30")
    assert code == 3
    assert out.startswith("no call found for number 999")


def test_a_window_and_filters_name_a_call_as_well_as_a_moment(place: Place) -> None:
    """The newest call that they let through; how many others do is said. Without a window the last days are looked at."""
    place.write_files(400)
    calls = [line.rstrip(b"\n").split(b"|") for line in place.lines()]
    gateway = calls[100][7]
    newest = max(stop for stop, name in ((cells[3], cells[7]) for cells in calls) if name == gateway)
    for window in ((), ("--day", "2026-04-26"), ("--from", "2026-04-26T00:00", "--to", "2026-04-26")):
        code, out = place.run("evidence", "--caller-gateway", gateway.decode(), *window, "--json")
        found = json.loads(out)
        assert code == 0
        assert found["copies"][0]["raw"]["line"].split("|")[3] == newest.decode()
        assert found["also_matching"] == sum(cells[7] == gateway for cells in calls) - 1
    line = _answered(place)
    code, out = place.run("evidence", "--number", line.split(b"|")[1].decode(), "--answered", "--tz", "UTC", "--json")
    assert (code, json.loads(out)["copies"][0]["raw"]["line"].encode()) == (0, line)


def test_evidence_that_is_asked_for_in_no_way_is_a_usage_error(place: Place) -> None:
    """Any call of the day is no question; a moment and a window are two."""
    place.write_files(20)
    assert place.run("evidence", "--day", "2026-04-26")[0] == 2
    assert place.run("evidence", "--number", "1", "--at", "2026-04-26", "--day", "2026-04-26")[0] == 2


def test_the_time_around_a_moment_is_not_cut_short_by_a_clock_change(place: Place) -> None:
    """An hour before 03:10 is 01:10 on the night in which 02:00 to 03:00 does not occur."""
    line = "88|97|2026-03-29 01:20:00|2026-03-29 01:30:00|15000|200|0|G|V|203.0.113.5|198.51.100.7|88|97|88|97|0|0|1|1\n"
    (place.path / "cdr").mkdir()
    (place.path / "cdr" / "2026032901.txt").write_text(line)
    configuration = place.path / "vosship.yaml"
    configuration.write_text(configuration.read_text().replace("Asia/Dhaka", "Europe/Berlin"))
    code, out = place.run("evidence", "--number", "88", "--at", "2026-03-29T03:10", "--json")
    assert (code, json.loads(out)["found"]) == (0, True)


@pytest.mark.parametrize("at", ["0001-01-01T00:00", "9999-12-31T23:59", "9999-12-31", "20260426", "noon"])
def test_a_moment_that_is_none_is_a_usage_error(place: Place, capsys: pytest.CaptureFixture[str], at: str) -> None:
    """Year 1 has no hour before it, year 9999 none after; the option that was given is named."""
    assert cli.run(["evidence", "-c", str(place.path / "vosship.yaml"), "--number", "1", "--at", at]) == 2
    assert f"--at: '{at}' is no time" in capsys.readouterr().err


def test_an_id_that_no_store_holds_is_a_no(place: Place) -> None:
    """Exit 3 like any call that is not there, and the JSON is still JSON."""
    place.write_files(20)
    place.ship()
    code, out = place.run("evidence", "--id", "AAAAAAAAAAAAAAAA", "--json")
    assert (code, json.loads(out)["found"]) == (3, False)


def _answered(place: Place) -> bytes:
    return next(line for line in place.lines()[5:] if line.split(b"|")[4] != b"0").rstrip(b"\n")


def _ask(place: Place, line: bytes, *words: str) -> tuple[int, dict[str, Any]]:
    cells = line.decode().split("|")
    code, out = place.run("evidence", "--number", cells[1], "--at", cells[3], "--json", *words)
    found: dict[str, Any] = json.loads(out)
    return code, found
