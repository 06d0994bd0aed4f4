"""The embedded store keeps what it was sent: once, whole, durable, and refuses what it should."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest
from sqlite_calls import calls, decoded, document, send, store

from vosship.errors import FatalError, HaltedError
from vosship.events import DUPLICATE, STORED, Document, Field, Verdict
from vosship.plugin import Checks, Opens, Searches
from vosship.query import DIFFERENCES, Query, StatsQuery
from vosship_sqlite.chunks import CHUNK_CALLS, GATHERED_CHUNKS
from vosship_sqlite.writer import OPEN_DAYS, VERSION

EVER = Query(from_ms=0, to_ms=1 << 50, channel="all", resends=True, limit=None)


def found(directory: Path) -> dict[str, dict[str, object]]:
    """Every document in the store, by id; none twice."""
    hits = list(store(directory).search(EVER))
    ids = {hit.id: hit.fields for hit in hits}
    assert len(ids) == len(hits)
    return ids


def test_documents_come_back_as_they_were_sent(tmp_path: Path) -> None:
    """Every field of every type returns with the same JSON value, and an absent one stays absent."""
    sent = calls(500, seed=1)
    whole = {
        "@timestamp": "2026-04-26T06:00:00.123Z",
        "call.answered": True,
        "fee": 0.00456,
        "extra": ["a|b", "ü"],
        "caller.geo.location": {"lat": 23.7, "lon": 90.4},
        "labels.lrn": "123",
        "labels.route": "x",
        "event.original": 'a "quoted" line',
        "callerE164": "S0099966",
    }
    sent.append(document(whole, base="odd.txt"))
    assert send(tmp_path, [sent]) == [STORED] * len(sent)
    assert found(tmp_path) == {each.id: decoded(each) for each in sent}


def test_sending_again_is_harmless_and_judged_item_by_item(tmp_path: Path) -> None:
    """What is already there is DUPLICATE, what is not is STORED, in order, whatever the batches were."""
    sent = calls(300, seed=2, days=2)
    assert send(tmp_path, [sent[:100], sent[150:200]]) == [STORED] * 150
    outcomes = send(tmp_path, [sent[50:250], sent])
    expected = [DUPLICATE] * 50 + [STORED] * 50 + [DUPLICATE] * 50 + [STORED] * 50
    assert outcomes == expected + [DUPLICATE] * 250 + [STORED] * 50
    assert found(tmp_path) == {each.id: decoded(each) for each in sent}


def test_a_document_twice_in_one_batch_is_stored_once(tmp_path: Path) -> None:
    """The second of two equal documents of one batch is the duplicate."""
    one, two = calls(2, seed=3)
    assert send(tmp_path, [[one, two, one]]) == [STORED, STORED, DUPLICATE]


def test_chunks_of_one_file_never_overlap(tmp_path: Path) -> None:
    """However batches cut and repeat a file, its chunks stay apart and hold every call once."""
    sent = [document({"@timestamp": f"2026-04-25T00:00:{n % 60:02d}.000Z"}, offset=n * 100) for n in range(CHUNK_CALLS * 3)]
    send(tmp_path, [sent[5000:9000], sent[:3000], sent[2000:6000], sent[8000:], sent])
    db = sqlite3.connect(next(tmp_path.glob("*.sqlite")))
    chunks = db.execute("SELECT first, last, calls FROM chunks ORDER BY first").fetchall()
    db.close()
    assert sum(count for _, _, count in chunks) == len(sent)
    assert all(one[1] < two[0] for one, two in pairwise(chunks))
    assert len(found(tmp_path)) == len(sent)


def whole_day() -> list[Document]:
    """As many calls of one day as make it worth gathering, each from a number of its own."""
    return [
        document({"@timestamp": "2026-04-25T00:00:00.000Z", "callerE164": f"88017{number:08d}"}, offset=number * 100)
        for number in range(CHUNK_CALLS * GATHERED_CHUNKS)
    ]


def days_after(count: int) -> list[list[Document]]:
    """A call of each of the next days, a batch each."""
    return [[document({"@timestamp": f"2026-04-{26 + day}T00:00:00.000Z"}, base=f"{day}.txt")] for day in range(count)]


def spread(directory: Path) -> float:
    """Over how many times their own bytes the fingerprints of one part lie in the first day's file."""
    path = min(directory.glob("*.sqlite"))
    db = sqlite3.connect(path)
    hashes = [row[0] for row in db.execute("SELECT hashes FROM fingerprints WHERE part = 5")]
    db.close()
    content = path.read_bytes()
    places = [content.index(each[:64]) for each in hashes]
    return (max(places) - min(places)) / sum(map(len, hashes))


