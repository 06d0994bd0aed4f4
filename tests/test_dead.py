"""`vosship dead` on a shipped directory: what its words, codes and JSON say."""

from __future__ import annotations

import base64
import json
import os
import threading
from pathlib import Path

import pytest

from vosship import cli, daemon, deadletters
from vosship.state import State

CONFIG = "switch: s1\ntimezone: Asia/Dhaka\ndata_dir: data\ninputs: {cdr: {type: files, paths: ['cdr/*.txt']}}\n"
BYTES = b"\xff\xfe\x80|\x81"
"""Neither UTF-8 nor GB18030."""


@pytest.fixture
def file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """The configuration of a directory whose three lines are all dead."""
    (tmp_path / "cdr").mkdir()
    (tmp_path / "cdr" / "2026042612.txt").write_bytes(b"short|line\n" + BYTES + b"\nshort|again\n")
    found = tmp_path / "vosship.yaml"
    found.write_text(CONFIG, encoding="utf-8")
    assert cli.run(["run", "--once", "-c", str(found)]) == 3
    capsys.readouterr()
    return found


def test_show_as_json_is_what_list_says(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One object a line; a line that is no UTF-8 comes as `line_base64`, and only so."""
    assert cli.run(["dead", "list", "--json", "-c", str(file)]) == 0
    listed = capsys.readouterr().out
    assert cli.run(["dead", "show", "--json", "-c", str(file)]) == 0
    assert capsys.readouterr().out == listed
    lines = [json.loads(line) for line in listed.splitlines()]
    assert [line.get("line") for line in lines] == ["short|line", None, "short|again"]
    assert base64.b64decode(lines[1]["line_base64"]) == BYTES


def test_an_id_that_is_not_among_the_dead_is_a_no(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing shown is not an empty yes; what there is of the others is shown all the same."""
    assert cli.run(["dead", "show", "2", "99", "--json", "-c", str(file)]) == 3
    shown = capsys.readouterr()
    assert [json.loads(line)["id"] for line in shown.out.splitlines()] == [2]
    assert shown.err == "no dead line 99\n"


def test_no_line_is_replayed_under_another_switch(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The document's id and its `switch` would be another's; the start refuses that, and so does a replay without an agent."""
    file.write_text(CONFIG.replace("switch: s1", "switch: s2"), encoding="utf-8")
    for words in (("replay",), ("drop", "--yes")):
        assert cli.run(["dead", *words, "-c", str(file)]) == 2
        assert "switch was 's1'" in capsys.readouterr().err


def test_a_pipeline_that_is_not_configured_is_no_empty_answer(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A misspelt name must not read as "no dead lines"; one that was configured once can still be listed."""
    for words in (("list",), ("list", "--json"), ("show",), ("replay",), ("drop", "--yes")):
        assert cli.run(["dead", *words, "--pipeline", "cdr>stroe", "-c", str(file)]) == 2
        assert "no pipeline 'cdr>stroe' is configured (did you mean 'cdr>store'?)" in capsys.readouterr().err
    file.write_text(CONFIG + "outputs: {other: {type: sqlite}}\n", encoding="utf-8")
    assert cli.run(["dead", "list", "--pipeline", "cdr>store", "-c", str(file)]) == 0
    assert "cdr>store short_line" in capsys.readouterr().out


@pytest.mark.parametrize(("held", "hint"), [(2, "(raise max_dead)"), (4, "(`vosship dead list` shows why; then")])
def test_a_full_table_says_what_does_not_fit(file: Path, capsys: pytest.CaptureFixture[str], held: int, hint: str) -> None:
    """Where not even an empty table would do, nobody is sent to drop what is not there."""
    file.write_text(f"{CONFIG}outputs: {{store: {{type: sqlite, max_dead: {held}}}}}\n", encoding="utf-8")
    (file.parent / "cdr" / "2026042613.txt").write_bytes(b"one\ntwo\nthree\n")
    assert cli.run(["run", "--once", "-c", str(file)]) == 1
    said = capsys.readouterr().err.splitlines()[-1]
    assert "the dead table is full: 3 lines, 26 bytes; 3 lines, 11 bytes more do not fit" in said
    assert hint in said


def test_a_request_that_an_output_holds_up_says_so(
    file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever waits for a running agent learns what the agent waits for, and that the request stands."""
    monkeypatch.setattr(deadletters, "TELL_AFTER_S", 0.0)
    state = State.open(file.parent / "data")  # this process is the agent
    state.tell("cdr>store", "waiting", "nobody answers", 1.0).result()
    answer = 'UPDATE requests SET done_at = 1, answer = \'{"tried": 3, "stored": 3}\''
    agent = threading.Timer(1.0, lambda: state.submit(lambda db: db.execute(answer) and None))
    agent.start()
    try:
        assert cli.run(["dead", "replay", "-c", str(file)]) == 0
    finally:
        agent.join()
        state.close()
    assert "cdr>store is waiting: nobody answers; the agent keeps the request" in capsys.readouterr().err


def test_an_agent_that_starts_during_a_replay_waits_for_it(
    file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service manager takes exit 2 for good: the agent would stay down because somebody replayed dead lines."""
    monkeypatch.setattr(daemon, "LOCK_WAIT_S", 1.0)
    replay = State.open(file.parent / "data", work="dead replay")
    assert cli.run(["run", "-c", str(file)]) == 1
    said = capsys.readouterr().err
    assert "data_dir is in use, waiting for it" in said
    assert f"waited 1 s, and still process {os.getpid()} is using {file.parent}/data for `vosship dead replay`" in said
    threading.Timer(0.5, replay.close).start()
    assert cli.run(["run", "--once", "-c", str(file)]) == 0


def test_a_second_agent_is_refused_at_once(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The first one does not end by itself, so nothing would come of waiting."""
    state = State.open(file.parent / "data")
    assert cli.run(["run", "-c", str(file)]) == 2
    state.close()
    assert f"process {os.getpid()} is running on" in capsys.readouterr().err
