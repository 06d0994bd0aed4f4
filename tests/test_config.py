"""What a bad configuration is told: exit 2, the file, the place in it, and one sentence that helps."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from unprivileged import as_nobody, needs_root

from vosship import cli, config, lock
from vosship.application import Application
from vosship.errors import ConfigError

GOOD = "switch: s1\ntimezone: Asia/Dhaka\ndata_dir: data\ninputs: {cdr: {type: files, paths: ['cdr/*.txt']}}\n"

BAD = [
    ("switch: other", "line 5, column 1", "the key 'switch' stands here twice"),
    ("detectors: [{type: asr_drop}]", "detectors[0]", "no detector of type 'asr_drop' is installed"),
    ("metrics: {listen: here}", "metrics.listen", "'here' is no address to listen on"),
    ("metrics: {listen: '127.0.0.1:99999'}", "metrics.listen", "is no address to listen on"),
    ("switch_parameters: {SERVER_CDR_FILE_WRITE_MAX: lots}", "switch_parameters.SERVER_CDR_FILE_WRITE_MAX", "no whole number"),
    ("switch_parameters: {SERVER_QUERY_CDR_DENY_TIME: '25'}", "switch_parameters.SERVER_QUERY_CDR_DENY_TIME", "no list of hours"),
    ("search: {max_day: 31}", "search", "did you mean 'max_days'?"),
    ("processors: [{type: cdr, layout: pip}]", "processors[0].layout", "one of: auto, csv-52, datagram-46, pipe, table-current"),
    ("processors: [{type: cdr, rounding: {rule: down}}]", "processors[0].rounding.rule", "one of: nearest, threshold, up"),
    ("processors: [{type: cdr, rounding: {rul: up}}]", "processors[0].rounding", "did you mean 'rule'?"),
    ("processors: [cdr, {type: gateways, table: none.csv}]", "processors[1].table", "No such file"),
    ("outputs: {s: {type: s3}}", "outputs.s", "no output of type 's3' is installed"),
]


@pytest.mark.parametrize(("lines", "place", "sentence"), BAD)
def test_a_bad_configuration_stops_the_start(
    lines: str, place: str, sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`run` and `check` say the same; nothing is ignored in silence."""
    file = tmp_path / "vosship.yaml"
    file.write_text(f"{GOOD}{lines}\n", encoding="utf-8")
    for command in (("check", "--json"), ("run", "--once")):
        assert cli.run([*command, "-c", str(file)]) == 2
        shown = capsys.readouterr()
        assert shown.out == ""
        assert shown.err.startswith(f"vosship: {file}: {place}: ")
        assert sentence in shown.err
        assert shown.err.count("\n") == 1


