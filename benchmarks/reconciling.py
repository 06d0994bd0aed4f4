"""Two directories of 10 million lines each, 1 % of them different: seconds and peak memory of `vosship reconcile`.

    python -m benchmarks.reconciling [--records 10000000] [--work DIR]

The left copy is the simulator's; the right one is the left with every 400th line dropped, another changed, another new and
another (0.25 % each) cut in its duration. Memory is the peak of the process as the operating system accounts it at its end.
The answer is checked: a quick wrong one would be worth nothing. With --work the lines are made once and used again.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CONFIG = """\
switch: bench
timezone: Asia/Dhaka
data_dir: {work}/data
inputs:
  cdr: {{type: files, paths: ["{work}/left/*.txt"]}}
  copy: {{type: files, paths: ["{work}/right/*.txt"], channel: copy}}
outputs: {{store: {{type: sqlite}}}}
"""

PERIOD = 400


def make(work: Path, records: int) -> None:
    """Both directories; nothing is done where they are there already."""
    left, right = work / "left", work / "right"
    if not left.exists():
        cps = str(records / 86_000)
        command = [sys.executable, "-m", "vosship.cli", "simulate", str(left), "--calls", str(records), "--seed", "7", "--cps", cps]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    if not right.exists():
        right.mkdir()
        expected = {"left_only": 0, "right_only": 0, "mismatched": 0}
        number = 0
        for source in sorted(left.iterdir()):
            with source.open("rb") as lines, (right / source.name).open("wb") as copy:
                for line in lines:
                    number = copied(line, number, copy.write, expected)
        (work / "expected.json").write_text(json.dumps(expected))


def copied(line: bytes, number: int, write: object, expected: dict[str, int]) -> int:
    """One line into the right copy, as it is or with its difference; returns the next number."""
    assert callable(write)
    kind = number % PERIOD
    if kind == 100:
        expected["left_only"] += 1
        return number + 1
    if kind in (200, 300):
        cells = line.split(b"|")
        if kind == 200:
            cells[5] = b"502" if cells[5] != b"502" else b"503"
        else:
            cells[4] = b"%d" % (int(cells[4]) + 1000)
        expected["mismatched"] += 1
        line = b"|".join(cells)
    write(line)
    if kind == 0:
        expected["right_only"] += 1
        write(b"0000%d|" % number + line.partition(b"|")[2])
    return number + 1


def main() -> int:
    """Make, run, check, print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--records", type=int, default=10_000_000)
    parser.add_argument("--work", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        work = arguments.work or Path(scratch)
        work.mkdir(parents=True, exist_ok=True)
        make(work, arguments.records)
        (work / "vosship.yaml").write_text(CONFIG.format(work=work))
        command = [sys.executable, "-m", "vosship.cli", "reconcile", "-c", str(work / "vosship.yaml"), "--left", "cdr"]
        command += ["--right", "copy", "--from", "2026-04-25", "--to", "2026-04-27", "--json"]
        started = time.monotonic()
        with (work / "report.json").open("wb") as report:
            process = subprocess.Popen(command, stdout=report)
            _, status, usage = os.wait4(process.pid, 0)
        wall_s = time.monotonic() - started
        found = json.loads((work / "report.json").read_bytes())
        expected = json.loads((work / "expected.json").read_bytes())
        print(f"records   {found['left']['records']:,} against {found['right']['records']:,}")
        print(f"time      {wall_s:.1f} s, CPU {usage.ru_utime + usage.ru_stime:.1f} s, peak {usage.ru_maxrss / 1024:.0f} MB")
        print(f"classes   {found['classes']}")
        right = all(found["classes"][word] == count for word, count in expected.items())
        print("correct" if right else f"WRONG: expected {expected}")
    return 0 if right and os.waitstatus_to_exitcode(status) == 3 else 1


if __name__ == "__main__":
    sys.exit(main())
