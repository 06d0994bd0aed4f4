"""`vosship status`: what its one line and its table say of an account."""

from __future__ import annotations

from pathlib import Path

import pytest

from vosship import cli
from vosship.commands.status import judge
from vosship.ledger import PipelineStatus


def test_a_servers_words_do_not_break_the_one_line() -> None:
    """A proxy's page has line breaks, and a bar would begin the performance data."""
    page = "refused with 502: <html>\n<body>a | b\n</body></html>"
    for state, wanted in (("halted", 2), ("waiting", 1)):
        code, line = judge([PipelineStatus(name="cdr>search", state=state, reason=page)])
        assert code == wanted
        assert line.endswith("refused with 502: <html> <body>a / b </body></html> | unread=0B dead=0 lost=0B")


def test_a_configuration_that_cannot_be_read_is_unknown_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A parser's message has several lines; the monitoring system gets one, and 3."""
    file = tmp_path / "vosship.yaml"
    file.write_text("switch: s1\n  timezone: [|\n", encoding="utf-8")
    assert cli.run(["status", "--nagios", "-c", str(file)]) == 3
    said = capsys.readouterr().out
    assert said.startswith("VOSSHIP UNKNOWN - ")
    assert said.count("\n") == 1
    assert "|" not in said