def test_a_merged_key_may_be_overridden(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """YAML's `<<` brings defaults; only a key written twice in one place is a mistake."""
    (tmp_path / "vosship.yaml").write_text(
        "switch: s1\ntimezone: UTC\ndata_dir: data\ninputs:\n"
        "  a: &files {type: files, paths: ['a/*.txt'], poll_s: 2}\n"
        "  b: {<<: *files, paths: ['b/*.txt'], switch: s2}\n",
        encoding="utf-8",
    )
    assert cli.run(["status", "-c", str(tmp_path / "vosship.yaml"), "--json"]) == 0
    assert '"b>store"' in capsys.readouterr().out


def test_a_configuration_may_be_named_before_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`vosship -c FILE status` and `vosship status -c FILE` mean the same, `dead list` included; the nearer one wins."""
    file = tmp_path / "vosship.yaml"
    file.write_text(GOOD, encoding="utf-8")
    for command in (("status", "--json"), ("dead", "list", "--json")):
        assert cli.run(["-c", str(file), *command]) == 0
        assert cli.run(["-c", "nowhere.yaml", *command]) == 2
        assert cli.run(["-c", "nowhere.yaml", *command, "-c", str(file)]) == 0
    capsys.readouterr()


def test_a_word_that_is_no_command_is_not_taken_for_another(capsys: pytest.CaptureFixture[str]) -> None:
    """A near miss gets the right word, anything else the list."""
    assert cli.run(["serch"]) == 2
    assert "did you mean 'search'?" in capsys.readouterr().err
    assert cli.run(["archive"]) == 2
    assert "known: demo, init, check" in capsys.readouterr().err


def test_check_asks_whether_a_look_alike_was_meant(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """SS_CDR_FILE_WRITE_MAX is another parameter of the same switch; what nothing is computed from is no word worth."""
    given = "{SS_CDR_FILE_WRITE_MAX: 500, SERVER_CDR_FILE_WRITE_MAX: 2048, SS_MEDIA_PROXY: 'On'}"
    (tmp_path / "vosship.yaml").write_text(f"{GOOD}switch_parameters: {given}\n", encoding="utf-8")
    cli.run(["check", "--json", "-c", str(tmp_path / "vosship.yaml")])
    said = [remark for remark in json.loads(capsys.readouterr().out) if remark["part"] == "switch_parameters"]
    assert [(remark["text"], remark["hint"]) for remark in said] == [
        ("SS_CDR_FILE_WRITE_MAX is not used by vosship", "was SERVER_CDR_FILE_WRITE_MAX meant?")
    ]


def test_check_finds_a_renamed_switch_before_the_start_does(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What `run` will refuse is wrong in the eyes of `check` too, with the same hint."""
    file = tmp_path / "vosship.yaml"
    (tmp_path / "cdr").mkdir()
    file.write_text(GOOD, encoding="utf-8")
    assert cli.run(["run", "--once", "-c", str(file)]) == 0
    file.write_text(GOOD.replace("switch: s1", "switch: s2"), encoding="utf-8")
    capsys.readouterr()
    assert cli.run(["check", "--json", "-c", str(file)]) == 3
    said = {remark["text"]: remark for remark in json.loads(capsys.readouterr().out)}
    remark = said["switch was 's1' for everything that cdr>store has shipped and is now 's2'"]
    assert remark["level"] == "bad"
    assert remark["hint"].startswith("put 's1' back, or `vosship run --rebuild-state`")


def test_check_finds_seconds_where_milliseconds_should_be(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`run` stops at such a file; `check` says so before, and is silent once the unit is set."""
    file = tmp_path / "vosship.yaml"
    (tmp_path / "cdr").mkdir()
    line = "1|2|2026-04-26 12:00:00|2026-04-26 12:01:05|60|200|1|a|b|10.0.0.1|10.0.0.2|1|2|1|2|0|1|9|9\n"
    (tmp_path / "cdr" / "2026042612.txt").write_text(line * 200, encoding="utf-8")
    file.write_text(GOOD, encoding="utf-8")
    assert cli.run(["check", "--json", "-c", str(file)]) == 3
    bad = [remark for remark in json.loads(capsys.readouterr().out) if remark["level"] == "bad"]
    assert [remark["text"] for remark in bad] == ["2026042612.txt: holdTime of layout pipe should be in ms and looks like s"]
    assert bad[0]["hint"].startswith("set `hold_unit: s` for the processor cdr")
    file.write_text(GOOD + "processors: [{type: cdr, hold_unit: s}, codes]\n", encoding="utf-8")
    assert cli.run(["check", "-c", str(file)]) == 0


def test_check_finds_a_data_dir_that_the_start_refuses(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the output: a file in its place, a disk without room, a network file system."""
    file = tmp_path / "vosship.yaml"
    file.write_text(GOOD + "outputs: {search: {type: opensearch, hosts: ['http://127.0.0.1:1']}}\n", encoding="utf-8")

    def said() -> list[str]:
        assert cli.run(["check", "--json", "-c", str(file)]) == 3
        return [remark["text"] for remark in json.loads(capsys.readouterr().out) if remark["part"] == "data_dir"]

    data = tmp_path / "data"
    assert said() == []
    data.write_text("", encoding="utf-8")
    assert said() == [f"{data} cannot be written: {data} forbids it"]
    data.unlink()
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=0))
    assert said() == [f"the disk of {data} is full"]
    with Path("/proc/self/mountinfo").open(encoding="utf-8") as mounts:
        kinds = {mount.partition(" - ")[2].split(" ")[0] for mount in mounts}
    monkeypatch.setattr(lock, "_NETWORK", kinds)
    assert "is on a network file system" in said()[0]


@needs_root
def test_check_of_a_closed_data_dir_says_whose_it_is(open_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A part that cannot be looked into is a remark like any other, and the parts after it are examined all the same."""
    file = open_dir / "vosship.yaml"
    (open_dir / "cdr").mkdir()
    file.write_text(GOOD, encoding="utf-8")
    assert cli.run(["run", "--once", "-c", str(file)]) == 0
    cli.run(["check", "-c", str(file)])  # loads what the child may not be allowed to
    (open_dir / "data").chmod(0o700)
    capsys.readouterr()

    def look() -> tuple[int, str]:
        return cli.run(["check", "--json", "-c", str(file)]), capsys.readouterr().out

    code, out = as_nobody(look)
    assert code == 3
    bad = {remark["part"]: remark["hint"] for remark in json.loads(out) if remark["level"] == "bad"}
    assert bad["outputs.store"].startswith("run as the agent's user")
    assert bad["state"].startswith("run as the agent's user")


FAMILIES = """
switch: s
timezone: Asia/Dhaka
inputs:
  pipe: {{type: files, paths: ["cdr/*.txt"]{pipe}}}
  csv: {{type: files, paths: ["cdr/cdr_*.csv"]}}
outputs:
  one: {{type: opensearch, hosts: ["http://one:9200"]{one}}}
  two: {{type: opensearch, hosts: ["http://two:9200"]{two}}}
"""


def test_two_file_families_may_not_feed_one_output() -> None:
    """They hold the same calls; told apart by a channel, or kept in outputs of their own, both may be read."""
    with pytest.raises(ConfigError, match=r"the same calls twice in 'one'") as refused:
        Application(config.parse(FAMILIES.format(pipe="", one="", two="")))
    assert "channel" in refused.value.hint
    with pytest.raises(ConfigError, match=r"the same calls twice in 'two'"):
        Application(config.parse(FAMILIES.format(pipe="", one=", inputs: [pipe]", two="")))
    Application(config.parse(FAMILIES.format(pipe="", one=", inputs: [pipe]", two=", inputs: [csv]")))
    Application(config.parse(FAMILIES.format(pipe=", channel: other", one="", two="")))
