"""`vosship inspect`: what it says of clean, dirty and contradictory files."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from tests.test_cdr import REGULAR, ZONE, call
from vosship.errors import ConfigError
from vosship_cdr.inspection import inspect_file
from vosship_cdr.options import CdrOptions

UNANSWERED = REGULAR.replace(b"|21049|200|", b"|0|486|")


def test_a_clean_file_is_described(tmp_path: Path) -> None:
    """Layout, columns, times, unit, first and last stop and the unanswered, from a compressed file as from a plain one."""
    data = b"\n".join([REGULAR] * 6 + [UNANSWERED] * 3) + b"\n"
    plain, packed = tmp_path / "2026042612.txt", tmp_path / "2026042612.txt.gz"
    plain.write_bytes(data)
    packed.write_bytes(gzip.compress(data))
    for path in (plain, packed):
        found = inspect_file(path, CdrOptions(), ZONE)
        assert (found.layout, found.fields, found.lines, found.bad_lines, found.unanswered) == ("pipe", 19, 9, 0, 3)
        assert (found.encoding, found.newline, found.times, found.hold_unit) == ("ascii", "lf", "text", "ms")
        assert found.first_stop == found.last_stop == "2026-04-26T06:00:01.000Z"


def test_a_dirty_file_is_told_apart(tmp_path: Path) -> None:
    """Mark, title, carriage returns, trailing delimiter, bad lines by reason and a missing newline are all named."""
    title = b"callerE164|calleeE164|startTime|stopTime|holdTime|"
    lines = [b"\xef\xbb\xbf" + title, REGULAR + b"|", REGULAR + b"|", b"half|a line", UNANSWERED + b"|"]
    path = tmp_path / "2026042612.txt"
    path.write_bytes(b"\r\n".join([*lines, REGULAR[:70]]))
    found = inspect_file(path, CdrOptions(), ZONE)
    assert (found.fields, found.lines, found.bad_lines, found.newline) == (19, 6, 2, "crlf")
    notes = "\n".join(found.notes)
    for part in ("byte-order mark", "ends with a delimiter", "1 title line", "1 × short_line", "1 × unterminated", "no newline"):
        assert part in notes


def test_a_contradicted_unit_is_reported_with_its_option(tmp_path: Path) -> None:
    """Where `run` would halt, `inspect` reads on and names the option."""
    path = tmp_path / "2026042612.txt"
    path.write_bytes(b"\n".join(call(talk, 8, talk) for talk in range(5, 45)) + b"\n")
    found = inspect_file(path, CdrOptions(), ZONE)
    assert found.hold_unit == "s"
    assert any("`hold_unit: s`" in note for note in found.notes)


def test_a_file_without_calls_is_unclear(tmp_path: Path) -> None:
    """An empty file is not yet written, which is no statement about calls."""
    path = tmp_path / "2026042612.txt"
    path.touch()
    found = inspect_file(path, CdrOptions(), ZONE)
    assert (found.layout, found.times, found.hold_unit, found.first_stop) == ("unclear", "unclear", "unclear", "")


def test_a_file_that_cannot_be_read_is_a_sentence(tmp_path: Path) -> None:
    """What is missing, cut short, or no file at all is an error naming it; a pipe is not waited for."""
    damaged, cut, pipe = (tmp_path / name for name in ("2026042612.txt.gz", "2026042613.txt.gz", "2026042614.txt"))
    damaged.write_bytes(b"no archive")
    cut.write_bytes(gzip.compress(b"a line\n" * 100)[:-12])
    os.mkfifo(pipe)
    for path, hint in (
        (tmp_path / "none.txt", "permissions"),
        (damaged, "damaged"),
        (cut, "damaged"),
        (pipe, "not their directory"),
    ):
        with pytest.raises(ConfigError, match=path.name) as refused:
            inspect_file(path, CdrOptions(), ZONE)
        assert hint in refused.value.hint


def test_the_command_prints_the_contracts_json_and_nothing_else(tmp_path: Path) -> None:
    """`--json` is one object with the published keys on standard output."""
    path = tmp_path / "2026042612.txt"
    path.write_bytes(REGULAR + b"\n")
    done = subprocess.run(
        [sys.executable, "-m", "vosship.cli", "inspect", "--json", "--tz", ZONE, str(path)], capture_output=True, check=True
    )
    found = msgspec.json.decode(done.stdout)
    assert " ".join(found) == (
        "file layout fields lines bad_lines encoding newline times hold_unit first_stop last_stop unanswered notes"
    )
    assert found["last_stop"] == "2026-04-26T06:00:01.000Z"
