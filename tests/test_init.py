"""`vosship init`: what it writes can be used as it is, and nothing is overwritten unasked."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from vosship.config import load


def init(*arguments: str, cwd: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    call = [sys.executable, "-m", "vosship.cli", "init", *arguments]
    return subprocess.run(call, cwd=cwd, capture_output=True, text=True, stdin=subprocess.DEVNULL, env={**os.environ, **environ})


@pytest.mark.parametrize("output", ["sqlite", "opensearch", "elasticsearch"])
def test_the_written_file_loads(tmp_path: Path, output: str) -> None:
    """Every choice gives a configuration with what was asked for, also in a zone or a path that needs quoting."""
    arguments = ["--switch", "Dhaka: #1", "--timezone", "Asia/Dhaka", "--cdr-dir", "/srv/cdr files/", "--output", output]
    done = init(*arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    config = load(tmp_path / "vosship.yaml", {})
    assert (config.switch, config.timezone) == ("Dhaka: #1", "Asia/Dhaka")
    assert config.inputs[0].options == {"paths": ["/srv/cdr files/*.txt"]}
    assert [one.type for one in config.outputs] == [output]
    assert done.stdout == ""


def test_an_existing_file_is_left_alone(tmp_path: Path) -> None:
    """Exit code 2 and a hint; --force overwrites."""
    path = tmp_path / "mine.yaml"
    path.write_text("precious")
    refused = init(str(path), cwd=tmp_path)
    assert (refused.returncode, path.read_text()) == (2, "precious")
    assert "--force" in refused.stderr
    assert init(str(path), "--force", cwd=tmp_path).returncode == 0
    assert load(path, {}).switch == "switch-1"


def test_a_zone_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    """Nothing is written then; this machine's own zone is the default and said aloud."""
    assert init("--timezone", "Dhaka", cwd=tmp_path).returncode == 2
    assert list(tmp_path.iterdir()) == []
    done = init(cwd=tmp_path, TZ="Asia/Kathmandu")
    assert load(tmp_path / "vosship.yaml", {}).timezone == "Asia/Kathmandu"
    assert "Asia/Kathmandu" in done.stderr


def test_a_folder_that_does_not_exist_is_named(tmp_path: Path) -> None:
    """One sentence, no traceback."""
    done = init("nowhere/vosship.yaml", cwd=tmp_path)
    assert done.returncode == 1
    assert "nowhere/vosship.yaml" in done.stderr
    assert "Traceback" not in done.stderr
