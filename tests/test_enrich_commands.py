"""Enrichment and privacy as commands show them: when tables are read, ids without a row, lines that are shown."""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from vosship import cli
from vosship.application import Application
from vosship.config import parse
from vosship.events import Field, Record
from vosship.pipeline import Pipeline, records_of
from vosship.testing.conformance import make_block

CONFIG = "switch: s1\ntimezone: Asia/Dhaka\ndata_dir: data\ninputs: {cdr: {type: files, paths: ['cdr/*.txt']}}\n"
TABLES = "processors: [cdr, codes, {type: gateways, table: gateways.csv}, {type: prefixes, table: deck.csv}]\n"
PRIVACY = """processors:
  - cdr
  - type: privacy
    numbers: {rule: mask, keep_first: 4}
    fields: {callerIp: {rule: mask}, calleeIp: {rule: drop}}
"""
CALL = (
    "8801711000001|441632960001|2026-04-26 12:00:00|2026-04-26 12:01:05|60000|200|0|{}|{}|203.0.113.7|198.51.100.9|1|2|3|4|0|1|5|9"
)
SECRETS = ("8801711000001", "441632960001", "203.0.113.7", "198.51.100.9")

Ask = Callable[..., tuple[int, str, str]]


@pytest.fixture
def ask(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Ask:
    """Runs a command on the configuration in `tmp_path`: its exit code, standard output and standard error."""
    (tmp_path / "cdr").mkdir()

    def run(*words: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = cli.run([*words, "-c", str(tmp_path / "vosship.yaml")])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def write(base: Path, processors: str, lines: list[str], deck: str = "prefix,destination\n880,Bangladesh\n") -> None:
    """A configuration, its tables and one file of lines."""
    (base / "vosship.yaml").write_text(CONFIG + processors, encoding="utf-8")
    (base / "gateways.csv").write_text("id,name,region\nCS1,Dhaka,asia\n", encoding="utf-8")
    (base / "deck.csv").write_text(deck, encoding="utf-8")
    (base / "cdr" / "2026042612.txt").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def test_a_bad_row_stops_what_processes_records_and_nothing_else(tmp_path: Path, ask: Ask) -> None:
    """`run` and `reship` refuse to start, `check` answers no; what only asks never reads past a table's title line."""
    write(tmp_path, TABLES, [CALL.format("CS1", "CS1")])
    assert ask("run", "--once")[0] == 0
    write(tmp_path, TABLES, [CALL.format("CS1", "CS1")], deck="prefix,destination,rate\n880,Bangladesh,1\n880,Again,2\n")
    sentence = f"{tmp_path / 'deck.csv'}, line 3: the prefix '880' stands twice, first in line 2"
    asking = (("status",), ("dead", "list"), ("search", "--day", "2026-04-26"), ("setup",))
    for asked in asking:
        assert ask(*asked)[0] == 0, asked
    day = ("--day", "2026-04-26")
    working = (("run", "--once"), ("reship", *day), ("dead", "replay"), ("reconcile", "--left", "cdr", "--right", "store", *day))
    for words in working:
        code, _, err = ask(*words)
        assert code == 2, (words, err)
        assert f"vosship: {tmp_path / 'vosship.yaml'}: processors[3].table: {sentence}" in err
    code, out, _ = ask("check", "--json")
    assert code == 3
    assert [item["text"] for item in json.loads(out) if item["level"] == "bad"] == [sentence]
    fields = Application.load(str(tmp_path / "vosship.yaml")).schema
    assert "labels.rate" in fields, "a column of its own is declared all the same"


def test_a_run_that_cannot_start_for_its_table_writes_nothing(tmp_path: Path, ask: Ask) -> None:
    """Tables are read before the state, the outputs and the listeners are opened."""
    write(tmp_path, TABLES, [CALL.format("CS1", "CS1")], deck="prefix,destination\n880\n")
    assert ask("run", "--once")[0] == 2
    assert not (tmp_path / "data").exists()


def test_a_title_line_that_lacks_a_column_stops_every_command(tmp_path: Path, ask: Ask) -> None:
    """Without it nobody can say which fields there are."""
    write(tmp_path, TABLES, [], deck="Code,destination\n880,Bangladesh\n")
    code, _, err = ask("status")
    assert code == 2
    assert f"processors[3].table: {tmp_path / 'deck.csv'}, line 1: the column 'prefix' is missing" in err


def test_status_names_ids_without_a_row(tmp_path: Path, ask: Ask) -> None:
    """With no agent running, most frequent first, a dozen at most for people, all as JSON, and none that has a row by now."""
    ids = ["10.0.0.9"] * 30 + [f"V{number:02}" for number in range(14)]
    write(tmp_path, TABLES, [CALL.format("CS1", name) for name in ids])
    assert ask("status", "--json")[1].endswith('"notices":[]}\n')
    assert ask("run", "--once")[0] == 0
    first = ", ".join(f"V{number:02} (1)" for number in range(9))
    sentence = f"gateways without a row: 10.0.0.9 (30), {first}, … and 5 more"
    assert sentence in ask("status")[1]
    (notice,) = json.loads(ask("status", "--json")[1])["notices"]
    assert (notice["part"], notice["subject"], notice["text"]) == ("processors.gateways", "gateways without a row", sentence)
    assert notice["counts"] == {"10.0.0.9": 30} | {f"V{number:02}": 1 for number in range(14)}
    with (tmp_path / "gateways.csv").open("a", encoding="utf-8") as table:
        table.write("10.0.0.9,Own,asia\n")
    assert "10.0.0.9" not in json.loads(ask("status", "--json")[1])["notices"][0]["counts"]
    with (tmp_path / "gateways.csv").open("a", encoding="utf-8") as table:
        table.write("10.0.0.9,Twice,asia\n")
    code, out, _ = ask("status")
    assert (code, sentence in out) == (0, True), "a table that cannot be read hides nothing"


def test_counts_of_ids_go_on_with_the_next_run_and_only_runs_count(tmp_path: Path, ask: Ask) -> None:
    """What another command reads again is not counted again; what the next agent reads is."""

    def counts() -> dict[str, int]:
        (notice,) = json.loads(ask("status", "--json")[1])["notices"]
        return dict(notice["counts"])

    write(tmp_path, TABLES, [CALL.format("CS1", "V1")] * 3)
    assert ask("run", "--once")[0] == 0
    for words in (["reship"], ["reconcile", "--left", "cdr", "--right", "store"]):
        assert ask(*words, "--day", "2026-04-26")[0] == 0
    assert counts() == {"V1": 3}
    with (tmp_path / "cdr" / "2026042612.txt").open("a", encoding="utf-8") as file:
        file.write(CALL.format("CS1", "V1") + "\n" + CALL.format("CS1", "V2") + "\n")
    assert ask("run", "--once")[0] == 0
    assert counts() == {"V1": 4, "V2": 1}


def damaged(base: Path) -> list[str]:
    """A good call and lines that are dead, with numbers in them and in what is said of them."""
    good = CALL.format("CS1", "CS1")
    write(
        base,
        PRIVACY,
        [good, good.replace("2026-04-26 12:01:05", "8801711000001"), good.replace("|60000|", "|441632960001x|"), SECRETS[0]],
    )
    return [good.replace("2026-04-26 12:01:05", "8801711000001"), good.replace("|60000|", "|441632960001x|"), SECRETS[0]]


def test_dead_lines_are_shown_under_the_privacy_rules(tmp_path: Path, ask: Ask) -> None:
    """Neither a number nor an address is left in what `dead` prints; `show --raw` shows the line, which the state has whole."""
    lines = damaged(tmp_path)
    assert ask("run", "--once")[0] == 3
    details = "".join(row[0] for row in sqlite3.connect(tmp_path / "data" / "state.sqlite").execute("SELECT detail FROM dead"))
    assert any(secret in details for secret in SECRETS), "else nothing is shown of a detail that quotes a value"
    for words in (("dead", "list"), ("dead", "list", "--json"), ("dead", "show"), ("dead", "show", "--json")):
        code, out, err = ask(*words)
        assert code == 0
        assert "2026042612.txt" in out
        assert not [secret for secret in SECRETS if secret in out + err], words
    assert json.loads(ask("dead", "show", "3", "--json")[1])["line"] == "x" * 13
    whole = [json.loads(line)["line"] for line in ask("dead", "show", "--raw", "--json")[1].splitlines()]
    assert whole == lines
    assert f"line      {lines[0]}\n" in ask("dead", "show", "1", "--raw")[1]


def test_lines_that_are_no_text_are_concealed_too(tmp_path: Path, ask: Ask) -> None:
    """`line_base64` is made of the concealed bytes."""
    import base64

    write(tmp_path, PRIVACY, [])
    (tmp_path / "cdr" / "2026042612.txt").write_bytes(b"\xff\xfe|8801711000001\n")
    assert ask("run", "--once")[0] == 3
    (line,) = ask("dead", "list", "--json")[1].splitlines()
    assert base64.b64decode(json.loads(line)["line_base64"]) == b"\xff\xfe|" + b"x" * 13


def test_nothing_else_says_what_privacy_hides(tmp_path: Path, ask: Ask) -> None:
    """A run over damaged lines logs no number, at any level; nor do the other commands that come across those lines."""
    damaged(tmp_path)
    code, out, err = ask("run", "--once", "--log-level", "debug")
    assert code == 3
    assert "lines set aside" in err
    texts = {"run": out + err}
    window = ("--day", "2026-04-26")
    asked = (
        ("status",), ("status", "--json"), ("check",), ("dead", "replay"), ("search", *window), ("reship", *window),
        ("reconcile", "--left", "cdr", "--right", "store", *window, "--json"),
        ("evidence", "--caller-gateway", "CS1", *window), ("evidence", "--caller-gateway", "CS1", *window, "--json"),
    )  # fmt: skip
    for words in asked:
        code, out, err = ask(*words)
        assert code in (0, 3, 4), (words, err)
        texts[" ".join(words)] = out + err
    assert {words: secret for words, text in texts.items() for secret in SECRETS if secret in text} == {}
    raw = json.loads(ask("evidence", "--caller-gateway", "CS1", *window, "--raw", "--json")[1])["copies"][0]["raw"]
    assert (raw["line"], raw["proved"]) == (CALL.format("CS1", "CS1"), True)


def test_a_rule_is_refused_for_what_is_set_after_it(tmp_path: Path, ask: Ask) -> None:
    """Else the number would leave the machine as it is; rules for all numbers leave later processors nothing to find."""
    early = "processors: [cdr, {type: privacy, %s}, {type: gateways, table: gateways.csv}]\n"
    write(tmp_path, early % "fields: {caller.number: {rule: drop}}", [])
    code, _, err = ask("status")
    assert code == 2
    assert "processors[1]: it has a rule for 'caller.number', which 'gateways' sets after it (put it behind 'gateways')" in err
    write(tmp_path, early % "numbers: {rule: mask, keep_first: 4}", [CALL.format("CS1", "CS1")])
    assert ask("run", "--once")[0] == 0
    (call,) = map(json.loads, ask("search", "--day", "2026-04-26", "--json")[1].splitlines())
    assert call["callerE164"] == "8801*********"
    assert not [name for name in call if name.endswith((".number", ".number_sent"))]


def test_a_key_that_only_the_agent_may_read_stops_nobody_else(tmp_path: Path, ask: Ask) -> None:
    """Whoever watches the agent as another user sees the account; what hashes needs the key."""
    hashing = "processors: [cdr, {type: privacy, numbers: {rule: hash}, key_file: key}]\n"
    write(tmp_path, hashing, [CALL.format("CS1", "CS1")])
    (tmp_path / "key").write_text("0123456789abcdef")
    assert ask("run", "--once")[0] == 0
    (tmp_path / "key").unlink()
    for words in (("status",), ("dead", "list"), ("search", "--day", "2026-04-26")):
        assert ask(*words)[0] == 0, words
    code, _, err = ask("run", "--once")
    assert (code, f"processors[1].key_file: cannot read {tmp_path / 'key'}" in err) == (2, True)


class Faulty:
    """A processor whose exceptions quote what they were given."""

    fields: Sequence[Field] = ()

    def process(self, records: Sequence[Record]) -> None:
        """Fails on every line."""
        for record in records:
            int(record.line)


def test_a_bug_is_logged_without_what_it_was_given(caplog: pytest.LogCaptureFixture) -> None:
    """The log says where a processor failed and with which exception; its words stay with the dead line."""
    entry = Application(parse(CONFIG)).inputs["cdr"]
    pipeline = Pipeline("cdr>store", source=entry.plugin, processors=[Faulty()], renderer=None, now=lambda: 0.0)
    block = make_block([SECRETS[0].encode() + b"x"])
    with caplog.at_level(logging.DEBUG):
        records, alive = pipeline.process(block)
    assert (len(records), alive, records[0].reason) == (len(records_of(block)), [], "bug_in_faulty")
    assert SECRETS[0] in records[0].detail
    said = [str(record.__dict__) + caplog.handler.format(record) for record in caplog.records]
    assert len(said) == 2
    assert all("ValueError" in line and "int(record.line)" in line and SECRETS[0] not in line for line in said)


def replaced(base: Path, name: str, text: str) -> None:
    """Put a table in place as an operator is told to: by renaming."""
    (base / "new").write_text(text, encoding="utf-8")
    (base / "new").replace(base / name)


def test_status_says_that_the_agent_goes_on_with_an_old_table(tmp_path: Path, ask: Ask) -> None:
    """A table that the agent could not take up is named with its line, until another one stands there."""
    write(tmp_path, TABLES, [])
    application = Application.load(str(tmp_path / "vosship.yaml"))
    clock = [0.0]
    application._now = lambda: clock[0]
    application._built.clear()
    chain = application.processors(application.inputs["cdr"])
    gateways, prefixes = chain[2], chain[3]

    def look() -> None:
        """As the agent does, when the next calls come."""
        clock[0] += 60
        for processor in (gateways, prefixes):
            processor.process([])
            (processor._table if processor is gateways else processor._deck).wait()
            processor.keep()

    look()
    assert json.loads(ask("status", "--json")[1])["notices"] == []
    replaced(tmp_path, "gateways.csv", "id,name,region\nCS1,Dhaka,asia\nCS1,Again,asia\n")
    replaced(tmp_path, "deck.csv", "prefix,destination\n880\n")
    look()
    code, out, _ = ask("status")
    assert code == 0
    assert f"{tmp_path / 'gateways.csv'}, line 3: the gateway 'CS1' stands twice" in out
    said = json.loads(ask("status", "--json")[1])["notices"]
    assert [(each["part"], each["counts"]) for each in said] == [("processors.gateways", {}), ("processors.prefixes", {})]
    assert f"{tmp_path / 'deck.csv'}, line 2: 1 cells where the title line has 2" in said[1]["text"]
    replaced(tmp_path, "gateways.csv", "id,name,region\nCS1,Dhaka,asia\n")
    assert [each["part"] for each in json.loads(ask("status", "--json")[1])["notices"]] == ["processors.prefixes"]
    (tmp_path / "deck.csv").unlink()
    look()
    (notice,) = json.loads(ask("status", "--json")[1])["notices"]
    assert f"cannot read {tmp_path / 'deck.csv'}: No such file" in notice["text"]
    replaced(tmp_path, "deck.csv", "prefix,destination\n880,Bangladesh\n")
    look()
    assert json.loads(ask("status", "--json")[1])["notices"] == []


def test_without_a_table_what_only_asks_goes_on(tmp_path: Path, ask: Ask) -> None:
    """Once an agent has run, a table that is away stops what processes records, and nothing that reads the account or the store."""
    write(tmp_path, TABLES, [CALL.format("CS1", "CS1")], deck="prefix,destination,rate\n880,Bangladesh,1\n")
    assert ask("run", "--once")[0] == 0
    before = ask("search", "--day", "2026-04-26", "--json")[1]
    for name in ("gateways.csv", "deck.csv"):
        (tmp_path / name).unlink()
    for words in (("status",), ("dead", "list"), ("stats", "--by", "hour", "--day", "2026-04-26"), ("setup", "--print")):
        assert ask(*words)[0] == 0, words
    assert ask("search", "--day", "2026-04-26", "--json")[1] == before
    assert {"labels.region", "labels.rate"} <= {field.name for field in Application.load(str(tmp_path / "vosship.yaml")).schema}
    code, _, err = ask("run", "--once")
    assert code == 2
    assert f"processors[2].table: cannot read {tmp_path / 'gateways.csv'}: No such file or directory" in err
    code, out, _ = ask("check")
    assert code == 3
    assert f"cannot read {tmp_path / 'deck.csv'}" in out
