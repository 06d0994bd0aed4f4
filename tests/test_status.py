"""`vosship status`: what its one line and its table say of an account."""

from __future__ import annotations

import re
import time
import urllib.request
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from tests.crash_parts import agent, configure, pipeline_status, wait_for
from tests.nodes import free_port
from vosship import cli
from vosship.application import Application
from vosship.commands.status import judge
from vosship.events import Gone, Stream
from vosship.ledger import PipelineStatus, read_status
from vosship.state import State


def test_a_servers_words_do_not_break_the_one_line() -> None:
    """A proxy's page has line breaks, and a bar would begin the performance data."""
    page = "refused with 502: <html>\n<body>a | b\n</body></html>"
    for state, wanted in (("halted", 2), ("waiting", 1)):
        code, line = judge([PipelineStatus(name="cdr>search", state=state, reason=page)], time.time())
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


def test_one_line_from_tomorrow_completes_nothing(tmp_path: Path) -> None:
    """A stop that is too late by a day is shipped, but says nothing of the calls that are still to be read."""
    (tmp_path / "cdr").mkdir()
    file = tmp_path / "vosship.yaml"
    file.write_text(
        "switch: s1\ntimezone: UTC\ndata_dir: data\ninputs: {cdr: {type: files, paths: ['cdr/*.txt']}}\n", encoding="utf-8"
    )
    begun = time.time()
    with (tmp_path / "cdr" / time.strftime("%Y%m%d%H.txt", time.gmtime(begun))).open("a", encoding="utf-8") as live:
        for ahead_s in (-10, 86_400):
            stop = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(begun + ahead_s))
            live.write(f"1|2|{stop}|{stop}|0|486|1|a|b|10.0.0.1|10.0.0.2|1|2|1|2|0|1|9|9\n")
    assert cli.run(["run", "--once", "-c", str(file)]) == 0
    settled = time.time()
    status = read_status(Application.load(str(file)), settled + 7200)[0]
    assert status.stored == 2
    assert status.complete_until_s is not None
    assert status.complete_until_s < settled


def test_a_gap_or_a_rewritten_file_is_no_deletion(tmp_path: Path) -> None:
    """How many files the switch keeps is learnt from files it was seen to delete, and from nothing else that has ended."""
    folder = tmp_path / "cdr"
    folder.mkdir()
    line = "1|2|2026-04-26 {0}:10:00|2026-04-26 {0}:10:00|0|486|1|a|b|10.0.0.1|10.0.0.2|1|2|1|2|0|1|9|9\n"
    for hour in ("00", "01", "02", "03", "04", "06", "07"):
        (folder / f"20260426{hour}.txt").write_text(line.format(hour) * 2, encoding="utf-8")
    file = tmp_path / "vosship.yaml"
    file.write_text(
        "switch: s1\ntimezone: UTC\ndata_dir: data\ninputs: {cdr: {type: files, paths: ['cdr/*.txt']}}\n", encoding="utf-8"
    )
    assert cli.run(["run", "--once", "-c", str(file)]) == 0
    (folder / "2026042601.txt").write_text(line.format("01"), encoding="utf-8")
    assert cli.run(["run", "--once", "-c", str(file)]) == 0
    with (folder / "2026042600.txt").open("a", encoding="utf-8") as written:
        written.write(line.format("00"))
    application = Application.load(str(file))
    status = read_status(application)[0]
    assert [loss.never_seen for loss in status.losses] == [True]
    assert (status.unread_bytes > 0, status.forecast) == (True, None)
    (folder / "2026042602.txt").unlink()
    assert cli.run(["run", "--once", "-c", str(file)]) == 0
    with (folder / "2026042600.txt").open("a", encoding="utf-8") as written:
        written.write(line.format("00"))
    assert read_status(application)[0].forecast is not None


def test_a_file_left_alone_for_its_age_waits_for_nobody(tmp_path: Path) -> None:
    """It is no backlog, will not be lost, and holds up neither the forecast nor what is complete."""
    folder = tmp_path / "cdr"
    folder.mkdir()
    today = time.strftime("%Y%m%d", time.gmtime())
    for name in ("2024042600", "2024042601", f"{today}00", f"{today}01"):
        stop = f"{name[:4]}-{name[4:6]}-{name[6:8]} {name[8:]}:10:00"
        line = f"1|2|{stop}|{stop}|0|486|1|a|b|10.0.0.1|10.0.0.2|1|2|1|2|0|1|9|9\n"
        (folder / f"{name}.txt").write_text(line, encoding="utf-8")
    file = tmp_path / "vosship.yaml"
    file.write_text(
        "switch: s1\ntimezone: UTC\ndata_dir: data\nswitch_parameters: {SERVER_CDR_FILE_WRITE_MAX: 10}\n"
        "inputs: {cdr: {type: files, paths: ['cdr/*.txt'], ignore_older_days: 30, report_gaps: false}}\n",
        encoding="utf-8",
    )
    assert cli.run(["run", "--once", "-c", str(file)]) == 0
    status = read_status(Application.load(str(file)))[0]
    assert (status.read, status.stored, status.unread_bytes, status.oldest_unread) == (2, 2, 0, None)
    assert (status.seconds_to_loss, status.forecast) == (None, None)
    assert status.complete_until is not None
    assert status.complete_until[:10].replace("-", "") == today
    assert [file.done for file in status.files] == [True, True, True, False]


