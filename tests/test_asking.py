"""Options of window, filters and store, as every asking command takes them."""

from __future__ import annotations

from pathlib import Path

import pytest

from vosship import cli

CONFIG = "switch: s1\ntimezone: Asia/Dhaka\ndata_dir: data\ninputs: {cdr: {type: files, paths: ['cdr/*.txt']}}\n"


@pytest.mark.parametrize("word", ["search", "stats --by hour", "reconcile --left cdr --right store", "evidence --number 1"])
def test_an_address_that_is_none_is_a_usage_error(word: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A misspelt address is said to be one, rather than answered with no calls (or by a server's error)."""
    (tmp_path / "vosship.yaml").write_text(CONFIG, encoding="utf-8")
    assert cli.run([*word.split(), "-c", str(tmp_path / "vosship.yaml"), "--ip", "203.0.113.500"]) == 2
    shown = capsys.readouterr()
    assert "'203.0.113.500' is no IP address" in shown.err
    assert shown.out == ""
