"""`vosship demo`: calls arrive, one is found, and everything it started has ended, however it ends."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

PATIENCE_S = 40.0


def begin(place: Path, *arguments: str) -> subprocess.Popen[str]:
    call = [sys.executable, "-m", "vosship.cli", "demo", "--directory", str(place), "--no-browser", *arguments]
    return subprocess.Popen(call, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def agent_pid(place: Path) -> int | None:
    log = place / "agent.log"
    started = re.search(r"\bpid=(\d+)", log.read_text()) if log.exists() else None
    return int(started[1]) if started else None


def alive(pid: int | None) -> bool:
    assert pid is not None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def await_that(condition: Callable[[], object]) -> None:
    until = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.05)


def lines_written(place: Path) -> int:
    return sum(file.read_bytes().count(b"\n") for file in (place / "cdr").glob("*.txt"))


def test_it_finds_a_call_just_made_and_ends_by_itself(tmp_path: Path) -> None:
    """After --seconds: exit code 0, all that was written is stored, a call shown, commands to type that work."""
    running = begin(tmp_path, "--seconds", "3", "--cps", "40")
    out, err = running.communicate(timeout=PATIENCE_S)
    assert running.returncode == 0, err
    assert not alive(agent_pid(tmp_path))
    written = lines_written(tmp_path)
    assert 80 <= written <= 120
    assert f"written {written:,}, stored {written:,}, dead 0, unread 0 bytes" in out
    assert re.search(r"found by its number \d+\.\d s after it ended: ", out)
    number = re.search(r"search -c (\S+) --number '([^']+)'", out)
    assert number is not None
    assert "rm -r" not in out, "a directory that the operator named is his to remove"
    again = subprocess.run(
        [sys.executable, "-m", "vosship.cli", "search", "--json", "-c", number[1], "--number", number[2]],
        capture_output=True, text=True,
    )  # fmt: skip
    assert again.returncode == 0, again.stderr
    assert f'"{number[2]}"' in again.stdout


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_it_clean(tmp_path: Path, sign: signal.Signals) -> None:
    """Ctrl-C and SIGTERM: the switch stops, the agent catches up and ends, exit code 0."""
    running = begin(tmp_path, "--cps", "50")
    try:
        await_that(lambda: ((tmp_path / "cdr").exists() and lines_written(tmp_path) > 60 and agent_pid(tmp_path)) or running.poll())
    finally:
        running.send_signal(sign)
    out, err = running.communicate(timeout=PATIENCE_S)
    assert running.returncode == 0, err
    assert not alive(agent_pid(tmp_path))
    written = lines_written(tmp_path)
    assert f"written {written:,}, stored {written:,}, dead 0, unread 0 bytes" in out


def test_a_second_demo_in_the_same_place_counts_its_own_calls(tmp_path: Path) -> None:
    """What the first left in the store is not claimed by the second."""
    before = 0
    for _ in range(2):
        out, err = begin(tmp_path, "--seconds", "2", "--cps", "30").communicate(timeout=PATIENCE_S)
        made = lines_written(tmp_path) - before
        assert f"written {made}, stored {made}, dead 0" in out, err
        before += made


def test_an_agent_that_dies_is_said_aloud(tmp_path: Path) -> None:
    """Exit code 1 and one sentence that names its log."""
    running = begin(tmp_path)
    try:
        await_that(lambda: agent_pid(tmp_path))
    except AssertionError:
        running.terminate()
        raise
    pid = agent_pid(tmp_path)
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    out, err = running.communicate(timeout=PATIENCE_S)
    assert running.returncode == 1, out
    assert "agent ended" in err
    assert "agent.log" in err
    assert "Traceback" not in err


def test_a_switch_that_cannot_write_is_said_aloud(tmp_path: Path) -> None:
    """The demo does not go on without it: exit code 2 at once, and the agent has ended."""
    (tmp_path / "cdr").write_text("a file where the directory should be")
    running = begin(tmp_path)
    _, err = running.communicate(timeout=PATIENCE_S)
    assert running.returncode == 2
    assert "cannot make the directory" in err
    assert "Traceback" not in err


def test_no_call_found_is_exit_code_1(tmp_path: Path) -> None:
    """Half a call a second for one second makes none that could be found."""
    running = begin(tmp_path, "--seconds", "1", "--cps", "0.5")
    out, err = running.communicate(timeout=PATIENCE_S)
    assert running.returncode == 1, out
    assert "no call was found" in err
    assert not alive(agent_pid(tmp_path))
