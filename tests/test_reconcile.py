"""`vosship reconcile` between own copies: files, forward spool and store, held to the simulator's own account."""

from __future__ import annotations

import asyncio
import gzip
import json
import re
import shutil
from collections import Counter
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from tests.reconcile_parts import DAY, FAULTS, Place, place

__all__ = ["place"]

DHAKA = ZoneInfo("Asia/Dhaka")


def test_classes_are_those_of_the_simulators_account(place: Place) -> None:
    """Drops, resends, reordering, changes and unfiled calls: every class as the simulator counted it; exit 3."""
    truth = place.simulate(6000, faults=FAULTS)
    place.ship()
    assert all(truth.values()), "the seed meets every class"
    for right in ("forward", "store:forward"):
        code, report = place.reconcile("cdr", right)
        assert code == 3
        assert report["verdict"] == "different"
        assert {word: report["classes"][word] for word in truth} == truth
        assert not any(report["classes"][word] for word in ("duplicate_left", "in_flight", "cannot_judge", "unparsable"))
        assert report["left"]["gaps"] == report["right"]["gaps"] == []


def test_the_same_copies_give_the_same_report_byte_for_byte(place: Place) -> None:
    """JSON, text, page and CSV of two runs are equal."""
    place.simulate(2000, faults=FAULTS)
    found = []
    for number in (1, 2):
        page, table = place.path / f"{number}.html", place.path / f"{number}.csv"
        words = ("reconcile", "--left", "cdr", "--right", "forward", "--day", "2026-04-26")
        _, text = place.run(*words, "--html", str(page), "--csv", str(table))
        _, shape = place.run(*words, "--json")
        found.append((text, shape, page.read_bytes(), table.read_bytes()))
    assert found[0] == found[1]


def test_clean_feeds_are_equal(place: Place) -> None:
    """Nothing lost, nothing changed: exit 0, and every call is matched."""
    place.simulate(1500)
    code, report = place.reconcile("cdr", "forward")
    assert (code, report["verdict"], report["classes"]["matched"]) == (0, "equal", 1500)
    assert report["left"]["seconds"] == report["right"]["seconds"] > 0


def test_a_pipe_file_equals_a_csv_forward(place: Place) -> None:
    """Milliseconds against whole seconds, text against epoch times: the same calls, compared at the coarser resolution."""
    place.simulate(800, transport="udp")
    code, report = place.reconcile("cdr", "forward")
    assert (code, report["classes"]["matched"]) == (0, 800)
    assert report["compared"]["time_resolution"] == report["compared"]["hold_resolution"] == "s"


def test_a_changed_call_shows_its_field_and_both_places(place: Place) -> None:
    """A mismatched pair names the field that differs, and the byte at which either line begins."""
    place.write_files(300)
    shutil.copytree(place.path / "cdr", place.path / "copy")
    lines = place.lines()
    place.write_files(1, "one", seed=9)  # a second file, so that the compared one is no longer the newest
    changed = lines[100].split(b"|")
    changed[5] = b"599"
    file = next((place.path / "copy").iterdir())
    file.write_bytes(b"".join([*lines[:100], b"|".join(changed), *lines[101:]]))
    code, report = place.reconcile("cdr", "copy")
    (sample,) = report["samples"]["mismatched"]
    assert (code, sample["differs"], sample["other"]["endReason"]) == (3, ["endReason"], "599")
    assert sample["offset"] == sample["other"]["offset"] == len(b"".join(lines[:100]))
    assert report["differing_fields"] == {"endReason": 1}


def test_equal_lines_at_two_places_stay_two_calls(place: Place) -> None:
    """A file that holds a line twice against one that holds it once: one call is missing, none is a duplicate."""
    place.write_files(50)
    lines = place.lines()
    name = next((place.path / "cdr").iterdir()).name
    (place.path / "copy").mkdir()
    (place.path / "copy" / name).write_bytes(b"".join([*lines, lines[-1]]))
    code, report = place.reconcile("cdr", "copy")
    assert code == 3
    assert {word: count for word, count in report["classes"].items() if count} == {"matched": 50, "right_only": 1}


