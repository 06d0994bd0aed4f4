"""Who may read what lies in a data directory, and what somebody without rights is told."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from unprivileged import NOBODY, as_nobody, needs_root

from vosship import cli
from vosship.errors import HaltedError
from vosship_browse.days import day_files

LINE = "1|2|2026-04-26 00:10:00|2026-04-26 00:10:00|0|486|1|a|b|10.0.0.1|10.0.0.2|1|2|1|2|0|1|9|9\n"


@pytest.fixture
def config(open_dir: Path) -> Path:
    """A configuration whose two calls have been shipped into the embedded store, by the owner of this process."""
    (open_dir / "cdr").mkdir()
    for hour in ("00", "01"):
        (open_dir / "cdr" / f"20260426{hour}.txt").write_text(LINE, encoding="utf-8")
    file = open_dir / "vosship.yaml"
    file.write_text(
        "switch: s1\ntimezone: UTC\ndata_dir: made/data\ninputs: {cdr: {type: files, paths: ['cdr/*.txt'], rescue_dir: kept}}\n",
        encoding="utf-8",
    )
    before = os.umask(0o022)
    assert cli.run(["run", "--once", "-c", str(file)]) == 0
    os.umask(before)
    return file


def test_what_the_agent_makes_is_closed_to_others(config: Path) -> None:
    """Calls are personal data, and of a dead line the state holds what privacy rules hide from everybody else."""
    for made in ("made/data", "kept"):
        assert (config.parent / made).stat().st_mode & 0o7777 == 0o750


@needs_root
@pytest.mark.parametrize("words", [["search"], ["stats", "--by", "hour"], ["export", "--format", "csv", "--out", "-"]])
def test_a_store_that_may_not_be_listed_is_no_bug(config: Path, words: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    """Whoever asks as another user than the agent's learns that, in one sentence."""
    assert as_nobody(lambda: cli.run([*words, "-c", str(config)])) == 1
    said = capfd.readouterr().err.splitlines()[-1]
    assert said == f"vosship: {config.parent}/made/data/store cannot be listed: Permission denied (run as the agent's user)"


@needs_root
def test_a_start_as_another_user_names_the_file(config: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The agent whose files somebody else made finds out which, and whose they must be."""
    data = config.parent / "made" / "data"
    os.chown(data, NOBODY, NOBODY)
    assert as_nobody(lambda: cli.run(["run", "--once", "-c", str(config)])) == 2
    assert f"cannot write {data}/agent.lock: Permission denied (run as the agent's user, who must own" in capfd.readouterr().err


@needs_root
def test_a_store_that_may_not_be_listed_is_no_empty_one(config: Path) -> None:
    """`browse` says so before it shows pages without a call."""

    def look() -> str:
        try:
            return str(day_files(config.parent / "made" / "data" / "store"))
        except HaltedError as error:
            return str(error)

    assert as_nobody(look).endswith("cannot be listed: Permission denied (run as the agent's user)")


@needs_root
def test_one_of_the_agents_group_may_look(config: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A monitoring user reads the account of an agent that has stopped, too: then only a writer could make shared memory."""
    data = config.parent / "made" / "data"
    os.chown(data, 0, NOBODY)
    for words, wanted in (["status", "--json"], 0), (["status", "--nagios"], 2), (["dead", "list"], 0), (["search", "--json"], 0):
        capfd.readouterr()
        assert as_nobody(lambda words=words: cli.run([*words, "-c", str(config)])) == wanted, capfd.readouterr().err


@needs_root
@pytest.mark.parametrize("mode", [{"secret": 0o700}, {"secret/password": 0o600}])
def test_a_password_that_only_the_agent_may_read_stops_nobody_else(
    config: Path, mode: dict[str, int], capfd: pytest.CaptureFixture[str]
) -> None:
    """The account needs no server; what does need it says which file is closed, and for whom."""
    folder = config.parent / "secret"
    folder.mkdir()
    (folder / "password").write_text("s3cret")
    for name, bits in mode.items():
        (config.parent / name).chmod(bits)
    search = "{type: opensearch, hosts: ['http://127.0.0.1:9'], username: u, password_file: secret/password, give_up_s: 0.1}"
    with config.open("a", encoding="utf-8") as file:
        file.write(f"outputs: {{store: {{type: sqlite}}, search: {search}}}\n")
    os.chown(config.parent / "made" / "data", 0, NOBODY)
    for words in (["status", "--json"], ["dead", "list"], ["search", "--output", "store", "--json"]):
        assert as_nobody(lambda words=words: cli.run([*words, "-c", str(config)])) == 0, capfd.readouterr().err
    capfd.readouterr()
    assert as_nobody(lambda: cli.run(["search", "--output", "search", "--json", "-c", str(config)])) == 2
    said = capfd.readouterr().err.splitlines()[-1]
    assert "outputs.search.password_file: cannot" in said
    assert said.endswith("Permission denied (run as the agent's user)")
    assert cli.run(["run", "--once", "-c", str(config)]) == 1, "the owner reads it, and nobody answers there"
