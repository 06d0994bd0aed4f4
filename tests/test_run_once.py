"""`vosship run --once`: what it could not read, or was not let finish, is no success."""

from __future__ import annotations

from pathlib import Path

import pytest
from unprivileged import as_nobody, needs_root

from tests.crash_parts import Process, wait_for
from tests.nodes import free_port
from vosship import cli

LINE = "1|2|2026-04-26 {0}:10:00|2026-04-26 {0}:10:00|0|486|1|a|b|10.0.0.1|10.0.0.2|1|2|1|2|0|1|9|9\n"
HOURS = ("00", "01", "02")


def configure(folder: Path, output: str = "{type: sqlite}") -> Path:
    """A configuration that reads `cdr/` below the folder, where three hours lie."""
    (folder / "cdr").mkdir()
    for hour in HOURS:
        (folder / "cdr" / f"20260426{hour}.txt").write_text(LINE.format(hour) * 3, encoding="utf-8")
    file = folder / "vosship.yaml"
    file.write_text(
        "switch: s1\ntimezone: UTC\ndata_dir: data\n"
        f"inputs: {{cdr: {{type: files, paths: ['cdr/*.txt']}}}}\noutputs: {{out: {output}}}\n",
        encoding="utf-8",
    )
    return file


def test_a_directory_that_is_missing_was_not_read(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Who waits for the exit code learns that the source is incomplete, and from the last lines which part."""
    config = configure(tmp_path)
    (tmp_path / "cdr").rename(tmp_path / "elsewhere")
    assert cli.run(["run", "--once", "-c", str(config)]) == 4
    said = capfd.readouterr().err.splitlines()[-1]
    assert f"{tmp_path}/cdr: missing" in said
    (tmp_path / "elsewhere").rename(tmp_path / "cdr")
    assert cli.run(["run", "--once", "-c", str(config)]) == 0


@needs_root
def test_a_file_without_rights_was_not_read(open_dir: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The others are shipped, and the one is named; a dead line beside it is the worse answer."""
    config = configure(open_dir)
    closed = open_dir / "cdr" / "2026042601.txt"
    closed.chmod(0)
    (open_dir / "data").mkdir()
    (open_dir / "data").chmod(0o777)
    run = ["run", "--once", "-c", str(config)]
    assert as_nobody(lambda: cli.run(run)) == 4
    said = capfd.readouterr().err
    assert f"cannot read {closed}: Permission denied" in said.splitlines()[-1]
    assert "stored=6" in said
    (open_dir / "cdr" / "2026042602.txt").open("a", encoding="utf-8").write("no call\n")
    assert as_nobody(lambda: cli.run(run)) == 3
    assert f"cannot read {closed}: Permission denied" in capfd.readouterr().err
    closed.chmod(0o644)
    assert as_nobody(lambda: cli.run(run)) == 0


def test_a_stop_before_the_end_is_no_success(tmp_path: Path) -> None:
    """SIGTERM ends it in order, but not everything that was there is shipped; an agent that is stopped has done its work."""
    config = configure(tmp_path, f"{{type: opensearch, hosts: ['http://127.0.0.1:{free_port()}']}}")
    for number, (words, wanted) in enumerate(((["--once"], 4), ([], 0))):
        log = tmp_path / f"{number}.log"
        running = Process(log, "run", *words, "-c", config)
        wait_for(lambda log=log: "output unavailable, waiting" in log.read_text(), "the output is waited for")
        assert running.stop() == wanted, log.read_text()
        assert ("stopped before everything there was read" in log.read_text()) == bool(words)