def test_an_upgrade_from_17_to_19_columns_is_no_difference(place: Place) -> None:
    """A copy without the two delays agrees with one that has them."""
    place.write_files(60)
    name = next((place.path / "cdr").iterdir()).name
    (place.path / "copy").mkdir()
    short = [b"|".join(line.rstrip(b"\n").split(b"|")[:17]) + b"\n" for line in place.lines()]
    (place.path / "copy" / name).write_bytes(b"".join(short))
    code, report = place.reconcile("cdr", "copy")
    assert (code, report["classes"]["matched"]) == (0, 60)
    assert "callerPdd" not in report["compared"]["fields"]


def test_the_quick_way_and_the_long_way_agree(place: Place) -> None:
    """Hours of dirty lines: comparing bytes first gives the report that parsing every line gives."""
    place.write_files(9000, seed=4, faults=frozenset({"bad-bytes", "half-lines"}), interval_s=900)
    shutil.copytree(place.path / "cdr", place.path / "copy")
    for number, file in enumerate(sorted((place.path / "copy").iterdir())):
        lines = file.read_bytes().splitlines(keepends=True)
        if number == 1:  # an upgrade: the file has two columns fewer
            lines = [b"|".join(line.rstrip(b"\n").split(b"|")[:17]) + b"\n" for line in lines]
        if number == 2:
            lines = [line.replace(b"\n", b"\r\n") for line in lines]
        if number == 3:
            lines[5:7] = [b"\n", lines[6].replace(b"|200|", b"|503|"), lines[5]]
        if len(lines) > 40 and number > 3:
            del lines[10]
            lines[20] = lines[21]
        file.write_bytes(b"".join(lines))
    reports = []
    for skew in (2, 3):
        place.configure(skew=skew)
        reports.append(place.reconcile("cdr", "copy"))
    assert reports[0] == reports[1]
    assert reports[0][1]["classes"]["left_only"] > 0
    assert reports[0][1]["classes"]["unparsable"] > 0


def test_archives_are_read_like_files(place: Place) -> None:
    """A directory of `.gz` equals the plain one."""
    place.write_files(2000)
    (place.path / "copy").mkdir()
    for file in (place.path / "cdr").iterdir():
        (place.path / "copy" / f"{file.name}.gz").write_bytes(gzip.compress(file.read_bytes()))
    code, report = place.reconcile("cdr", "copy")
    assert (code, report["classes"]["matched"]) == (0, 2000)


def test_a_window_cuts_both_sides_alike(place: Place) -> None:
    """Half an hour out of several: only calls that stopped in it count, on the quick way and on the long one."""
    place.write_files(9000)
    shutil.copytree(place.path / "cdr", place.path / "copy")
    stops = [line.split(b"|")[3].decode() for line in place.lines()]
    wanted = sum("2026-04-26 00:40:00" <= stop < "2026-04-26 01:10:00" for stop in stops)
    for skew in (2, 3):
        place.configure(skew=skew)
        words = ("--from", "2026-04-26T00:40", "--to", "2026-04-26T01:10", "--json")
        _, out = place.run("reconcile", "--left", "cdr", "--right", "copy", *words)
        assert re.search(r'"matched":(\d+)', out)[1] == str(wanted)  # type: ignore[index]  # it is there


def test_an_absent_receiver_cannot_be_judged_for_just_that_span(place: Place) -> None:
    """Calls that ended while nobody listened are no loss: exit 4; one lost outside of it makes 3, and is the only `left_only`."""
    place.write_files(400)
    _forward(place, lambda number: not 150 <= number < 200)
    code, report = place.reconcile("cdr", "forward")
    assert (code, report["verdict"]) == (4, "cannot_judge")
    assert report["classes"]["left_only"] == 0
    assert (report["classes"]["cannot_judge"], report["classes"]["matched"]) == (50, 350)
    (gap,) = report["right"]["gaps"]
    lines = place.lines()
    assert _ms(gap["from"]) <= _stop_ms(lines[150])
    assert _ms(gap["to"]) > _stop_ms(lines[199])
    assert _ms(gap["to"]) - _ms(gap["from"]) < _stop_ms(lines[199]) - _stop_ms(lines[150]) + 120_000