@pytest.mark.parametrize("finished", [False, True])
def test_a_finished_day_is_searched_without_seeking(tmp_path: Path, finished: bool) -> None:
    """Fingerprints lie between the calls while a day is written, and side by side once it is closed for another; all is found."""
    sent = whole_day()
    batches = [sent[start : start + 1000] for start in range(0, len(sent), 1000)]
    send(tmp_path, [*batches, *days_after(OPEN_DAYS if finished else 1)])
    assert spread(tmp_path) < 3 if finished else spread(tmp_path) > 30
    for number in (0, CHUNK_CALLS, len(sent) - 1):
        query = msgspec.structs.replace(EVER, number=f"88017{number:08d}")
        assert [hit.id for hit in store(tmp_path).search(query)] == [sent[number].id]
    late = document({"@timestamp": "2026-04-25T00:00:00.000Z", "callerE164": "4420"}, base="late.txt")
    assert send(tmp_path, [[late, sent[0]]]) == [STORED, DUPLICATE]
    assert [hit.id for hit in store(tmp_path).search(msgspec.structs.replace(EVER, number="4420"))] == [late.id]


def test_a_day_locked_or_read_while_it_is_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lock held by another process leaves the fingerprints as they lie, without a word; a search under way goes on."""
    monkeypatch.setattr("vosship_sqlite.writer.BUSY_MS", 50)
    sent = whole_day()

    async def run() -> None:
        output = store(tmp_path)
        await output.open()
        await output.send(sent)
        under_way = output.search(EVER)
        first = next(under_way)
        lock = sqlite3.connect(tmp_path / f"{sent[0].index}.sqlite", isolation_level=None)
        lock.execute("BEGIN IMMEDIATE")
        for batch in days_after(OPEN_DAYS):
            assert await output.send(batch) == [STORED]
        lock.close()
        before = spread(tmp_path)
        assert await output.send([document({"@timestamp": "2026-04-25T00:00:00.000Z"}, base="late.txt")]) == [STORED]
        for batch in days_after(OPEN_DAYS):
            assert await output.send(batch) == [DUPLICATE]
        assert spread(tmp_path) < 3 < before
        ids = [first.id, *(hit.id for hit in under_way)]
        assert sorted(ids) == sorted(each.id for each in sent)
        await output.close()

    asyncio.run(run())


def test_one_bad_document_leaves_its_neighbours_alone(tmp_path: Path) -> None:
    """A value of the wrong type, an undeclared field and a number beyond 64 bits are REJECTED as `mapping`, each alone."""
    good = calls(3, seed=4)
    bad = [
        document({"@timestamp": "2026-04-25T00:00:00.000Z", "holdTime": "long"}, offset=1),
        document({"@timestamp": "2026-04-25T00:00:00.000Z", "nobody.knows": 1}, offset=2),
        document({"@timestamp": "2026-04-25T00:00:00.000Z", "holdTime": 1 << 70}, offset=3),
        document({"@timestamp": "2026-04-25T00:00:00.000Z", "startTime": "yesterday"}, offset=4),
    ]
    outcomes = send(tmp_path, [[good[0], bad[0], good[1], bad[1], bad[2], bad[3], good[2]]])
    assert [outcome.verdict for outcome in outcomes] == [
        Verdict.STORED, Verdict.REJECTED, Verdict.STORED, Verdict.REJECTED, Verdict.REJECTED, Verdict.REJECTED, Verdict.STORED,
    ]  # fmt: skip
    assert {outcome.reason for outcome in outcomes if outcome.verdict is Verdict.REJECTED} == {"mapping"}
    assert found(tmp_path) == {each.id: decoded(each) for each in good}


def test_overwrite_replaces_and_never_doubles(tmp_path: Path) -> None:
    """A document written over has the new fields only, is found by them, and is one."""
    old = document({"@timestamp": "2026-04-25T00:00:00.000Z", "callerE164": "111", "endReason": "486"}, line=b"x")
    new = document({"@timestamp": "2026-04-25T00:00:00.000Z", "callerE164": "222"}, line=b"x")
    assert old.id == new.id
    send(tmp_path, [[old]])
    assert send(tmp_path, [[new]], overwrite=True) == [STORED]
    assert found(tmp_path) == {new.id: decoded(new)}
    query = msgspec.structs.replace(EVER, number="222")
    assert [hit.id for hit in store(tmp_path).search(query)] == [new.id]


def test_a_column_that_a_file_lacks_is_added(tmp_path: Path) -> None:
    """A processor configured later brings its field into a day that was begun without it."""
    old = document({"@timestamp": "2026-04-25T00:00:00.000Z"}, offset=1)
    send(tmp_path, [[old]])
    new = document({"@timestamp": "2026-04-25T00:00:01.000Z", "caller.customer": "Acme"}, offset=2)
    assert send(tmp_path, [[new]], Field(name="caller.customer", type="keyword", description="")) == [STORED]
    assert found(tmp_path) == {old.id: decoded(old), new.id: decoded(new)}


def test_stored_means_synced(tmp_path: Path) -> None:
    """The connection that writes is in WAL mode with synchronous=FULL, so a commit is on disk when it returns."""

    async def run() -> tuple[object, object]:
        output = store(tmp_path)
        await output.open()
        await output.send(calls(1, seed=5))
        assert output._writer is not None
        day = next(iter(output._writer._days.values()))
        pragmas = [day._db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")]
        await output.close()
        return pragmas[0], pragmas[1]

    assert asyncio.run(run()) == ("wal", 2)


@pytest.mark.crash
def test_what_was_answered_survives_kill_9_and_is_read_before_any_writer(tmp_path: Path) -> None:
    """After kill -9 a read-only search finds every document that was answered, though the log was never folded in."""
    script = f"""
        import asyncio, os, signal, sys
        sys.path[:0] = {[str(Path(__file__).parent)]!r}
        from pathlib import Path
        from sqlite_calls import calls, store

        async def run():
            output = store(Path({str(tmp_path)!r}))
            await output.open()
            await output.send(calls(1000, seed=6, days=1))
            os.kill(os.getpid(), signal.SIGKILL)

        asyncio.run(run())
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert list(tmp_path.glob("*.sqlite-wal"))
    assert found(tmp_path) == {each.id: decoded(each) for each in calls(1000, seed=6, days=1)}


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """A directory that any user can reach: pytest's own are closed to others."""
    with tempfile.TemporaryDirectory(prefix="vosship-") as name:
        directory = Path(name) / "store"
        directory.mkdir()
        Path(name).chmod(0o755)
        yield directory
        directory.chmod(0o755)


