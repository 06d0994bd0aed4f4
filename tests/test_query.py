"""The definitions of figures, order and filters say what the standards and the switch's own counting say."""

from __future__ import annotations

import random
from zoneinfo import ZoneInfo

import pytest

from vosship.query import PDD_EDGES, Hit, Query, Tally, matches, pdd_bucket, pdd_value, percentile, rows, sort_key, span_key

STOP = {"@timestamp": "2026-04-26T06:00:00.000Z", "channel": "file"}
EVER = {"from_ms": 0, "to_ms": 1 << 50}


def test_illegal_calls_are_no_attempts_but_unbilled_answered_ones_are() -> None:
    """billingMode -1 keeps a call out of the ASR only where it was not answered."""
    tally = Tally()
    tally.count({"holdTime": 0, "billingMode": -1, "end.code": -9})
    tally.count({"holdTime": 60_000, "billingMode": -1, "end.code": 200, "end.by": "server"})
    tally.count({"holdTime": 0, "billingMode": 1, "end.code": 503})
    tally.count({"holdTime": 30_000, "billingMode": 1, "end.code": 200})
    row = tally.row(("x",))
    assert (row.attempts, row.illegal, row.answered) == (3, 1, 2)
    assert row.asr_ratio == 0.666666667
    assert (row.acd_s, row.minutes) == (45.0, 1.5)
    assert row.hangups == {"": 1, "server": 1}


@pytest.mark.parametrize(
    ("code", "success"),
    [
        (486, 1),
        (600, 1),
        (480, 1),
        (487, 1),
        (603, 1),
        (404, 1),
        (-7, 1),
        (17, 1),
        (408, 0),
        (503, 0),
        (403, 0),
        (-9, 0),
        (None, 0),
    ],
)
def test_the_ner_counts_busy_no_answer_and_refusal_as_success(code: int | None, success: int) -> None:
    """ITU-T E.425 over unanswered calls; 408 is a failure of the network."""
    tally = Tally()
    tally.count({"holdTime": 0, "billingMode": 1, "end.code": code})
    assert tally.row(()).ner_ratio == success


def test_a_ratio_over_nothing_is_absent() -> None:
    """No attempts: no ASR, no NER, no ACD, no percentile; not zero."""
    row = Tally().row(("x",))
    assert (row.asr_ratio, row.ner_ratio, row.acd_s, row.caller_pdd_ms_p50) == (None, None, None, None)


def test_buckets_tile_the_milliseconds_within_one_percent() -> None:
    """Each bucket begins where the last ended, and what is reported for it lies within 1 % of all it holds."""
    assert PDD_EDGES[:4] == (0, 1, 2, 3)
    assert all(pdd_bucket(edge) == number for number, edge in enumerate(PDD_EDGES))
    assert all(pdd_bucket(edge - 1) == number for number, edge in enumerate(PDD_EDGES[1:]))
    for ms in (1, 99, 100, 101, 5000, 59_999, 3_000_000):
        assert abs(pdd_value(pdd_bucket(ms)) - ms) <= ms / 100
    assert pdd_bucket(-5) == 0
    assert pdd_bucket(10**9) == len(PDD_EDGES) - 1


def test_percentiles_are_the_nearest_rank() -> None:
    """Of 1 to 100 ms, p50 is 50 and p95 is 95: buckets below 100 ms are single milliseconds."""
    buckets = {pdd_bucket(ms): 1 for ms in range(1, 101)}
    assert percentile(buckets, 0.50) == 50
    assert percentile(buckets, 0.95) == 95


def test_merging_tallies_is_counting_them_together() -> None:
    """Two days' tallies merged give what one tally over both gives."""
    chance = random.Random(1)
    fields = [
        {
            "holdTime": chance.choice((0, chance.randrange(90_000))),
            "billingMode": chance.choice((-1, 1)),
            "end.code": chance.choice((200, 486, 503)),
            "callerPdd": chance.randrange(9000),
            "calleePdd": chance.randrange(900),
        }
        for _ in range(500)
    ]
    whole, one, two = Tally(), Tally(), Tally()
    for number, each in enumerate(fields):
        whole.count(each)
        (one if number % 3 else two).count(each)
    one.merge(two)
    assert one.row(("k",)) == whole.row(("k",))


def test_spans_are_named_by_the_clock_there() -> None:
    """Hours carry their offset, so the hour that occurs twice is two; weeks are ISO weeks."""
    berlin, dhaka = ZoneInfo("Europe/Berlin"), ZoneInfo("Asia/Dhaka")
    assert span_key("hour", 1_777_140_000_000, dhaka) == "2026-04-26T00:00+06:00"
    assert span_key("day", 1_777_139_999_999, dhaka) == "2026-04-25"
    assert span_key("week", 1_777_140_000_000, dhaka) == "2026-W17"
    assert span_key("month", 1_777_140_000_000, dhaka) == "2026-04"
    twice = [span_key("hour", 1_792_886_400_000 + hours * 3_600_000, berlin) for hours in (0, 1)]
    assert twice == ["2026-10-25T02:00+02:00", "2026-10-25T02:00+01:00"]


def test_order_is_newest_first_then_file_then_offset() -> None:
    """Calls of one millisecond come in the order of their lines."""

    def hit(time: str, path: str, offset: int, name: str = "x") -> Hit:
        return Hit(id=name, index="", fields={"@timestamp": time, "log.file.path": path, "log.offset": offset})

    one, two = "2026-04-26T06:00:00.000Z", "2026-04-26T06:00:00.001Z"
    expected = [hit(two, "b", 9), hit(one, "a", 5), hit(one, "a", 10), hit(one, "b", 0, "x"), hit(one, "b", 0, "y")]
    shuffled = [expected[place] for place in (3, 0, 4, 2, 1)]
    assert sorted(shuffled, key=sort_key) == expected


def test_numbers_match_exactly_or_by_prefix_on_their_side() -> None:
    """Any number of the side counts, the one sent out and the normalised one too; the other side's does not."""
    fields = {**STOP, "callerE164": "S00880", "caller.number": "880171", "calleeAccessE164": "0097"}
    assert matches(Query(**EVER, caller="880171"), fields)
    assert matches(Query(**EVER, caller="8801*"), fields)
    assert not matches(Query(**EVER, caller="8801"), fields)
    assert not matches(Query(**EVER, callee="880171"), fields)
    assert matches(Query(**EVER, number="0097"), fields)
    assert not matches(Query(**EVER, number="1*"), fields)


def test_forwarded_copies_and_resends_are_left_out_unless_asked_for() -> None:
    """By default the files' copies; `all` is every channel; a resend needs its own word."""
    forwarded = {**STOP, "channel": "forward", "tags": ["resend"]}
    assert not matches(Query(**EVER), forwarded)
    assert not matches(Query(**EVER, channel="all"), forwarded)
    assert matches(Query(**EVER, channel="forward", resends=True), forwarded)


def test_the_window_begins_with_its_first_millisecond_and_ends_before_its_last() -> None:
    """from is inclusive, to is exclusive; a call without the time asked for is in no window."""
    at = 1_777_183_200_000
    assert matches(Query(from_ms=at, to_ms=at + 1), STOP)
    assert not matches(Query(from_ms=at - 1, to_ms=at), STOP)
    assert not matches(Query(from_ms=0, to_ms=1 << 50, time="answer"), STOP)


def test_rows_are_ordered_by_key() -> None:
    """The same lines in the same order from every store."""
    assert [row.key for row in rows({("b", "1"): Tally(), ("a", "2"): Tally(), ("a", "1"): Tally()})] == ["a | 1", "a | 2", "b | 1"]