def test_a_loss_beside_a_gap_is_still_a_difference(place: Place) -> None:
    """Exit 3, and the gap is still named."""
    place.write_files(400)
    _forward(place, lambda number: not 150 <= number < 200 and number != 320)
    code, report = place.reconcile("cdr", "forward")
    assert (code, report["classes"]["left_only"], report["classes"]["cannot_judge"]) == (3, 1, 50)
    assert len(report["right"]["gaps"]) == 1


def test_a_side_that_never_was_cannot_be_judged(place: Place) -> None:
    """No spool at all, and no file at all: exit 4, nothing is called lost."""
    place.write_files(40)
    for right in ("forward", "copy"):
        code, report = place.reconcile("cdr", right)
        assert (code, report["classes"]["cannot_judge"], report["classes"]["left_only"]) == (4, 40, 0)


def test_a_call_on_its_way_is_left_out_of_the_verdict(place: Place) -> None:
    """The last calls before the copies were taken are in flight, older ones are missing."""
    place.write_files(200)
    name = next((place.path / "cdr").iterdir()).name
    lines = place.lines()
    (place.path / "copy").mkdir()
    (place.path / "copy" / name).write_bytes(b"".join(lines[:-5]))
    as_of = _local(_stop_ms(lines[-1]) + 10_000)
    code, report = place.reconcile("cdr", "copy", "--as-of", as_of, "--grace-s", "300")
    assert (code, report["classes"]["in_flight"]) == (0, 5)
    code, report = place.reconcile("cdr", "copy", "--as-of", as_of, "--grace-s", "0")
    assert (code, report["classes"]["left_only"]) == (3, 5)


def test_a_hole_between_files_is_a_gap(place: Place) -> None:
    """An hour's file that is not there, where one should be, cannot be judged against the copy that has it."""
    place.write_files(3000, interval_s=300)
    shutil.copytree(place.path / "cdr", place.path / "copy")
    files = sorted((place.path / "copy").iterdir())
    count = files[2].read_bytes().count(b"\n")
    files[2].unlink()
    code, report = place.reconcile("cdr", "copy")
    assert (code, report["classes"]["cannot_judge"], report["classes"]["left_only"]) == (4, count, 0)


def test_the_page_asks_no_other_host_and_escapes_what_it_shows(place: Place) -> None:
    """Self-contained: no address to fetch, a policy that forbids it, and a hostile number stays text."""
    place.write_files(30)
    name = next((place.path / "cdr").iterdir()).name
    lines = place.lines()
    cells = lines[3].split(b"|")
    cells[0] = b"<script>alert(1)</script>"
    (place.path / "copy").mkdir()
    (place.path / "copy" / name).write_bytes(b"".join([*lines[:3], b"|".join(cells), *lines[4:]]))
    page = place.path / "report.html"
    place.reconcile("cdr", "copy", "--html", str(page))
    text = page.read_text(encoding="utf-8")
    assert not re.search(r"""(?i)(src|href)\s*=|url\(|@import|https?://""", text)
    assert "default-src 'none'" in text
    assert "<script" not in text
    assert "&lt;script&gt;" in text


def test_every_difference_is_in_the_csv(place: Place) -> None:
    """A row a copy: two for a mismatched pair, one for all else."""
    truth = place.simulate(3000, faults=FAULTS)
    table = place.path / "differences.csv"
    place.reconcile("cdr", "forward", "--csv", str(table))
    rows = [line.split(",")[0] for line in table.read_text(encoding="utf-8").splitlines()[1:]]
    counted = {word: rows.count(word) for word in truth if word != "matched"}
    assert counted == {**{word: count for word, count in truth.items() if word != "matched"}, "mismatched": 2 * truth["mismatched"]}


def test_differences_are_searchable_beside_the_calls(place: Place) -> None:
    """`--index`: a document a copy that is not matched, found by its channel only; doing it again doubles nothing."""
    truth = place.simulate(3000, faults=FAULTS)
    place.ship()
    for _ in range(2):
        place.reconcile("cdr", "forward", "--index")
        _, out = place.run("search", *DAY, "--channel", "reconcile", "--resends", "--limit", "10000", "--json")
        found = [json.loads(line) for line in out.splitlines()]
        counted = Counter(one["labels.reconcile_class"] for one in found)
        assert counted == {word: count for word, count in truth.items() if word != "matched"}
        assert {one["_index"] for one in found} == {"vos3000-reconcile-2026.04"}
    _, out = place.run("search", *DAY, "--channel", "all", "--resends", "--limit", "10000", "--json")
    assert not any("reconcile" in line for line in out.splitlines())


