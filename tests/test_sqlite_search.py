"""Search and figures of the embedded store agree with the definitions applied to a plain scan."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
from sqlite_calls import FIRST_DAY, ZONE, calls, decoded, document, send, store

from vosship.documents import utc_text
from vosship.events import Document
from vosship.query import KEYS, Hit, Query, Row, StatsQuery, Tally, epoch_ms, matches, rows, sort_key, span_key
from vosship_sqlite.figures import _runs
from vosship_sqlite.reader import DayFile

DAY_MS = 86_400_000
START_MS = FIRST_DAY * 1000


@pytest.fixture(scope="module")
def sent(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Hit]]:
    """A store of 6,000 calls over three days, sent in shuffled batches, and the same calls as hits."""
    directory = tmp_path_factory.mktemp("store")
    documents = calls(6000, seed=11)
    batches = [documents[place : place + 250] for place in range(0, len(documents), 250)]
    random.Random(11).shuffle(batches)
    send(directory, batches)
    return directory, hits(documents)


def hits(documents: Sequence[Document]) -> list[Hit]:
    """Documents as a search should give them, in no order."""
    return [Hit(id=each.id, index=each.index, fields=decoded(each)) for each in documents]


def random_query(chance: random.Random, known: Sequence[Hit]) -> Query:
    """Any combination of window, filters and limit, most of them about calls that exist."""
    some = chance.choice(known).fields
    start = START_MS + chance.randrange(3 * DAY_MS)
    filters: dict[str, Any] = {
        "caller": chance.choice((some["callerE164"], some["callerE164"][: chance.randrange(5, 13)] + "*", "nobody")),
        "callee": chance.choice((some["calleeAccessE164"], some["calleeE164"][: chance.randrange(1, 12)] + "*")),
        "number": chance.choice((some["callerE164"], some["calleeE164"], some["calleeE164"][:9] + "*", "*")),
        "caller_gateway": some["callerGatewayId"],
        "callee_gateway": chance.choice((some.get("calleeGatewayId", ""), "网关一", "VEN")),
        "ip": chance.choice((some["callerIp"], some["calleeIp"])),
        "end_reason": some["endReason"],
        "answered": chance.random() < 0.5,
        "min_hold_ms": chance.randrange(300_000),
        "switch": chance.choice(("dhaka-1", "dhaka-2")),
        "channel": chance.choice(("file", "forward", "all")),
        "resends": True,
        "time": chance.choice(("start", "answer")),
    }
    chosen = {name: value for name, value in filters.items() if chance.random() < 0.2}
    limit = chance.choice((None, 1, 10, 100))
    return Query(from_ms=start, to_ms=start + chance.randrange(1, 2 * DAY_MS), limit=limit, **chosen)


def test_random_questions_are_answered_like_a_plain_scan(sent: tuple[Path, list[Hit]]) -> None:
    """200 random questions: the same documents in the same order as filtering and sorting them all."""
    directory, known = sent
    output, chance = store(directory), random.Random(12)
    answers = 0
    for _ in range(200):
        query = random_query(chance, known)
        expected = sorted((hit for hit in known if matches(query, hit.fields)), key=sort_key)[: query.limit]
        assert list(output.search(query)) == expected, query
        answers += bool(expected)
    assert answers > 100


@pytest.mark.parametrize("by", [(word,) for word in KEYS] + [("hour", "callee_gateway"), ("callee_gateway", "end_by")])
def test_figures_are_those_of_a_plain_count(sent: tuple[Path, list[Hit]], by: tuple[str, ...]) -> None:
    """Every key, alone and in pairs: counts, sums and percentiles equal counting the documents one by one."""
    directory, known = sent
    query = StatsQuery(calls=Query(from_ms=START_MS, to_ms=START_MS + 2 * DAY_MS, limit=None), by=by, timezone=ZONE)
    tallies: dict[tuple[str, ...], Tally] = {}
    for hit in known:
        if matches(query.calls, hit.fields):
            words = [
                str(hit.fields.get(KEYS[word], ""))
                if KEYS[word]
                else span_key(word, epoch_ms(hit.fields["@timestamp"]), ZoneInfo(ZONE))
                for word in by
            ]
            tallies.setdefault(tuple(words), Tally()).count(hit.fields)
    found = store(directory).stats(query)
    assert found == rows(tallies)
    assert sum(row.attempts + row.illegal for row in found) > 3000


def plainly(query: StatsQuery, known: list[Hit]) -> list[Row]:
    """The figures by counting documents one by one."""
    tallies: dict[tuple[str, ...], Tally] = {}
    for hit in known:
        if matches(query.calls, hit.fields):
            words = [str(hit.fields.get(KEYS[word], "")) for word in query.by]
            tallies.setdefault(tuple(words), Tally()).count(hit.fields)
    return rows(tallies)


def test_random_figures_are_those_of_a_plain_count(sent: tuple[Path, list[Hit]]) -> None:
    """Of any calls, though only the chunks that may hold them are read."""
    directory, known = sent
    output, chance = store(directory), random.Random(14)
    words = [word for word in KEYS if KEYS[word]]
    for _ in range(100):
        query = StatsQuery(calls=random_query(chance, known), by=tuple(chance.sample(words, chance.choice((1, 2)))))
        assert output.stats(query) == plainly(query, known), query


def test_whoever_ended_calls_is_counted_under_the_very_name(tmp_path: Path) -> None:
    """A comma within a name, any alphabet; calls without a name count with those whose name is empty."""
    noon = {"@timestamp": "2026-04-25T06:00:00.000Z", "holdTime": 1}
    enders = ["caller", "a,b", "网关", "", None, "caller", "a"]
    documents = [
        document(noon if ender is None else {**noon, "end.by": ender}, offset=place * 100) for place, ender in enumerate(enders)
    ]
    send(tmp_path, [documents])
    query = StatsQuery(calls=Query(from_ms=0, to_ms=1 << 50), by=("switch",))
    [row] = store(tmp_path).stats(query)
    assert row.hangups == {"caller": 2, "a,b": 1, "网关": 1, "": 2, "a": 1}
    assert [row] == plainly(query, hits(documents))


def test_figures_of_a_few_calls_read_few_chunks(tmp_path: Path) -> None:
    """Neighbours are counted in one go; a number that occurs once, or the last minutes of an hour, cost their chunk alone."""
    noon = START_MS + DAY_MS // 2
    documents = [
        document({"@timestamp": utc_text(noon // 1000 + place // 4), "callerE164": f"88017{place:08d}"}, offset=place * 200)
        for place in range(13_000)
    ]
    for place in (10, 12_990):
        documents[place] = document({"@timestamp": utc_text(noon // 1000), "callerE164": "493099912345"}, offset=place * 200)
    send(tmp_path, [documents[place : place + 2000] for place in range(0, len(documents), 2000)])
    day = DayFile(next(tmp_path.glob("*.sqlite")))
    ever = Query(from_ms=0, to_ms=1 << 50, channel="all")
    bounds = sorted((first, last) for _, _, first, last in day.chunks(ever))
    assert len(bounds) == 4
    assert _runs(day, ever) == [(1, bounds[0][0], bounds[-1][1])]
    assert _runs(day, msgspec.structs.replace(ever, number="8801700005000")) == [(1, *bounds[1])]
    assert _runs(day, msgspec.structs.replace(ever, number="493099912345")) == [(1, *bounds[0]), (1, *bounds[3])]
    assert _runs(day, msgspec.structs.replace(ever, from_ms=noon + 3_200_000)) == [(1, *bounds[3])]
    day.close()


def test_a_window_over_the_start_reaches_into_other_days(tmp_path: Path) -> None:
    """A call that began before midnight is found by its start, though it lies in the next day's file."""
    call = document({"@timestamp": "2026-04-25T18:10:00.000Z", "startTime": "2026-04-25T17:50:00.000Z"})
    assert call.index.endswith("2026.04.26")
    send(tmp_path, [[call]])
    started = Query(from_ms=START_MS, to_ms=START_MS + DAY_MS, time="start")
    assert [hit.id for hit in store(tmp_path).search(started)] == [call.id]
    assert list(store(tmp_path).search(msgspec.structs.replace(started, time="stop"))) == []


