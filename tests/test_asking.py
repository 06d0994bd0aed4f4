"""Options of window, filters and store, as every asking command takes them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from vosship import cli

CONFIG = "switch: s1\ntimezone: Asia/Dhaka\ndata_dir: data\ninputs: {cdr: {type: files, paths: ['cdr/*.txt']}}\n"

CALL = "88|97|2026-04-26 11:59:40|2026-04-26 12:00:00|15000|200|0|G|V|203.0.113.5|198.51.100.7|88|97|88|97|0|0|1|1\n"


def ship(place: Path, lines: str) -> None:
    """A configuration, and a file's lines in the store or set aside."""
    (place / "cdr").mkdir()
    (place / "cdr" / "2026042612.txt").write_text(lines, encoding="utf-8")
    (place / "vosship.yaml").write_text(CONFIG, encoding="utf-8")
    assert cli.run(["run", "--once", "-c", str(place / "vosship.yaml")]) in (0, 3)


@pytest.mark.parametrize("word", ["search", "stats --by hour", "reconcile --left cdr --right store", "evidence --number 1"])
def test_an_address_that_is_none_is_a_usage_error(word: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A misspelt address is said to be one, rather than answered with no calls (or by a server's error)."""
    (tmp_path / "vosship.yaml").write_text(CONFIG, encoding="utf-8")
    assert cli.run([*word.split(), "-c", str(tmp_path / "vosship.yaml"), "--ip", "203.0.113.500"]) == 2
    shown = capsys.readouterr()
    assert "'203.0.113.500' is no IP address" in shown.err
    assert shown.out == ""


@pytest.mark.parametrize(
    "command", ["search", "stats --by hour", "export --format csv --out -", "reconcile --left cdr --right store"]
)
@pytest.mark.parametrize("option", ["--number", "--caller-gateway", "--day", "--tz", "--channel", "--ip"])
def test_an_empty_word_is_a_usage_error(command: str, option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`--number "$UNSET"` does not ask for every call there is."""
    (tmp_path / "vosship.yaml").write_text(CONFIG, encoding="utf-8")
    assert cli.run([*command.split(), "-c", str(tmp_path / "vosship.yaml"), option, ""]) == 2
    shown = capsys.readouterr()
    assert f"'{option}': it is empty" in shown.err
    assert shown.out == ""


@pytest.mark.parametrize(
    ("command", "option"),
    [
        ("search", "--number"), ("stats --by hour", "--caller-gateway"), ("search", "--override-deny"),
        ("export --format csv", "--out"), ("evidence --number 1", "--at"),
    ],
)  # fmt: skip
def test_a_word_that_is_no_utf_8_is_a_usage_error(
    command: str, option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bytes of another encoding, typed or pasted, are named as such; they ended as a bug, an export after its last day."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "vosship.yaml").write_text(CONFIG, encoding="utf-8")
    assert cli.run([*command.split(), "-c", str(tmp_path / "vosship.yaml"), option, "caf\udce9"]) == 2
    shown = capsys.readouterr()
    assert f"'{option}': 'caf\\udce9' is no UTF-8" in shown.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["vosship.yaml"]


@pytest.mark.parametrize(
    "words", ["evidence --number 1 --at", "evidence --id", "browse --until", "export --format csv --out x --layout"]
)
def test_an_empty_moment_or_name_is_a_usage_error(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    """`--at "$UNSET"` is not the newest call there is."""
    assert cli.run([*words.split(), ""]) == 2
    assert f"'{words.split()[-1]}': it is empty" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        "search --min-hold-s", "stats --by hour --min-hold-s", "reconcile --left cdr --right store --grace-s",
        "evidence --within-s", "plan --cps", "plan --cps 1 --retain-days",
        "simulate somewhere --calls 1 --cps",
    ],
)  # fmt: skip
@pytest.mark.parametrize("number", ["nan", "inf", "1e300"])
def test_a_measure_is_a_number(
    words: str, number: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What cannot be computed with is a usage error that names the option, neither a bug nor an answer."""
    monkeypatch.chdir(tmp_path)
    assert cli.run([*words.split(), number]) == 2
    shown = capsys.readouterr()
    assert f"Invalid value for '{words.split()[-1]}'" in shown.err


@pytest.mark.parametrize("words", ["search --json --limit 100000", "export --format csv --out -", "dead list --json"])
def test_a_reader_that_has_had_enough_is_no_failure(words: str, tmp_path: Path) -> None:
    """`vosship search --json | head -1` ends with 0 and without a traceback, however much was still to come."""
    ship(tmp_path, CALL * 2000 + "short|line\n" * 2000)
    asking = subprocess.Popen(
        [sys.executable, "-m", "vosship.cli", *words.split()], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert asking.stdout is not None
    assert asking.stderr is not None
    asking.stdout.readline()
    asking.stdout.close()
    said = asking.stderr.read().decode()
    assert (asking.wait(), "Error" in said, "Traceback" in said) == (0, False, False), said


@pytest.mark.parametrize("words", ["search", "stats --by hour", "status", "inspect cdr/2026042612.txt"])
def test_a_reader_that_was_never_there_is_no_failure(words: str, tmp_path: Path) -> None:
    """Tables, too, end with 0 behind a pipe that nobody reads."""
    ship(tmp_path, CALL)
    read, write = os.pipe()
    os.close(read)
    asked = [sys.executable, "-m", "vosship.cli", *words.split()]
    done = subprocess.run(asked, cwd=tmp_path, stdout=write, stderr=subprocess.PIPE, text=True, check=False, timeout=60)
    os.close(write)
    assert (done.returncode, "Error" in done.stderr, "Traceback" in done.stderr) == (0, False, False), done.stderr


@pytest.mark.parametrize("words", ["status --watch", "browse --port 0 --no-open"])
def test_what_runs_until_ctrl_c_ends_well_by_it(words: str, tmp_path: Path) -> None:
    """Exit code 0: Ctrl-C is how these two are meant to end."""
    ship(tmp_path, CALL)
    running = subprocess.Popen(
        [sys.executable, "-m", "vosship.cli", *words.split()], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    assert running.stdout is not None
    assert running.stdout.readline()  # it is there
    running.send_signal(signal.SIGINT)
    said = running.communicate(timeout=60)[0].decode()
    assert (running.returncode, "Traceback" in said) == (0, False), said


@pytest.mark.parametrize("words", ["search --json", "search", "export --format csv --out -", "stats --by hour --json"])
def test_an_output_on_a_full_disk_is_said_in_a_sentence(words: str, tmp_path: Path) -> None:
    """Redirected to where no room is left: exit 1, what happened and what to do, and no traceback."""
    ship(tmp_path, CALL * 2000)
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "vosship.cli", *words.split()], cwd=tmp_path, stdout=full, stderr=subprocess.PIPE, text=True,
            check=False, timeout=60,
        )  # fmt: skip
    assert done.returncode == 1
    assert "No space left on device (" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("words", ["search", "stats --by caller_gateway", "evidence --callee 97", "dead show"])
def test_what_a_caller_sends_cannot_steer_the_terminal(words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Escape sequences and marks of direction in a number are shown, not obeyed; in JSON they are as they came."""
    hostile = CALL.replace("88|", "\x1b]0;x\x07\u202e8|").replace("G|V", "\x1b[2J|V")
    ship(tmp_path, hostile + hostile.replace("15000", "none"))
    asked = [*words.split(), "-c", str(tmp_path / "vosship.yaml")]
    capsys.readouterr()
    assert cli.run(asked) == 0
    said = capsys.readouterr().out
    assert "\\x1b" in said
    assert all(each.isprintable() for each in said.replace("\n", ""))
    if words == "search":
        assert cli.run([*asked, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["callerE164"] == "\x1b]0;x\x07\u202e8"


def test_a_narrow_terminal_gets_every_figure(tmp_path: Path) -> None:
    """A column cut short reads as another figure; only a cell of absurd length is cut."""
    ship(tmp_path, CALL.replace("88|", "8" * 500 + "|"))
    asked = f"{sys.executable} -m vosship.cli search 2>&1"
    shown = subprocess.run(
        ["/usr/bin/script", "-qec", f"stty columns 40; {asked}", "/dev/null"],
        cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60,
    ).stdout  # fmt: skip
    for word in ("2026-04-26 12:00:00", "8" * 39 + "…", "15.000", "2026042612.txt"):
        assert word in shown
    assert "8" * 40 not in shown


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&- <&-"])
@pytest.mark.parametrize("words", ["search", "export --format csv --out x.csv", "stats --by day --json"])
def test_whoever_starts_it_need_not_have_an_output(words: str, closed: str, tmp_path: Path) -> None:
    """As daemons do: the command does its work, exit 0, and nothing it opens is taken for its output."""
    ship(tmp_path, CALL * 3)
    asked = f"{sys.executable} -m vosship.cli {words} {closed}"
    done = subprocess.run(asked, shell=True, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr
    if words.startswith("export"):
        assert len((tmp_path / "x.csv").read_text().splitlines()) == 4


@pytest.mark.parametrize(
    "words", ["search", "stats --by caller_gateway", "evidence --number 88", "stats --by caller_gateway --json"]
)
def test_a_locale_of_few_characters_is_no_bug(words: str, tmp_path: Path) -> None:
    """What it lacks is shown as escapes; JSON is UTF-8 in every locale."""
    ship(tmp_path, CALL.replace("|G|", "|\N{CJK UNIFIED IDEOGRAPH-4E2D}é|"))
    done = subprocess.run(
        [sys.executable, "-m", "vosship.cli", *words.split()], cwd=tmp_path, capture_output=True, check=True, timeout=60,
        env={**os.environ, "PYTHONIOENCODING": "latin-1"},
    )  # fmt: skip
    if words.endswith("--json"):
        assert json.loads(done.stdout.decode("utf-8"))[0]["key"] == "\N{CJK UNIFIED IDEOGRAPH-4E2D}é"
    else:
        assert "\\u4e2dé" in done.stdout.decode("latin-1")


def test_max_results_judges_the_answer_and_not_the_limit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Few calls are shown however high the limit; more than may be given are none at all, exit 5."""
    ship(tmp_path, CALL * 3 + CALL.replace("88|", "99|") * 4)
    (tmp_path / "vosship.yaml").write_text(CONFIG + "search: {max_results: 3}\n", encoding="utf-8")
    capsys.readouterr()
    asked = ["search", "-c", str(tmp_path / "vosship.yaml"), "--json", "--limit", "100"]
    assert cli.run([*asked, "--caller", "88"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 3
    assert cli.run([*asked, "--caller", "99"]) == 5
    shown = capsys.readouterr()
    assert (shown.out, "max_results" in shown.err) == ("", True)


@pytest.mark.parametrize(
    "by", [["--by", "hour,callee_gateway"], ["--by", "hour", "--by", "callee_gateway"], ["--by", "hour", "callee_gateway"]]
)
def test_two_keys_may_be_written_in_each_way(by: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With a comma, twice, or one after the other."""
    ship(tmp_path, CALL)
    capsys.readouterr()
    assert cli.run(["stats", "-c", str(tmp_path / "vosship.yaml"), "--json", *by]) == 0
    assert '"key":"2026-04-26T12:00+06:00 | V"' in capsys.readouterr().out


@pytest.mark.parametrize("command", ["search", "stats --by hour", "export --format csv --out -", "evidence --number 88"])
def test_a_channel_that_no_input_has_is_doubted(command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`--channel fle` must not read as "there were no calls"; the known words are named."""
    ship(tmp_path, CALL)
    for channel, doubted in (("fle", True), ("forward", True), ("file", False), ("all", False)):
        capsys.readouterr()
        at = ["--at", "2026-04-26T12:00:00"] if command.startswith("evidence") else []
        cli.run([*command.split(), "-c", str(tmp_path / "vosship.yaml"), "--channel", channel, *at])
        said = capsys.readouterr().err
        assert (f"no input configured here has the channel {channel!r} (known: file, all)" in said) is doubted, said


def test_one_call_is_one_call(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As a person would say it."""
    ship(tmp_path, CALL)
    capsys.readouterr()
    assert cli.run(["search", "-c", str(tmp_path / "vosship.yaml")]) == 0
    assert capsys.readouterr().err.splitlines()[-1] == "1 call"