def test_without_a_window_the_newest_calls_of_the_sides_are_compared(place: Place) -> None:
    """The last 31 days are counted back from the newest file or stored call, not from today."""
    place.simulate(200)
    place.ship()
    for left, right in (("cdr", "store"), ("store", "cdr"), ("cdr", "forward")):
        code, out = place.run("reconcile", "--left", left, "--right", right, "--json")
        report = json.loads(out)
        assert (code, report["verdict"], report["classes"]["matched"]) == (0, "equal", 200), (left, right)
        assert report["window"]["to"] == "2026-04-27T00:00:00+06:00"


def test_an_unknown_side_is_a_sentence(place: Place) -> None:
    """A misspelt name: exit 2."""
    place.write_files(5)
    code, _ = place.run("reconcile", "--left", "cdr", "--right", "forwrd", "--day", "2026-04-26")
    assert code == 2


def _forward(place: Place, kept: object) -> None:
    """Send the files' lines a second after each call's stop, by an injected clock; the receiver is closed while `kept` says no."""
    assert callable(kept)
    lines = place.lines()
    clock = [_stop_ms(lines[0]) / 1000 - 60]

    async def run() -> None:
        forward = place.application(lambda: clock[0]).inputs["forward"].plugin
        await forward.open()
        away = False
        for number, line in enumerate(lines):
            clock[0] = max(clock[0], _stop_ms(line) / 1000 + 1)
            single = not kept(number) and kept(number - 1) and number + 1 < len(lines) and kept(number + 1)
            if single:
                continue
            if kept(number) == away:
                await (forward.open() if away else forward.close())
                away = not away
            if not away:
                await _send(forward, line)
        clock[0] += 60
        await forward.close()

    asyncio.run(run())


async def _send(forward: object, line: bytes) -> None:
    port = next(one.port for one in forward.listening if one.protocol == "tcp")  # type: ignore[attr-defined]  # a Forward
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(line)
    writer.write_eof()
    await reader.read()  # the receiver closes once the line is safe
    writer.close()
    await writer.wait_closed()


def _stop_ms(line: bytes) -> int:
    return _ms(line.split(b"|")[3].decode())


def _ms(text: str) -> int:
    found = datetime.fromisoformat(text)
    return round((found if found.tzinfo else found.replace(tzinfo=DHAKA)).timestamp() * 1000)


def _local(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, DHAKA).isoformat()


def test_the_page_opens_in_a_browser(place: Place) -> None:
    """A real browser draws the chart."""
    browser = shutil.which("chromium")
    if browser is None:
        import pytest

        pytest.skip("no chromium on this machine")
    import subprocess

    place.simulate(2000, faults=FAULTS)
    page = place.path / "report.html"
    place.reconcile("cdr", "forward", "--html", str(page))
    words = [browser, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={place.path / 'browser'}", "--dump-dom"]
    shown = subprocess.run([*words, page.as_uri()], capture_output=True, timeout=120, check=True)
    assert shown.stdout.count(b"<rect") >= 4
    assert Path(page).stat().st_size < 200_000


@pytest.mark.parametrize("right", ["forward", "copy", "store:file"])
def test_more_than_max_results_is_an_error_here_too(place: Place, right: str) -> None:
    """Exit 5 and no report, whichever way the sides are read (files are compared line by line in the database)."""
    place.simulate(300)
    shutil.copytree(place.path / "cdr", place.path / "copy")
    place.ship()
    config, table = place.path / "vosship.yaml", place.path / "differences.csv"
    before = config.read_text(encoding="utf-8")
    for most, wanted in ((299, 5), (300, 0)):
        config.write_text(f"{before}\nsearch: {{max_results: {most}}}\n", encoding="utf-8")
        code, out = place.run("reconcile", "--left", "cdr", "--right", right, *DAY, "--csv", str(table))
        assert (code, bool(out), table.exists()) == (wanted, not wanted, not wanted)
