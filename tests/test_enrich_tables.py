"""An operator's tables as they come: exported by a spreadsheet, written by hand, replaced under a running agent."""

from __future__ import annotations

from pathlib import Path

from tests.test_enrich import GATEWAYS, Clock, processor, table


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
