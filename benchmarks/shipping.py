"""CPU a record, peak memory and records a second of `vosship run --once`, beside rsyslog on the same file in the same run.

    python -m benchmarks.shipping [--records 1000000] [--runs 3]

CPU is user + system time of the shipper's own process as the operating system accounts it at its end, start-up included. The
server is `benchmarks.null_server`, another process on the other core. rsyslog (Debian packages rsyslog and
rsyslog-elasticsearch) tails the same file with imfile and sends each raw line as one JSON field with omelasticsearch in bulk
mode: no parsing, no ids, no gzip, so it does far less.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

CONFIG = """\
switch: bench
timezone: Asia/Dhaka
data_dir: {work}/data
inputs: {{cdr: {{type: files, paths: ["{files}/*.txt"]}}}}
processors: [cdr, codes]
outputs: {{search: {{type: elasticsearch, hosts: ["http://127.0.0.1:{port}"]}}}}
"""

RSYSLOG = """\
global(workDirectory="{work}" maxMessageSize="64k")
module(load="imfile" mode="inotify")
module(load="omelasticsearch")
template(name="document" type="list" option.json="on") {{
    constant(value="{{\\"message\\":\\"") property(name="msg") constant(value="\\"}}")
}}
main_queue(queue.type="LinkedList" queue.size="200000" queue.dequeueBatchSize="2000" queue.workerThreads="1")
input(type="imfile" File="{files}/*.txt" Tag="cdr" reopenOnTruncate="on" readTimeout="0")
action(type="omelasticsearch" server="127.0.0.1" serverport="{port}" template="document" searchIndex="cdr" searchType=""
       bulkmode="on" maxbytes="8m" action.resumeRetryCount="-1" esVersion.major="8")
"""


class Measured:
    """One run of one shipper: seconds of CPU and wall clock, peak memory in MB."""

    def __init__(self, cpu_s: float, wall_s: float, peak_mb: float) -> None:
        self.cpu_s, self.wall_s, self.peak_mb = cpu_s, wall_s, peak_mb


def make_lines(directory: Path, records: int) -> int:
    """Write the directory once with the simulator; returns the bytes."""
    command = [sys.executable, "-m", "vosship.cli", "simulate", str(directory), "--calls", str(records), "--seed", "7"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return sum(file.stat().st_size for file in directory.iterdir())


def free_port() -> int:
    """A port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def measure(command: list[str], counter: Path, records: int, *, ends_by_itself: bool) -> Measured:
    """Run until `records` have arrived (and, if it does, until it ends by itself)."""
    counter.write_text("0")
    started = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    ended, status, usage = 0, 0, None
    while not ended and int(counter.read_text() or 0) < records:
        time.sleep(0.02)
        ended, status, usage = os.wait4(process.pid, os.WNOHANG)  # not poll(): it would throw the accounting away
        if time.monotonic() - started > 300:
            process.kill()
            raise SystemExit(f"{command[0]} delivered {counter.read_text()} of {records} in 300 s")
    wall_s = time.monotonic() - started
    if not ends_by_itself:
        process.send_signal(signal.SIGTERM)
    if not ended:
        _, status, usage = os.wait4(process.pid, 0)
    assert usage is not None
    process.returncode = os.waitstatus_to_exitcode(status)
    arrived = int(counter.read_text())
    if arrived < records:
        raise SystemExit(
            f"{command[0]} ended after {arrived} of {records}: {process.stderr.read().decode() if process.stderr else ''}"
        )
    return Measured(usage.ru_utime + usage.ru_stime, wall_s, usage.ru_maxrss / 1024)


def run_vosship(files: Path, port: int, counter: Path, records: int) -> Measured:
    """`vosship run --once` from nothing to the end."""
    with tempfile.TemporaryDirectory() as work:
        config = Path(work, "vosship.yaml")
        config.write_text(CONFIG.format(work=work, files=files, port=port))
        command = [sys.executable, "-m", "vosship.cli", "run", "--once", "-c", str(config), "--log-level", "warning"]
        return measure(command, counter, records, ends_by_itself=True)


def run_rsyslog(files: Path, port: int, counter: Path, records: int) -> Measured:
    """rsyslogd in the foreground until all lines have arrived."""
    with tempfile.TemporaryDirectory() as work:
        config = Path(work, "rsyslog.conf")
        config.write_text(RSYSLOG.format(work=work, files=files, port=port))
        command = ["rsyslogd", "-n", "-f", str(config), "-i", f"{work}/pid"]
        return measure(command, counter, records, ends_by_itself=False)


def main() -> None:
    """Measure in turn A B A B and print medians."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    peers = {"vosship": run_vosship}
    if shutil.which("rsyslogd"):
        peers["rsyslog"] = run_rsyslog
    else:
        print("rsyslog is not installed (Debian: apt-get install rsyslog rsyslog-elasticsearch): measured without it")
    with tempfile.TemporaryDirectory() as place:
        files, counter, port = Path(place, "cdr"), Path(place, "count"), free_port()
        size = make_lines(files, options.records)
        print(f"{options.records:,} lines, {size / options.records:.0f} bytes each, {options.runs} runs in turn, medians")
        results: dict[str, list[Measured]] = {name: [] for name in peers}
        for _ in range(options.runs):
            for name, run in peers.items():
                server = subprocess.Popen(
                    [sys.executable, "-m", "benchmarks.null_server", str(port), str(counter)], stdout=subprocess.PIPE
                )
                assert server.stdout
                server.stdout.readline()
                try:
                    results[name].append(run(files, port, counter, options.records))
                finally:
                    server.kill()
                    server.wait()
    print(f"{'':<10}{'CPU us/record':>15}{'records/s':>12}{'peak MB':>10}")
    for name, runs in results.items():
        cpu_us = median(run.cpu_s for run in runs) / options.records * 1e6
        rate = options.records / median(run.wall_s for run in runs)
        print(f"{name:<10}{cpu_us:>15.2f}{rate:>12,.0f}{max(run.peak_mb for run in runs):>10.0f}")
    if "rsyslog" in results:
        ratios = [ours.cpu_s / theirs.cpu_s for ours, theirs in zip(results["vosship"], results["rsyslog"], strict=True)]
        print(f"vosship / rsyslog CPU, run by run: {', '.join(f'{ratio:.2f}' for ratio in ratios)} (median {median(ratios):.2f})")


if __name__ == "__main__":
    main()