def test_two_indexes_of_one_day_are_merged(tmp_path: Path) -> None:
    """Forwarded copies lie in files of their own and come out among the others, newest first."""
    files = [document({"@timestamp": f"2026-04-25T06:00:{n:02d}.000Z"}, offset=n) for n in range(0, 10, 2)]
    forwarded = [
        msgspec.structs.replace(
            document({"@timestamp": f"2026-04-25T06:00:{n:02d}.000Z", "channel": "forward"}, offset=n),
            index="vos3000-fwd-2026.04.25",
        )
        for n in range(1, 10, 2)
    ]
    send(tmp_path, [files + forwarded])
    found = [hit.fields["log.offset"] for hit in store(tmp_path).search(Query(from_ms=0, to_ms=1 << 50, channel="all"))]
    assert found == list(range(9, -1, -1))


@pytest.mark.parametrize("later_first", [False, True])
def test_a_chunk_that_grows_still_says_when_all_its_calls_were(tmp_path: Path, later_first: bool) -> None:
    """Of a file that came in two batches, a window over either half finds that half."""
    documents = [document({"@timestamp": f"2026-04-25T06:00:{n:02d}.000Z"}, offset=n * 100) for n in range(40)]
    halves = [documents[:20], documents[20:]]
    send(tmp_path, [*(halves[::-1] if later_first else halves), documents[10:30]])
    noon = START_MS + DAY_MS // 2
    for second in (0, 20):
        found = store(tmp_path).search(Query(from_ms=noon + second * 1000, to_ms=noon + (second + 20) * 1000))
        assert {hit.fields["log.offset"] for hit in found} == {n * 100 for n in range(second, second + 20)}


