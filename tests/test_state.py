"""The state: one transaction a settle, durable pragmas, one agent, and what a damaged file gets."""

import shutil
import sqlite3
import subprocess
import sys
from types import SimpleNamespace

import pytest
from unprivileged import as_nobody, needs_root

from vosship.errors import ConfigError, FatalError
from vosship.events import Block, Dead, Gone, Stream
from vosship.ledger import reading
from vosship.lock import holder
from vosship.pipeline import Prepared
from vosship.state import Revived, Settled, State

STREAM = Stream("/cdr/2026042612.txt", "2026042612.txt", "/cdr/2026042612.txt", 1, 1000.0)


def block(start, end, generation=1):
    stream = Stream(STREAM.name, STREAM.base, STREAM.path, generation, STREAM.starts_at)
    return Block(stream, start, end, b"", b"proof %d" % end, {})


def settled(start, end, lines=10, stored=10, duplicate=0, dead=(), filtered=0, generation=1):
    return Settled(Prepared(block(start, end, generation), lines, [], [], filtered, end), stored, duplicate, list(dead))


def dead(offset, reason="short_line"):
    return Dead(stream=STREAM, offset=offset, line=b"bad \xff line", reason=reason)


@pytest.fixture
def state(tmp_path):
    opened = State.open(tmp_path)
    opened.register("cdr>store", "s", "UTC")
    yield opened
    opened.close()


def rows(state, question):
    return state.submit(lambda db: db.execute(question).fetchall()).result()


def test_a_settle_moves_position_ledger_and_dead_lines_together(state):
    """Position, counts and dead lines change in one transaction."""
    state.settle("cdr>store", [settled(0, 100, dead=[dead(50)], stored=9)], [], 1.0).result()
    state.settle("cdr>store", [settled(100, 180, duplicate=4, stored=6)], [], 2.0).result()
    known = state.submit_known("cdr>store").result()[STREAM.name]
    assert (known.offset, known.proof) == (180, b"proof 180")
    assert rows(state, "SELECT read, stored, duplicate, dead, filtered FROM streams") == [(20, 15, 4, 1, 0)]
    assert state.submit_dead_totals("cdr>store").result() == (1, len(b"bad \xff line"))


def test_a_failing_settle_changes_nothing(state):
    """When a part of a settle fails, no part of it stays, and the error says that nothing was settled."""
    state.submit(
        lambda db: db.execute("CREATE TRIGGER full BEFORE INSERT ON dead BEGIN SELECT raise(ABORT, 'disk is full'); END") and None
    ).result()
    with pytest.raises(FatalError, match="full"):
        state.settle("cdr>store", [settled(0, 100, dead=[dead(50)])], [], 1.0).result()
    assert state.submit_known("cdr>store").result() == {}


def test_half_a_character_in_a_servers_message_harms_nothing(state):
    """A lone surrogate in a detail or a reason is written out; the state lives on."""
    odd = Dead(stream=STREAM, offset=50, line=b"x", reason="mapping", detail="half \ud800 here")
    state.settle("cdr>store", [settled(0, 100, dead=[odd], stored=9)], [], 1.0).result()
    state.tell("cdr>store", "waiting", "said \udfff", 2.0).result()
    assert rows(state, "SELECT detail FROM dead") == [("half \\ud800 here",)]


def test_the_pragmas_that_a_kill_cannot_show(state):
    """The connection that settles is WAL and synchronous=FULL (2): a commit survives a power cut."""
    assert rows(state, "PRAGMA synchronous") == [(2,)]
    assert rows(state, "PRAGMA journal_mode") == [("wal",)]


def test_a_new_generation_begins_beside_the_old(state):
    """After a rewrite the newest generation is known, and the ledger keeps both."""
    state.settle("cdr>store", [settled(0, 100)], [], 1.0).result()
    state.settle("cdr>store", [settled(0, 40, generation=2)], [], 2.0).result()
    known = state.submit_known("cdr>store").result()[STREAM.name]
    assert (known.stream.generation, known.offset) == (2, 40)
    assert rows(state, "SELECT sum(read) FROM streams") == [(20,)]


def test_what_was_lost_is_entered_with_its_bytes(state):
    """A stream deleted unread leaves a loss with offset and size."""
    state.settle("cdr>store", [settled(0, 100)], [Gone(STREAM, 100, 900, "deleted unread")], 5.0).result()
    assert rows(state, "SELECT path, offset, bytes, reason FROM losses") == [(STREAM.path, 100, 900, "deleted unread")]
    assert rows(state, "SELECT gone, lost_bytes FROM streams") == [(1, 900)]


def test_old_rows_are_folded_into_the_totals(state, tmp_path):
    """A stream deleted long ago loses its row, not its counts; one with a dead line keeps it."""
    state.settle("cdr>store", [settled(0, 100, stored=9, duplicate=1)], [Gone(STREAM, 100, 50, "deleted unread")], 1000.0).result()
    state.settle(
        "cdr>store", [settled(0, 100, stored=9, dead=[dead(5)], generation=2)], [Gone(block(0, 1, 2).stream, 100)], 1000.0
    ).result()
    assert state.prune(999.0).result() == 0
    assert state.prune(2000.0).result() == 1
    assert rows(state, "SELECT generation FROM streams") == [(2,)]
    folded = "SELECT pruned_read, pruned_stored, pruned_duplicate, pruned_lost_bytes FROM pipelines"
    assert rows(state, folded) == [(10, 9, 1, 50)]