def test_a_loss_calls_for_a_day_and_is_told_after(tmp_path: Path) -> None:
    """Nobody can mend it: a line that never clears is soon looked at by nobody. A gap may be an hour without calls: a warning."""
    folder = tmp_path / "cdr"
    folder.mkdir()
    line = "1|2|2026-04-26 {0}:10:00|2026-04-26 {0}:10:00|0|486|1|a|b|10.0.0.1|10.0.0.2|1|2|1|2|0|1|9|9\n"
    for hour in ("00", "01", "02", "03", "04", "06", "07"):
        (folder / f"20260426{hour}.txt").write_text(line.format(hour), encoding="utf-8")
    config = configure(tmp_path, {"type": "sqlite"})
    assert cli.run(["run", "--once", "-c", str(config)]) == 0
    account = read_status(Application.load(str(config)))
    account[0].state = "running"
    now = time.time()
    assert judge(account, now) == (1, "WARNING - cdr>out 1 gap (vosship status) | unread=0B dead=0 lost=0B")
    told = "OK - 1 pipelines, 7 calls in the index; before the last day: cdr>out 1 gap (vosship status) | unread=0B dead=0 lost=0B"
    assert judge(account, now + 86_401) == (0, told)
    state, path = State.open(tmp_path / "data"), str(folder / "2026042608.txt")
    state.settle("cdr>out", [], [Gone(Stream(path, "2026042608.txt", path), 90, 8, "deleted unread")], now).result()
    state.close()
    account = read_status(Application.load(str(config)))
    account[0].state = "running"
    assert judge(account, now + 1)[1].startswith("CRITICAL - cdr>out lost 8 bytes and 1 gap (vosship status) |")
    assert judge(account, now + 86_401)[1].startswith("OK - ")


def test_bytes_lost_and_not_yet_entered_are_recent() -> None:
    """They are entered when the output answers again; the call must not wait for that."""
    status = PipelineStatus(name="cdr>out", state="running", lost_bytes=50)
    assert judge([status], time.time())[0] == 2


def test_an_agent_whose_directory_vanished_is_not_well(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It waits, `status` says for what and since when; after an hour without any forecast somebody is called."""
    (tmp_path / "cdr").mkdir()
    config = configure(tmp_path, {"type": "sqlite"}, files={"rescan_s": 1})
    running = agent(config)
    try:
        wait_for(lambda: pipeline_status(config)["state"] == "running", "the agent runs")
        (tmp_path / "cdr").rename(tmp_path / "elsewhere")
        status = wait_for(lambda: (seen := pipeline_status(config))["state"] == "waiting" and seen, "the agent waits")
        assert status["reason"].startswith(f"cannot read {tmp_path}/cdr: missing (")
        assert cli.run(["status", "--nagios", "-c", str(config)]) == 1
        assert f"cdr>out waiting since {status['since']}: cannot read {tmp_path}/cdr: missing" in capsys.readouterr().out
        account = read_status(Application.load(str(config)))
        assert judge(account, time.time() + 3600)[0] == 2
        assert cli.run(["status", "-c", str(config)]) == 0
        assert f"waiting since {status['since']}: cannot read" in capsys.readouterr().out
        (tmp_path / "elsewhere").rename(tmp_path / "cdr")
        wait_for(lambda: pipeline_status(config)["state"] == "running", "the agent goes on")
        assert cli.run(["status", "--nagios", "-c", str(config)]) == 0
    finally:
        assert running.stop() == 0


def test_waiting_began_once(tmp_path: Path) -> None:
    """Each attempt in an outage is told anew; since when the output is away stays what it was."""
    (tmp_path / "cdr").mkdir()
    line = "1|2|2026-04-26 00:10:00|2026-04-26 00:10:00|0|486|1|a|b|10.0.0.1|10.0.0.2|1|2|1|2|0|1|9|9\n"
    (tmp_path / "cdr" / "2026042600.txt").write_text(line, encoding="utf-8")
    output = {"type": "opensearch", "hosts": [f"http://127.0.0.1:{free_port()}"], "retry_max_s": 0.5, "batch_age_s": 0.1}
    config = configure(tmp_path, output)
    running = agent(config)
    try:
        since = wait_for(lambda: (seen := pipeline_status(config))["state"] == "waiting" and seen["since"], "the agent waits")
        time.sleep(2)  # several attempts
        assert pipeline_status(config)["since"] == since
    finally:
        assert running.stop() == 0


def test_what_is_not_known_yet_is_no_sample(tmp_path: Path) -> None:
    """On a fresh install nothing is complete yet: a 0 would be 1970, and the alert on the gap to now would fire at once."""
    (tmp_path / "cdr").mkdir()
    port = free_port()
    config = configure(tmp_path, {"type": "sqlite", "batch_age_s": 0.1}, metrics={"listen": f"127.0.0.1:{port}"})

    def page() -> str:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
                return str(answer.read().decode())
        except OSError:
            return ""

    running = agent(config)
    try:
        seen = wait_for(lambda: (text := page()) and "vosship_unread_bytes{" in text and text, "the agent looked at itself")
        assert "vosship_complete_until_seconds{" not in seen
        now = time.time()
        stop = datetime.fromtimestamp(now, ZoneInfo("Asia/Dhaka"))
        line = f"1|2|{stop:%Y-%m-%d %H:%M:%S}|{stop:%Y-%m-%d %H:%M:%S}|0|486|1|a|b|10.0.0.1|10.0.0.2|1|2|1|2|0|1|9|9\n"
        (tmp_path / "cdr" / f"{stop:%Y%m%d%H}.txt").write_text(line, encoding="utf-8")
        (known,) = wait_for(lambda: re.findall(r"^vosship_complete_until_seconds{.*} (.*)$", page(), re.MULTILINE), "it is known")
        assert now - 3700 < float(known) <= time.time()
    finally:
        assert running.stop() == 0