def test_calls_of_one_moment_come_in_the_order_of_file_and_offset(tmp_path: Path) -> None:
    """Ties are broken by the path, then the byte, whatever the order in which files and days were written."""
    same = {"@timestamp": "2026-04-25T06:00:00.000Z"}
    documents = [document(same, base=base, offset=offset) for base in ("c.txt", "a.txt", "b.txt") for offset in (900, 5, 60)]
    documents[4] = msgspec.structs.replace(documents[4], index="vos3000-other-2026.04.25")
    send(tmp_path, [documents[:5], documents[5:]])
    found = list(store(tmp_path).search(Query(from_ms=0, to_ms=1 << 50)))
    expected = [(f"/cdr/{base}.txt", offset) for base in "abc" for offset in (5, 60, 900)]
    assert [(hit.fields["log.file.path"], hit.fields["log.offset"]) for hit in found] == expected


def test_a_search_for_one_number_reads_few_chunks(tmp_path: Path) -> None:
    """A number that occurs once leads to the one chunk that holds it, while the day is still being written."""
    documents = calls(20_000, seed=13, days=1)
    send(tmp_path, [documents])
    rare = document({"@timestamp": "2026-04-25T06:00:00.000Z", "callerE164": "493099912345"}, base="rare.txt")
    send(tmp_path, [[rare]])
    day = DayFile(next(tmp_path.glob("*.sqlite")))
    ever = Query(from_ms=0, to_ms=1 << 50)
    assert len(day.chunks(ever)) > 20
    assert len(day.chunks(msgspec.structs.replace(ever, number="493099912345"))) == 1
    for prefix in ("4930999*", "49309991*", "4930999123*", "49309991234*"):
        assert len(day.chunks(msgspec.structs.replace(ever, caller=prefix))) == 1
    day.close()


def test_every_number_is_found_in_a_chunk_that_grew_batch_by_batch(tmp_path: Path) -> None:
    """Calls that come a few at a time, as from a live file, are found by their number and by its beginning, each of them."""
    documents = calls(400, seed=15, days=1)
    send(tmp_path, [documents[place : place + 20] for place in range(0, len(documents), 20)])
    output = store(tmp_path)
    for hit in hits(documents):
        number = hit.fields["calleeAccessE164"]
        for asked in (number, number[:9] + "*"):
            found = output.search(Query(from_ms=0, to_ms=1 << 50, callee=asked, channel="all", resends=True, limit=None))
            assert hit.id in [each.id for each in found], asked


def test_search_while_the_agent_writes_sees_whole_batches_once(tmp_path: Path) -> None:
    """Readers beside the writer never fail, never see a call twice, and never fewer calls than before."""
    documents = calls(8000, seed=14, days=1)
    batches = [documents[place : place + 200] for place in range(0, len(documents), 200)]
    done = threading.Event()
    query = Query(from_ms=0, to_ms=1 << 50, channel="all", resends=True, limit=None)

    def look() -> list[int]:
        seen = []
        while not done.is_set():
            ids = [hit.id for hit in store(tmp_path).search(query)]
            assert len(set(ids)) == len(ids)
            seen.append(len(ids))
        return seen

    async def write() -> None:
        output = store(tmp_path)
        await output.open()
        await asyncio.gather(*(output.send(batch) for batch in batches))
        await output.close()

    with ThreadPoolExecutor(1) as reader:
        looking = reader.submit(look)
        try:
            asyncio.run(write())
        finally:
            done.set()
        seen = looking.result()
    assert seen == sorted(seen)
    assert len(seen) > 2
    assert len(list(store(tmp_path).search(query))) == 8000
