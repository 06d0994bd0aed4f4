"""An operator's tables as they come: exported by a spreadsheet, written by hand, wrong, replaced under a running agent."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.test_enrich import DECK, GATEWAYS, Clock, processor, record, table
from vosship.errors import ConfigError


@pytest.mark.parametrize(
    ("kind", "text", "line", "sentence"),
    [
        ("gateways", "", 1, "the title line is missing"),
        ("gateways", "name\nx\n", 1, "the column 'id' is missing"),
        ("gateways", "id,id\nx,y\n", 1, "the column 'id' stands twice"),
        ("gateways", "id\na\nb\na\n", 4, "the gateway 'a' stands twice, first in line 2"),
        ("gateways", "id,side\na,in\n", 2, "the side is 'in'"),
        ("gateways", "id,strip_callee\na,0 0\n", 2, "'0 0' is no strip rule"),
        ("gateways", 'id,name\na,"b\n', 2, "not valid CSV"),
        ("gateways", "id,name\n\na,b,c\n", 3, "3 cells where the title line has 2"),
        ("gateways", b"id,name\na,b\nc,\xd6\xd0\n", 3, "it is not UTF-8"),
        ("prefixes", "prefix,destination\n44,UK\n880,\n", 3, "the prefix 880 has no destination"),
        ("prefixes", "prefix,destination\n44a,UK\n", 2, "'44a' is no prefix"),
        ("prefixes", "prefix,destination\n+44,UK\n 44,UK\n", 3, "the prefix '44' stands twice, first in line 2"),
        ("prefixes", "prefix,destination,country\n44,UK,United Kingdom\n", 2, "'United Kingdom' is no country code"),
        ("prefixes", "prefix,destination,valid_from\n44,UK,01/05/2026\n", 2, "'01/05/2026' is no date"),
        ("prefixes", "Code,destination\n44,UK\n", 1, "the column 'prefix' is missing"),
    ],
)
def test_a_bad_table_stops_the_start(tmp_path: Path, kind: str, text: str | bytes, line: int, sentence: str) -> None:
    """A table that cannot be used is refused with file, line and a sentence, at the option that names it."""
    path = table(tmp_path / "t.csv", text)
    with pytest.raises(ConfigError) as caught:
        processor(kind, tmp_path, table="t.csv")
    assert caught.value.message.startswith(f"{path}, line {line}: {sentence}")
    assert caught.value.path == "table"


def test_a_missing_table_stops_the_start(tmp_path: Path) -> None:
    """A table that is not there is refused with its path."""
    with pytest.raises(ConfigError, match=r"cannot read .*nowhere\.csv: No such file"):
        processor("prefixes", tmp_path, table="nowhere.csv")


def test_a_column_nobody_knows_is_refused_with_the_nearest(tmp_path: Path) -> None:
    """A misspelt name under `columns` gets a hint."""
    table(tmp_path / "t.csv", DECK)
    with pytest.raises(ConfigError, match="did you mean 'destination'"):
        processor("prefixes", tmp_path, table="t.csv", columns={"destinaton": "Zone"})


def test_what_a_spreadsheet_leaves_around_a_table_is_passed_over(tmp_path: Path) -> None:
    """Columns without a heading, rows of empty cells and lines of blanks, wherever they stand."""
    table(tmp_path / "gateways.csv", "id,name,,\r\n,,,\r\n  \r\nCS1,Dhaka,,note\r\n , ,,\r\n,,,\r\n")
    table(tmp_path / "deck.csv", "prefix,destination,\n880,Bangladesh,a note\n,,\n")
    gateways = processor("gateways", tmp_path, table="gateways.csv")
    prefixes = processor("prefixes", tmp_path, table="deck.csv", columns={"country": ""})
    one = record(callerGatewayId="CS1", calleeE164="8801711000001")
    gateways.process([one])
    prefixes.process([one])
    assert (one.fields["caller.gateway.name"], one.fields["callee.destination"]) == ("Dhaka", "Bangladesh")
    assert not [name for name in one.fields if name.startswith("labels")]


@pytest.mark.parametrize(
    ("title", "sentence"),
    [
        ("id,a b,a-b", "the columns 'a b' and 'a-b' would both be labels.a_b"),
        ("id,%", "the column '%' has no letter for a label"),
    ],
)
def test_a_label_has_a_name_of_its_own(tmp_path: Path, title: str, sentence: str) -> None:
    """Two columns that would be one field, and one that would have no name, are refused at the title line."""
    table(tmp_path / "gateways.csv", f"{title}\n")
    with pytest.raises(ConfigError) as caught:
        processor("gateways", tmp_path, table="gateways.csv")
    assert f"line 1: {sentence}" in str(caught.value)


def test_a_table_whose_rights_are_mended_is_read_again(tmp_path: Path) -> None:
    """A change of mode or owner alone is a change: a table that could not be read for its mode is not waited for for ever."""
    clock = Clock()
    path = table(tmp_path / "gateways.csv", GATEWAYS)
    gateways = processor("gateways", tmp_path, clock, table="gateways.csv")
    before = path.stat().st_ctime_ns
    while path.stat().st_ctime_ns == before:  # the kernel's clock for files stands still for some milliseconds
        path.chmod(0o640)
    clock.at += 31
    assert gateways._table.look()
    gateways._table.wait()
    clock.at += 31
    assert not gateways._table.look()


@pytest.mark.parametrize("cell", ["880.0", "8801/8802", "8801-8804", "+8801 - +8804", "8.8E+11"])
def test_a_cell_with_more_than_one_prefix_is_refused(tmp_path: Path, cell: str) -> None:
    """Joined, its digits would be a prefix that no number has, and nobody would hear of it."""
    table(tmp_path / "deck.csv", f"prefix,destination\n{cell},Bangladesh\n")
    with pytest.raises(ConfigError) as caught:
        processor("prefixes", tmp_path, table="deck.csv")
    assert f"line 2: {cell!r} is no prefix" in str(caught.value)


@pytest.mark.parametrize("cell", ["1-242", "44 1534", "(880) 17", "+8801", "008801", "4420-7"])
def test_a_prefix_may_be_written_with_separators(tmp_path: Path, cell: str) -> None:
    """As people write numbers."""
    table(tmp_path / "deck.csv", f"prefix,destination\n{cell},Somewhere\n")
    one = record(calleeE164="".join(sign for sign in cell.removeprefix("00") if sign.isdigit()) + "123456")
    processor("prefixes", tmp_path, table="deck.csv").process([one])
    assert one.fields["callee.destination"] == "Somewhere"