def test_dead_lines_move_in_the_ledger_when_they_are_revived(state):
    """Replay moves dead to stored, drop to filtered, a second failure keeps the line with its new reason."""
    state.settle("cdr>store", [settled(0, 100, stored=7, dead=[dead(0), dead(10), dead(20)])], [], 1.0).result()
    state.revive("cdr>store", [Revived(1, "stored"), Revived(2, "filtered"), Revived(3, "dead", "mapping", "new")], 2.0).result()
    assert rows(state, "SELECT stored, filtered, dead FROM streams") == [(8, 1, 1)]
    assert rows(state, "SELECT id, reason FROM dead") == [(3, "mapping")]
    state.revive("cdr>store", [Revived(1, "stored")], 3.0).result()
    assert rows(state, "SELECT stored, filtered, dead FROM streams") == [(8, 1, 1)]


def test_a_second_agent_is_told_who_holds_the_directory(state, tmp_path):
    """One agent a data directory: the second learns the first one's process id."""
    script = f"from pathlib import Path; from vosship.state import State; State.open(Path({str(tmp_path)!r}))"
    second = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert second.returncode != 0
    assert f"process {holder(tmp_path)} is running" in second.stderr


def test_a_change_of_switch_or_zone_is_refused(state):
    """Ids and days were made with them: a change would double every call."""
    with pytest.raises(ConfigError, match="timezone was 'UTC'"):
        state.register("cdr>store", "s", "Asia/Dhaka")


def test_a_damaged_state_is_refused_and_can_be_rebuilt(tmp_path):
    """Damage is told with the way out; the damaged file is kept."""
    State.open(tmp_path).close()
    path = tmp_path / "state.sqlite"
    path.write_bytes(b"this is not a database, it is a sentence of more than sixteen bytes" * 100)
    with pytest.raises(FatalError, match="--rebuild-state"):
        State.open(tmp_path)
    State.open(tmp_path, rebuild=True).close()
    assert [file.name for file in tmp_path.glob("state.sqlite.2*")]


def test_a_disk_without_room_is_no_damage(tmp_path, monkeypatch):
    """SQLite says "disk I/O error" where there is no room for its own files; nobody must be sent to rebuild a good state."""
    State.open(tmp_path).close()

    def connect(*_, **__):
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(sqlite3, "connect", connect)
    with pytest.raises(FatalError, match="disk I/O error") as failed:
        State.open(tmp_path)
    assert "damaged" not in failed.value.message
    assert "--rebuild-state" not in failed.value.hint
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=0))
    with pytest.raises(FatalError, match=r"the disk of .* is full \(make room"):
        State.open(tmp_path)


def test_damage_and_a_missing_right_are_told_apart(state, tmp_path):
    """Damage beyond the first page shows only where it is read; only damage is worth reading everything again."""
    with pytest.raises(FatalError, match=r"malformed.*--rebuild-state"), reading(tmp_path / "state.sqlite"):
        raise sqlite3.DatabaseError("database disk image is malformed")
    with pytest.raises(FatalError, match=r"locked.*agent's user"), reading(tmp_path / "state.sqlite"):
        raise sqlite3.OperationalError("database is locked")


@needs_root
def test_a_state_in_a_closed_directory_is_not_an_absent_one(open_dir):
    """Whoever may not look into data_dir is told so, and not that there is nothing."""
    closed = open_dir / "data"
    closed.mkdir(mode=0o700)

    def look():
        try:
            with reading(closed / "state.sqlite") as db:
                return db
        except FatalError as error:
            return str(error)

    assert as_nobody(look).startswith(f"the state {closed / 'state.sqlite'} cannot be read: Permission denied (run as the agent's")


def test_a_newer_state_is_refused(tmp_path):
    """A state from a newer version is not touched."""
    State.open(tmp_path).close()
    with sqlite3.connect(tmp_path / "state.sqlite") as db:
        db.execute("PRAGMA user_version = 99")
    with pytest.raises(FatalError, match="newer vosship"):
        State.open(tmp_path)


def test_a_state_that_is_just_being_made_reads_as_empty(tmp_path):
    """Between the file's making and its tables' a reader finds nothing, and that is no failure."""
    path = tmp_path / "state.sqlite"
    sqlite3.connect(path).close()
    with reading(path) as db:
        assert db is None
    other = sqlite3.connect(path)
    with other:
        other.execute("CREATE TABLE strange (x)")
    with pytest.raises(FatalError, match="no such table"), reading(path):
        pass


def test_the_state_can_be_read_while_it_is_written(state, tmp_path):
    """`status` reads beside a running agent."""
    state.settle("cdr>store", [settled(0, 100)], [], 1.0).result()
    with reading(tmp_path / "state.sqlite") as db:
        assert db.execute("SELECT read FROM streams").fetchone() == (10,)
