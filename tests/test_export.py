"""`search`, `export` and `stats` as an operator calls them, over a store of their own."""

from __future__ import annotations

import csv
import hashlib
import json
import time
from pathlib import Path
from typing import Any

import duckdb
import pytest
from sqlite_calls import calls, decoded, document, send

from vosship import cli, layouts
from vosship.exporting import Parts, Totals
from vosship.layouts import seconds

WINDOW = ("--from", "2026-04-25", "--to", "2026-04-27", "--channel", "all", "--resends")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with a configuration and a store of 3,000 calls over three days."""
    return filled(tmp_path, 3000)


def filled(directory: Path, count: int, **more: Any) -> Path:
    """Write a configuration and fill its store."""
    config = {
        "switch": "dhaka-1",
        "timezone": "Asia/Dhaka",
        "data_dir": "data",
        "inputs": {"cdr": {"type": "files", "paths": ["cdr/*.txt"]}},
        **more,
    }
    (directory / "vosship.yaml").write_text(json.dumps(config))
    documents = calls(count, seed=21)
    send(directory / "data" / "store", [documents[start : start + 2000] for start in range(0, count, 2000)])
    return directory


def vosship(place: Path, *words: str) -> int:
    """One command in that folder's configuration; its exit code."""
    return cli.run([words[0], "-c", str(place / "vosship.yaml"), *words[1:]])