@pytest.mark.parametrize("crashed", [False, True])
def test_a_reader_without_write_permission_reads_all(open_directory: Path, tmp_path: Path, crashed: bool) -> None:
    """Another user who may only read finds everything, in a finished day and in one whose writer was killed."""
    made = tmp_path / "made"
    send(made, [calls(50, seed=7, days=1)])
    writer = sqlite3.connect(next(made.glob("*.sqlite")), isolation_level=None)
    if crashed:  # what a killed writer leaves: the file, its log and its shared memory, as they are at that moment
        writer.execute("UPDATE calls SET holdTime = 7")
    for path in made.iterdir():
        (open_directory / path.name).write_bytes(path.read_bytes())
    writer.close()
    assert len(list(open_directory.iterdir())) == (3 if crashed else 1)
    for path in [open_directory, *open_directory.iterdir()]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    script = f"""
        import os
        from pathlib import Path
        from vosship.query import DIFFERENCES, Query, StatsQuery
        from vosship_sqlite import reader

        if os.getuid() == 0:
            os.setuid(65534)
        asked = Query(from_ms=0, to_ms=1 << 50, channel="all", resends=True, limit=None)
        hits = list(reader.search(Path({str(open_directory)!r}), asked))
        print(len(hits), sum(hit.fields["holdTime"] == 7 for hit in hits))
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=False, capture_output=True, text=True)
    assert (done.stdout.split(), done.stderr) == (["50", "50" if crashed else "0"], "")


def test_a_newer_store_is_refused_with_what_to_do(tmp_path: Path) -> None:
    """Neither writing nor reading touches a file of a later version."""
    send(tmp_path, [calls(1, seed=8)])
    path = next(tmp_path.glob("*.sqlite"))
    db = sqlite3.connect(path)
    db.execute(f"PRAGMA user_version = {VERSION + 1}")
    db.close()
    with pytest.raises(HaltedError, match="upgrade vosship"):
        send(tmp_path, [calls(1, seed=8)])
    with pytest.raises(HaltedError, match="upgrade vosship"):
        list(store(tmp_path).search(EVER))
    assert [remark.level for remark in store(tmp_path).check()][:1] == ["bad"]


def test_a_foreign_or_damaged_file_is_not_written_to(tmp_path: Path) -> None:
    """A database that is not ours is left alone, and one that is damaged stops the pipeline."""
    [call] = calls(1, seed=9)
    path = tmp_path / f"{call.index}.sqlite"
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE mine (x)")
    db.close()
    with pytest.raises(HaltedError, match="not one of vosship"):
        send(tmp_path, [[call]])
    with pytest.raises(HaltedError, match="not one of vosship"):
        list(store(tmp_path).search(EVER))
    path.write_bytes(b"no database at all" * 1000)
    with pytest.raises(FatalError, match="damaged"):
        send(tmp_path, [[call]])
    with pytest.raises(FatalError, match="damaged"):
        list(store(tmp_path).search(EVER))


@pytest.mark.parametrize("day", ["2026.13.01", "2026.02.30", "2026.00", "0001.01.01", "9999.12.31", "9999.12"])
def test_a_name_whose_day_does_not_exist_is_no_day_of_ours(tmp_path: Path, day: str) -> None:
    """Like any other file that lies there: it is left alone."""
    send(tmp_path, [calls(3, seed=9)])
    (tmp_path / f"vos3000-cdr-{day}.sqlite").write_bytes(b"no database at all")
    assert len(found(tmp_path)) == 3
    assert [row.attempts + row.illegal for row in store(tmp_path).stats(StatsQuery(calls=EVER, by=("switch",)))] == [3]
    assert list(store(tmp_path).search(msgspec.structs.replace(EVER, channel=DIFFERENCES))) == []


def test_a_full_disk_stops_and_loses_nothing(tmp_path: Path) -> None:
    """SQLITE_FULL becomes FatalError; what was stored before stays, and room lets the rest in."""
    sent = calls(2000, seed=10, days=1)

    async def run() -> None:
        output = store(tmp_path)
        await output.open()
        await output.send(sent[:100])
        assert output._writer is not None
        day = next(iter(output._writer._days.values()))
        pages = day._db.execute("PRAGMA page_count").fetchone()[0]
        day._db.execute(f"PRAGMA max_page_count = {pages + 2}")
        with pytest.raises(FatalError, match="nothing is lost"):
            await output.send(sent)
        await output.close()

    asyncio.run(run())
    assert len(found(tmp_path)) == 100
    assert send(tmp_path, [sent]) == [DUPLICATE] * 100 + [STORED] * 1900


def test_the_plugin_has_its_capabilities(tmp_path: Path) -> None:
    """It opens, checks and searches, and an empty store answers emptily."""
    output = store(tmp_path / "none")
    assert isinstance(output, Opens)
    assert isinstance(output, Checks)
    assert isinstance(output, Searches)
    assert list(output.search(EVER)) == []
    assert [remark.level for remark in output.check()] == ["good"]
    assert not (tmp_path / "none").exists()
