"""What the agent takes while nothing happens, and how soon after its start the first batch is sent.

    python -m benchmarks.idle [--files 2048] [--seconds 60]

2,048 finished files of 20 calls each are shipped into the null server; then the agent's CPU is read from /proc over a minute in
which nothing is written.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.shipping import CONFIG, free_port

LINES = 20


def make_files(directory: Path, files: int) -> None:
    """Hourly files up to 2026-04-26 12:00 with LINES calls each."""
    directory.mkdir()
    end = 1_777_183_200 // 3600 * 3600
    for number in range(files):
        hour = time.gmtime(end - (files - number) * 3600)
        text = time.strftime("%Y-%m-%d %H", hour)
        lines = [
            f"8801711{call:06}|44207{call:06}|{text}:00:{call:02}|{text}:01:{call:02}|50000|200|0|IN|OUT|10.0.0.1|10.0.0.2|"
            f"8801711{call:06}|44207{call:06}|8801711{call:06}|44207{call:06}|0|1|5000|900\n"
            for call in range(LINES)
        ]
        (directory / time.strftime("%Y%m%d%H.txt", hour)).write_text("".join(lines))


def cpu_s(pid: int) -> float:
    """User and system seconds of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def wait_until(condition: Callable[[], bool], timeout_s: float) -> float:
    """Seconds until it holds. Raises SystemExit when it does not in time."""
    started = time.monotonic()
    while not condition():
        if time.monotonic() - started > timeout_s:
            raise SystemExit(f"not within {timeout_s:.0f} s")
        time.sleep(0.005)
    return time.monotonic() - started


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--files", type=int, default=2048)
    parser.add_argument("--seconds", type=float, default=60)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        files, counter, port = Path(work, "cdr"), Path(work, "count"), free_port()
        make_files(files, options.files)
        counter.write_text("0")
        config = Path(work, "vosship.yaml")
        config.write_text(CONFIG.format(work=work, files=files, port=port))
        server = subprocess.Popen([sys.executable, "-m", "benchmarks.null_server", str(port), str(counter)], stdout=subprocess.PIPE)
        assert server.stdout
        server.stdout.readline()
        command = [sys.executable, "-m", "vosship.cli", "run", "-c", str(config), "--log-level", "warning"]
        agent = subprocess.Popen(command)
        try:
            first_s = wait_until(lambda: int(counter.read_text() or 0) > 0, 60)
            wait_until(lambda: int(counter.read_text() or 0) == options.files * LINES, 300)
            time.sleep(5)
            before = cpu_s(agent.pid)
            time.sleep(options.seconds)
            share = (cpu_s(agent.pid) - before) / options.seconds
            descriptors = len(list(Path(f"/proc/{agent.pid}/fd").iterdir()))
        finally:
            agent.terminate()
            agent.wait()
            server.kill()
    print(f"start-up to first batch at the server: {first_s:.2f} s")
    print(f"idle with {options.files:,} finished files: {share:.2%} of a core, {descriptors} descriptors")


if __name__ == "__main__":
    main()
