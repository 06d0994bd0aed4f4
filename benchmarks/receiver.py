"""Whether the forward's receiver keeps up: records a second, none lost, and how long its answers take.

    python -m benchmarks.receiver [--rate 5000] [--seconds 20] [--connections 200]

The receiver is the whole agent (`vosship run`: spool, processors `cdr` and `codes`, embedded store) held on one core; the
sender is another process on the other. Every record has a flowno of its own, is sent once, and is answered with that flowno;
latency runs from the moment a record is sent to its answer. What was answered is then looked for in the spool.
"""

from __future__ import annotations

import argparse
import os
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from vosship_forward import scan

CONFIG = """\
switch: bench
timezone: Asia/Dhaka
data_dir: {work}/data
inputs: {{forward: {{type: forward, listen: ["tcp://127.0.0.1:{port}", "udp://127.0.0.1:{port}"], reply: {{field: 37}}}}}}
processors: [cdr, codes]
outputs: {{store: {{type: sqlite}}}}
"""

LINGER_S = 5.0
"""How long answers are waited for after the last record (chosen: a hundred times the target)."""


class Result(NamedTuple):
    """What one run showed."""

    sent: int
    answered: int
    kept: int
    rate: float
    p50_ms: float
    p99_ms: float
    worst_ms: float
    cpu_share: float
    peak_mb: float


def record(number: int, now: float) -> bytes:
    """A call in datagram-46 order whose flowno says which one it is."""
    stop = int(now * 1000)
    fields = ["88017" + str(number % 100_000_000).zfill(8)] * 2 + ["8801811" + str(number % 1_000_000).zfill(6)] * 2
    fields += ["10.0.0.7", "CS10031_ZX", "", fields[0], "0", "10.0.0.9", "GW_OUT_3", "", fields[2], "0", "1", "0", "0"]
    fields += [str(stop - 65_000), str(stop), "3100", "2100", "60", "880", "60", "0.012", "0", "0", "0", "acct7", "Customer, Ltd"]
    fields += ["880", "0", "0", "0", "", "", str(number), "vos-a", f"call-{number}", f"a-{number}@10.0.0.7", f"b-{number}"]
    fields += ["0", "200", "0", "0", ""]
    return ",".join(f'"{field}"' for field in fields).encode()


class Sender:
    """Sends at a steady rate over some sockets and notes when each answer came."""

    def __init__(self, port: int, *, udp: bool, connections: int) -> None:
        kind = socket.SOCK_DGRAM if udp else socket.SOCK_STREAM
        self.newline = b"" if udp else b"\n"
        self.sockets = []
        self.poll = selectors.DefaultSelector()
        for _ in range(connections):
            made = socket.socket(socket.AF_INET, kind)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
            made.connect(("127.0.0.1", port))
            self.sockets.append(made)
            self.poll.register(made, selectors.EVENT_READ, bytearray())
        self.sent_at: list[float] = []
        self.took: dict[int, float] = {}

    def run(self, rate: int, seconds: float, first: int) -> None:
        """Send `rate` records a second, numbered from `first`, then wait for the last answers."""
        count = int(rate * seconds)
        lines = [record(first + number, time.time()) + self.newline for number in range(count)]
        began = time.monotonic()
        while len(self.sent_at) < count:
            now = time.monotonic()
            due = min(count, int((now - began) * rate) + 1)
            for number in range(len(self.sent_at), due):
                self.sent_at.append(time.monotonic())
                self.sockets[number % len(self.sockets)].sendall(lines[number])
            self.hear(first, max(0.0, began + len(self.sent_at) / rate - time.monotonic()))
        until = time.monotonic() + LINGER_S
        while len(self.took) < count and time.monotonic() < until:
            self.hear(first, 0.1)

    def hear(self, first: int, wait_s: float) -> None:
        """Take the answers that are there."""
        for key, _ in self.poll.select(wait_s):
            data = key.fileobj.recv(65_536)  # type: ignore[union-attr]  # registered above, a socket
            now = time.monotonic()
            held = key.data
            held += data + (b"" if self.newline else b"\n")
            *answers, rest = bytes(held).split(b"\n")
            held[:] = rest
            for answer in answers:
                number = int(answer) - first
                self.took.setdefault(number, now - self.sent_at[number])


def measure(rate: int, seconds: float, *, udp: bool, connections: int) -> Result:
    """One run against a fresh agent."""
    cores = sorted(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as work:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        config = Path(work, "vosship.yaml")
        config.write_text(CONFIG.format(work=work, port=port))
        command = [sys.executable, "-m", "vosship.cli", "run", "-c", str(config), "--log-level", "warning"]
        agent = subprocess.Popen(command)
        os.sched_setaffinity(agent.pid, cores[:1])
        os.sched_setaffinity(0, cores[-1:])
        try:
            _wait_for(port, agent)
            sender = Sender(port, udp=udp, connections=connections)
            first = 1_000_000
            sender.run(rate, seconds, first)
            took_s = sender.sent_at[-1] - sender.sent_at[0]
        finally:
            agent.send_signal(signal.SIGTERM)
            _, _, usage = os.wait4(agent.pid, 0)
            os.sched_setaffinity(0, cores)
        kept = {int(arrival.line.rsplit(b",", 10)[1].strip(b'"')) - first for arrival in scan(Path(work, "data/spool/forward"))}
    if not set(sender.took) <= kept:
        raise SystemExit(f"{len(set(sender.took) - kept)} records were answered and are not in the spool")
    times = sorted(sender.took.values()) or [float("inf")]
    return Result(
        len(sender.sent_at),
        len(sender.took),
        len(kept),
        len(sender.sent_at) / took_s,
        times[len(times) // 2] * 1000,
        times[int(len(times) * 0.99)] * 1000,
        times[-1] * 1000,
        (usage.ru_utime + usage.ru_stime) / took_s,
        usage.ru_maxrss / 1024,
    )


def _wait_for(port: int, agent: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 30
    while time.monotonic() < until and agent.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise SystemExit("the agent does not listen")


def main() -> None:
    """Measure UDP, one TCP connection, and many."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rate", type=int, default=5000)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--connections", type=int, default=200)
    options = parser.parse_args()
    runs = {"UDP": (True, 1), "TCP": (False, 1), f"TCP x {options.connections}": (False, options.connections)}
    print(f"answers with flowno after the fsync; the whole agent on one core; {options.rate}/s for {options.seconds:g} s")
    columns = ("sent", 9), ("answered", 10), ("in spool", 10), ("sent/s", 8), ("p50 ms", 8), ("p99 ms", 8), ("max ms", 8)
    print(" " * 12 + "".join(f"{title:>{width}}" for title, width in (*columns, ("CPU", 6), ("MB", 6))))
    for name, (udp, connections) in runs.items():
        got = measure(options.rate, options.seconds, udp=udp, connections=connections)
        print(
            f"{name:<12}{got.sent:>9}{got.answered:>10}{got.kept:>10}{got.rate:>8.0f}{got.p50_ms:>8.1f}{got.p99_ms:>8.1f}"
            f"{got.worst_ms:>8.1f}{got.cpu_share:>6.0%}{got.peak_mb:>6.0f}"
        )


if __name__ == "__main__":
    main()