def test_search_json_gives_the_documents_with_id_and_index(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """One object a line, every call of the window, fields as sent; the window as understood on standard error."""
    assert vosship(place, "search", *WINDOW, "--json", "--limit", "9999") == 0
    said = capfd.readouterr()
    found = [json.loads(line) for line in said.out.splitlines()]
    expected = {each.id: {"_id": each.id, "_index": each.index, **decoded(each)} for each in calls(3000, seed=21)}
    assert {each["_id"]: each for each in found} == expected
    assert "2026-04-25T00:00:00+06:00" in said.err


def test_without_a_window_the_newest_calls_are_found_however_old(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The last days are counted back from the newest call, so a copy of an old directory answers too."""
    assert vosship(place, "search", "--channel", "all", "--resends", "--json", "--limit", "9999") == 0
    said = capfd.readouterr()
    assert len(said.out.splitlines()) == 3000
    assert "31 days" in said.err


def test_a_range_of_32_days_is_denied_to_search_only(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """search exit 5 with the way out; export and stats go through it."""
    words = ("--from", "2026-03-27", "--to", "2026-04-27", "--channel", "all", "--resends")
    assert vosship(place, "search", *words) == 5
    assert "vosship export" in capfd.readouterr().err
    assert vosship(place, "stats", *words, "--by", "day", "--json") == 0
    assert len(json.loads(capfd.readouterr().out)) == 3
    assert vosship(place, "export", *words, "--format", "ndjson", "--out", str(place / "x.ndjson")) == 0
    assert len((place / "x.ndjson").read_bytes().splitlines()) == 3000


def test_a_denied_hour_leaves_no_file(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Exit 5 from all of them, nothing written; with a reason it goes through and the reason is kept."""
    place = filled(tmp_path, 100, search={"deny_hours": list(range(24))})
    before = sorted(place.rglob("*"))
    export = ("export", *WINDOW, "--format", "csv", "--out", str(place / "x.csv"))
    assert vosship(place, *export) == vosship(place, "search", *WINDOW) == vosship(place, "stats", *WINDOW, "--by", "ip") == 5
    assert sorted(place.rglob("*")) == before
    assert vosship(place, *export, "--override-deny", "court order 17") == 0
    assert json.loads((place / "data" / "audit.log").read_text())["reason"] == "court order 17"


def test_more_than_max_results_is_an_error_without_a_file(tmp_path: Path) -> None:
    """Never a silent cut: exit 5, and neither the file nor a part of it is left."""
    place = filled(tmp_path, 1500, search={"max_results": 1200})
    assert vosship(place, "export", *WINDOW, "--format", "csv", "--out", str(place / "x.csv")) == 5
    assert sorted(path.name for path in place.iterdir()) == ["data", "vosship.yaml"]
    assert vosship(place, "search", *WINDOW, "--limit", "1201") == 5


def test_more_than_max_results_writes_nothing_on_standard_output(tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """Whatever reads a pipe does not wait for an exit code: half an answer would be taken for a whole one."""
    place = filled(tmp_path, 1500, search={"max_results": 1499})
    capfdbinary.readouterr()
    export = ("export", *WINDOW, "--format", "ndjson", "--out", "-")
    assert vosship(place, *export) == 5
    assert capfdbinary.readouterr().out == b""
    (tmp_path / "more").mkdir()
    filled(tmp_path / "more", 1500, search={"max_results": 1500})
    assert vosship(tmp_path / "more", *export) == 0
    assert capfdbinary.readouterr().out.count(b"\n") == 1500


def test_export_csv_has_every_call_and_a_manifest(place: Path) -> None:
    """Newest first, a title line, values quoted where needed; the manifest counts and hashes the file."""
    send(
        place / "data" / "store", [[document({"@timestamp": "2026-04-25T06:00:00.000Z", "callerE164": 'a,"b"', "holdTime": 1500})]]
    )
    out = place / "x.csv"
    assert vosship(place, "export", *WINDOW, "--format", "csv", "--out", str(out)) == 0
    with out.open(newline="") as file:
        found = list(csv.DictReader(file))
    assert len(found) == 3001
    assert [row["@timestamp"] for row in found] == sorted((row["@timestamp"] for row in found), reverse=True)
    assert [row["holdTime"] for row in found if row["callerE164"] == 'a,"b"'] == ["1500"]
    manifest = json.loads((place / "x.csv.manifest.json").read_text())
    assert manifest["sha256"] == hashlib.sha256(out.read_bytes()).hexdigest()
    assert manifest["records"] == 3001
    assert manifest["answered"] == sum(int(row["holdTime"] or 0) > 0 for row in found)
    assert manifest["seconds"] == sum(int(row["holdTime"] or 0) for row in found) / 1000
    assert manifest["complete"] is None
    assert not (place / "x.csv.parts").exists()


def test_export_parquet_has_the_same_calls_with_types(place: Path) -> None:
    """Times are timestamps, durations whole numbers, and nothing is missing."""
    out = place / "x.parquet"
    assert vosship(place, "export", *WINDOW, "--format", "parquet", "--out", str(out)) == 0
    [row] = duckdb.sql(f"""SELECT count(*), sum(holdTime), epoch_ms(max("@timestamp")) FROM '{out}'""").fetchall()
    sent = [decoded(each) for each in calls(3000, seed=21)]
    assert row[:2] == (3000, sum(each["holdTime"] for each in sent))
    newest = max(each["@timestamp"] for each in sent)
    assert time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(row[2] // 1000)) == newest


def test_an_operator_s_layout_names_orders_and_converts(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Names, order, seconds rounded up, local dates and the delimiter are the layout's; an unknown field is refused."""
    (place / "bill.yaml").write_text(
        'delimiter: ";"\ncolumns:\n  - {field: callerE164, name: A}\n'
        '  - {field: stopTime, name: END, date: "%d.%m.%Y %H:%M"}\n  - {field: holdTime, name: S, unit: s, rounding: up}\n'
    )
    fields = {
        "@timestamp": "2026-04-25T18:30:00.000Z",
        "stopTime": "2026-04-25T18:30:00.000Z",
        "callerE164": "777",
        "holdTime": 21_001,
    }
    send(place / "data" / "store", [[document(fields)]])
    words = ("export", "--day", "2026-04-26", "--caller", "777", "--format", "csv", "--out", "-", "--layout")
    assert vosship(place, *words, "bill.yaml") == 0
    assert capfd.readouterr().out == "A;END;S\n777;26.04.2026 00:30;22\n"
    (place / "bill.yaml").write_text("columns:\n  - {field: calerE164}\n")
    assert vosship(place, *words, "bill.yaml") == 2
    assert "callerE164" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("ms", "decimals", "rounding", "expected"),
    [(21_050, 0, "nearest", "21"), (21_500, 0, "nearest", "22"), (21_001, 0, "up", "22"), (21_000, 0, "up", "21"),
     (21_999, 0, "down", "21"), (1_055, 2, "nearest", "1.06"), (1_005, 3, "nearest", "1.005"), (999, 1, "up", "1.0")],
)  # fmt: skip
def test_seconds_are_exact(ms: int, decimals: int, rounding: Any, expected: str) -> None:
    """Whole-number arithmetic: no binary fraction decides a billed second."""
    assert seconds(ms, decimals, rounding) == expected


def test_a_broken_off_export_goes_on_and_gives_the_same_bytes(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Broken off amid its days it leaves no file; the same command then ends with the bytes of an undisturbed one."""
    whole, cut = place / "whole.csv", place / "cut.csv"
    assert vosship(place, "export", *WINDOW, "--format", "csv", "--out", str(whole)) == 0
    oldest = min((place / "data" / "store").glob("*.sqlite"))
    content = oldest.read_bytes()
    oldest.write_bytes(b"damaged " * 4096)
    assert vosship(place, "export", *WINDOW, "--format", "csv", "--out", str(cut)) == 1
    assert not cut.exists()
    assert list((place / "cut.csv.parts").glob("*.part"))
    oldest.write_bytes(content)
    assert vosship(place, "export", "--day", "2026-04-25", "--format", "csv", "--out", str(cut)) == 2
    assert "--restart" in capfd.readouterr().err
    assert vosship(place, "export", *WINDOW, "--format", "csv", "--out", str(cut)) == 0
    assert "going on" in capfd.readouterr().err
    assert cut.read_bytes() == whole.read_bytes()
    assert not (place / "cut.csv.parts").exists()


def test_only_a_day_that_was_complete_is_not_read_again(tmp_path: Path) -> None:
    """A part written while calls were still to come is taken anew; one of a settled day, if whole, is not."""
    parts = Parts(tmp_path / "x.csv", {"question": 1})
    assert parts.open(restart=False) is False
    for day, settled in (("2026-04-25", True), ("2026-04-26", False)):
        parts.write(day, lambda file: Totals(records=1, size_bytes=file.write(b"x")), settled=settled)
    assert parts.open(restart=False) is True
    settled_part = parts.done("2026-04-25")
    assert settled_part is not None
    assert settled_part.totals.records == 1
    assert parts.done("2026-04-26") is None
    parts.path("2026-04-25").unlink()
    assert parts.done("2026-04-25") is None


def test_stats_json_has_the_contract_s_fields_and_its_caveats(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Every field by its name; the vendor's flattering ASR is said beside it."""
    assert vosship(place, "stats", *WINDOW, "--by", "callee_gateway", "--json") == 0
    found = json.loads(capfd.readouterr().out)
    assert [row["key"] for row in found] == ["", "VEN0", "VEN1", "VEN2", "VEN3"]
    names = ["key", "attempts", "illegal", "answered", "asr_ratio", "ner_ratio", "acd_s", "minutes", "caveats"]
    names += [f"{side}_pdd_ms_{rank}" for side in ("caller", "callee") for rank in ("p50", "p95")]
    assert all(set(names) <= set(row) for row in found)
    assert any("flattering" in caveat for caveat in found[0]["caveats"])
    assert vosship(place, "stats", *WINDOW, "--by", "gateway") == 2
    assert "did you mean 'caller_gateway'" in capfd.readouterr().err


def test_built_in_layouts_name_known_fields() -> None:
    """The pipe layout is the switch's own nineteen columns."""
    assert len(layouts.BUILT_IN["pipe"].columns) == 19
